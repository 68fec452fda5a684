package verdict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/engine"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
)

// Overseen is what became of a unit or of a container in a run, and what its overseer said
// of it at the end.
type Overseen struct {
	Name string
	By   string // systemd, docker, podman + crun, kubelet, containerd
	Fate Fate
	// Says is what systemctl or inspect showed, Events what the engine told in which order.
	Says, Events string
	// Misreport is how it missed what the kernel did; empty: it did not, or nobody names it.
	Misreport string
}

// Fate is what the kernel did to a unit or a container, by who was killed and what became
// of the first process.
type Fate string

// The fates, in the order in which a table has them.
const (
	FirstKilled Fate = "the first process is OOM-killed"
	ChildAnd0   Fate = "a child is OOM-killed, the first process exits with 0"
	ChildAnd1   Fate = "a child is OOM-killed, the first process exits with 1"
	ChildAnd143 Fate = "a child is OOM-killed, the first process exits with 143"
	ChildAndOn  Fate = "a child is OOM-killed, and the first process would go on"
	AllKilled   Fate = "all are killed by memory.oom.group"
	Stopping    Fate = "the first process is OOM-killed while it is being stopped"
	Twice       Fate = "two are OOM-killed, one after the other"
	EachLife    Fate = "the first process is OOM-killed at each start"
	SentSIGKILL Fate = "somebody sends SIGKILL"
	NoVictim    Fate = "an OOM finds nobody that may be killed"
)

// Fates are all of them.
var Fates = []Fate{FirstKilled, ChildAnd0, ChildAnd1, ChildAnd143, ChildAndOn, AllKilled, Stopping, Twice, EachLife,
	SentSIGKILL, NoVictim}

// WhyNot says why no run can have a cell: such a fate under such an overseer; empty: one can.
func WhyNot(f Fate, by string) string {
	switch {
	case f == AllKilled && by == engine.Docker:
		return "docker has no flag that sets memory.oom.group"
	case by != Kubelet && by != Containerd:
		return ""
	case f == Stopping:
		return "oomlab deletes no pod while it runs, and nobody else stops a container of it"
	case f == NoVictim:
		return "no container of a pod has -1000"
	case f == SentSIGKILL:
		return "oomlab sends no signals to processes of pods"
	}
	return ""
}

// The overseers of pods.
const (
	Kubelet    = "kubelet"
	Containerd = "containerd"
)

// Overseers are the units, the containers and the pods' containers of a run, in the order of
// its plan. Left out are those with another fate.
func Overseers(in Input) []Overseen {
	a := newAccount(in)
	var out []Overseen
	add := func(o Overseen, cgroup string) {
		if o.Fate = a.fateOf(o.Name, cgroup); o.Fate != "" {
			out = append(out, o)
		}
	}
	for _, u := range in.Plan.Units {
		if s := a.systemd().last(u.Name); s != nil {
			says := fmt.Sprintf("Result=%s, status %s", s.Shows["Result"], s.Shows["ExecMainStatus"])
			if s.Shows["ActiveState"] == "active" {
				says = fmt.Sprintf("Result=%s, active", s.Shows["Result"])
			}
			if n := s.Shows["NRestarts"]; n != "0" {
				says += ", NRestarts=" + n
			}
			if u.OOMPolicy != "" {
				says += ", with OOMPolicy=" + u.OOMPolicy
			}
			add(Overseen{Name: u.Name, By: string(evidence.Systemd), Says: says}, u.Cgroup)
		}
	}
	for _, c := range in.Plan.Containers {
		if s := a.engine().last(c.Name); s != nil {
			says := fmt.Sprintf("OOMKilled=%s, %s", s.Shows[engine.OOMKilled], s.Shows[engine.ExitCode])
			if s.Shows[engine.Status] == engine.Running {
				says = fmt.Sprintf("OOMKilled=%s, %s", s.Shows[engine.OOMKilled], engine.Running)
			}
			if n := s.Shows[engine.RestartCount]; n != "0" {
				says += ", RestartCount=" + n
			}
			o := Overseen{Name: c.Name, By: ranBy(c), Says: says, Events: engine.Names(s.Events)}
			if l := a.lifeOf(c.Name); l != nil {
				o.Misreport = string(a.misreport(c, *s, l))
			}
			add(o, c.Cgroup)
		}
	}
	if kube := a.kube(); kube != nil {
		for _, c := range kube.Containers {
			q, _ := in.Plan.Process(c.Container)
			add(Overseen{Name: c.Container, By: Kubelet, Says: kubeletSays(c.Status),
				Misreport: misreportOf(*kube, c.Container)}, q.Cgroup)
			says, events := a.runtime().says(c.Container)
			add(Overseen{Name: c.Container, By: Containerd, Says: says, Events: events}, q.Cgroup)
		}
	}
	return out
}

