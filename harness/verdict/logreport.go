package verdict

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
)

// The kernel prints ten reports in five seconds (oom_kill_process(), mm/oom_kill.c);
// of the others it prints the kill lines.
const (
	burst       = 10
	burstWithin = int64(5_000_000_000)
)

// levels are those of the lines that every version prints alike.
var levels = map[string]int{" invoked oom-killer: ": 4, "emory: Killed process ": 3}

// full reports whether a report is more than the lines that the rate limit spares.
func full(r *oomlog.Report) bool {
	return r.Trigger.Comm != "" || r.Constraint != "" || len(r.Tasks) > 0
}

// numbered holds the records of the log against their numbers, times and levels.
func (w *kmsgWitness) numbered(a *account, found *findings) {
	if w.empty {
		found.add(LogIncomplete, "a record tells nothing")
	}
	for i, e := range w.heard {
		l := e.Log
		if i > 0 && l.Seq != w.heard[i-1].Log.Seq+1 && !w.lost {
			found.add(LogIncomplete, "record %d follows record %d", l.Seq, w.heard[i-1].Log.Seq)
		}
		if l.Seq == 0 && e.AtNS > 0 { // the first record of all is printed before there is a clock
			found.add(LogIncomplete, "%q has no number", l.Text)
		}
		if a.agent().ended {
			e.AtNS -= w.ahead
			a.within(e, drift(e.AtNS), found)
		}
	}
	for _, of := range [][]evidence.Event{w.heard, w.console} {
		for i, e := range of {
			l := e.Log
			if l == nil {
				continue
			}
			if i > 0 && e.AtNS < of[i-1].AtNS-lateNS {
				found.add(TimeDiffers, "%q is %d ns before the record before it", l.Text, of[i-1].AtNS-e.AtNS)
			}
			if e.Source == evidence.Console && l.Seq != 0 {
				found.add(LogDiffers, "the console numbers %q, which it does not", l.Text)
			}
			if e.AtNS != l.USec*1000 {
				found.add(TimeDiffers, "%q is of %d µs, and was told as of %d ns", l.Text, l.USec, e.AtNS)
			}
			for text, level := range levels {
				if strings.Contains(l.Text, text) && l.Priority != level && l.Facility == 0 {
					found.add(LogDiffers, "%q has level %d, and the kernel prints it with %d", l.Text, l.Priority,
						level)
				}
			}
		}
	}
}

// down: of a machine that went down the console has the last word. What /dev/kmsg gave
// before is part of it.
func (w *kmsgWitness) down(a *account, found *findings) {
	for i, e := range w.console {
		if (e.Kind == evidence.Down) != (i == len(w.console)-1) || e.Kind != evidence.Down && e.Log == nil {
			found.add(LogIncomplete, "the console ends with %s of %d, not with how the machine went down", e.Kind,
				len(w.console))
		}
		if i > 0 && e.Log != nil && w.console[i-1].Log != nil && *e.Log == *w.console[i-1].Log {
			found.add(LogRepeated, "the console has %q twice", e.Log.Text)
		}
	}
	if _, message, _ := strings.Cut(a.agent().down, "panic: "); w.panic != "" && message != w.panic {
		found.add(LogDiffers, "the machine went down with %q, and its console says %q", a.agent().down, w.panic)
	}
	for _, e := range w.heard {
		if !slices.ContainsFunc(w.console, func(c evidence.Event) bool {
			return c.Log != nil && c.Log.USec == e.Log.USec && c.Log.Text == e.Log.Text
		}) {
			found.add(LogDiffers, "/dev/kmsg has %q, the console has not", e.Log.Text)
		}
	}
	for i := range w.reports {
		w.machine(a, &w.reports[i], found)
		w.panicked(a, &w.reports[i], found)
	}
	w.printed(a, found)
}

// panicked holds the report of a machine that went down, of which there is nothing but
// its console, against the plan: who invoked the OOM killer, and who was there.
func (w *kmsgWitness) panicked(a *account, r *oomlog.Report, found *findings) {
	w.usage(a, r, found)
	w.stats(a, r, found)
	of := ranOut(r)
	if _, ok := a.in.Plan.Cgroup(a.cgroups.printed(of)); !ok && of != "" && a.in.Plan.On == nil {
		found.add(LogDiffers, "the machine went down for the limit of %s, which is no cgroup of the run", of)
	}
	t := r.Trigger
	if full(r) && (t.GFPMask == nil || t.Order == nil || t.Adj == nil) {
		found.add(LogIncomplete, "the head of the report of %s is not whole", r.At)
	}
	if t.PID != nil {
		if l := a.life(*t.PID); l != nil && !l.plan.IsCommand() && len(a.in.Plan.During) == 0 &&
			(t.Comm != l.plan.Launch.Comm || t.Adj == nil || *t.Adj != l.plan.OOMScoreAdj) {
			found.add(LogDiffers, "%s invoked the OOM killer as %s; its oom_score_adj is %d by the plan", l, t.Comm,
				l.plan.OOMScoreAdj)
		}
	}
	if len(r.Tasks) == 0 || a.in.Plan.On != nil {
		return
	}
	for _, l := range a.lives {
		row := slices.IndexFunc(r.Tasks, func(t oomlog.TaskRow) bool { return t.TGID == l.pid })
		switch {
		case row >= 0:
			w.asPlanned(a, l, r.Tasks[row], found)
		case r.Complete && l.exit == nil && l.born < w.at(r)-drift(w.at(r)):
			found.add(TableDiffers, "%s was there, and the log's table has no such row", l)
		}
	}
	for _, t := range r.Tasks {
		a.sums(t, found)
		for _, p := range a.in.Plan.Processes {
			if !a.busy() && !p.IsCommand() && t.Name == p.Launch.Comm && !launcher(t.Name) && a.life(t.TGID) == nil {
				found.add(TableDiffers, "pid %d in the log's table is called %s, and no such process was started",
					t.TGID,
					t.Name)
			}
		}
	}
}

