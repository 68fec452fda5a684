package reproduce

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/stressor/profile"
)

// The cgroups of a scenario.
const (
	labPath = "/lab"
	// where there is a group below it, which with cgroup v2 leaves no process in it
	groupPath, othersPath = labPath + "/group", labPath + "/others"
	// fillRate is slow enough for a victim to be gone before what it gives back
	// is used up.
	fillRate = 32 * kernel.MiB
)

func (d *design) result() (Result, error) {
	s := d.scenario()
	text, err := scenario.Format(s)
	if err != nil {
		return Result{}, err
	}
	var problems *scenario.Problems
	if _, err := scenario.Parse(s.Name+".yaml", text); errors.As(err, &problems) {
		return Result{}, fmt.Errorf("the scenario that was made is not a valid one: %w", err)
	} else if err != nil {
		return Result{}, err
	}
	prediction, _, err := Foresee(s)
	if err != nil {
		return Result{}, err
	}
	out := Result{
		Scenario: s, Text: append([]byte(d.header()), text...), Victim: d.victim.name, Of: *d.in.e.Victim,
		Names: map[string]explain.Ranked{d.victim.name: d.victim.of}, Notes: slices.Concat(d.in.notes, d.notes),
		Prediction: prediction,
	}
	for _, a := range d.others {
		out.Names[a.name] = a.of
	}
	return out, nil
}

// Foresee predicts a scenario on a machine like a VM. ok is false where that says
// nothing: it needs another kernel, a kubelet, or programs that a run measures first.
func Foresee(s scenario.Scenario) (p predict.Prediction, ok bool, err error) {
	p, _, ok, err = foresee(s)
	return p, ok, err
}

// Unexpected are the kills that the prediction leaves open and the scenario's claim
// refuses: some of its runs fail by them. ok is false where there are none, or nothing
// can be said.
func Unexpected(s scenario.Scenario) (kills []string, ok bool) {
	p, made, ok, err := foresee(s)
	if err != nil || !ok || s.Expect.Killed == nil || p.Open || len(p.Parts) > 0 || len(p.Orders) < 2 {
		return nil, false
	}
	means := func(name, process string) bool { return slices.Contains(made.Names(name), process) }
	for _, order := range p.Orders {
		if !s.Expect.Killed.Accepts(p.Unlabelled(order), means) {
			return order, true
		}
	}
	return nil, false
}

func foresee(s scenario.Scenario) (p predict.Prediction, made plan.Plan, ok bool, err error) {
	m := guest(max(minGuest, (s.Needs.Memory+guestStep-1)/guestStep*guestStep))
	if len(s.System.Nodes) > 0 {
		m = guestOf(s.System.Nodes)
	}
	m.CPUs = max(1, s.Needs.CPUs)
	layout, err := plan.LayOut(s, plan.Place{Target: scenario.VM, Machine: m}, nil)
	if err != nil {
		return p, made, false, err
	}
	if made, err = layout.Make("model"); err != nil {
		return p, made, false, err
	}
	ok = s.Needs.Kernel == "" && s.Needs.Cgroup != 1 && len(s.Pods) == 0 &&
		!slices.ContainsFunc(made.Processes, plan.Process.IsCommand)
	return predict.Outcome(made, m, nil), made, ok, nil
}

func (d *design) header() string {
	var b strings.Builder
	b.WriteString("# yaml-language-server: $schema=../schema.json\n")
	if d.in.o.Source != "" {
		fmt.Fprintf(&b, "# Made by oomlab reproduce of %s.\n", d.in.o.Source)
	}
	return b.String()
}

