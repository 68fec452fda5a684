package verdict

import (
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/scenario"
)

// forked is the life of a process that a program of the user's own has started. It is
// where the program is, and set as that is, unless it does something about it itself.
func forked(p plan.Plan, e evidence.Event, pids pids) *life {
	l := &life{process: e.Process, pid: e.PID, kernelPID: pids.kernel(e.PID), born: e.AtNS}
	q, ok := p.DescendantOf(e.Process)
	if !ok {
		return l // of nobody
	}
	l.of = q.Name
	q.Name, q.Of, q.Parent = e.Process, e.Process, q.Name
	q.After, q.Respawn, q.Exits = nil, 0, false
	l.plan = q
	if e.Program != nil {
		l.called = append(l.called, *e.Program)
	}
	return l
}

// names are the processes that a scenario's name stands for: those of the plan's and, of
// the form of [scenario.ParseDescendants], those that a program of the user's own has
// started.
func (a *account) names(name string) []string {
	out := a.in.Plan.Names(name)
	d, ok := scenario.ParseDescendants(name)
	if !ok || len(out) > 0 {
		return out
	}
	of := a.in.Plan.Names(d.Of)
	for _, l := range a.lives {
		if l.of != "" && slices.Contains(of, l.of) && a.selects(d, l) {
			out = append(out, l.process)
		}
	}
	return out
}

// selects reports whether a process is one of those that a scenario means. The victim's
// name is in the kernel's record, however short it was there.
func (a *account) selects(d scenario.Descendants, l *life) bool {
	called := func(comm string, args []string) bool {
		return comm == d.Called || strings.HasPrefix(strings.Join(args, " "), d.Called)
	}
	switch {
	case d.Number > 0:
		return l.process == plan.Descendant(l.of, d.Number)
	case d.Called == "":
		return true
	}
	k := a.kill(l.kernelPID)
	return k != nil && called(k.Victim.Comm, nil) || slices.ContainsFunc(l.called, func(p evidence.Program) bool {
		return called(p.Comm, p.Args)
	})
}

// misnamed reports whether the kernel calls the first thread of a process what it was never
// called by those who tell of it.
func (l *life) misnamed(t *evidence.Task) bool {
	return l.of != "" && t.PID == t.TGID && !slices.ContainsFunc(l.called, func(p evidence.Program) bool {
		return p.Comm == t.Comm || p.Comm == ""
	})
}

// toldOf reports whether everybody in a cgroup is told of: a program of the user's own is
// there, with what it starts, and nobody forks there but by its own report.
func (a *account) toldOf(cgroup string) bool {
	if cgroup == "" || a.in.Plan.On != nil || !a.in.Machine.Abilities[kernel.AbilityProcessEvents].Yes() {
		return false
	}
	there := func(of func(plan.Process) bool) bool {
		return slices.ContainsFunc(a.in.Plan.Processes, func(p plan.Process) bool {
			return p.Cgroup == cgroup && of(p)
		})
	}
	return there(plan.Process.IsCommand) && !there(func(p plan.Process) bool { return p.Parent != "" })
}

// lineage: what programs have started is told in order, by who could have started it, with
// its names, and as many as there were at one time.
func (w *agentWitness) lineage(a *account, found *findings) {
	var told uint64
	counts := map[string]int{}
	living := map[string]int{}
	most := map[string]int{}
	for _, e := range w.in.Events {
		switch e.Kind {
		case evidence.Forked, evidence.Named:
			if told++; e.N != told || e.PID <= 0 {
				found.add(ForkDiffers, "%s of %s (pid %d) is number %d, where %d is due", e.Kind, e.Process, e.PID,
					e.N, told)
			}
			if e.Program == nil {
				found.add(ForkDiffers, "%s of %s does not say who it is", e.Kind, e.Process)
				continue
			}
			w.parent(a, e, found)
		}
		q, ok := w.in.Plan.DescendantOf(e.Process)
		switch {
		case !ok:
		case e.Kind == evidence.Forked:
			counts[q.Name]++
			if want := plan.Descendant(q.Name, counts[q.Name]); e.Process != want {
				found.add(ForkDiffers, "%s was started where %s is due", e.Process, want)
			}
			living[q.Name]++
			most[q.Name] = max(most[q.Name], living[q.Name])
		case e.Kind == evidence.Exited:
			living[q.Name]--
		case e.Kind == evidence.Ready || e.Kind == evidence.Failed || e.Kind == evidence.ProcRead:
			found.add(ForkDiffers, "%s of %s, which does not say such a thing", e.Kind, e.Process)
		}
	}
	w.together(a, most, found)
}

