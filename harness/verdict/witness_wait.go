package verdict

import (
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/plan"
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
)

func init() { addWitness(30, func(in Input) witness { return &waitWitness{in: in} }) }

func (*waitWitness) source() evidence.Source { return evidence.Wait }

func (*waitWitness) tells(_ *account, k *Kill, _ *life) bool { return k.ExitMS != nil }

// explains: the plan itself has a reason, a during: signal, a parent that died
// (PR_SET_PDEATHSIG), or memory shared with a victim, which the kernel kills
// without a word.
func (w *waitWitness) explains(a *account, l *life) bool {
	for _, d := range w.in.Plan.During {
		if d.Signal[l.process] == sigkill {
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
		if k := l.kernelExit; k != nil && (*k&0x7f != l.exit.Signal || *k>>8&0xff != l.exit.Code) {
			found.add(ExitDiffers, "%s ended with %s; eBPF read the status %#x", l, status(*l.exit), *k)
		}
		if l.exit.Signal == sigkill && a.kill(l.pid) == nil && !a.explained(l) {
			found.add(KillWithoutRecord,
				"%s died of SIGKILL; neither the log nor eBPF names it, and the plan does not explain it", l)
		}
	}
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