func (d *design) scenario() scenario.Scenario {
	s := scenario.Scenario{
		Name: d.in.o.Name, APIVersion: scenario.APIVersion, Kind: scenario.Kind,
		Summary: d.summary(), Because: d.because(), Targets: []scenario.Target{scenario.VM},
		Refs:  []string{"linux mm/oom_kill.c oom_badness"},
		Needs: scenario.Needs{Memory: d.memory},
	}
	if d.in.cgroup {
		s.Targets = []scenario.Target{scenario.Local, scenario.VM}
	}
	if d.swap > 0 {
		size := (d.swap.Bytes(guestPage) + kernel.MiB - 1) / kernel.MiB * kernel.MiB
		s.System.Swap = &scenario.Swap{Size: size}
		s.Targets = []scenario.Target{scenario.VM}
	}
	if d.in.r.AllocatingTask {
		s.System.Sysctls = map[string]string{"vm.oom_kill_allocating_task": "1"}
		s.Targets = []scenario.Target{scenario.VM}
	}
	group, lab := d.groups(&s), labPath
	if group == groupPath {
		lab = othersPath
	}
	home := func(pid int) string {
		switch {
		case group != "" && d.inGroup(pid):
			return group
		case d.in.cgroup:
			return lab
		}
		return ""
	}
	var before scenario.Names
	add := func(p scenario.Process) {
		s.Processes = append(s.Processes, p)
		before = append(before, p.Name)
	}
	if d.rest > 0 {
		cgroup := ""
		if d.in.cgroup {
			cgroup = lab
		}
		add(scenario.Process{Name: "rest", Cgroup: cgroup, OOMScoreAdj: predict.AdjMin, Do: steps(d.rest, 0, 0)})
	}
	for i, a := range d.others {
		if d.mode == triggerFills && i == d.trigger {
			continue
		}
		add(scenario.Process{Name: a.name, Cgroup: home(a.of.PID), OOMScoreAdj: a.adj, Do: a.steps(a.held)})
	}
	v := scenario.Process{Name: d.victim.name, Cgroup: home(d.victim.of.PID),
		OOMScoreAdj: d.victim.adj, After: slices.Clone(before),
		Do: d.victim.steps(d.victim.held)}
	switch d.mode {
	case victimFills:
		v.Do = d.victim.steps(d.victim.held + d.room/4 + 2*d.slack)
		s.Processes = append(s.Processes, v)
	case triggerFills:
		add(v)
		t := d.others[d.trigger]
		s.Processes = append(s.Processes, scenario.Process{Name: t.name, Cgroup: home(t.of.PID), OOMScoreAdj: t.adj,
			After: slices.Clone(before), Do: t.steps(t.held + 3*d.slack)})
	case fillerFills:
		v.Do = slices.Insert(v.Do, len(v.Do)-1, scenario.Step{Op: profile.Fork, Name: "filler"})
		s.Processes = append(s.Processes, v,
			scenario.Process{Name: "filler", Cgroup: v.Cgroup, OOMScoreAdj: predict.AdjMin, Parent: v.Name,
				Do: []scenario.Step{{Op: profile.Touch, Size: (d.gap - 2*d.slack).Bytes(guestPage)},
					{Op: profile.Touch, Size: (5 * d.slack).Bytes(guestPage), Rate: fillRate}, {Op: profile.Hold}}})
	case nobodyFills:
		add(v)
		s.During = []scenario.During{{After: slices.Clone(before), Sysrq: "f"}}
	}
	s.Expect = d.expect(s, group)
	return s
}

// steps are what an actor does that comes to hold so many pages.
func (a actor) steps(held kernel.Pages) []scenario.Step {
	return steps(held, a.shmem(), kernel.Pages(float64(a.held)*a.tables))
}

// steps are what a process with so many pages does; shmem and tables are the parts of
// them that are shared memory and page tables.
func steps(held, shmem, tables kernel.Pages) []scenario.Step {
	var out []scenario.Step
	tables = min(tables, held)
	if held -= tables; tables > 0 {
		out = append(out, scenario.Step{Op: profile.Tables, Size: tables.Bytes(guestPage)})
	}
	shmem = min(shmem, held)
	if shmem > 0 {
		out = append(out, scenario.Step{Op: profile.Shmem, Size: shmem.Bytes(guestPage)})
	}
	if held > shmem {
		out = append(out, scenario.Step{Op: profile.Touch, Size: (held - shmem).Bytes(guestPage)})
	}
	return append(out, scenario.Step{Op: profile.Hold})
}

// shmem is the part of what an actor holds that is shared memory, where the log
// tells; below a sixteenth it is not worth a step.
func (a actor) shmem() kernel.Pages {
	if a.of.RSSShmem == nil {
		return 0
	}
	all := held(a.of)
	if all <= 0 || *a.of.RSSShmem < all/16 {
		return 0
	}
	return kernel.Pages(float64(a.held) * min(1, float64(*a.of.RSSShmem)/float64(all)))
}

// groups makes the cgroups, and returns the path of the one with
// memory.oom.group.
func (d *design) groups(s *scenario.Scenario) string {
	one := 1
	path := ""
	if d.in.r.GroupPath != "" {
		path = "/group"
		if d.in.cgroup {
			path = labPath
			if d.in.r.GroupPath != d.in.r.OOMMemcg {
				path = groupPath
			}
		}
	}
	if d.in.cgroup {
		limit, swap := d.limit.Bytes(guestPage), d.swap.Bytes(guestPage)
		lab := scenario.Cgroup{Path: labPath, MemoryMax: &limit, MemorySwapMax: &swap}
		if path == labPath {
			lab.MemoryOOMGroup = &one
		}
		s.Cgroups = append(s.Cgroups, lab)
	}
	if path != "" && path != labPath {
		s.Cgroups = append(s.Cgroups, scenario.Cgroup{Path: path, MemoryOOMGroup: &one})
	}
	if path == groupPath {
		s.Cgroups = append(s.Cgroups, scenario.Cgroup{Path: othersPath})
	}
	return path
}

