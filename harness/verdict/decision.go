package verdict

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
)

// decision is one choice of a victim, as the eBPF programs tell it.
type decision struct {
	number  uint64
	atNS    int64 // of the choice, or of what is known of it
	events  []evidence.Event
	control *evidence.OOMControl
	current evidence.TaskID
	chosen  *evidence.Task
	rows    []*evidence.OOM // oom_badness() of every candidate, in the kernel's order
	kills   []*evidence.OOM // attempts of __oom_kill_process(), repetitions included
	marks   []*evidence.OOM // of those victims
	message string
	result  *bool // of out_of_memory(); nil: its end was not told
}

// stages are the order in which out_of_memory() passes the hooks.
var stages = map[evidence.Kind]int{
	evidence.OutOfMemory: 0, evidence.Badness: 1, evidence.KillDecision: 2,
	evidence.Kill: 3, evidence.MarkVictim: 3, evidence.TaskExit: 3, evidence.OOMReturn: 4,
}

// Messages that the kernel kills with.
const (
	allocatingTask = "oom_kill_allocating_task" // of a kill that needed no score
	memcgMessage   = "Memory cgroup out of memory"
	globalMessage  = "Out of memory"
)

// byScore reports whether the decision compared candidates.
func (d *decision) byScore() bool { return !strings.Contains(d.message, allocatingTask) }

// add files an event under the decision.
func (d *decision) add(e evidence.Event) {
	o := e.OOM
	d.events = append(d.events, e)
	switch e.Kind {
	case evidence.Badness:
		d.rows = append(d.rows, o)
	case evidence.KillDecision:
		d.control, d.chosen, d.current, d.atNS = o.Control, o.Task, o.Current, e.AtNS
		d.message = o.Message
	case evidence.Kill:
		if o.Task != nil {
			d.kills = append(d.kills, o)
		}
	case evidence.MarkVictim:
		if o.Task != nil {
			d.marks = append(d.marks, o)
		}
	case evidence.OOMReturn:
		d.result = o.Result
	}
}

// end is when the decision was over.
func (d *decision) end() int64 { return d.events[len(d.events)-1].AtNS }

// check finds what a decision lacks, and what it contradicts in itself: it is one call
// of out_of_memory() in one task, under oom_lock.
func (w *bpfWitness) check(a *account, d *decision, found *findings) {
	first, ctl := d.events[0], d.settledControl()
	last := first
	for i, e := range d.events {
		o := e.OOM
		if i > 0 && stages[e.Kind] < stages[last.Kind] || i > 0 && stages[e.Kind] == stages[last.Kind] &&
			(e.Kind == evidence.OutOfMemory || e.Kind == evidence.KillDecision || e.Kind == evidence.OOMReturn) {
			found.add(BPFDiffers, "decision %d: %s follows %s", d.number, e.Kind, last.Kind)
		}
		last = e
		if o.Current != first.OOM.Current {
			found.add(BPFDiffers, "decision %d is of %v and of %v", d.number, first.OOM.Current, o.Current)
		}
		c := o.Control
		switch {
		case c == nil: // found with the event
		case e.Kind == evidence.OutOfMemory:
			// the constraint and the total are not computed yet
			want := evidence.OOMControl{MemcgID: ctl.MemcgID, Memcg: ctl.Memcg, Order: ctl.Order, GFP: ctl.GFP}
			if *c != want {
				found.add(BPFDiffers, "decision %d began with %+v and went on with %+v", d.number, *c, ctl)
			}
		default:
			now := *c
			if d.control == nil || e.Kind == evidence.Badness {
				now.ChosenPoints = ctl.ChosenPoints // it grows during the scan
			}
			if now != ctl {
				found.add(BPFDiffers, "decision %d: %s has %+v, another event %+v", d.number, e.Kind, *c, ctl)
			}
		}
	}
	d.checkMemory(a, found)
	if len(d.events) > 1 && d.events[1].AtNS-first.AtNS > 5*lateNS {
		found.add(TimeDiffers, "decision %d began at %d ns, and went on %d ns later", d.number, first.AtNS,
			d.events[1].AtNS-first.AtNS)
	}
	if first.Kind != evidence.OutOfMemory {
		found.add(BPFIncomplete, "decision %d has no begin", d.number)
	}
	// The observers stop when the run ends, be it in the middle of a decision.
	if d.result == nil && !(a.agent().endText != settled && d.end() > a.agent().end-lateNS) {
		found.add(BPFIncomplete, "decision %d has no end", d.number)
	}
	w.checkOutcome(a, d, found)
	if w.tier() >= 3 {
		w.checkScan(a, d, found)
	}
}