// asPlanned holds a row of the table against what the plan says of the process.
func (w *kmsgWitness) asPlanned(a *account, l *life, t oomlog.TaskRow, found *findings) {
	if a.in.Plan.On == nil && !l.plan.IsCommand() && len(a.in.Plan.During) == 0 && !launcher(t.Name) &&
		(t.Name != l.plan.Launch.Comm || t.Adj != l.plan.OOMScoreAdj || t.UID != int64(l.plan.Launch.UID) ||
			t.PID != t.TGID) {
		found.add(TableDiffers, "%s is %s with uid %d and oom_score_adj %d in the log's table", l, t.Name, t.UID, t.Adj)
	}
}

// printed finds what is missing from the reports, or of them.
func (w *kmsgWitness) printed(a *account, found *findings) {
	var printed []int64 // when the full reports began
	for i := range w.reports {
		r := &w.reports[i]
		at := w.at(r)
		if !full(r) {
			if len(r.Kills) > 0 && !w.limited(a, printed, at) {
				found.add(LogIncomplete,
					"of the kill of pid %d there is no more than its line, and no rate limit explains it",
					r.Kills[0].PID)
			}
			continue
		}
		printed = append(printed, at)
		for _, part := range r.Missing {
			if part == oomlog.MissingTable && a.in.sysctl("vm.oom_dump_tasks") == "0" ||
				part == oomlog.MissingMemInfo && a.in.Machine.Release == "" {
				continue
			}
			found.add(LogIncomplete, "the report of %s lacks its %s", r.At, part)
		}
	}
}

// at is when a report begins, by CLOCK_MONOTONIC.
func (w *kmsgWitness) at(r *oomlog.Report) int64 { return w.clock(r.At) }

// limited reports whether the rate limit explains that a report was not printed.
// Before the run began there may have been some, where the kernel had killed before.
func (w *kmsgWitness) limited(a *account, printed []int64, atNS int64) bool {
	n := 0
	for _, p := range printed {
		if p > atNS-burstWithin-lateNS {
			n++
		}
	}
	return n >= burst || a.counters().killedBefore() && atNS < a.agent().begin+burstWithin+drift(atNS)
}

// trouble are beginnings and parts of lines with which the kernel says that it is not
// well, whatever a run was about.
var trouble = []struct{ begins, holds string }{
	{begins: "Kernel panic - not syncing"}, {begins: "BUG: "}, {begins: "kernel BUG at "},
	{begins: "WARNING: "}, {begins: "Oops: "}, {begins: "general protection fault"},
	{holds: "soft lockup"}, {holds: "hard LOCKUP"}, {begins: "watchdog: BUG: "},
}

// well: a machine on which a run ended normally has had no trouble.
func (w *kmsgWitness) well(found *findings) {
	for _, e := range w.heard {
		for _, t := range trouble {
			bad := t.begins != "" && strings.HasPrefix(e.Log.Text, t.begins) || t.holds != "" &&
				strings.Contains(e.Log.Text, t.holds)
			if bad && e.Log.Facility == 0 {
				found.add(KernelTrouble, "the run ended, and the kernel says: %s", e.Log.Text)
				break
			}
		}
	}
}

// decisions holds the log's reports against eBPF's decisions, one by one and in their
// order. The log may lack reports, for it is rate-limited; eBPF may not.
func (w *kmsgWitness) decisions(a *account, found *findings) {
	all := a.bpf().decisions
	next := 0
	for i := range w.reports {
		r := &w.reports[i]
		pid, comm := 0, ""
		switch {
		case r.ContextPID != nil:
			pid, comm = *r.ContextPID, r.ContextComm
		case len(r.Kills) > 0:
			pid, comm = r.Kills[0].PID, r.Kills[0].Comm
		default:
			w.nobody(a, r, found)
			continue
		}
		skipped := next
		for skipped < len(all) && !all[skipped].names(pid) {
			skipped++
		}
		if skipped == len(all) {
			if full(r) {
				found.add(VictimDiffers, "the log says that pid %d (%s) was chosen; eBPF saw no such choice then",
					pid, comm)
			}
			continue // of a group, whose kill lines came apart
		}
		for _, d := range all[next:skipped] {
			w.unreported(d, found)
		}
		w.compare(a, r, all[skipped], found)
		next = skipped + 1
	}
	for _, d := range all[next:] {
		w.unreported(d, found)
	}
}

// nobody holds the report of a decision that found nobody to kill against the decision
// that eBPF saw, where it sees scores: there was one in that context, of that domain.
func (w *kmsgWitness) nobody(a *account, r *oomlog.Report, found *findings) {
	if !r.NoKillable || a.in.Tier.Tier < 3 {
		return
	}
	if w.unnamed(r, found); r.Trigger.PID == nil {
		return
	}
	var differs []findings
	for _, d := range a.bpf().decisions {
		of := d.current.PID == *r.Trigger.PID && d.current.Comm == r.Trigger.Comm
		// what is given up because of an earlier victim counts as a success, and is not printed
		if of && d.chosen == nil && d.result != nil && !*d.result {
			settled, f := *d, findings{}
			control := d.settledControl()
			settled.control = &control
			w.timed(r, d, &f)
			w.domain(a, r, &settled, &f)
			if m := r.Memcg; control.MemcgID != 0 && (m == nil || !slices.ContainsFunc(m.Stats,
				func(s oomlog.MemcgStats) bool { return a.cgroups.printed(s.Path) == control.Memcg })) {
				f.add(ConstraintDiffers, "decision %d is about %s; the log has no statistics of that", d.number,
					control.Memcg)
			}
			if len(f.all) == 0 {
				return
			}
			differs = append(differs, f)
		}
	}
	if len(differs) > 0 {
		found.all = append(found.all, differs[0].all...)
		return
	}
	found.add(VictimDiffers, "the log says that pid %d (%s) found nobody to kill; eBPF saw no such decision",
		*r.Trigger.PID, r.Trigger.Comm)
}

