package predict

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
)

// Messages of check_panic_on_oom() and out_of_memory() in mm/oom_kill.c.
const (
	panicEnabled    = "Out of memory: system-wide panic_on_oom is enabled"
	panicCompulsory = "Out of memory: compulsory panic_on_oom is enabled"
	panicDeadlocked = "System is deadlocked on memory"
)

// candidate is a process that may be chosen, with the bounds of its score.
type candidate struct {
	p     *proc // nil: not the scenario's
	name  string
	score Range
	order int
}

// equals reports whether two candidates have the same score whatever it is:
// they use the same memory.
func (c candidate) equals(o candidate) bool {
	if c.p == nil || o.p == nil || c.p.adj != o.p.adj {
		return false
	}
	return c.p.sharer && c.p.p.Parent == o.name || o.p.sharer && o.p.p.Parent == c.name ||
		c.p.sharer && o.p.sharer && c.p.p.Parent == o.p.p.Parent && c.name != o.name
}

// preferred reports which of two equals is chosen, see [Choose]: the one that is
// scanned later.
func (w *world) preferred(c, than candidate) bool {
	if w.rules.firstWins() {
		return c.order < than.order
	}
	return c.order > than.order
}

// oom follows out_of_memory(): panic_on_oom, then oom_kill_allocating_task, then
// select_bad_process(). It returns the worlds that may follow, the likeliest
// first.
func (w *world) oom(dir string, triggers []string, sysrq bool) []*world {
	if text := w.panics(dir, sysrq); text != "" {
		w.panic = text
		return []*world{w}
	}
	step := Step{Constraint: "memcg", OOMMemcg: w.tree(dir), Trigger: triggers, TotalPages: w.total(dir), dir: dir}
	if dir == kubelet.NodeRoot {
		step.Trigger = append(slices.Clip(triggers), Elsewhere)
	}
	if d, ok := w.look.nodes[dir]; ok {
		step.Constraint = d.constraint
	}
	if dir == "" {
		// anybody on the machine may ask for the page that is not there
		step.Constraint = "none"
		step.Trigger = append(slices.Clip(triggers), Elsewhere)
		if sysrq {
			step.Trigger = []string{Elsewhere}
		}
	}
	candidates := w.candidates(dir)
	step.Ranges = map[string]Range{}
	for _, c := range candidates {
		step.Ranges[c.name] = c.score.widen(w.margin(), w.margin())
	}
	w.together(&step)
	if sysrq && len(candidates) == 0 {
		return []*world{w} // out_of_memory() says so in the log, and leaves it at that
	}
	if p := w.forkingAmong(candidates); p != nil {
		return w.leaveOpen(step, candidates, p)
	}
	if w.global(dir) && !sysrq && w.sysctls["vm.oom_kill_allocating_task"] == "1" {
		return w.allocating(step, candidates)
	}
	return w.choose(step, candidates)
}

func (w *world) panics(dir string, sysrq bool) string {
	switch w.sysctls["vm.panic_on_oom"] {
	case "1":
		if dir == "" && !sysrq {
			return panicEnabled
		}
	case "2":
		if !sysrq {
			return panicCompulsory
		}
	}
	return ""
}

// candidates are the tasks that oom_badness() would give a score, best first;
// among equals the one that is scanned last comes first.
func (w *world) candidates(dir string) []candidate {
	total := w.total(dir)
	var out []candidate
	for i := range w.procs {
		p := &w.procs[i]
		if !p.alive() || !w.scored(p, dir) || p.adj == AdjMin {
			continue
		}
		order := p.order
		if !w.global(dir) {
			order += w.scan(p.p.Cgroup) << 20
		}
		out = append(out, candidate{p, p.p.Name, w.score(p, dir, total), order})
	}
	if w.global(dir) || dir == kubelet.NodeRoot {
		rules := w.rules
		for _, o := range w.m.Others {
			t := Task{RSS: o.RSS, Swap: o.Swap, PgTables: o.PgTables, Adj: o.Adj}
			if points := Points(t, total, rules); points != Never {
				out = append(out, candidate{nil, "//" + o.Comm, exactly(kernel.Pages(points)).widen(512, 512), -1})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.score.Mid(), a.score.Mid()), cmp.Compare(b.order, a.order))
	})
	return out
}

