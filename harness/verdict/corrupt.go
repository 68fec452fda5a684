package verdict

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/predict"
)

// Corruption is a recorded run in which one witness was made to lie. A judge
// that still says pass is worthless.
type Corruption struct {
	Name    string          // what was done: "kmsg: wrong pid"
	Witness evidence.Source // who was made to lie
	Input   Input
}

// strangerPID is a pid that no recorded run has.
const strangerPID = 4194301

// Corrupt makes every witness of a run lie, in every way that the run has
// something for: `oomlab selftest` shows that the judge turns each of them red.
// It returns nothing for a run that was skipped.
func Corrupt(in Input) []Corruption {
	c := corrupter{in: in}
	c.logLies()
	c.bpfLies()
	c.counterLies()
	c.waitLies()
	c.agentLies()
	if in.ofCluster() {
		c.runtimeLies()
		c.apiLies()
		c.kubeletLies()
	}
	return c.out
}

type corrupter struct {
	in  Input
	out []Corruption
}

// try applies change to a copy of the events. A change that returns nil has
// nothing to corrupt in this run.
func (c *corrupter) try(w evidence.Source, name string, change func([]evidence.Event) []evidence.Event) {
	events := change(deepCopy(c.in.Events))
	if events == nil {
		return
	}
	in := c.in
	in.Events = events
	c.out = append(c.out, Corruption{Name: string(w) + ": " + name, Witness: w, Input: in})
}

// deepCopy goes through JSON, which is what a record on disk is anyway.
func deepCopy(events []evidence.Event) []evidence.Event {
	out := make([]evidence.Event, len(events))
	for i, e := range events {
		data, err := json.Marshal(e)
		if err == nil {
			err = json.Unmarshal(data, &out[i])
		}
		if err != nil {
			panic(fmt.Sprintf("event %d is not JSON: %v", i, err)) // it came from JSON
		}
	}
	return out
}

// first applies change to the first event that is wanted.
func first(events []evidence.Event, want func(evidence.Event) bool, change func(*evidence.Event)) []evidence.Event {
	i := slices.IndexFunc(events, want)
	if i < 0 {
		return nil
	}
	change(&events[i])
	return events
}

// without drops the first event that is wanted, twice puts it there again.
func without(events []evidence.Event, want func(evidence.Event) bool) []evidence.Event {
	i := slices.IndexFunc(events, want)
	if i < 0 {
		return nil
	}
	return slices.Delete(events, i, i+1)
}

func twice(events []evidence.Event, want func(evidence.Event) bool) []evidence.Event {
	i := slices.IndexFunc(events, want)
	if i < 0 {
		return nil
	}
	return slices.Insert(events, i, events[i])
}

// record wants the first record of the log that holds text.
func record(text string) func(evidence.Event) bool {
	return func(e evidence.Event) bool {
		return e.Kind == evidence.Record && e.Log != nil && strings.Contains(e.Log.Text, text)
	}
}

func kind(k evidence.Kind) func(evidence.Event) bool {
	return func(e evidence.Event) bool { return e.Kind == k }
}

// rewrite replaces what stands between two marks in a log line.
func rewrite(before, after, with string) func(*evidence.Event) {
	return func(e *evidence.Event) {
		head, rest, ok := strings.Cut(e.Log.Text, before)
		i := strings.Index(rest, after)
		if ok && i >= 0 {
			e.Log.Text = head + before + with + rest[i:]
		}
	}
}

func (c *corrupter) logLies() {
	const killed, summary = "Killed process ", "oom-kill:constraint="
	pid := fmt.Sprint(strangerPID)
	c.try(evidence.Kmsg, "wrong pid in a kill line", func(e []evidence.Event) []evidence.Event {
		return first(e, record(killed), rewrite(killed, " (", pid))
	})
	c.try(evidence.Kmsg, "a kill line is missing", func(e []evidence.Event) []evidence.Event {
		return without(e, record(killed))
	})
	c.try(evidence.Kmsg, "a kill line too many", func(e []evidence.Event) []evidence.Event {
		return twice(e, record(killed))
	})
	c.try(evidence.Kmsg, "a stranger's kill line", func(e []evidence.Event) []evidence.Event {
		i := slices.IndexFunc(e, record(killed))
		if i < 0 {
			i = slices.IndexFunc(e, kind(evidence.End))
			if i < 0 {
				return nil
			}
			return slices.Insert(e, i, evidence.Event{AtNS: e[i].AtNS, Source: evidence.Kmsg, Kind: evidence.Record, Log: &evidence.LogRecord{
				Priority: 3, USec: e[i].AtNS / 1000,
				Text: "Out of memory: Killed process " + pid + " (stranger) total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0",
			}})
		}
		e = slices.Insert(e, i, deepCopy(e[i : i+1])[0])
		rewrite(killed, " (", pid)(&e[i])
		return e
	})
	if c.in.Tier.Tier >= 2 {
		c.try(evidence.Kmsg, "another victim in the summary", func(e []evidence.Event) []evidence.Event {
			return first(e, record(summary), rewrite(",pid=", ",uid=", pid))
		})
		c.try(evidence.Kmsg, "another constraint in the summary", func(e []evidence.Event) []evidence.Event {
			return first(e, record(summary), rewrite(summary, ",", "CONSTRAINT_CPUSET"))
		})
	}
	c.try(evidence.Kmsg, "records were lost", func(e []evidence.Event) []evidence.Event {
		return lost(e, evidence.Kmsg)
	})
}

func lost(events []evidence.Event, of evidence.Source) []evidence.Event {
	i := slices.IndexFunc(events, kind(evidence.End))
	if i < 0 {
		return nil
	}
	return slices.Insert(events, i, evidence.Event{AtNS: events[i].AtNS, Source: of, Kind: evidence.Lost, N: 1, Text: "selftest"})
}