// killed holds the log's reports against the victims that eBPF saw, where it saw no more
// than those (tier 1). What it cannot know of a decision is taken from the report, and
// held against the plan.
func (w *kmsgWitness) killed(a *account, found *findings) {
	marks := slices.Clone(a.bpf().marks)
	for i := range w.reports {
		r := &w.reports[i]
		d := &decision{number: uint64(i + 1), control: &evidence.OOMControl{TotalPages: a.logTotal(*r),
			Constraint: constraints[r.Constraint]}}
		if r.OOMMemcg != "" {
			d.control.MemcgID, d.control.Memcg = 1, a.cgroups.printed(r.OOMMemcg)
		}
		if t := r.Trigger; t.GFPMask != nil && t.Order != nil {
			d.control.GFP, d.control.Order = uint32(*t.GFPMask), *t.Order
		}
		for _, k := range r.Kills {
			j := slices.IndexFunc(marks, func(e evidence.Event) bool {
				t := e.OOM.Task
				return t != nil && t.MM != nil && (t.PID == k.PID || t.TGID == k.PID)
			})
			if k.Announced || j < 0 {
				continue
			}
			d.events, d.kills = append(d.events, marks[j]), append(d.kills, marks[j].OOM)
			marks = slices.Delete(marks, j, j+1)
		}
		if len(d.kills) == 0 {
			continue // without BTF a victim is no more than a pid, which is compared elsewhere
		}
		d.atNS, d.current, d.chosen = d.events[0].AtNS, d.kills[0].Current, d.kills[0].Task
		w.compare(a, r, d, found)
	}
}

// names reports whether the decision was about a thread or process.
func (d *decision) names(pid int) bool {
	return d.chosen != nil && (d.chosen.PID == pid || d.chosen.TGID == pid || len(d.kills) > 0 &&
		d.kills[0].Task.PID == pid)
}

// unreported: a kill leaves a line at least.
func (w *kmsgWitness) unreported(d *decision, found *findings) {
	if len(d.kills) > 0 {
		found.add(LogIncomplete, "the log has nothing of decision %d, to kill %s (pid %d)", d.number,
			d.kills[0].Task.Comm, d.kills[0].Task.TGID)
	}
}

// compare holds a report against the decision that it is of.
func (w *kmsgWitness) compare(a *account, r *oomlog.Report, d *decision, found *findings) {
	w.timed(r, d, found)
	w.killLines(a, r, d, found)
	others := slices.ContainsFunc(d.kills, func(o *evidence.OOM) bool { return o.Task.TGID != d.kills[0].Task.TGID })
	// without tier 2 nobody knows of the group, and of a rate limit the line is none
	if group := a.bpf().groupOf(a, d); (others || group != "" && len(d.kills) > 0) && r.GroupPath == "" ||
		r.GroupPath != "" && group != "" && a.cgroups.printed(r.GroupPath) != group {
		found.add(LogDiffers, "decision %d killed a group, and by the log that of %q, by the plan that of %q",
			d.number, r.GroupPath, group)
	}
	if r.GroupPath != "" {
		line := "Tasks in " + r.GroupPath + " are going to be killed due to memory.oom.group set"
		if !slices.ContainsFunc(w.heard, func(e evidence.Event) bool { return e.Log.Text == line }) {
			found.add(LogDiffers, "the log does not say of %s that all in it are killed as the kernel does",
				r.GroupPath)
		}
	}
	if d.control == nil || !full(r) {
		return
	}
	w.summary(a, r, d, found)
	w.domain(a, r, d, found)
}

// timed: the report of a decision is written while it lasts.
func (w *kmsgWitness) timed(r *oomlog.Report, d *decision, found *findings) {
	if at := w.at(r); at < d.events[0].AtNS-drift(at) || at > d.end()+drift(at) {
		found.add(TimeDiffers, "the report of %s is of decision %d, which lasted from %d to %d ns",
			r.At, d.number, d.events[0].AtNS, d.end())
	}
}

// domain holds what a report says of the allocation, and of the domain that was out of
// memory, against the decision that it is of.
func (w *kmsgWitness) domain(a *account, r *oomlog.Report, d *decision, found *findings) {
	w.head(a, r, d, found)
	if total := a.logTotal(*r); total != d.control.TotalPages {
		found.add(LogDiffers, "decision %d scored with %d pages; by the log the domain has %d",
			d.number, d.control.TotalPages, total)
	}
	w.usage(a, r, found)
	w.stats(a, r, found)
	w.machine(a, r, found)
	w.table(a, r, d, found)
}