// settledControl is struct oom_control once all of it is known: that of most events.
func (d *decision) settledControl() evidence.OOMControl {
	count := map[evidence.OOMControl]int{}
	var best evidence.OOMControl
	for _, e := range d.events {
		if e.Kind == evidence.OutOfMemory && len(d.events) > 1 || e.OOM.Control == nil {
			continue
		}
		c := *e.OOM.Control
		c.ChosenPoints = 0
		if count[c]++; count[c] > count[best] {
			best = c
		}
	}
	if d.control != nil {
		best.ChosenPoints = d.control.ChosenPoints
	}
	return best
}

// checkMemory compares what was read of a task's memory from the scan to its mark. It
// stays the same while the task rests, and on one processor from the signal to the
// mark, where nothing preempts; what was the same before and after was so in between.
func (d *decision) checkMemory(a *account, found *findings) {
	looks := map[int][]evidence.Event{}
	for _, e := range d.events {
		if t := e.OOM.Task; t != nil && e.Kind != evidence.TaskExit {
			looks[t.TGID] = append(looks[t.TGID], e)
		}
	}
	for tgid, of := range looks {
		mm := func(i int) *evidence.MM { return of[i].OOM.Task.MM }
		for i := 1; i < len(of); i++ {
			grows, dies := a.moving(tgid, of[i].AtNS)
			dies = dies || of[i-1].Kind == evidence.MarkVictim // the signal is sent
			atOnce := a.in.Machine.CPUs == 1 && of[i-1].Kind == evidence.Kill && of[i].Kind == evidence.MarkVictim
			between := i+1 < len(of) && (equalMM(mm(i-1), mm(i+1)) || strays(mm(i-1), mm(i), mm(i+1)))
			if before, now := mm(i-1), mm(i); before == nil && now != nil {
				found.add(BPFDiffers, "decision %d: %s (pid %d) has memory at %s, and had none before",
					d.number, of[i].OOM.Task.Comm, tgid, of[i].Kind)
			}
			if what := sameTask(of[i-1].OOM.Task, of[i].OOM.Task); what != "" && a.life(tgid) != nil {
				found.add(BPFDiffers, "decision %d: pid %d has another %s at %s than before", d.number, tgid, what,
					of[i].Kind)
			}
			if before, now := of[i-1].OOM.Task, of[i].OOM.Task; before.Adj != now.Adj && before.StartNS == now.StartNS {
				found.add(BPFDiffers, "decision %d: %s (pid %d) has another oom_score_adj at %s than before",
					d.number, now.Comm, tgid, of[i].Kind)
			}
			rests := !grows && !dies && !stirred(mm(i-1), mm(i))
			if (rests || atOnce || between) && !equalMM(mm(i-1), mm(i)) {
				found.add(BPFDiffers, "decision %d: %s (pid %d) holds other memory at %s than before",
					d.number, of[i].OOM.Task.Comm, tgid, of[i].Kind)
			}
		}
	}
}

// stirred reports whether a task has taken a few pages more, as a runtime does now and
// then in a process that rests.
func stirred(before, now *evidence.MM) bool {
	const few = 16
	if before == nil || now == nil {
		return false
	}
	grew := func(a, b evidence.Counts) bool {
		return b.File >= a.File && b.Anon >= a.Anon && b.Swap >= a.Swap && b.Shmem >= a.Shmem &&
			b.File+b.Anon+b.Swap+b.Shmem <= a.File+a.Anon+a.Swap+a.Shmem+few
	}
	same := *now
	same.Batched, same.Exact, same.PgTables = before.Batched, before.Exact, before.PgTables
	return same == *before && grew(before.Batched, now.Batched) && grew(before.Exact, now.Exact) &&
		now.PgTables >= before.PgTables
}

// strays reports whether a task's address space or page tables were of one size before
// and after, and of another in between, while its pages moved.
func strays(before, now, after *evidence.MM) bool {
	if before == nil || now == nil || after == nil {
		return false
	}
	return before.PgTables == after.PgTables && now.PgTables != before.PgTables ||
		before.TotalVM == after.TotalVM && now.TotalVM != before.TotalVM
}

func equalMM(a, b *evidence.MM) bool { return a == b || a != nil && b != nil && *a == *b }

