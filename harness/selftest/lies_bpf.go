package selftest

import (
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/predict"
)

func init() { lies[evidence.BPF] = (*liar).bpf }

func (l *liar) bpf() {
	// an event that is left out leaves a hole in the sequence unless it is the
	// last; the victim itself gives away the rest
	for _, k := range []evidence.Kind{evidence.MarkVictim, evidence.Kill, evidence.KillDecision, evidence.Badness} {
		l.tell("an event of "+string(k)+" is missing", without(kind(k)))
	}
	for _, k := range []evidence.Kind{evidence.MarkVictim, evidence.Kill} {
		l.tell("an event of "+string(k)+" came twice", twice(kind(k)))
		l.tell("wrong pid in "+string(k), first(kind(k), func(e *evidence.Event) {
			if e.OOM != nil && e.OOM.Task != nil {
				e.OOM.Task.PID, e.OOM.Task.TGID = strangerPID, strangerPID
			}
		}))
	}
	l.tell("a score is off by one page", first(func(e evidence.Event) bool {
		return e.Kind == evidence.Badness && e.OOM.Points != nil && *e.OOM.Points != predict.Never
	}, func(e *evidence.Event) { *e.OOM.Points++ }))
	l.tell("another exit status", first(func(e evidence.Event) bool {
		return e.Kind == evidence.TaskExit && e.OOM.ExitCode != nil && *e.OOM.ExitCode == sigkill
	}, func(e *evidence.Event) { *e.OOM.ExitCode = 15 }))
	l.tell("events were lost", l.lost())
}
