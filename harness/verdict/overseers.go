package verdict

import (
	"fmt"

	"github.com/oomlab/oomlab/harness/engine"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
)

// Overseen is what became of a unit or of a container in a run, and what its overseer said
// of it at the end.
type Overseen struct {
	Name string
	By   string // systemd, docker, podman + crun
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
	SentSIGKILL Fate = "somebody sends SIGKILL"
)

// Fates are all of them.
var Fates = []Fate{FirstKilled, ChildAnd0, ChildAnd1, ChildAnd143, ChildAndOn, AllKilled, SentSIGKILL}

// Overseers are the units and the containers of a run, in the order of its plan. Left out
// are those that were started again, and those with another fate.
func Overseers(in Input) []Overseen {
	a := newAccount(in)
	var out []Overseen
	add := func(o Overseen, cgroup string) {
		lives := a.livesOf(o.Name)
		if len(lives) != 1 {
			return
		}
		first, others := false, false
		for _, k := range a.kills {
			l := a.life(k.Victim.PID)
			switch {
			case l == nil || l.plan.Cgroup != cgroup:
			case l.process == o.Name:
				first = true
			default:
				others = true
			}
		}
		if o.Fate = fate(first, others, lives[0]); o.Fate != "" {
			out = append(out, o)
		}
	}
	for _, u := range in.Plan.Units {
		if s := a.systemd().last(u.Name); s != nil {
			says := fmt.Sprintf("Result=%s, status %s", s.Shows["Result"], s.Shows["ExecMainStatus"])
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
			o := Overseen{Name: c.Name, By: ranBy(c), Says: says, Events: engine.Names(s.Events)}
			if l := a.lifeOf(c.Name); l != nil {
				o.Misreport = string(a.misreport(c, *s, l))
			}
			add(o, c.Cgroup)
		}
	}
	return out
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
	case first && others:
		return AllKilled
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