// head is what dump_header() says of the allocation.
func (w *kmsgWitness) head(a *account, r *oomlog.Report, d *decision, found *findings) {
	t := r.Trigger
	if t.PID == nil || *t.PID != d.current.PID || t.Comm != d.current.Comm {
		pid := "no pid"
		if t.PID != nil {
			pid = fmt.Sprintf("pid %d", *t.PID)
		}
		found.add(TriggerDiffers, "the log says that %s (%s) invoked the OOM killer, eBPF %d (%s)",
			pid, t.Comm, d.current.PID, d.current.Comm)
	}
	if t.GFPMask == nil || *t.GFPMask != uint64(d.control.GFP) || t.Order == nil || *t.Order != d.control.Order {
		found.add(LogDiffers, "decision %d is for an allocation with gfp_mask %#x and order %d; the log says otherwise",
			d.number, d.control.GFP, d.control.Order)
	}
	if adj := a.adjOf(d, d.current.TGID); adj != nil && (t.Adj == nil || *t.Adj != *adj) {
		found.add(LogDiffers, "%s invoked the OOM killer with oom_score_adj %d; the log says otherwise",
			d.current.Comm, *adj)
	}
	if sysrq := d.control.Order == -1; r.Sysrq != sysrq {
		found.add(LogDiffers, "decision %d was asked for by sysrq: by the log %t, by eBPF %t", d.number, r.Sysrq, sysrq)
	}
}

// adjOf is the oom_score_adj of a process at a decision; nil: nobody read it.
func (a *account) adjOf(d *decision, tgid int) *int {
	for _, o := range d.rows {
		if o.Task != nil && o.Task.TGID == tgid {
			return &o.Task.Adj
		}
	}
	if l := a.life(tgid); l != nil && len(a.in.Plan.During) == 0 && a.in.Plan.On == nil {
		return &l.plan.OOMScoreAdj
	}
	return nil
}

// containerID is how many hexadecimal digits containerd names a container by.
const containerID = 64

// summary is the line "oom-kill:".
func (w *kmsgWitness) summary(a *account, r *oomlog.Report, d *decision, found *findings) {
	c := d.control
	if r.Constraint == "" {
		return // 5.0 and newer print it; what is missing was found
	}
	if constraints[r.Constraint] != c.Constraint {
		found.add(ConstraintDiffers, "the log says %s, eBPF %s, for pid %d", r.Constraint, c.Constraint, d.chosen.TGID)
	}
	if r.Global == nil || *r.Global != (c.MemcgID == 0) {
		found.add(ConstraintDiffers, "the log and eBPF do not agree whether decision %d is about the whole machine",
			d.number)
	}
	if printed := a.cgroups.printed(r.OOMMemcg); r.OOMMemcg != "" && c.Memcg != "" && printed != c.Memcg {
		found.add(ConstraintDiffers, "the log says that the limit of %s was hit, eBPF %s", printed, c.Memcg)
	}
	if (r.OOMMemcg == "") != (c.MemcgID == 0) {
		found.add(ConstraintDiffers, "the log names the limit of %q, eBPF that of cgroup %d", r.OOMMemcg, c.MemcgID)
	}
	if r.TaskMemcg == "" {
		found.add(LogIncomplete, "the summary of decision %d does not say in which cgroup %s is", d.number,
			r.ContextComm)
	}
	if base := a.in.Plan.Base; strings.HasPrefix(r.Cpuset, plan.BaseOf("", false)) && a.in.Plan.On == nil &&
		r.Cpuset != base {
		found.add(LogDiffers, "the summary of decision %d has the cpuset %s; the run's cgroup is %s", d.number,
			r.Cpuset,
			base)
	}
	if at := a.in.Plan.On; at != nil && at.Ours && len(r.Cpuset) == containerID && !slices.ContainsFunc(a.agent().all(),
		func(f evidence.CgroupFacts) bool { return path.Base(f.Path) == r.Cpuset }) {
		found.add(LogDiffers, "the summary of decision %d has the cpuset %s, which is no container's", d.number,
			r.Cpuset)
	}
	w.nodes(a, r, d, found)
	if r.OOMMemcg != "" && !kernel.InCgroup(r.TaskMemcg, r.OOMMemcg) {
		found.add(LogDiffers, "decision %d is about %s, and %s is in %s by the log", d.number, r.OOMMemcg,
			r.ContextComm, r.TaskMemcg)
	}
	if l := a.life(d.chosen.TGID); l != nil && a.in.Plan.On == nil && l.plan.Cgroup != "" &&
		r.TaskMemcg != "" && a.cgroups.printed(r.TaskMemcg) != l.plan.Cgroup {
		found.add(LogDiffers, "the log says that %s is in %s, which is %s by the plan", l, r.TaskMemcg, l.plan.Cgroup)
	}
	if r.Cpuset == "" || r.MemsAllowed == "" || r.NodeMask == "" {
		found.add(LogIncomplete, "the summary of decision %d does not say which nodes there are", d.number)
	}
	if printed := a.cgroups.printed(r.TaskMemcg); d.chosen.Cgroup != "" && printed != d.chosen.Cgroup {
		found.add(LogDiffers, "the log says that %s is in %s, eBPF in %s", r.ContextComm, printed, d.chosen.Cgroup)
	}
	if r.ContextComm != d.chosen.Comm || r.ContextUID == nil || *r.ContextUID != int64(d.chosen.UID) {
		found.add(VictimDiffers, "decision %d chose %s of uid %d; the log's summary says otherwise",
			d.number, d.chosen.Comm, d.chosen.UID)
	}
	if a.in.Machine.Nodes == 1 && (r.MemsAllowed != "0" || r.NodeMask != "(null)" && r.NodeMask != "0") {
		found.add(LogDiffers, "the machine has one node; the log says mems_allowed=%s, nodemask=%s", r.MemsAllowed,
			r.NodeMask)
	}
}