// checkOutcome holds what a decision led to against how it went.
func (w *bpfWitness) checkOutcome(a *account, d *decision, found *findings) {
	add := func(format string, args ...any) {
		found.add(BPFDiffers, "decision %d: "+format, append([]any{d.number}, args...)...)
	}
	if d.chosen == nil {
		if len(d.kills) > 0 {
			add("%s was killed and not chosen", d.kills[0].Task.Comm)
		}
		if w.tier() >= 3 && d.result != nil {
			w.checkNoChoice(d, add)
		}
		return
	}
	if d.result != nil && !*d.result {
		add("%s was chosen, and out_of_memory() gave false", d.chosen.Comm)
	}
	if d.control == nil {
		return // found above
	}
	memcg := d.control.Constraint == "memcg"
	want := globalMessage
	switch {
	case memcg:
		want = memcgMessage
	case !d.byScore():
		want += " (" + allocatingTask + ")"
		if w.in.sysctl("vm."+allocatingTask) == "0" {
			add("the allocating task was killed, which vm.%s forbids", allocatingTask)
		}
	}
	for _, e := range d.events {
		if (e.Kind == evidence.KillDecision || e.Kind == evidence.Kill) && e.OOM.Message != want {
			add("%s says %q; its constraint is %s", e.Kind, e.OOM.Message, d.control.Constraint)
		}
	}
	if !d.byScore() && d.chosen.TGID != d.current.TGID {
		add("%s was killed as the allocating task, which is %s", d.chosen.Comm, d.current.Comm)
	}
	switch {
	case len(d.kills) > 0 && d.kills[0].Task.TGID != d.chosen.TGID:
		add("%s was chosen, and %s killed", d.chosen.Comm, d.kills[0].Task.Comm)
	case len(d.kills) == 0 && d.result != nil && len(d.marks) == 0 && a.lifeGoesOn(a.life(d.chosen.TGID), d.end()):
		// A victim that is ending anyway is marked, and not killed.
		add("%s was chosen, neither killed nor marked, and lived on", d.chosen.Comm)
	}
	if len(d.kills) > 1 && w.groupOf(a, d) == "" && a.life(d.chosen.TGID) != nil {
		add("%d processes were killed, and no memory.oom.group says so", len(d.kills))
	}
	for _, o := range d.kills {
		if o.Task.MM != nil && !slices.ContainsFunc(d.marks,
			func(m *evidence.OOM) bool { return m.Task.TGID == o.Task.TGID }) {
			found.add(BPFIncomplete, "decision %d: %s was killed and not marked", d.number, o.Task.Comm)
		}
		if len(d.kills) > 1 && memcg && !kernel.InCgroup(o.Task.Cgroup, d.control.Memcg) {
			add("%s was killed with its group, outside of %s", o.Task.Comm, d.control.Memcg)
		}
	}
}

// checkNoChoice: without a victim the scan was given up at an earlier one, nobody
// could be killed, or there was no need to scan. An earlier victim with MMF_OOM_SKIP is
// passed over (oom_evaluate_task() in mm/oom_kill.c); on several processors it may get
// that after the probe has looked.
func (w *bpfWitness) checkNoChoice(d *decision, add func(string, ...any)) {
	scored := slices.ContainsFunc(d.rows, func(o *evidence.OOM) bool { return finite(o.Points) != nil })
	waits := slices.ContainsFunc(d.rows, func(o *evidence.OOM) bool {
		return o.Points == nil && (o.Task == nil || o.Task.MM == nil || !o.Task.MM.OOMSkip)
	})
	passedLater := waits && !*d.result && w.in.Machine.CPUs > 1
	switch {
	case scored && (!waits || passedLater):
		add("candidates were scored, and nobody was chosen")
	case len(d.rows) > 0 && *d.result != waits && !passedLater:
		add("out_of_memory() gave %t, after a scan that did not choose anybody", *d.result)
	}
}

// checkScan holds the scoreboard of a decision against itself, and against those who
// were there to be candidates.
func (w *bpfWitness) checkScan(a *account, d *decision, found *findings) {
	add := func(format string, args ...any) {
		found.add(BPFDiffers, "decision %d: "+format, append([]any{d.number}, args...)...)
	}
	best := int64(math.MinInt64)
	seen := map[int]bool{}
	nodes := a.nodesAt(d)
	for _, o := range d.rows {
		t := o.Task
		if t == nil || o.Points == nil && o.Message == "" || o.Control == nil {
			found.add(BPFIncomplete, "decision %d: a candidate has no name, no score or no oom_control", d.number)
			continue
		}
		if seen[t.TGID] {
			add("%s (pid %d) was scored twice", t.Comm, t.TGID)
		}
		seen[t.TGID] = true
		if o.Control.ChosenPoints != best {
			add("the best score before %s (pid %d) is %d; oom_control has %d", t.Comm, t.TGID, best,
				o.Control.ChosenPoints)
		}
		if o.Points != nil {
			best = max(best, *o.Points)
			if o.TotalPages == nil || kernel.Pages(*o.TotalPages) != o.Control.TotalPages {
				add("%s (pid %d) was scored with another total than oom_control's %d", t.Comm, t.TGID,
					o.Control.TotalPages)
			}
			if o.Message != "" {
				add("%s (pid %d) was scored although it %s", t.Comm, t.TGID, o.Message)
			}
		}
		if l := a.life(t.TGID); l != nil && nodes != nil &&
			!predict.NodesOf(a.in.Plan, a.in.Machine, l.plan).Scored(d.control.Constraint, nodes) {
			add("%s is no candidate for an allocation of the nodes %s", l, nodes)
		}
		if o.Control.Memcg != "" && t.Cgroup != "" && !kernel.InCgroup(t.Cgroup, o.Control.Memcg) {
			add("%s (pid %d) in %s is no candidate for the limit of %s", t.Comm, t.TGID, t.Cgroup, o.Control.Memcg)
		}
	}
	if d.chosen == nil && len(d.rows) > 0 && d.result != nil {
		if c := d.events[len(d.events)-1].OOM.Control; c != nil && c.ChosenPoints != best {
			add("the best score is %d; oom_control has %d", best, c.ChosenPoints)
		}
	}
	if d.chosen == nil || d.control == nil {
		return
	}
	if !d.byScore() {
		if len(d.rows) > 0 {
			add("candidates were scored for a kill that needs no score")
		}
		return
	}
	if d.control.ChosenPoints != best {
		add("the best score is %d; oom_control has %d", best, d.control.ChosenPoints)
	}
	for _, l := range a.lives {
		if !seen[l.kernelPID] && a.candidate(l, d) {
			found.add(BPFIncomplete, "decision %d: %s was there, and has no score", d.number, l)
		}
	}
	w.checkTotal(a, d, add)
}