// together: how many descendants a program had at one time is as many as were told, and
// they held together what each of them held at most, or less.
func (w *agentWitness) together(a *account, most map[string]int, found *findings) {
	if !w.in.Machine.Abilities[kernel.AbilityProcessEvents].Yes() || w.in.Plan.On != nil {
		return
	}
	for _, e := range w.in.Events {
		if e.Kind != evidence.Descendants || e.Held == nil {
			continue
		}
		if e.N != uint64(most[e.Process]) {
			found.add(ForkDiffers, "%s is said to have started %d others at one time, and %d were told", e.Process, e.N,
				most[e.Process])
		}
		delete(most, e.Process)
		var largest, sum kernel.Bytes
		known := true
		for _, l := range a.lives {
			if l.of != e.Process {
				continue
			}
			known = known && l.exit != nil
			if l.exit != nil && l.exit.MaxRSS != nil {
				largest, sum = max(largest, *l.exit.MaxRSS), sum+*l.exit.MaxRSS
			}
		}
		if held := e.Held.Resident; held < largest || known && held > sum {
			found.add(ForkDiffers, "what %s has started held %s together, and the largest of them %s", e.Process, held,
				largest)
		}
	}
	for name := range most {
		found.add(ForkDiffers, "%s has started others, and it is not told how many at one time", name)
	}
}

// parent: who has started a process is the program or another one that it has started, and
// was there; and that does not change.
func (w *agentWitness) parent(a *account, e evidence.Event, found *findings) {
	q, ok := w.in.Plan.DescendantOf(e.Process)
	if !ok {
		return // which is found elsewhere
	}
	if l := a.lifeAs(e.PID, e.Process); e.Kind == evidence.Named && l != nil && e.Program.Parent != l.called[0].Parent {
		found.add(ForkDiffers, "%s was started by pid %d, and by pid %d before", l, e.Program.Parent,
			l.called[0].Parent)
	}
	if !slices.ContainsFunc(a.lives, func(l *life) bool {
		return l.pid == e.Program.Parent && (l.process == q.Name || l.of == q.Name) && l.process != e.Process &&
			(e.Kind == evidence.Named || l.born <= e.AtNS && (l.exit == nil || l.diedNS >= e.AtNS))
	}) {
		found.add(ForkDiffers, "%s was started by pid %d, which is not %s nor of it, or was not there", e.Process,
			e.Program.Parent, q.Name)
	}
}

// Descendant is a process that a program of the user's own has started.
type Descendant struct {
	Process string   `json:"process"`
	Of      string   `json:"of"` // the program
	PID     int      `json:"pid"`
	Comm    string   `json:"comm,omitempty"` // as it was called last
	Args    []string `json:"args,omitempty"`
}

// descended are all of them.
func (a *account) descended() []Descendant {
	var out []Descendant
	for _, l := range a.lives {
		if l.of == "" {
			continue
		}
		s := Descendant{Process: l.process, Of: l.of, PID: l.pid}
		for _, p := range l.called {
			if p.Comm != "" {
				s.Comm, s.Args = p.Comm, p.Args
			}
		}
		out = append(out, s)
	}
	return out
}

// startedBy are the programs of the user's own that may have started a victim which is no
// process of the plan's: those in its cgroup, where only they and what they start can be, of
// which the agent says that they have started others.
func (a *account) startedBy(v Victim) []string {
	if v.Process != "" || a.in.Plan.On != nil {
		return nil
	}
	var out []string
	for _, e := range a.in.Events {
		q, ok := a.in.Plan.Process(e.Process)
		if e.Kind == evidence.Descendants && ok && q.IsCommand() && q.Cgroup != "" && q.Cgroup == v.Cgroup {
			out = append(out, q.Name)
		}
	}
	return out
}

// descendants: who is said to have started others can have.
func (w *agentWitness) descendants(a *account, found *findings) {
	said := map[string]bool{}
	for _, e := range w.in.Events {
		if e.Kind != evidence.Descendants {
			continue
		}
		l := a.lifeOf(e.Process)
		switch {
		case l == nil || !l.plan.IsCommand() || said[e.Process]:
			found.add(HoldDiffers, "%q is said to have started others: it is no program that the plan has, or twice",
				e.Process)
		case e.PID != l.pid:
			found.add(HoldDiffers, "%s is said to have started others, with the pid %d", l, e.PID)
		case e.Held == nil || e.Held.Resident < 0 || e.Held.Resident%a.pageSize() != 0 || e.N < 1 ||
			e.Held.Told != 0 || e.Held.Overhead != 0:
			found.add(HoldDiffers, "%s is said to have started others, and not how many and what they held", l)
		}
		said[e.Process] = true
	}
}
