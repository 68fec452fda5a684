package selftest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
)

func init() { lies[evidence.Kmsg] = (*liar).kmsg }

// record wants the records of the log that hold a text.
func record(text string) wanted {
	return func(e evidence.Event) bool {
		return e.Kind == evidence.Record && e.Log != nil && strings.Contains(e.Log.Text, text)
	}
}

func (l *liar) kmsg() {
	const killed, summary = "Killed process ", "oom-kill:constraint="
	pid := fmt.Sprint(strangerPID)
	l.tell("wrong pid in a kill line", first(record(killed), rewrite(killed, " (", pid)))
	l.tell("a kill line is missing", without(record(killed)))
	l.tell("a kill line too many", twice(record(killed)))
	if slices.ContainsFunc(l.in.Events, record(killed)) {
		l.tell("a stranger's kill line", at(record(killed), func(e []evidence.Event, i int) []evidence.Event {
			e = slices.Insert(e, i, clone(e[i : i+1])[0])
			rewrite(killed, " (", pid)(&e[i])
			return e
		}))
	} else {
		l.tell("a stranger's kill line", at(kind(evidence.End), func(e []evidence.Event, i int) []evidence.Event {
			return atEnd(evidence.Event{Source: evidence.Kmsg, Kind: evidence.Record, Log: &evidence.LogRecord{
				Priority: 3, USec: e[i].AtNS / 1000,
				Text: "Out of memory: Killed process " + pid + " (stranger) total-vm:4kB, anon-rss:4kB, file-rss:0kB," +
					" shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0",
			}})(e)
		}))
	}
	if l.in.Tier.Tier >= 2 {
		l.tell("another victim in the summary", first(record(summary), rewrite(",pid=", ",uid=", pid)))
		l.tell("another constraint in the summary", first(record(summary), func(e *evidence.Event) {
			other := "CONSTRAINT_CPUSET"
			if strings.Contains(e.Log.Text, other) {
				other = "CONSTRAINT_NONE"
			}
			rewrite(summary, ",", other)(e)
		}))
	}
	l.tell("records were lost", l.lost())
}
