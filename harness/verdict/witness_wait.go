package verdict

import (
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/stressor/profile"
)

// waitWitness is the wait status of the processes.
type waitWitness struct {
	bystander
	in Input
}

// What wait statuses contradict.
const (
	RecordWithoutExit Kind = "record-without-exit" // the kernel recorded a kill, the process lives or ended otherwise
	ExitDiffers       Kind = "exit-differs"        // wait status and eBPF's exit code are not the same
	KillWithoutRecord Kind = "kill-without-record" // a process died of SIGKILL and nobody knows why
	DeadButAlive      Kind = "dead-but-alive"      // a process ended and was alive afterwards
	EndUnexplained    Kind = "end-unexplained"     // a process ended in a way that nothing gives a reason for
)

func init() { addWitness(30, func(in Input) witness { return &waitWitness{in: in} }) }

func (*waitWitness) source() evidence.Source { return evidence.Wait }

func (*waitWitness) tells(_ *account, k *Kill, _ *life) bool { return k.ExitMS != nil }

// explains: the plan itself has a reason, a during: signal, a parent that died
// (PR_SET_PDEATHSIG), or memory shared with a victim, which the kernel kills
// without a word. What a program of the user's own has started it may kill itself.
func (w *waitWitness) explains(a *account, l *life) bool {
	if l.of != "" {
		return true
	}
	for _, d := range w.in.Plan.During {
		if d.Signal[l.process] == sigkill || slices.Contains(d.Stop, l.process) {
			return true
		}
	}
	for _, k := range a.kills {
		if l.plan.Parent != "" && k.Victim.Process == l.plan.Parent {
			return true
		}
		if v, ok := w.in.Plan.Process(k.Victim.Process); ok && sharesMemory(l.plan, v) {
			return true
		}
	}
	parent := a.lifeOf(l.plan.Parent)
	return parent != nil && parent.exit != nil
}

// sharesMemory reports whether one of the two was forked by the other with
// CLONE_VM.
func sharesMemory(a, b plan.Process) bool {
	shares := func(child, parent plan.Process) bool {
		return child.Parent == parent.Name && parent.Profile.Children[child.Name].SharesMemory
	}
	return shares(a, b) || shares(b, a)
}

// agree: who was killed must have died of it, and who died of SIGKILL must have been
// killed by somebody we know.
func (w *waitWitness) agree(a *account, found *findings) {
	for _, k := range a.kills {
		l := a.life(k.Victim.PID)
		if l == nil {
			continue // not ours; the collateral claim fails for it
		}
		switch {
		case l.exit == nil && l.alive:
			found.add(RecordWithoutExit, "the kernel recorded that %s was killed; it was alive at the end", l)
		case l.exit == nil:
			found.add(RecordWithoutExit, "the kernel recorded that %s was killed; nobody saw it end", l)
		case l.exit.Signal != sigkill:
			found.add(RecordWithoutExit, "the kernel recorded that %s was killed; it ended with %s",
				l, status(*l.exit))
		}
	}
	for _, l := range a.lives {
		switch {
		case l.ends > 1 || l.tasks > 1:
			found.add(ExitDiffers, "%s ended %d times", l, max(l.ends, l.tasks))
		case l.exit == nil:
			if !l.alive {
				found.add(RecordWithoutExit, "nobody saw %s end, and it was not alive at the end", l)
			}
			continue
		case l.alive:
			found.add(DeadButAlive, "%s had ended with %s and was alive at the end", l, status(*l.exit))
		}
		w.end(a, l, found)
		if k := l.kernelExit; k != nil && (*k&0x7f != l.exit.Signal || *k>>8&0xff != l.exit.Code) {
			found.add(ExitDiffers, "%s ended with %s; eBPF read the status %#x", l, status(*l.exit), *k)
		}
		if l.exit.Signal == sigkill && a.kill(l.kernelPID) == nil && !a.explained(l) {
			found.add(KillWithoutRecord,
				"%s died of SIGKILL; neither the log nor eBPF names it, and the plan does not explain it", l)
		}
	}
}

// end: a stressor ends as its steps, a signal of the plan's or the OOM killer have it,
// not before it was killed, and having held at least what it said it held.
func (w *waitWitness) end(a *account, l *life, found *findings) {
	x := l.exit
	if x.Code < 0 || x.Code > 255 || x.Signal < 0 || x.Signal > 64 || x.Signal != 0 && x.Code != 0 {
		found.add(EndUnexplained, "%s cannot have ended with both exit code %d and signal %d", l, x.Code, x.Signal)
	}
	signalled := slices.ContainsFunc(w.in.Plan.During, func(d plan.During) bool {
		return d.Signal[l.process] != 0 && d.Signal[l.process] == x.Signal ||
			slices.Contains(d.Stop, l.process) && x.Signal == sigterm
	})
	evicted := a.api().absent() == ""
	switch {
	case l.plan.IsCommand() || signalled || evicted || x.Signal == sigkill:
	case x.Signal != 0:
		found.add(EndUnexplained, "%s died of %s; nothing in the plan sends it", l, status(*x))
	case l.failed != nil && x.Code == profile.ExitFailed: // which it says itself
	case !exitsWith(l.plan, x.Code):
		found.add(EndUnexplained, "%s ended with %s, which is none of its steps", l, status(*x))
	}
	if exited := a.bpf().exitedNS(l.kernelPID); w.in.Plan.On == nil && l.diedNS < exited {
		found.add(TimeDiffers, "%s was waited for before it ended, by eBPF", l)
	}
	if x.Signal == sigkill && w.in.Plan.On == nil && l.diedNS < a.bpf().markedNS(l.kernelPID) {
		found.add(TimeDiffers, "%s ended before it was marked as a victim", l)
	}
	w.checkWaiter(a, l, found)
	w.checkMost(a, l, found)
}

// mostHeld is the most that a process said it held.
func (a *account) mostHeld(l *life) kernel.Bytes {
	var most kernel.Bytes
	for _, e := range a.in.Events {
		if e.Kind == evidence.Ready && e.PID == l.pid && e.Process == l.process && e.Held != nil {
			most = max(most, e.Held.Resident)
		}
	}
	return most
}

// exitedNS is when the last thread of a process ended; 0: nobody looked.
func (w *bpfWitness) exitedNS(tgid int) int64 {
	var at int64
	for _, e := range w.events {
		if e.Kind == evidence.TaskExit && e.OOM.Task != nil && e.OOM.Task.TGID == tgid {
			at = e.AtNS
		}
	}
	return at
}

// markedNS is when a process was marked as a victim; 0: never.
func (w *bpfWitness) markedNS(tgid int) int64 {
	for _, e := range w.marks {
		if e.OOM.Task != nil && e.OOM.Task.TGID == tgid {
			return e.AtNS
		}
	}
	return 0
}

// explained reports whether a witness knows why a process got SIGKILL that the OOM
// killer did not take.
func (a *account) explained(l *life) bool {
	for _, w := range a.there {
		if w.explains(a, l) {
			return true
		}
	}
	return false
}
