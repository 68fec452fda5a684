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
			l.tell(fmt.Sprintf("oom_kill in %s is off by %+d", file, off), first(func(e evidence.Event) bool {
				if !readAfter(e) || e.Counter.File != file || e.Counter.Gone {
					return false
				}
				_, ok := e.Counter.Values[evidence.CounterOOMKill]
				return ok
			}, func(e *evidence.Event) { e.Counter.Values[evidence.CounterOOMKill] += off }))
		}
	}
	l.tell("no reading at the end", none(readAfter))
}

func readAfter(e evidence.Event) bool {
	return e.Kind == evidence.Reading && e.Counter != nil && e.Counter.When == "after"
}
