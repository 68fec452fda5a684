package verdict

import (
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/stressor/profile"
)

// runtimeWitness is the container runtime of a node: how containers ended, and
// which of them had OOM kills.
type runtimeWitness struct {
	bystander
	in     Input
	ooms   map[string]int // by container id
	events []evidence.Event
}

// RuntimeWithoutKill: the runtime tells of an OOM kill that there was not.
const RuntimeWithoutKill Kind = "runtime-without-kill"

// RuntimeDiffers: the runtime tells of a container that nobody else has, or otherwise.
const RuntimeDiffers Kind = "runtime-differs"

func init() {
	addWitness(50, func(in Input) witness { return &runtimeWitness{in: in, ooms: map[string]int{}} })
}

func (a *account) runtime() *runtimeWitness { return witnessOf[*runtimeWitness](a) }

func (*runtimeWitness) source() evidence.Source { return evidence.Runtime }

func (w *runtimeWitness) absent() string {
	if w.in.Plan.On == nil {
		return "there is no container runtime here"
	}
	return ""
}

func (w *runtimeWitness) hear(e evidence.Event) {
	if e.Kind == evidence.TaskOOM {
		w.ooms[e.Text]++
	}
	if e.Kind == evidence.TaskOOM || e.Kind == evidence.TaskEnded {
		w.events = append(w.events, e)
	}
}

// read works out how processes in containers ended from those who can tell: of a
// container's first process the runtime, which writes signals as codes above 128; of
// every victim eBPF; and what was in the container when its first process ended has
// ended with it.
func (w *runtimeWitness) read(a *account) {
	for _, l := range a.lives {
		if l.exit == nil && l.task != nil {
			exit := *l.task
			if n := exit.Code - 128; n > 0 && n < 65 && !exitsWith(l.plan, exit.Code) {
				exit.Signal, exit.Code = n, 0
			}
			l.exit = &exit
		}
		if k := l.kernelExit; l.exit == nil && k != nil {
			l.exit = &evidence.ExitStatus{Code: *k >> 8 & 0xff, Signal: *k & 0x7f, By: "ebpf"}
		}
	}
	for _, l := range a.lives {
		if l.exit != nil || l.alive || kubelet.NameOf(l.process).First() {
			continue
		}
		var first *life
		for _, o := range a.livesOf(kubelet.ContainerOf(l.process)) {
			if o.born <= l.born {
				first = o
			}
		}
		if first != nil && first.exit != nil {
			l.exit = &evidence.ExitStatus{Signal: sigkill, By: "pid namespace"}
			l.diedNS, l.withFirst = first.diedNS, true
		}
	}
}

// exitsWith reports whether a process is told to exit with that code.
func exitsWith(p plan.Process, code int) bool {
	for _, s := range p.Profile.Steps {
		if s.Op == profile.Exit && s.Code == code {
			return true
		}
	}
	return false
}

// join names victims that nobody announced by the container that they were in: a
// program of the user's own may start others.
func (w *runtimeWitness) join(a *account) {
	for i := range a.kills {
		v := &a.kills[i].Victim
		if v.Process != "" || a.life(v.PID) != nil {
			continue
		}
		for _, p := range w.in.Plan.Processes {
			if p.IsCommand() && p.Cgroup != "" && p.Cgroup == v.Cgroup {
				v.Process = p.Name
			}
		}
	}
}

func (w *runtimeWitness) tells(a *account, k *Kill, _ *life) bool {
	for _, f := range a.agent().cgroups[kubelet.ContainerOf(k.Victim.Process)] {
		if w.ooms[f.ID] > 0 {
			return true
		}
	}
	return false
}

func (w *runtimeWitness) explains(_ *account, l *life) bool { return l.withFirst }

// agree: the runtime tells of OOM kills in containers that had some. It may miss
// one; what comes of that is seen in the container's status.
func (w *runtimeWitness) agree(a *account, found *findings) {
	killed := map[string]int{}
	for _, k := range a.kills {
		killed[kubelet.ContainerOf(k.Victim.Process)] += max(1, k.Logged)
	}
	for _, e := range w.events {
		f := a.agent().container(e.Text)
		switch {
		case f == nil:
			found.add(RuntimeDiffers, "%s of %s in container %q, which the agent never met", e.Kind, e.Process, e.Text)
		case f.process != e.Process:
			found.add(RuntimeDiffers, "%s of %s in container %q, which is %s's", e.Kind, e.Process, e.Text, f.process)
		case e.Kind == evidence.TaskEnded && e.Exit != nil && e.Exit.By != "containerd":
			found.add(RuntimeDiffers, "%q told that %s ended", e.Exit.By, e.Process)
		case e.Kind == evidence.TaskEnded && e.Exit == nil:
			found.add(RuntimeDiffers, "%s ended, and nobody knows how", e.Process)
		case e.Kind == evidence.TaskEnded && f.facts.PID != 0 && e.PID != f.facts.PID:
			found.add(RuntimeDiffers, "pid %d of %s ended; its first process was %d", e.PID, e.Process, f.facts.PID)
		}
	}
	for process, all := range a.agent().cgroups {
		for _, f := range all {
			if n := w.ooms[f.ID]; f.ID != "" && n > killed[process] {
				found.add(RuntimeWithoutKill,
					"the runtime told of %d OOM kills in %s; the kernel killed %d there", n, process, killed[process])
			}
		}
	}
}

// says is what the runtime told of a container, in its order: TaskOOM, and exit codes.
func (w *runtimeWitness) says(process string) (says, events string) {
	var words, names []string
	for _, e := range w.events {
		switch {
		case e.Process != process:
		case e.Kind == evidence.TaskOOM:
			words, names = append(words, "TaskOOM"), append(names, "oom")
		case e.Exit != nil:
			words, names = append(words, "exit "+strconv.Itoa(e.Exit.Code)), append(names, "exit")
		}
	}
	return strings.Join(words, ", "), strings.Join(names, " ")
}