// scan is the place of a cgroup in mem_cgroup_scan_tasks()'s walk.
func (w *world) scan(path string) int { return w.look.scans[path] }

// diverge is the shortest prefix of path, in whole names, that other is not in.
func diverge(path, other string) string {
	for i := 1; i < len(path); i++ {
		if path[i] == '/' && !kernel.InCgroup(other, path[:i]) {
			return path[:i]
		}
	}
	return path
}

// choose follows select_bad_process(): a process that may have the highest score may
// be the victim.
func (w *world) choose(step Step, candidates []candidate) []*world {
	if len(candidates) == 0 {
		switch {
		case step.OOMMemcg == "":
			w.panic = panicDeadlocked
		case w.squeezed != nil && *w.squeezed == step.OOMMemcg:
			// memory_max_write() gives up, and the limit is below the usage
			w.squeezed, w.gaveUp = nil, true
		default:
			w.noVictim = true
		}
		return []*world{w}
	}
	floor := candidates[0].score.Lo
	for _, c := range candidates {
		floor = max(floor, c.score.Lo)
	}
	var out []*world
	forks, tried := 0, map[string]bool{}
	for _, c := range candidates {
		if w.triedAlike(c, tried) {
			continue
		}
		if c.score.Hi < floor || slices.ContainsFunc(candidates, func(o candidate) bool {
			return c.equals(o) && w.preferred(o, c)
		}) {
			continue
		}
		if forks++; forks > maxForks || w.budget.left <= 0 && forks > 1 {
			w.doubts = "more than a few processes score alike"
			break
		}
		out = append(out, w.clone().kill(step, c)...)
	}
	return out
}

// triedAlike reports whether killing the candidate is killing one that was tried,
// by another name: an equal process in the same state.
func (w *world) triedAlike(c candidate, tried map[string]bool) bool {
	if c.p == nil || w.setOf == nil {
		return false
	}
	set := w.setOf[w.index(c.name)]
	if set < 0 {
		return false
	}
	state := string(c.p.appendState(binary.AppendVarint(nil, int64(set)), 0))
	again := tried[state]
	tried[state] = true
	return again
}

// allocating is oom_kill_allocating_task: the process that asked dies, unless it may
// not, and then the choice is as ever.
func (w *world) allocating(step Step, candidates []candidate) []*world {
	var out []*world
	tried := map[string]bool{}
	for _, c := range candidates {
		if !w.triedAlike(c, tried) && c.p != nil && slices.Contains(step.Trigger, c.name) {
			out = append(out, w.clone().kill(step, c)...)
		}
	}
	return append(out, w.choose(step, candidates)...)
}

