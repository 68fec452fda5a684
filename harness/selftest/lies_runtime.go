package selftest

import (
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
)

func init() { lies[evidence.Runtime] = (*liar).runtime }

func (l *liar) runtime() {
	l.tell("137 became exit code 1", first(func(e evidence.Event) bool {
		return e.Kind == evidence.TaskEnded && e.Exit != nil && e.Exit.Code == 137 && !l.evicted(e.Process)
	}, func(e *evidence.Event) { e.Exit.Code = 1 }))
	l.tell("an exit came twice", twice(kind(evidence.TaskEnded)))
	l.tell("an OOM kill that there was not", at(func(a evidence.Event) bool {
		return a.Kind == evidence.ContainerCgroup && a.Cgroup != nil && a.Cgroup.ID != "" &&
			!slices.ContainsFunc(l.in.Events, func(b evidence.Event) bool {
				return b.Kind == evidence.TaskOOM && b.Process == a.Process
			})
	}, func(e []evidence.Event, i int) []evidence.Event {
		return atEnd(evidence.Event{
			Source: evidence.Runtime, Kind: evidence.TaskOOM, Process: e[i].Process, Text: e[i].Cgroup.ID,
		})(e)
	}))
}