// nodes is what the summary says of the nodes that the allocation could use: those of who
// invoked the OOM killer, by the plan.
func (w *kmsgWitness) nodes(a *account, r *oomlog.Report, d *decision, found *findings) {
	l := a.life(d.current.TGID)
	if l == nil || len(a.in.Machine.NUMA) < 2 || d.control.Order == -1 {
		return
	}
	n := predict.NodesOf(a.in.Plan, a.in.Machine, l.plan)
	if r.MemsAllowed != n.Mems.String() {
		found.add(LogDiffers, "decision %d: %s may use the nodes %s by its cpuset; the log says mems_allowed=%s",
			d.number, l, n.Mems, r.MemsAllowed)
	}
	mask := "(null)"
	if n.Bind != nil {
		mask = n.Bind.String()
	}
	if r.NodeMask != mask {
		found.add(LogDiffers, "decision %d: the memory policy of %s has the nodes %s; the log says nodemask=%s",
			d.number, l, mask, r.NodeMask)
	}
	if c := d.control.Constraint; c == "cpuset" || c == "mempolicy" {
		if own, _ := n.Constraint(a.in.Machine); own != c {
			found.add(ConstraintDiffers, "decision %d is about %s; what confines %s is %q", d.number, c, l, own)
		}
	}
	if base := path.Base(l.plan.Cgroup); l.plan.Cgroup != "" && plan.Cpusets(a.in.Plan.Cgroups) && r.Cpuset != base {
		found.add(LogDiffers, "decision %d: %s is in the cpuset %s; the log says %s", d.number, l, base, r.Cpuset)
	}
}

// machine is what the report says of the machine: its kernel and, of show_free_areas(),
// its memory.
func (w *kmsgWitness) machine(a *account, r *oomlog.Report, found *findings) {
	if r.KernelRelease != a.in.Machine.Release {
		found.add(LogDiffers, "the log is of a kernel %s, and the machine runs %s", r.KernelRelease,
			a.in.Machine.Release)
	}
	w.processor(a, r, found)
	m := r.Mem
	if m == nil {
		return
	}
	total := kernel.Pages(a.in.Machine.MemTotal / a.pageSize())
	if m.PagesRAM == nil || m.PagesReserved == nil || *m.PagesRAM-*m.PagesReserved != total {
		found.add(LogDiffers, "the machine has %d pages, and the report of %s does not say so", total, r.At)
	}
	if m.TotalSwapKB == nil || !a.swapMoves() && kernel.Bytes(*m.TotalSwapKB)*kernel.KiB != a.swap() {
		found.add(LogDiffers, "the machine has %d bytes of swap, and the report of %s does not say so", a.swap(), r.At)
	}
}

var processorLine = regexp.MustCompile(`^CPU: (\S+) (?:UID: (\S+) )?PID: (\d+) Comm: `)

// processor is the line "CPU:" of a report: on which one, and for which user.
func (w *kmsgWitness) processor(a *account, r *oomlog.Report, found *findings) {
	w.unnamed(r, found)
	for _, e := range append(w.heard, w.console...) {
		if e.Log == nil || r.Trigger.PID == nil || e.AtNS < w.at(r)-momentNS || e.AtNS > w.at(r)+lateNS {
			continue
		}
		m := processorLine.FindStringSubmatch(e.Log.Text)
		if m == nil || m[3] != strconv.Itoa(*r.Trigger.PID) {
			continue
		}
		if a.in.Machine.CPUs == 1 && !a.busy() && m[1] != "0" {
			found.add(LogDiffers, "the report of %s is of processor %s; the machine has one", r.At, m[1])
		}
		if t := w.trigger(a, r); t != nil && m[2] != "" && m[2] != strconv.Itoa(t.UID) {
			found.add(LogDiffers, "the report of %s is of uid %s; that of pid %d is %d by eBPF", r.At, m[2], t.PID,
				t.UID)
		}
		if m[2] != "" && m[2] != "0" && slices.ContainsFunc(a.bpf().decisions, func(d *decision) bool {
			return d.current.PID == *r.Trigger.PID && d.current.TGID == 1
		}) {
			found.add(LogDiffers, "the report of %s is of uid %s; that of PID 1 is 0", r.At, m[2])
		}
		l := a.life(*r.Trigger.PID)
		if l != nil && !l.plan.IsCommand() && a.in.Plan.On == nil && m[2] != "" &&
			m[2] != strconv.Itoa(l.plan.Launch.UID) {
			found.add(LogDiffers, "the report of %s is of uid %s; that of %s is %d by the plan", r.At, m[2], l,
				l.plan.Launch.UID)
		}
	}
}

// unnamed finds a report without the line "CPU:", which dump_header() has printed in any
// case (dump_stack_print_info()).
func (w *kmsgWitness) unnamed(r *oomlog.Report, found *findings) {
	if r.Trigger.PID == nil && r.Trigger.Comm != "" && !w.lost {
		found.add(LogIncomplete, "the report of %s does not say who invoked the OOM killer on which processor", r.At)
	}
}

// trigger is who invoked the OOM killer for a report, as eBPF saw it scored; nil: it did
// not.
func (w *kmsgWitness) trigger(a *account, r *oomlog.Report) *evidence.Task {
	var last *evidence.Task
	for _, d := range a.bpf().decisions {
		for _, o := range d.rows {
			if t := o.Task; t != nil && t.TGID == d.current.TGID && d.current.PID == *r.Trigger.PID &&
				d.atNS <= w.at(r)+momentNS {
				last = t
			}
		}
	}
	return last
}

// excess is how far a usage may be seen above its limit, in pages: page_counter_try_charge()
// adds a batch (MEMCG_CHARGE_BATCH) before it compares, and takes it off again.
const excess = 64