func (c *corrupter) bpfLies() {
	// an event that is left out leaves a hole in the sequence unless it is the
	// last; the victim itself gives away the rest
	for _, k := range []evidence.Kind{evidence.MarkVictim, evidence.Kill, evidence.KillDecision, evidence.Badness} {
		c.try(evidence.BPF, "an event of "+string(k)+" is missing", func(e []evidence.Event) []evidence.Event {
			return without(e, kind(k))
		})
	}
	for _, k := range []evidence.Kind{evidence.MarkVictim, evidence.Kill} {
		c.try(evidence.BPF, "an event of "+string(k)+" came twice", func(e []evidence.Event) []evidence.Event {
			return twice(e, kind(k))
		})
		c.try(evidence.BPF, "wrong pid in "+string(k), func(e []evidence.Event) []evidence.Event {
			return first(e, kind(k), func(e *evidence.Event) {
				if e.OOM != nil && e.OOM.Task != nil {
					e.OOM.Task.PID, e.OOM.Task.TGID = strangerPID, strangerPID
				}
			})
		})
	}
	c.try(evidence.BPF, "a score is off by one page", func(e []evidence.Event) []evidence.Event {
		return first(e, func(e evidence.Event) bool {
			return e.Kind == evidence.Badness && e.OOM.Points != nil && *e.OOM.Points != predict.Never
		}, func(e *evidence.Event) { *e.OOM.Points++ })
	})
	c.try(evidence.BPF, "another exit status", func(e []evidence.Event) []evidence.Event {
		return first(e, func(e evidence.Event) bool {
			return e.Kind == evidence.TaskExit && e.OOM.ExitCode != nil && *e.OOM.ExitCode == sigkill
		}, func(e *evidence.Event) { *e.OOM.ExitCode = 15 })
	})
	c.try(evidence.BPF, "events were lost", func(e []evidence.Event) []evidence.Event {
		return lost(e, evidence.BPF)
	})
}

func (c *corrupter) counterLies() {
	for _, off := range []int64{-1, +1} {
		for _, file := range []string{memoryEvents, memoryEventsLocal, oomControl, vmstat} {
			c.try(evidence.Counters, fmt.Sprintf("oom_kill in %s is off by %+d", file, off), func(e []evidence.Event) []evidence.Event {
				return first(e, reading(file, "after"), func(e *evidence.Event) { e.Counter.Values[oomKill] += off })
			})
		}
	}
	c.try(evidence.Counters, "no reading at the end", func(e []evidence.Event) []evidence.Event {
		all := slices.DeleteFunc(e, func(e evidence.Event) bool {
			return e.Kind == evidence.Reading && e.Counter != nil && e.Counter.When == "after"
		})
		if len(all) == len(c.in.Events) {
			return nil
		}
		return all
	})
}

func reading(file, when string) func(evidence.Event) bool {
	return func(e evidence.Event) bool {
		if e.Kind != evidence.Reading || e.Counter == nil || e.Counter.File != file || e.Counter.When != when || e.Counter.Gone {
			return false
		}
		_, ok := e.Counter.Values[oomKill]
		return ok
	}
}

func (c *corrupter) waitLies() {
	sigkilled := func(e evidence.Event) bool {
		return e.Kind == evidence.Exited && e.Exit != nil && e.Exit.Signal == sigkill
	}
	c.try(evidence.Wait, "SIGKILL became exit code 137", func(e []evidence.Event) []evidence.Event {
		return first(e, sigkilled, func(e *evidence.Event) { e.Exit = &evidence.ExitStatus{Code: 137, By: e.Exit.By} })
	})
	c.try(evidence.Wait, "an exit is missing", func(e []evidence.Event) []evidence.Event {
		return without(e, kind(evidence.Exited))
	})
	c.try(evidence.Wait, "an exit came twice", func(e []evidence.Event) []evidence.Event {
		return twice(e, kind(evidence.Exited))
	})
	c.try(evidence.Wait, "a survivor died of SIGKILL", func(e []evidence.Event) []evidence.Event {
		return first(e, kind(evidence.Alive), func(e *evidence.Event) {
			e.Source, e.Kind, e.Exit = evidence.Wait, evidence.Exited, &evidence.ExitStatus{Signal: sigkill}
		})
	})
	c.try(evidence.Wait, "a survivor is not seen alive", func(e []evidence.Event) []evidence.Event {
		return without(e, kind(evidence.Alive))
	})
	c.try(evidence.Wait, "a victim is alive", func(e []evidence.Event) []evidence.Event {
		return first(e, sigkilled, func(e *evidence.Event) { e.Source, e.Kind, e.Exit = evidence.Agent, evidence.Alive, nil })
	})
}

func (c *corrupter) agentLies() {
	c.try(evidence.Agent, "the record has no end", func(e []evidence.Event) []evidence.Event {
		return without(e, kind(evidence.End))
	})
	c.try(evidence.Agent, "a survivor was never ready", func(e []evidence.Event) []evidence.Event {
		return without(e, func(r evidence.Event) bool {
			return r.Kind == evidence.Ready && slices.ContainsFunc(e, func(a evidence.Event) bool {
				return a.Kind == evidence.Alive && a.PID == r.PID
			})
		})
	})
	c.try(evidence.Agent, "a step failed", func(e []evidence.Event) []evidence.Event {
		i := slices.IndexFunc(e, kind(evidence.End))
		if i < 0 {
			return nil
		}
		return slices.Insert(e, i, evidence.Event{AtNS: e[i].AtNS, Source: evidence.Agent, Kind: evidence.Failure, Text: "selftest"})
	})
}
