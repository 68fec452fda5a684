package selftest

import (
	"github.com/oomlab/oomlab/harness/evidence"
)

func init() { lies[evidence.Wait] = (*liar).wait }

func (l *liar) wait() {
	sigkilled := func(e evidence.Event) bool {
		return e.Kind == evidence.Exited && e.Exit != nil && e.Exit.Signal == sigkill
	}
	l.tell("SIGKILL became exit code 137", first(sigkilled, func(e *evidence.Event) {
		e.Exit = &evidence.ExitStatus{Code: 137, By: e.Exit.By}
	}))
	refused := map[int]bool{}
	for _, e := range l.in.Events {
		refused[e.PID] = refused[e.PID] || e.Kind == evidence.Failed
	}
	l.tell("who was refused memory ended well", first(func(e evidence.Event) bool {
		return e.Kind == evidence.Exited && e.Exit != nil && e.Exit.Signal == 0 && refused[e.PID]
	}, func(e *evidence.Event) { e.Exit.Code = 0 }))
	l.tell("an exit is missing", without(kind(evidence.Exited)))
	l.tell("an exit came twice", twice(kind(evidence.Exited)))
	l.tell("a survivor died of SIGKILL", first(kind(evidence.Alive), func(e *evidence.Event) {
		e.Source, e.Kind, e.Exit = evidence.Wait, evidence.Exited, &evidence.ExitStatus{Signal: sigkill}
	}))
	l.tell("a survivor is not seen alive", without(kind(evidence.Alive)))
	l.tell("a victim is alive", first(sigkilled, func(e *evidence.Event) {
		e.Source, e.Kind, e.Exit = evidence.Agent, evidence.Alive, nil
	}))
}