// candidate reports whether a process was certainly there when a decision was made:
// in its domain, born, and alive later on.
func (a *account) candidate(l *life, d *decision) bool {
	switch d.control.Constraint {
	case "none":
	case "memcg":
		if l.plan.Cgroup == "" || !kernel.InCgroup(l.plan.Cgroup, d.control.Memcg) {
			return false
		}
	default:
		nodes := a.nodesAt(d)
		if nodes == nil || !predict.NodesOf(a.in.Plan, a.in.Machine, l.plan).Scored(d.control.Constraint, nodes) {
			return false
		}
	}
	return l.born < d.events[0].AtNS && a.lifeGoesOn(l, d.end())
}

// nodesAt are the NUMA nodes of a decision about some: those of the process of the plan's
// that invoked the OOM killer; nil: it is not one of those.
func (a *account) nodesAt(d *decision) kernel.Nodes {
	l := a.life(d.current.TGID)
	if l == nil || d.control == nil || len(a.in.Machine.NUMA) < 2 {
		return nil
	}
	constraint, nodes := predict.NodesOf(a.in.Plan, a.in.Machine, l.plan).Constraint(a.in.Machine)
	if constraint != d.control.Constraint {
		return nil
	}
	return nodes
}

// lifeGoesOn reports whether a process of the plan certainly lived on at some time: it
// was alive at the end, or was killed later.
func (a *account) lifeGoesOn(l *life, atNS int64) bool {
	if l == nil {
		return false
	}
	if l.exit == nil && l.task == nil {
		return l.alive
	}
	return slices.ContainsFunc(a.bpf().marks, func(e evidence.Event) bool {
		return e.OOM.Task != nil && e.OOM.Task.TGID == l.kernelPID && e.AtNS > atNS
	})
}

// checkTotal: without a memory cgroup the domain is the machine, or some of its nodes, with
// its swap.
func (w *bpfWitness) checkTotal(a *account, d *decision, add func(string, ...any)) {
	m, swap := w.in.Machine, a.swapAt(d.events[0].AtNS)
	switch d.control.Constraint {
	case "cpuset", "mempolicy":
		if nodes := a.nodesAt(d); nodes != nil {
			if want := predict.NodesTotal(m, nodes, swap); d.control.TotalPages != want {
				add("the nodes %s have %d pages with the swap, and %d were scored with", nodes, want,
					d.control.TotalPages)
			}
		}
		return
	case "memcg":
		return
	}
	if want := kernel.Pages((m.MemTotal + swap) / a.pageSize()); d.control.TotalPages != want {
		add("the machine has %d pages with its swap, and %d were scored with", want, d.control.TotalPages)
	}
}

// sameTask says how two looks at one task differ in what does not change; empty: not
// at all.
func sameTask(a, b *evidence.Task) string {
	switch {
	case a.TGID != b.TGID, a.StartNS != b.StartNS:
		return "" // another process
	case launcher(a.Comm) && !launcher(b.Comm), launcher(a.Comm) && a.Comm != "exe" && b.Comm == "exe":
		return "" // and now the process that it was launched for, or on its way: it executes itself
	case a.PID == b.PID && a.Comm != b.Comm:
		return "comm"
	case a.UID != b.UID:
		return "uid"
	case a.CgroupID != b.CgroupID, a.Cgroup != b.Cgroup && a.Cgroup != "" && b.Cgroup != "":
		return "cgroup"
	case (a.Refusal == "") != (b.Refusal == ""):
		return "refusal" // a recording has it of every look, or of none
	}
	return ""
}

// launcher reports whether a name is that of the program that becomes a process of the
// plan's, before it has taken its name, its uid and its oom_score_adj.
func launcher(comm string) bool {
	return slices.Contains([]string{"stressor", "oomlab-stressor", "exe"}, comm)
}