// kill follows oom_kill_process(): the victim and, where memory.oom.group says
// so, everybody in the group who is not exempt.
func (w *world) kill(step Step, c candidate) []*world {
	step.Victims = []string{c.name}
	if c.p == nil {
		w.steps = append(w.steps, step)
		w.doubts = c.name + " is not the scenario's and may be killed"
		w.noVictim = true
		return []*world{w}
	}
	step.Group = w.group(c.p.p.Cgroup, step.OOMMemcg)
	first := w.index(c.name)
	if step.Group == "" {
		return w.alone(step, c, first)
	}
	// A child dies with its parent, by its death signal or because it shares its
	// memory, before the kernel comes to it. So does a parent that is killed without
	// a word, along with a child that shares its memory; only that a kernel which is
	// not preempted comes to the first member of the group before anybody can leave.
	var certain, doubtful []int
	head := w.groupMembers(step.Group, -1)[0] // which may be the chosen one, met again
	for _, i := range w.groupMembers(step.Group, first) {
		switch before := append(slices.Clip(certain), first); {
		case i == head && w.preempted() == "no":
			certain = append(certain, i)
		case w.childOf(i, before):
		case w.parentOfSharer(i, before):
			if w.preempted() == "unsure" {
				doubtful = append(doubtful, i)
			}
		default:
			certain = append(certain, i)
		}
	}
	out := []*world{w.clone().killAll(step, first, certain...)}
	orders := [][]int{certain}
	// who waits for others joins some time between those who do not, and who is
	// forked after those who did not wait for that
	for _, order := range [][]int{w.inPlanOrder(certain), w.forkedLast(certain)} {
		if !slices.ContainsFunc(orders, func(o []int) bool { return slices.Equal(o, order) }) {
			orders = append(orders, order)
			out = append(out, w.clone().killAll(step, first, order...))
		}
	}
	if len(doubtful) > 0 {
		all := w.groupMembers(step.Group, first)
		all = slices.DeleteFunc(all, func(i int) bool {
			return !slices.Contains(certain, i) && !slices.Contains(doubtful, i)
		})
		out = append(out, w.clone().killAll(step, first, all...))
	}
	return out
}

// preempted says whether a victim may leave while the kernel, on the only
// processor, goes on killing a group: yes, no, or unsure.
func (w *world) preempted() string {
	if w.m.CPUs == 1 {
		switch w.m.Preempt {
		case "none", "voluntary":
			return "no"
		case "full", "lazy":
			return "yes"
		}
	}
	return "unsure"
}

// inPlanOrder sorts processes as they would have joined their cgroups had none
// waited for another.
func (w *world) inPlanOrder(all []int) []int {
	return slices.SortedStableFunc(slices.Values(all), func(a, b int) int {
		return cmp.Or(cmp.Compare(w.scan(w.procs[a].p.Cgroup), w.scan(w.procs[b].p.Cgroup)), cmp.Compare(a, b))
	})
}

// forkedLast sorts processes as they would have joined their cgroups had everybody
// begun before the children who were not waited for.
func (w *world) forkedLast(all []int) []int {
	late := func(i int) int {
		p := &w.procs[i]
		waited := slices.ContainsFunc(all, func(k int) bool { return k != i && w.waitedFor(w.procs[k].p, p.p.Name) })
		if p.p.Parent == "" || waited {
			return 0
		}
		return 1
	}
	return slices.SortedStableFunc(slices.Values(all), func(a, b int) int {
		return cmp.Or(cmp.Compare(w.scan(w.procs[a].p.Cgroup), w.scan(w.procs[b].p.Cgroup)),
			cmp.Compare(late(a), late(b)))
	})
}

// alone is a kill of one process. A victim that was taking memory itself leaves
// no sooner than another one that does: that one may be at the limit again
// before anything is given back, and have a second process killed. On several
// processors that holds of every victim, and of the second one as well; and also of
// who lowers a limit, and goes on killing until the usage fits.
func (w *world) alone(step Step, c candidate, victim int) []*world {
	racing := slices.ContainsFunc(w.procs, func(p proc) bool {
		return p.p.Name != c.name && p.phase == running && p.partial && w.inside(&p, step.dir)
	})
	beside := w.m.CPUs > 1 && !w.global(step.dir)
	if beside && w.squeezed != nil && *w.squeezed == step.dir {
		racing = true
	}
	if !racing || !beside && (c.p.phase != running || w.overlapped) {
		return []*world{w.killAll(step, victim)}
	}
	again := w.clone().killAll(step, victim)
	if len(again.candidates(step.dir)) == 0 {
		return []*world{again}
	}
	again.overlapped = true // once is rare enough on one processor
	return append([]*world{w.killAll(step, victim)}, again.oom(step.dir, step.Trigger, false)...)
}

// childOf reports whether process i was forked by one of the others.
func (w *world) childOf(i int, of []int) bool {
	return slices.ContainsFunc(of, func(k int) bool { return w.procs[i].p.Parent == w.procs[k].p.Name })
}