// usage is the line "memory:" of a cgroup: amounts are whole pages, and nobody uses
// more than the limit that the kernel enforces, but for one that was lowered.
func (w *kmsgWitness) usage(a *account, r *oomlog.Report, found *findings) {
	if r.Memcg == nil {
		return
	}
	m := r.Memcg
	if m.Memory != nil && (a.in.Machine.Cgroup.Version == 2 && m.Swap == nil || a.in.Machine.Cgroup.Version == 1 &&
		(m.MemorySwap == nil || m.Kmem == nil)) {
		found.add(LogIncomplete, "the report of %s does not have all lines about what its cgroup uses", r.At)
	}
	kib := uint64(a.pageSize() / kernel.KiB)
	for _, u := range []*oomlog.Usage{m.Memory, m.Swap, m.MemorySwap, m.Kmem} {
		if u == nil {
			continue
		}
		if u.UsageKB%kib != 0 || u.LimitKB%kib != 0 || u.UsageKB > u.LimitKB+excess*kib && !a.limitMoves() {
			found.add(LogDiffers, "the report of %s has a usage of %d kB and a limit of %d kB", r.At, u.UsageKB,
				u.LimitKB)
		}
	}
	of := a.cgroups.printed(ranOut(r))
	c, ok := a.in.Plan.Cgroup(of)
	if !ok || m.Memory == nil || a.limitMoves() || c.Max == nil {
		return
	}
	limit := *c.Max / a.pageSize() * a.pageSize()
	if kernel.Bytes(m.Memory.LimitKB)*kernel.KiB != limit {
		found.add(LogDiffers, "the report of %s has a limit of %d kB; that of %s is %s by the plan", r.At,
			m.Memory.LimitKB, of, limit)
	}
}

// ranOut is the cgroup whose limit a report is about: by its summary or, of a panic,
// which comes before that, by the first of its statistics.
func ranOut(r *oomlog.Report) string {
	if r.OOMMemcg == "" && r.Memcg != nil && len(r.Memcg.Stats) > 0 {
		return r.Memcg.Stats[0].Path
	}
	return r.OOMMemcg
}

// limitMoves reports whether something in the run writes to the files of cgroups.
func (a *account) limitMoves() bool {
	return slices.ContainsFunc(a.in.Plan.During, func(d plan.During) bool { return len(d.Writes) > 0 })
}

// stats are the statistics of the cgroup that ran out, which oom_badness() does not
// read: what its processes hold is about its anonymous memory.
func (w *kmsgWitness) stats(a *account, r *oomlog.Report, found *findings) {
	if r.Memcg == nil {
		return
	}
	of := ranOut(r)
	i := slices.IndexFunc(r.Memcg.Stats, func(s oomlog.MemcgStats) bool { return s.Path == of })
	if i < 0 || len(r.Memcg.Stats[i].Values) == 0 {
		found.add(LogIncomplete, "the report of %s has no statistics of %q", r.At, of)
	}
}

// killLines holds the lines of a report against the attempts to kill that eBPF saw.
func (w *kmsgWitness) killLines(a *account, r *oomlog.Report, d *decision, found *findings) {
	attempts := slices.Clone(d.kills)
	for _, k := range r.Kills {
		if k.Announced {
			continue
		}
		i := slices.IndexFunc(attempts, func(o *evidence.OOM) bool {
			return o.Task.PID == k.PID ||
				o.Task.TGID == k.PID
		})
		if i < 0 {
			continue // of another decision, or of none, which is found elsewhere
		}
		o := attempts[i]
		attempts = slices.Delete(attempts, i, i+1)
		if i > 0 {
			found.add(TimeDiffers, "the log has the line of pid %d before that of pid %d, eBPF behind it", k.PID,
				attempts[0].Task.PID)
		}
		w.killLine(a, k, o.Task, o.Message, d.atNS, found)
	}
}

// killLine holds one line against what eBPF read of the victim.
func (w *kmsgWitness) killLine(
	a *account, k oomlog.KillLine, t *evidence.Task, message string, atNS int64, found *findings,
) {
	add := func(format string, args ...any) {
		found.add(LogDiffers, "the line of pid %d (%s): "+format, append([]any{k.PID, k.Comm}, args...)...)
	}
	if message != "" && k.Message != message {
		add("it says %q, eBPF %q", k.Message, message)
	}
	if k.Comm != t.Comm && k.PID == t.PID {
		add("eBPF calls it %s", t.Comm)
	}
	if k.AlreadyExiting {
		if t.MM != nil && !t.MM.Gone {
			add("it was exiting already, and had its memory by eBPF")
		}
		return
	}
	if t.MM == nil || k.PID != t.PID && a.in.Machine.CPUs == 1 {
		add("it was killed, and by eBPF the task to kill was thread %d, with memory: %t", t.PID, t.MM != nil)
		return
	}
	if k.UID == nil || *k.UID != int64(t.UID) {
		add("its uid is %d by eBPF", t.UID)
	}
	if k.Adj == nil || *k.Adj != t.Adj {
		add("its oom_score_adj is %d by eBPF", t.Adj)
	}
	grows, _ := a.moving(t.TGID, atNS)
	alone := a.in.Machine.CPUs == 1 // else it may grow, or be ending, before the line is made
	c := a.counts(t.MM)
	for _, of := range []struct {
		name  string
		kb    *uint64
		bytes kernel.Bytes
	}{
		{"total-vm", k.TotalVMKB, t.MM.TotalVM.Bytes(a.pageSize())},
		{"anon-rss", k.AnonRSSKB, c.Anon.Bytes(a.pageSize())},
		{"file-rss", k.FileRSSKB, c.File.Bytes(a.pageSize())},
		{"shmem-rss", k.ShmemRSSKB, c.Shmem.Bytes(a.pageSize())},
		{"pgtables", k.PgTablesKB, t.MM.PgTables},
	} {
		if of.kb == nil {
			add("it does not tell its %s", of.name)
			continue
		}
		printed := kernel.Bytes(*of.kb) * kernel.KiB
		// threads that end on other processors flush what they kept back
		flushed := strings.HasSuffix(of.name, "-rss") && printed <= of.bytes+a.keptBack().Bytes(a.pageSize())
		moved := !alone && printed%a.pageSize() == 0 && (grows || printed < of.bytes || flushed)
		if printed != of.bytes/kernel.KiB*kernel.KiB && !moved {
			add("its %s is %d kB by eBPF", of.name, of.bytes/kernel.KiB)
		}
	}
}