// begun reports whether a process had said something by then.
func (a *account) begun(l *life, atNS int64) bool {
	for _, e := range a.in.Events {
		if e.Source == evidence.Stressor && e.PID == l.pid && e.Process == l.process && e.AtNS <= atNS {
			return true
		}
	}
	return false
}

// checkEvents holds every event against its kind, its time, and what else is known of
// its task.
func (w *bpfWitness) checkEvents(a *account, found *findings) {
	ids, paths := map[uint64]string{}, map[string]uint64{}
	var nameless []uint64
	named := func(id uint64, path string) {
		if path == "" {
			if w.in.Plan.On == nil || ids[id] != "" { // of a node's container the agent may learn later
				nameless = append(nameless, id)
			}
			return
		}
		if id == 0 {
			found.add(BPFDiffers, "%s has no number", path)
		}
		if was, ok := paths[path]; ok && was != id && !w.in.Plan.MadeAgain(path) {
			found.add(BPFDiffers, "%s is cgroup %d and cgroup %d", path, was, id)
		}
		ids[id], paths[path] = path, id
	}
	w.checkRefusals(found)
	w.checkNamespaces(a, found)
	w.checkCgroups(found)
	tasks := map[int]*evidence.Task{}
	totals := map[evidence.OOMControl]kernel.Pages{}
	var before int64
	for _, e := range w.events {
		o := e.OOM
		if e.AtNS < before-lateNS || e.AtNS < before && o.Decision != 0 {
			found.add(TimeDiffers, "event %d of eBPF, %s, is %d ns before the one before it", o.Seq, e.Kind,
				before-e.AtNS)
		}
		before = max(before, e.AtNS)
		a.within(e, 0, found)
		if wrong := malformed(e, w.tier()); wrong != "" {
			found.add(BPFIncomplete, "event %d of eBPF, %s, %s", o.Seq, e.Kind, wrong)
			continue
		}
		if c := o.Control; c != nil {
			named(c.MemcgID, c.Memcg)
			// 0: it is not computed yet, or was not needed; domains of nodes have one each
			if c.TotalPages != 0 && c.Constraint != "cpuset" && c.Constraint != "mempolicy" {
				domain := evidence.OOMControl{Constraint: c.Constraint, MemcgID: c.MemcgID}
				alike := w.in.Plan.On == nil || c.Constraint == "none" // a container's cgroup is made again
				if was, ok := totals[domain]; ok && was != c.TotalPages && len(w.in.Plan.During) == 0 && alike {
					found.add(BPFDiffers, "the domain of event %d has %d pages, and had %d", o.Seq, c.TotalPages, was)
				}
				totals[domain] = c.TotalPages
				if all := a.limitTotals(c.Memcg); all != nil && !slices.Contains(all, c.TotalPages) {
					found.add(BPFDiffers, "the domain of event %d has %d pages, which no limit of %s by the plan gives",
						o.Seq, c.TotalPages, c.Memcg)
				}
			}
		}
		t := o.Task
		if t == nil {
			continue
		}
		named(t.CgroupID, t.Cgroup)
		// The agent learns of a process when it has started it, and may be scored before. On
		// a node it knows more processes than those of the plan.
		name := a.name(t.TGID)
		late := name == "" && w.in.Plan.On != nil || name != "" && e.Process == "" && a.life(t.TGID).born > e.AtNS
		if e.PID != t.TGID || e.Process != name && !late {
			found.add(BPFDiffers, "event %d of eBPF is of %q (pid %d), and its task is %q (pid %d)",
				o.Seq, e.Process, e.PID, name, t.TGID)
		}
		if was := tasks[t.TGID]; was != nil {
			w.checkSame(a, was, t, o.Seq, found)
		}
		tasks[t.TGID] = t
		w.checkTask(a, e, found)
		if e.Kind == evidence.TaskExit {
			w.checkEnd(a, e, found)
		}
	}
	for _, id := range nameless {
		if known := ids[id]; known != "" {
			found.add(BPFDiffers, "cgroup %d is %s, and an event does not say so", id, known)
		}
	}
}

// checkCgroups: a number is that of one cgroup. A container that was made again has another
// one, though it is the same by the plan: so paths are compared as they were recorded.
func (w *bpfWitness) checkCgroups(found *findings) {
	paths := map[uint64]string{}
	named := func(seq, id uint64, path string) {
		if was, ok := paths[id]; ok && path != "" && was != path {
			found.add(BPFDiffers, "event %d of eBPF: cgroup %d is %s and %s", seq, id, was, path)
		}
		if path != "" {
			paths[id] = path
		}
	}
	for _, e := range w.in.Events {
		if e.Source != evidence.BPF || e.OOM == nil {
			continue
		}
		if t := e.OOM.Task; t != nil {
			named(e.OOM.Seq, t.CgroupID, t.Cgroup)
		}
		if c := e.OOM.Control; c != nil {
			named(e.OOM.Seq, c.MemcgID, c.Memcg)
		}
	}
}