// kubeletSays is what the API shows of a container.
func kubeletSays(s kubelet.Status) string {
	end := func(s kubelet.Status) string {
		if s.ExitCode == nil {
			return s.Reason
		}
		return fmt.Sprintf("%s, %d", s.Reason, *s.ExitCode)
	}
	out := s.State
	if s.State == kubelet.Terminated {
		out = end(s)
	}
	if s.Last != nil && s.State != kubelet.Terminated {
		out += ", lastState " + end(*s.Last)
	}
	if s.RestartCount > 0 {
		out += fmt.Sprintf(", restartCount %d", s.RestartCount)
	}
	return out
}

// misreportOf is what Kubernetes says of a container and the kernel did not do; empty:
// nothing.
func misreportOf(k Kube, container string) string {
	for _, m := range k.Misreports {
		if m.Detail == container || strings.HasPrefix(m.Detail, container+",") {
			return m.Name
		}
	}
	return ""
}

// fateOf is what the kernel did to an overseen process and those beside it.
func (a *account) fateOf(name, cgroup string) Fate {
	lives := a.livesOf(name)
	var first, others, firsts int
	group := false
	for _, k := range a.kills {
		l := a.life(k.Victim.PID)
		if l == nil || l.plan.Cgroup != cgroup {
			continue
		}
		group = group || k.Group != ""
		if l.process == name {
			first++
		} else {
			others++
		}
	}
	for _, l := range lives {
		if a.kill(l.kernelPID) != nil {
			firsts++
		}
	}
	switch {
	case len(lives) == 0:
		return ""
	case group && firsts == len(lives) && others > 0:
		return AllKilled
	case len(lives) > 1 && firsts == len(lives) && others == 0:
		return EachLife
	case len(lives) > 1:
		return ""
	case first == 1 && others == 0 && slices.ContainsFunc(a.agent().stopping, func(e evidence.Event) bool {
		return e.Process == name
	}):
		return Stopping
	case first+others == 2:
		return Twice
	case first+others == 0 && lives[0].alive && a.unanswered(cgroup):
		return NoVictim
	}
	return fate(first > 0, others > 0, lives[0])
}

// unanswered reports whether the OOM killer was called for a cgroup and found nobody.
func (a *account) unanswered(cgroup string) bool {
	return slices.ContainsFunc(a.bpf().decisions, func(d *decision) bool {
		return len(d.kills) == 0 && d.result != nil && !*d.result &&
			a.cgroups.recorded(d.settledControl().Memcg) == cgroup
	})
}

// ranBy names an engine, with the runtime where it could have had another one.
func ranBy(c plan.EngineContainer) string {
	if len(engine.Runtimes[c.Engine]) > 1 {
		return c.Engine + " + " + c.Runtime
	}
	return c.Engine
}

// fate is that of a first process and those that it has started; empty: it has no name.
func fate(first, others bool, l *life) Fate {
	exited := l.exit != nil && l.exit.Signal == 0
	switch {
	case first:
		return FirstKilled
	case others && (l.alive || l.exit != nil && l.exit.Signal == sigterm):
		return ChildAndOn
	case others && exited:
		return map[int]Fate{0: ChildAnd0, 1: ChildAnd1, 143: ChildAnd143}[l.exit.Code]
	case !others && l.exit != nil && l.exit.Signal == sigkill:
		return SentSIGKILL
	}
	return ""
}

// sigterm is what systemd ends a unit with whose child was killed.
var sigterm = kernel.SignalNumber("SIGTERM")