// inGroup reports whether the log shows the process to have died with the group.
func (d *design) inGroup(pid int) bool {
	return d.in.r.GroupPath == d.in.r.OOMMemcg && d.in.cgroup ||
		slices.ContainsFunc(d.in.e.Kills, func(k oomlog.KillLine) bool { return k.PID == pid })
}

func (d *design) expect(s scenario.Scenario, group string) scenario.Expect {
	e := scenario.Expect{Within: d.within(), Exit: map[string]scenario.Exit{d.victim.name: {Signal: "SIGKILL"}}}
	die := []string{d.victim.name}
	for _, p := range s.Processes {
		switch {
		case p.Name == d.victim.name || p.Name == "filler":
		case group != "" && p.Cgroup == group && p.OOMScoreAdj != predict.AdjMin:
			die = append(die, p.Name)
		default:
			e.Survives = append(e.Survives, p.Name)
		}
	}
	e.Killed = &scenario.Killed{InOrder: die}
	if len(die) > 1 {
		n := int64(len(die))
		e.Killed = &scenario.Killed{From: die, Count: scenario.Num{Min: n, Max: n}}
	}
	atLeastOne := scenario.Num{Min: 1, Max: scenario.NumMax}
	if d.in.cgroup {
		e.Constraint, e.OOMMemcg = "memcg", labPath
		e.MemoryEvents = map[string]map[string]scenario.Num{labPath: {"oom": atLeastOne, "oom_kill": atLeastOne}}
		switch d.mode {
		case victimFills:
			e.Trigger = scenario.Names{d.victim.name}
		case triggerFills:
			e.Trigger = scenario.Names{d.others[d.trigger].name}
		case fillerFills:
			e.Trigger = scenario.Names{"filler"}
		}
		return e
	}
	e.Constraint = "none"
	e.Vmstat = map[string]scenario.Num{"oom_kill": atLeastOne}
	return e
}

func (d *design) summary() string {
	what := "a machine"
	if d.in.cgroup {
		what = "a cgroup"
	}
	return fmt.Sprintf("What killed %s (pid %d) in %s of %s, at a scale of %s.",
		clean(d.victim.of.Comm), d.victim.of.PID, what,
		d.in.total.Bytes(d.in.o.PageSize).Human(), fraction(d.domain))
}

// because shows the arithmetic, before and after.
func (d *design) because() string {
	var b strings.Builder
	wrap := func(format string, args ...any) {
		line := 0
		for _, word := range strings.Fields(fmt.Sprintf(format, args...)) {
			if line > 0 && line+1+len(word) > 76 {
				b.WriteByte('\n')
				line = 0
			} else if line > 0 {
				b.WriteByte(' ')
				line++
			}
			b.WriteString(word)
			line += len(word)
		}
		b.WriteByte('\n')
	}
	wrap("%s", clean(d.in.e.Why))
	scale := fmt.Sprintf("Everything is scaled by %s", fraction(d.domain))
	if d.processes != d.domain {
		scale = fmt.Sprintf("The domain is scaled by %s, the processes by %s",
			fraction(d.domain), fraction(d.processes))
	}
	wrap("%s: %d pages here, where one oom_score_adj is worth %d.", scale, d.limit+d.swap, (d.limit+d.swap)/1000)
	for _, a := range append([]actor{d.victim}, d.others...) {
		wrap("%s stands for %s (pid %d): %d pages and oom_score_adj %d there, about %d%+d = %d points here.",
			a.name, clean(a.of.Comm), a.of.PID,
			held(a.of), a.of.Adj, a.points(), d.worth(a.adj), a.points()+d.worth(a.adj))
	}
	if d.rest > 0 {
		wrap("rest stands for memory of no process and of processes that are left out; " +
			"it is exempt (oom_score_adj -1000).")
	}
	for _, n := range slices.Concat(d.in.notes, d.notes) {
		wrap("%s", clean(n))
	}
	return b.String()
}

// clean keeps what a log holds from breaking a file.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0xfffd || r == 0x2028 || r == 0x2029 || r == 0xfeff {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