// checkNamespaces: a process has one pid in the agent's namespace.
func (w *bpfWitness) checkNamespaces(a *account, found *findings) {
	if !a.pids.within {
		return
	}
	type process struct {
		tgid    int
		startNS uint64
	}
	tasks, asking := map[process]int{}, map[process]int{}
	same := func(all map[process]int, p process, id evidence.TaskID, seq uint64) {
		if was, ok := all[p]; ok && was != id.NSTGID {
			found.add(BPFDiffers, "event %d of eBPF: pid %d (%s) is %d in the namespace of the node, and was %d", seq,
				id.TGID, id.Comm, id.NSTGID, was)
		}
		all[p] = id.NSTGID
	}
	for _, e := range w.events {
		if t := e.OOM.Task; t != nil && t.StartNS != 0 {
			same(tasks, process{t.TGID, t.StartNS}, t.TaskID, e.OOM.Seq)
			if e.OOM.Current.TGID == t.TGID {
				same(tasks, process{t.TGID, t.StartNS}, e.OOM.Current, e.OOM.Seq)
			}
		}
		if e.OOM.Decision != 0 { // who asks has no start time: within one decision it is the same process
			same(asking, process{e.OOM.Current.TGID, e.OOM.Decision}, e.OOM.Current, e.OOM.Seq)
		}
	}
}

// checkRefusals: what oom_badness() refuses a task for is told of all tasks, or of none by
// an earlier recording; and init is refused for being init.
func (w *bpfWitness) checkRefusals(found *findings) {
	var told bool
	var wrong []evidence.Event
	for _, e := range w.events {
		t := e.OOM.Task
		if t == nil || t.StartNS == 0 {
			continue
		}
		told = told || t.Refusal != ""
		if t.Refusal == "" || (t.TGID == 1) != (t.Refusal == evidence.RefusedInit) {
			wrong = append(wrong, e)
		}
	}
	for _, e := range wrong {
		if t := e.OOM.Task; told {
			found.add(BPFDiffers, "event %d of eBPF: pid %d (%s) is refused for %q", e.OOM.Seq, t.TGID, t.Comm,
				t.Refusal)
		}
	}
}

// freesItself reports whether out_of_memory() ended before constrained_alloc(), because
// who asks is dying (task_will_free_mem): the oom_control is as it was at the begin.
func freesItself(e evidence.Event) bool {
	c := e.OOM.Control
	return e.Kind == evidence.OOMReturn && e.OOM.Result != nil && *e.OOM.Result && c.Constraint == "none" &&
		c.TotalPages == 0 && c.ChosenPoints == 0
}

// malformed says what an event lacks that its hook always tells, or has that it never
// tells; empty: nothing.
func malformed(e evidence.Event, tier int) string {
	o := e.OOM
	_, hook := stages[e.Kind]
	of := e.Kind
	task := of == evidence.Badness || of == evidence.KillDecision || of == evidence.Kill ||
		of == evidence.MarkVictim || of == evidence.TaskExit
	switch {
	case !hook && of != evidence.GivenUp:
		return "is of no hook"
	case tier < 2 && of != evidence.MarkVictim && of != evidence.TaskExit, tier < 3 && of == evidence.Badness:
		return fmt.Sprintf("is not of tier %d", tier)
	case of == evidence.Badness && o.Message != "" && o.Message != "is an OOM victim already" &&
		o.Message != "oom_task_origin":
		return fmt.Sprintf("says %q of a candidate", o.Message)
	case o.Task != nil && !slices.Contains([]evidence.Refusal{"", evidence.NotRefused, evidence.RefusedInit,
		evidence.RefusedKthread, evidence.RefusedVfork}, o.Task.Refusal):
		return fmt.Sprintf("has the refusal %q", o.Task.Refusal)
	case o.Decision == 0 && tier >= 2 && of != evidence.MarkVictim && of != evidence.TaskExit:
		return "is of no decision"
	case task != (o.Task != nil):
		return "has a task that is not its hook's, or none"
	case (o.Control != nil) != (tier >= 2 && of != evidence.TaskExit && (of != evidence.MarkVictim || o.Decision != 0)):
		return "has an oom_control that is not its hook's, or none"
	case o.Control != nil && of != evidence.OutOfMemory && !freesItself(e) &&
		(o.Control.Constraint == "memcg") != (o.Control.MemcgID != 0):
		return fmt.Sprintf("is about %q and the limit of cgroup %d", o.Control.Constraint, o.Control.MemcgID)
	case o.Control != nil && of != evidence.OutOfMemory && !known(o.Control.Constraint):
		return fmt.Sprintf("has the constraint %q", o.Control.Constraint)
	// Without BTF there is nothing to a victim but its pid.
	case task && (o.Task.PID <= 0 || o.Task.TGID <= 0 || tier >= 2 && (o.Task.StartNS == 0 || o.Task.Comm == "")):
		return "does not say which task"
	case of == evidence.MarkVictim && o.Task.StartNS != 0 && (o.Task.MM == nil || o.Task.MM.TotalVM == 0):
		return "is of a victim without memory" // signal->oom_mm is set by then
	case of == evidence.TaskExit && o.Decision == 0 && o.Current.TGID != o.Task.TGID:
		return "is not told by the task that ends"
	case of == evidence.GivenUp && o.Control.TotalPages == 0:
		return "scanned a domain without memory"
	case o.Current.PID <= 0 || o.Current.TGID <= 0 || o.Current.Comm == "":
		return "does not say in which task"
	case (o.Points != nil || o.TotalPages != nil) && of != evidence.Badness, (o.Points != nil) != (o.TotalPages != nil):
		return "has a score without a total, or that is not its hook's"
	case (o.Result != nil) != (of == evidence.OOMReturn || of == evidence.GivenUp):
		return "has a result that is not its hook's, or none"
	case (o.ExitCode != nil) != (of == evidence.TaskExit):
		return "has an exit status that is not its hook's, or none"
	case (e.N != 0 || o.FirstSeq != 0) != (of == evidence.GivenUp):
		return "counts scans, or does not"
	case of == evidence.GivenUp && !*o.Result:
		return "gave up, and found nobody to wait for"
	}
	return ""
}