// table holds the log's task table against eBPF's scoreboard, in both directions: the
// same tasks in the same order, each with the same score to the page. The table is
// printed after the scores were computed, and meanwhile others may run: a process that
// has not done its steps may have grown, and one that was killed may have shrunk or
// gone.
func (w *kmsgWitness) table(a *account, r *oomlog.Report, d *decision, found *findings) {
	if !r.Complete {
		return
	}
	if len(r.Tasks) == 0 {
		for _, o := range d.rows {
			if o.Task != nil && o.Task.MM != nil && !o.Task.MM.Gone && a.life(o.Task.TGID) != nil &&
				a.in.sysctl("vm.oom_dump_tasks") != "0" {
				found.add(TableDiffers, "eBPF saw pid %d (%s) scored; the log's table has no rows", o.Task.PID,
					o.Task.Comm)
			}
		}
		return
	}
	if len(d.rows) == 0 {
		w.unscored(a, r, d, found)
		return
	}
	candidates := r.Candidates(a.pageSize())
	scored, taken := make([]bool, len(r.Tasks)), a.reclaimed(d)
	place := 0
	for _, o := range d.rows {
		if o.Task == nil {
			continue
		}
		i := slices.IndexFunc(r.Tasks, func(t oomlog.TaskRow) bool {
			return t.PID == o.Task.PID ||
				t.TGID == o.Task.TGID
		})
		grows, dies := a.movingIn(d, o.Task)
		if i < 0 {
			// of a kernel thread, of init and of what is gone there is no row
			if (o.Points == nil || *o.Points == predict.Never) && a.life(o.Task.TGID) == nil || o.Task.MM == nil ||
				o.Task.MM.Gone {
				continue
			}
			if !dies || !a.busy() && a.life(o.Task.TGID) == nil {
				found.add(TableDiffers, "eBPF saw pid %d (%s) scored; the log's table has no such row", o.Task.PID,
					o.Task.Comm)
			}
			continue
		}
		scored[i] = true
		if i < place {
			found.add(TableDiffers, "pid %d (%s) comes earlier in the log's table than it was scored", o.Task.PID,
				o.Task.Comm)
		}
		place = i
		var lost predict.Range
		if a.isStressor(o.Task.TGID) {
			lost = taken
		}
		w.row(a, r.Tasks[i], o.Task, d, lost, found)
		if o.Points == nil || *o.Points == predict.Never {
			continue
		}
		c := candidates[i]
		points := predict.Points(predict.Task{RSS: c.RSS, Swap: c.Swap, PgTables: c.PgTables, Adj: c.Adj},
			d.total(o), predict.Rules{PageSize: a.pageSize()})
		if points > *o.Points-int64(lost.Lo) && !grows || points < *o.Points-int64(lost.Hi) && !dies {
			found.add(TableDiffers, "pid %d (%s) has %d points by the log's table, %d by eBPF",
				c.PID, o.Task.Comm, points, *o.Points)
		}
	}
	for i, t := range r.Tasks {
		l := a.life(t.TGID)
		old := l != nil && l.born < d.events[0].AtNS
		// what is being started comes into the cgroup between the scores and the table
		if !scored[i] && (old || l == nil && !a.busy()) {
			found.add(TableDiffers, "the log's table has pid %d (%s), which eBPF did not see scored", t.PID, t.Name)
		}
	}
}

// unscored holds the table of a decision that scored nobody against the plan.
func (w *kmsgWitness) unscored(a *account, r *oomlog.Report, d *decision, found *findings) {
	for _, l := range a.lives {
		i := slices.IndexFunc(r.Tasks, func(t oomlog.TaskRow) bool { return t.TGID == l.kernelPID })
		if i < 0 {
			if a.candidate(l, d) {
				found.add(TableDiffers, "%s was there, and the log's table has no such row", l)
			}
			continue
		}
		if d.chosen != nil && d.chosen.TGID == l.kernelPID {
			w.row(a, r.Tasks[i], d.chosen, d, predict.Range{}, found)
		} else {
			a.sums(r.Tasks[i], found)
			w.asPlanned(a, l, r.Tasks[i], found)
		}
	}
}

// movingIn is moving between the scan of a decision and its report. A stressor that
// invoked the OOM killer waits for it, and what a victim had before the report and when
// it was killed it had in between.
func (a *account) movingIn(d *decision, t *evidence.Task) (grows, dies bool) {
	grows, dies = a.moving(t.TGID, d.atNS)
	if a.isStressor(t.TGID) && t.TGID == d.current.TGID {
		grows = false
	}
	if a.bpf().tier() >= 2 && len(d.kills) > 0 && d.kills[0].Task.TGID == t.TGID &&
		equalMM(d.kills[0].Task.MM, t.MM) {
		return false, false
	}
	return grows, dies
}

// busy reports whether others start and end processes on the machine.
func (a *account) busy() bool { return a.in.Meta.Target != "vm" || a.in.Plan.On != nil }

