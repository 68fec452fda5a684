package selftest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
)

// record wants the records of the log that hold a text.
func record(text string) wanted {
	return func(e evidence.Event) bool {
		return e.Kind == evidence.Record && e.Log != nil && strings.Contains(e.Log.Text, text)
	}
}

func init() { lies[evidence.Kmsg] = (*liar).kmsg }

func (l *liar) kmsg() {
	const killed, summary = "Killed process ", "oom-kill:constraint="
	pid := fmt.Sprint(strangerPID)
	l.tell("wrong pid in a kill line", func(e []evidence.Event) []evidence.Event {
		return first(e, record(killed), rewrite(killed, " (", pid))
	})
	l.tell("a kill line is missing", func(e []evidence.Event) []evidence.Event { return without(e, record(killed)) })
	l.tell("a kill line too many", func(e []evidence.Event) []evidence.Event { return twice(e, record(killed)) })
	l.tell("a stranger's kill line", func(e []evidence.Event) []evidence.Event {
		i := slices.IndexFunc(e, record(killed))
		if i < 0 {
			at := slices.IndexFunc(e, kind(evidence.End))
			if at < 0 {
				return nil
			}
			return atEnd(e, evidence.Event{Source: evidence.Kmsg, Kind: evidence.Record, Log: &evidence.LogRecord{
				Priority: 3, USec: e[at].AtNS / 1000,
				Text: "Out of memory: Killed process " + pid + " (stranger) total-vm:4kB, anon-rss:4kB, file-rss:0kB," +
					" shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0",
			}})
		}
		e = slices.Insert(e, i, clone(e[i : i+1])[0])
		rewrite(killed, " (", pid)(&e[i])
		return e
	})
	if l.in.Tier.Tier >= 2 {
		l.tell("another victim in the summary", func(e []evidence.Event) []evidence.Event {
			return first(e, record(summary), rewrite(",pid=", ",uid=", pid))
		})
		l.tell("another constraint in the summary", func(e []evidence.Event) []evidence.Event {
			return first(e, record(summary), rewrite(summary, ",", "CONSTRAINT_CPUSET"))
		})
	}
	l.tell("records were lost", l.lost)
}