// known reports whether a constraint is one of enum oom_constraint.
func known(constraint string) bool {
	for _, c := range constraints {
		if c == constraint {
			return true
		}
	}
	return false
}

// checkSame holds a task against an earlier look at it.
func (w *bpfWitness) checkSame(a *account, was, t *evidence.Task, seq uint64, found *findings) {
	l := a.life(t.TGID)
	if l != nil && was.StartNS != t.StartNS && len(a.livesOfPID(t.TGID)) == 1 {
		found.add(BPFDiffers, "%s began at %d by event %d of eBPF, and at %d before", l, t.StartNS, seq, was.StartNS)
	}
	if what := sameTask(was, t); what != "" && w.in.Plan.On == nil {
		found.add(BPFDiffers, "pid %d (%s) has another %s at event %d of eBPF", t.TGID, t.Comm, what, seq)
	}
}

// startedAfter is when a process was started at the earliest: the agent starts one after
// the other.
func (a *account) startedAfter(l *life) int64 {
	after := a.agent().begin
	for _, other := range a.lives {
		if other == l {
			break
		}
		if l.plan.Parent == "" && other.plan.Parent == "" {
			after = max(after, other.born)
		}
	}
	return after
}

// livesOfPID are the lives that had a pid of the kernel's.
func (a *account) livesOfPID(pid int) []*life {
	return slices.DeleteFunc(slices.Clone(a.lives), func(l *life) bool { return l.kernelPID != pid })
}

// checkTask holds the task of an event against its life, and its counters against how
// the kernel keeps them.
func (w *bpfWitness) checkTask(a *account, e evidence.Event, found *findings) {
	t := e.OOM.Task
	add := func(format string, args ...any) {
		found.add(BPFDiffers, "event %d of eBPF, %s (pid %d): "+format, append([]any{e.OOM.Seq, t.Comm, t.TGID},
			args...)...)
	}
	if m := t.MM; m != nil {
		w.checkCounters(a, m, e.Kind, add)
	}
	if t.UID < 0 {
		add("its uid is %d", t.UID)
	}
	l := a.life(t.TGID)
	if l == nil && a.toldOf(t.Cgroup) {
		add("it is in %s, and nobody has told who started it", t.Cgroup)
	}
	if l == nil || t.StartNS == 0 {
		return // nobody of the plan's, or a kernel without BTF
	}
	if l.misnamed(t) {
		add("it was never called that")
	}
	if first := a.marked(t.TGID); !l.plan.IsCommand() && t.PID != t.TGID && (first == 0 || e.AtNS <= first) {
		add("it has the thread %d, and its first one is still there", t.PID)
	}
	if lives := a.livesOfPID(t.TGID); len(lives) == 1 && int64(t.StartNS) > l.born {
		add("it began at %d, and was seen at %d", t.StartNS, l.born)
	}
	if l.plan.Cgroup != "" && t.Cgroup != l.plan.Cgroup && (t.Cgroup != "" || w.in.Plan.On == nil) {
		add("it is in %s, by the plan in %s", t.Cgroup, l.plan.Cgroup)
	}
	if w.in.Plan.On != nil {
		return // the runtime sets the rest, step by step
	}
	if after := a.startedAfter(l); int64(t.StartNS) < after {
		add("it began at %d, and was not started before %d", t.StartNS, after)
	}
	if launcher(t.Comm) && !a.begun(l, e.AtNS) {
		if t.UID != 0 && t.UID != l.plan.Launch.UID {
			add("its uid is %d, %d by the plan", t.UID, l.plan.Launch.UID)
		}
		return // it has yet to become what the plan says
	}
	// Threads of a stressor have another name than its first one.
	if !l.plan.IsCommand() && t.PID == t.TGID && t.Comm != l.plan.Launch.Comm {
		add("its name is %s by the plan", l.plan.Launch.Comm)
	}
	if !l.plan.IsCommand() && t.UID != l.plan.Launch.UID {
		add("its uid is %d, %d by the plan", t.UID, l.plan.Launch.UID)
	}
	adjs := adjsOf(w.in.Plan, l)
	if !slices.Contains(adjs, t.Adj) && !l.plan.IsCommand() { // which may set another one itself, as stress-ng does
		add("its oom_score_adj is %d, by the plan %d", t.Adj, adjs[0])
	}
}

