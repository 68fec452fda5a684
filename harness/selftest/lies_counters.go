package selftest

import (
	"fmt"

	"github.com/oomlab/oomlab/harness/evidence"
)

func init() { lies[evidence.Counters] = (*liar).counters }

func (l *liar) counters() {
	for _, off := range []int64{-1, +1} {
		for _, file := range []string{
			evidence.FileMemoryEvents, evidence.FileMemoryEventsLocal, evidence.FileOOMControl, evidence.FileVmstat,
		} {
			l.tell(fmt.Sprintf("oom_kill in %s is off by %+d", file, off), func(e []evidence.Event) []evidence.Event {
				return first(e, reading(file, "after"), func(e *evidence.Event) {
					e.Counter.Values[evidence.CounterOOMKill] += off
				})
			})
		}
	}
	l.tell("no reading at the end", func(e []evidence.Event) []evidence.Event {
		return none(e, func(e evidence.Event) bool {
			return e.Kind == evidence.Reading && e.Counter != nil && e.Counter.When == "after"
		})
	})
}

// reading wants those of a file that counts kills.
func reading(file, when string) wanted {
	return func(e evidence.Event) bool {
		c := e.Counter
		if e.Kind != evidence.Reading || c == nil || c.File != file || c.When != when || c.Gone {
			return false
		}
		_, ok := c.Values[evidence.CounterOOMKill]
		return ok
	}
}