// parentOfSharer reports whether one of the others uses the memory of process i.
func (w *world) parentOfSharer(i int, of []int) bool {
	return slices.ContainsFunc(of, func(k int) bool {
		return w.procs[k].sharer && w.procs[k].p.Parent == w.procs[i].p.Name
	})
}

// killAll makes the step's victims of processes: the chosen one first.
func (w *world) killAll(step Step, chosen int, rest ...int) *world {
	step.Victims = slices.Clip(step.Victims)
	for _, i := range rest {
		step.Victims = append(step.Victims, w.procs[i].p.Name)
	}
	w.steps = append(w.steps, step)
	all := append([]int{chosen}, rest...)
	for _, i := range all {
		w.die(&w.procs[i])
	}
	for _, i := range all {
		w.revive(&w.procs[i], true)
	}
	return w
}

func (w *world) index(name string) int { return w.look.procs[name] }

// group follows mem_cgroup_get_oom_group(): the highest cgroup between the
// victim's and the domain's that has memory.oom.group set.
func (w *world) group(path, dir string) string {
	best := ""
	for _, c := range w.cgroups {
		if w.rules.mistake == groupNotInherited && c.Path != path {
			continue
		}
		if c.OOMGroup && kernel.InCgroup(path, c.Path) && kernel.InCgroup(c.Path, dir) &&
			(best == "" || len(c.Path) < len(best)) {
			best = c.Path
		}
	}
	return best
}

func (w *world) groupMembers(group string, except int) []int {
	var out []int
	for i := range w.procs {
		p := &w.procs[i]
		if i != except && p.alive() && p.adj != AdjMin && kernel.InCgroup(p.p.Cgroup, group) {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b int) int {
		pa, pb := &w.procs[a], &w.procs[b]
		return cmp.Or(cmp.Compare(w.scan(pa.p.Cgroup), w.scan(pb.p.Cgroup)), cmp.Compare(pa.order, pb.order))
	})
	return out
}

// What those who were killed for a limit leave charged when the writer of the
// limit looks again, in pages. The stacks of their threads are given back a little
// later (RCU). The other kernel memory of theirs goes to a stock of the CPU's
// (refill_stock() in mm/memcontrol.c), of at most MEMCG_CHARGE_BATCH pages, which
// memory_max_write() drains before it kills, and not again. Where a CPU has stocks
// for several cgroups, each further one that had somebody killed holds back some 33
// pages, for a stressor. It is seldom all of that: of 10,000 random kills it decided
// about six.
const (
	lateStock  = 64
	otherStock = 40
)

// leave takes note of what a victim leaves charged.
func (w *world) leave(p *proc) {
	if w.squeezed == nil {
		return
	}
	w.stacks += p.costs.threads(p.base.Threads+p.p.Profile.Threads, perThread)
	if !slices.Contains(w.left, p.p.Cgroup) {
		w.left = append(slices.Clip(w.left), p.p.Cgroup)
	}
	w.remains = lateStock + w.stacks
	if !w.rules.OneStock {
		w.remains += otherStock * kernel.Pages(len(w.left)-1)
	}
}

// die takes the process, what shares its memory, and what its death takes along.
func (w *world) die(p *proc) {
	p.phase, p.ends = killed, Ends{Signal: kernel.SignalNumber("SIGKILL")}
	name := p.p.Name
	w.noteOOM(p)
	w.over(p)
	w.leave(p)
	w.orphan(name)
	if p.sharer { // it also ends the processes with the same memory, without a report
		if parent := w.find(p.p.Parent); parent != nil && parent.alive() {
			parent.phase, parent.ends = ended, p.ends
			w.orphan(parent.p.Name)
		}
	}
}

// act does what `during:` says, as soon as those it waits for are settled.
func (w *world) act() ([]*world, bool) {
	switch {
	case w.squeezed != nil:
		return w.squeeze(*w.squeezed), true
	case w.unusing:
		return w.unuse(), true
	}
	for i, d := range w.plan.During {
		if w.during[i] || !w.allSettled(d.After) {
			continue
		}
		if d.DelayMS > 0 && len(w.segments()) > 0 {
			if !w.sooner(d.DelayMS) {
				w.doubts = "an action of during: falls into a time when processes grow"
			}
			continue
		}
		w.during[i] = true
		return w.do(d), true
	}
	return nil, false
}