// adjsOf are the values that the plan gives a process's oom_score_adj, the first one first.
// Processes that share their memory have one: __set_oom_adj(), fs/proc/base.c.
func adjsOf(p plan.Plan, l *life) []int {
	adjs := []int{l.plan.OOMScoreAdj}
	for _, d := range p.During {
		for name, adj := range d.OOMScoreAdj {
			q, _ := p.Process(name)
			if name == l.process || sharesMemory(q, l.plan) {
				adjs = append(adjs, adj)
			}
		}
	}
	return adjs
}

// marked is when a process was first marked as a victim; 0: never.
func (a *account) marked(tgid int) int64 {
	for _, e := range a.bpf().marks {
		if e.OOM.Task != nil && e.OOM.Task.TGID == tgid {
			return e.AtNS
		}
	}
	return 0
}

// checkEnd: a victim ends after it was marked, and before its parent can wait for it.
func (w *bpfWitness) checkEnd(a *account, e evidence.Event, found *findings) {
	t := e.OOM.Task
	marked := a.marked(t.TGID)
	if marked == 0 || e.AtNS < marked-momentNS {
		found.add(TimeDiffers, "%s (pid %d) ended at %d ns as a victim, and was marked at %d", t.Comm, t.TGID, e.AtNS,
			marked)
	}
	if l := a.life(t.TGID); l != nil && l.ends > 0 && e.AtNS > l.diedNS+momentNS {
		found.add(TimeDiffers, "%s ended at %d ns by eBPF, and was waited for at %d", l, e.AtNS, l.diedNS)
	}
	for _, m := range w.marks {
		was := m.OOM.Task
		if was == nil || was.TGID != t.TGID || was.StartNS != t.StartNS {
			continue
		}
		if what := sameTask(was, t); what != "" || was.Adj != t.Adj {
			found.add(BPFDiffers, "%s (pid %d) was marked with oom_score_adj %d, and ended with %d and another %q",
				t.Comm, t.TGID, was.Adj, t.Adj, what)
		}
		if a.isStressor(t.TGID) && was.MM != nil && t.MM != nil &&
			was.MM.TotalVM != t.MM.TotalVM {
			found.add(BPFDiffers, "%s (pid %d) had %d pages mapped when it was marked, and %d at its end",
				t.Comm, t.TGID, was.MM.TotalVM, t.MM.TotalVM)
		}
	}
}

// checkCounters: page tables are whole pages; per-CPU counters keep back at most a
// batch on each CPU (percpu_counter_batch), and atomics nothing.
func (w *bpfWitness) checkCounters(a *account, m *evidence.MM, of evidence.Kind, add func(string, ...any)) {
	if m.PgTables%a.pageSize() != 0 {
		add("its page tables have %d bytes, which is no number of pages", m.PgTables)
	}
	if m.ExactUnknown == w.attached("exact counters") {
		add("its exact counters are unknown: %t; %q", m.ExactUnknown, w.in.Tier.Hooks["exact counters"])
	}
	back := kernel.Pages(0)
	if !m.ExactUnknown && w.in.Machine.Badness != kernel.ReadsThreadBatched {
		cpus := kernel.Pages(w.in.Machine.CPUs)
		back = max(32, 2*cpus) * cpus
	}
	b, x := m.Batched, m.Exact
	onNode := w.in.Plan.On != nil && w.in.Plan.On.SwapCapacity == 0
	if (b.Swap != 0 || x.Swap != 0) && a.swap() == 0 && (onNode || !a.busy()) {
		add("it has %d pages swapped out, on a machine without swap", x.Swap)
	}
	for _, of := range [][2]kernel.Pages{{b.File, x.File}, {b.Anon, x.Anon}, {b.Swap, x.Swap}, {b.Shmem, x.Shmem}} {
		summed := back > 0 && w.in.Machine.CPUs == 1 // more processors change it while it is summed up
		if off := of[1] - of[0]; off < -back || off > back || summed && of[1] < 0 {
			add("a counter is %d with what the CPUs keep back, and %d without", of[1], of[0])
		}
	}
}