// row holds a row of the table against what eBPF read of the task, which may have lost
// some of the pages that it shares since.
func (w *kmsgWitness) row(a *account, row oomlog.TaskRow, t *evidence.Task, d *decision, lost predict.Range,
	found *findings) {
	add := func(format string, args ...any) {
		found.add(TableDiffers, "pid %d (%s) in the log's table: "+format, append([]any{row.PID, row.Name}, args...)...)
	}
	if row.TGID != t.TGID || row.PID != t.PID {
		add("it is thread %d of process %d, by eBPF %d of %d", row.PID, row.TGID, t.PID, t.TGID)
	}
	l := a.life(t.TGID)
	if l != nil && t.MM == nil && a.in.Plan.On == nil {
		add("it has memory, and had none by eBPF")
	}
	if l == nil && a.busy() {
		// a stranger may become another program and user meanwhile, and has another memory then
		if a.unchanged(row, t) && (row.UID != int64(t.UID) || row.Adj != t.Adj || row.Name != t.Comm) {
			add("uid %d, oom_score_adj %d, by eBPF %s with %d and %d and the same memory", row.UID, row.Adj, t.Comm,
				t.UID, t.Adj)
		}
		return
	}
	if l != nil && launcher(t.Comm) && !a.begun(l, d.events[0].AtNS) {
		w.asPlanned(a, l, row, found) // it may have become what the plan says since it was scored
	} else if row.UID != int64(t.UID) || row.Adj != t.Adj || row.Name != t.Comm {
		add("uid %d, oom_score_adj %d, by eBPF %s with %d and %d", row.UID, row.Adj, t.Comm, t.UID, t.Adj)
	}
	a.sums(row, found)
	if grows, dies := a.movingIn(d, t); grows || dies || t.MM == nil {
		return
	}
	c := a.counts(t.MM)
	for _, of := range []struct {
		name      string
		row, seen kernel.Pages
		printed   bool
		shared    bool
	}{
		{"total_vm", row.TotalVM, t.MM.TotalVM, true, false},
		{"rss", row.RSS, c.Anon + c.File + c.Shmem, true, true},
		{"rss_anon", pagesOf(row.RSSAnon), c.Anon, row.RSSAnon != nil, false},
		{"rss_file", pagesOf(row.RSSFile), c.File, row.RSSFile != nil, false},
		{"rss_shmem", pagesOf(row.RSSShmem), c.Shmem, row.RSSShmem != nil, true},
		{"swapents", row.Swapents, c.Swap, true, false},
	} {
		same := of.row == of.seen
		if of.shared {
			same = of.row >= of.seen-lost.Hi && of.row <= of.seen-lost.Lo
		}
		if of.printed && !same {
			add("%s is %d, by eBPF %d", of.name, of.row, of.seen)
		}
	}
	if row.PgTables != nil && *row.PgTables != t.MM.PgTables {
		add("pgtables_bytes is %d, by eBPF %d", *row.PgTables, t.MM.PgTables)
	}
}

// unchanged reports whether a task has the memory in the log's table that it had when it
// was scored, to the page.
func (a *account) unchanged(row oomlog.TaskRow, t *evidence.Task) bool {
	if t.MM == nil || row.PgTables == nil || *row.PgTables != t.MM.PgTables {
		return false
	}
	c := a.counts(t.MM)
	return row.TotalVM == t.MM.TotalVM && row.RSS == c.Anon+c.File+c.Shmem && row.Swapents == c.Swap
}

// sums: the parts of a row's rss are its rss, where a kernel prints them, page tables are
// whole ones, and nothing is swapped out where there is no swap.
func (a *account) sums(row oomlog.TaskRow, found *findings) {
	if row.Swapents != 0 && a.swap() == 0 {
		found.add(TableDiffers, "pid %d (%s) in the log's table: it has %d pages in swap, which the machine has not",
			row.PID, row.Name, row.Swapents)
	}
	if row.PgTables != nil && *row.PgTables%kernel.KiB != 0 {
		found.add(TableDiffers, "pid %d (%s) in the log's table: its page tables have %d bytes", row.PID, row.Name,
			*row.PgTables)
	}
	if row.RSSAnon == nil {
		return
	}
	if sum := pagesOf(row.RSSAnon) + pagesOf(row.RSSFile) + pagesOf(row.RSSShmem); sum != row.RSS {
		found.add(TableDiffers, "pid %d (%s) in the log's table: its rss is %d, and its parts sum up to %d", row.PID,
			row.Name, row.RSS, sum)
	}
}

// reclaimed is how many of the pages that all stressors share, their program's, were taken
// between the scan of a decision and its table: kswapd runs while the table is printed,
// and takes a page from all who have it. The victim was read when it was scored, when it
// was chosen, which is before the table, and when it was killed.
func (a *account) reclaimed(d *decision) (out predict.Range) {
	if d.chosen == nil || d.chosen.MM == nil || !a.isStressor(d.chosen.TGID) {
		return out
	}
	i := slices.IndexFunc(d.rows, func(o *evidence.OOM) bool { return o.Task != nil && o.Task.TGID == d.chosen.TGID })
	if i < 0 || d.rows[i].Task.MM == nil {
		return out
	}
	before := a.counts(d.rows[i].Task.MM).Shmem
	out.Lo = max(0, before-a.counts(d.chosen.MM).Shmem)
	out.Hi = out.Lo
	if len(d.kills) > 0 && d.kills[0].Task.TGID == d.chosen.TGID && d.kills[0].Task.MM != nil {
		out.Hi = max(out.Lo, before-a.counts(d.kills[0].Task.MM).Shmem)
	}
	return out
}

// isStressor reports whether a process is one of the plan's that is no command of its own.
func (a *account) isStressor(pid int) bool {
	l := a.life(pid)
	return l != nil && !l.plan.IsCommand()
}

func pagesOf(p *kernel.Pages) kernel.Pages {
	if p == nil {
		return 0
	}
	return *p
}