// sooner reports whether all growth is certainly over before the delay is.
func (w *world) sooner(delayMS int64) bool {
	for _, s := range w.segments() {
		if s.least(float64(delayMS)/1000) < s.want.Lo {
			return false
		}
	}
	return true
}

func (w *world) do(d plan.During) []*world {
	for name, adj := range d.OOMScoreAdj {
		if p := w.find(name); p != nil {
			w.adjust(p, adj)
		}
	}
	for name, sig := range d.Signal {
		w.signal(name, sig)
	}
	for _, name := range d.Stop {
		w.stopped(name)
	}
	for i := range w.procs {
		p := &w.procs[i]
		if d.Freeze != "" && kernel.InCgroup(p.p.Cgroup, d.Freeze) {
			p.stop = true
		}
		if d.Thaw != "" && kernel.InCgroup(p.p.Cgroup, d.Thaw) {
			p.stop = false
		}
	}
	for _, s := range d.Sysctls {
		w.setSysctl(s.Key, s.Value)
	}
	if d.Swapoff {
		w.swapOn, w.unusing, w.swapped = 0, true, true
		return w.unuse()
	}
	if d.Sysrq == "f" {
		return w.oom("", nil, true)
	}
	for _, cw := range d.Writes {
		c := w.cgroup(cw.Path)
		if c == nil {
			continue
		}
		if cw.High != nil {
			c.High = cw.High
		}
		if cw.Max != nil {
			c.Max = cw.Max
			path := cw.Path
			w.squeezed, w.left, w.remains = &path, nil, w.stacks
		}
	}
	return []*world{w}
}

// adjust follows __set_oom_adj() in fs/proc/base.c: who shares memory with the
// process gets the same.
func (w *world) adjust(p *proc, adj int) {
	p.adj = adj
	for i := range w.procs {
		q := &w.procs[i]
		if q.sharer && q.p.Parent == p.p.Name || p.sharer && q.p.Name == p.p.Parent {
			q.adj = adj
		}
	}
}

func (w *world) signal(name string, sig int) {
	p := w.find(name)
	if p == nil || !p.alive() {
		return
	}
	switch kernel.SignalName(sig) {
	case "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU":
		p.stop = true
	case "SIGCONT":
		p.stop = false
	case "SIGCHLD":
	default:
		if slices.Contains(p.p.Launch.Ignore, kernel.SignalName(sig)) {
			return
		}
		p.phase, p.ends = ended, Ends{Signal: sig}
		w.orphan(name)
	}
}

// stopped: an overseer sends SIGTERM. Who ignores it has some time left, which is longer
// than any growth, and is killed at the end of it.
func (w *world) stopped(name string) {
	w.signal(name, kernel.SignalNumber("SIGTERM"))
	p := w.find(name)
	switch {
	case p == nil || !p.alive():
	case p.phase == holding:
		p.doomed = true
		w.hold(p)
	default:
		p.doomed = true
	}
}

// squeeze follows memory_max_write(): the writer of a limit below the usage
// invokes the OOM killer itself until the usage fits.
func (w *world) squeeze(dir string) []*world {
	room := w.room(dir)
	// reclaim that has to swap is given up after MAX_RECLAIM_RETRIES rounds,
	// though there may be more to swap out
	if room.Lo >= w.remains+w.swapFor(dir) {
		w.squeezed = nil
		return []*world{w}
	}
	again := w.clone()
	again.stacks = 0
	killing := again.oom(dir, []string{Elsewhere}, false)
	if room.Hi < 0 {
		return killing
	}
	w.squeezed = nil
	if room.Mid() < 0 {
		return append(killing, w)
	}
	return append([]*world{w}, killing...)
}
