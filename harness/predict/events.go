package predict

import (
	"math"
	"slices"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/stressor/profile"
)

// settled reports whether a process that others wait for lets them start: it
// holds what it was told to, or it is gone for good.
func (w *world) settled(name string) bool {
	p := w.find(name)
	return p == nil || p.phase == holding || p.phase == ended || p.phase == killed
}

func (w *world) allSettled(names []string) bool {
	for _, name := range names {
		if !w.settled(name) {
			return false
		}
	}
	return true
}

// start lets the first process begin that waits for nothing any more.
func (w *world) start() bool {
	for i := range w.procs {
		p := &w.procs[i]
		if p.phase == waiting && p.p.Parent == "" && w.allSettled(p.p.After) && w.succeeded(p.p.NeedsSuccess) {
			w.launch(p)
			return true
		}
	}
	return false
}

func (w *world) launch(p *proc) {
	w.joined++
	p.phase, p.pc, p.rest, p.order = running, 0, Range{}, w.joined
	p.anon, p.shm, p.cache, p.partial, p.throttled = Range{}, Range{}, Range{}, false, false
	p.file = Range{}
	p.freed, p.forks, p.fresh, p.huge, p.mapped, p.mapping = false, 0, true, 0, 0, 0
	if p.p.IsCommand() {
		p.cache.Hi = programText
	}
	p.ends = Ends{Alive: true}
	if w.strict() && w.commitRoom(p).Lo < 0 && !p.sharer {
		w.doubts = p.p.Name + " may not start: it maps more than the commit limit leaves"
	}
	if p.takesTables() && w.swapFor(p.p.Cgroup) > 0 {
		w.doubts = p.p.Name + " takes page tables, which cannot be swapped: when memory is short is not known"
	}
}

// takesTables reports whether one of the steps is for page tables.
func (p *proc) takesTables() bool {
	return slices.ContainsFunc(p.p.Profile.Steps, func(s profile.Step) bool {
		return s.Op.Row().Memory == profile.TableMemory
	})
}

// programText is how much of a program and its libraries may be resident beside
// what was measured, in pages: it is scored, and charged to the cgroup that read it first.
const programText = 2048

// instant carries out the first step that takes no memory which a limit could
// refuse, and so happens at once as far as the OOM killer is concerned.
func (w *world) instant() bool {
	for i := range w.procs {
		p := &w.procs[i]
		if p.phase != running || p.stop || p.throttled {
			continue
		}
		steps := p.p.Profile.Steps
		if p.pc >= len(steps) {
			w.hold(p)
			return true
		}
		s := steps[p.pc]
		amount := exactly(kernel.Bytes(s.Bytes).Pages(w.m.PageSize))
		switch s.Op {
		case profile.Hold:
			w.hold(p)
			return true
		case profile.Exit:
			p.phase, p.ends = ended, Ends{Code: s.Code}
			w.orphan(p.p.Name)
			if w.contained() {
				w.over(p)
				w.revive(p, false)
			}
			return true
		case profile.Free:
			p.release(amount)
		case profile.Fork:
			if child := w.find(s.Name); child != nil {
				w.launch(child)
				p.forks++
				if child.sharer {
					w.adjust(child, child.adj) // set after the fork, and passed on to the parent
				}
			}
		case profile.Wait:
			if !w.gone(s.Name) {
				continue
			}
		case profile.SwapOut:
		default:
			switch s.Op.Row().Memory {
			case profile.PageCache: // it fills what room there is and makes room when asked
				p.cache.Hi += amount.Hi
				if s.Op == profile.File {
					p.mapped += amount.Hi
				}
			case profile.HugePool:
				huge := w.m.HugePageSize().Pages(w.m.PageSize)
				p.huge += (amount.Hi + huge - 1) / huge * huge
			default:
				continue // grows, or sleeps
			}
		}
		p.pc++
		return true
	}
	return false
}

// hold: a process has done its steps.
func (w *world) hold(p *proc) {
	if p.phase, p.fresh = holding, false; p.doomed {
		p.phase, p.ends = ended, Ends{Signal: kernel.SignalNumber("SIGKILL")}
		w.orphan(p.p.Name)
	}
}

// release gives memory back, last taken first: a stressor's steps say of which
// kind that is.
func (p *proc) release(amount Range) {
	p.freed = true
	for i := p.pc - 1; i >= 0; i-- {
		row := p.p.Profile.Steps[i].Op.Row()
		switch row.Memory {
		case profile.SharedMemory, profile.TmpfsFile:
			has := p.of(row.Memory)
			*has = has.minus(amount).floor(0)
			return
		case profile.HugePool:
			p.huge = max(0, p.huge-amount.Hi)
			return
		case profile.PageCache:
			p.cache = p.cache.minus(amount).floor(0)
			p.mapped = max(0, p.mapped-amount.Hi)
			return
		}
		if row.Charged() {
			break
		}
	}
	p.anon = p.anon.minus(amount).floor(0)
}

// took adds to what a segment's process has taken.
func (s segment) took(p *proc, g Range) { s.set(p, s.has(p).plus(g)) }

func (w *world) gone(name string) bool {
	p := w.find(name)
	return p == nil || p.phase == ended || p.phase == killed
}

// orphan ends the children of a process that is gone: a stressor's children
// have PR_SET_PDEATHSIG.
func (w *world) orphan(parent string) {
	for i := range w.procs {
		c := &w.procs[i]
		if c.p.Parent == parent && c.alive() {
			c.phase, c.ends = ended, Ends{Signal: kernel.SignalNumber("SIGKILL")}
			w.orphan(c.p.Name)
		}
	}
}

// segments is every growth that goes on or lies behind a sleep.
func (w *world) segments() []segment {
	var out []segment
	for i := range w.procs {
		p := &w.procs[i]
		if p.phase != running || p.stop || p.throttled {
			continue
		}
		if s, ok := w.next(p); ok {
			out = append(out, s)
		}
	}
	return out
}

// next is what lies ahead of a running process: sleeps, then growth; false if
// its next step is of another kind.
func (w *world) next(p *proc) (segment, bool) {
	s := segment{p: p, until: p.pc, slow: math.Inf(1)}
	steps := p.p.Profile.Steps
	for ; s.until < len(steps) && steps[s.until].Op == profile.Sleep; s.until++ {
		d := float64(steps[s.until].DurationMS) / 1000
		s.wakeEarly += d
		s.wakeLate += 1.5*d + 1
	}
	page := float64(w.m.PageSize)
	var kind profile.Memory
	if s.until < len(steps) {
		kind = steps[s.until].Op.Row().Memory
	}
	s.kind = kind
	for ; s.until < len(steps); s.until++ {
		step := steps[s.until]
		if row := step.Op.Row(); !row.Charged() || row.Memory != kind {
			break
		}
		want := w.want(p, step)
		if s.until == p.pc && p.partial {
			want = p.rest
		}
		slow, fast := float64(slowest)/page, float64(fastest)/page
		if kind == profile.TmpfsFile {
			slow /= 4 // write(2) copies byte by byte on an emulated CPU
		}
		if step.Rate > 0 {
			fast = float64(step.Rate) / page * 1.1
			slow = min(slow, float64(step.Rate)/page*0.6)
		}
		s.slow, s.fast = min(s.slow, slow), max(s.fast, fast)
		s.want = s.want.plus(want)
	}
	return s, s.until > p.pc
}

func (w *world) want(p *proc, s profile.Step) Range {
	if s.Op.Row().Unbounded() {
		return exactly(endless)
	}
	want := exactly(kernel.Bytes(s.Bytes).Pages(w.m.PageSize))
	if p.p.IsCommand() {
		want.Hi += p.theirs
		return want.widen(want.Lo/8, want.Hi/8) // what was measured once
	}
	return want
}

// at bounds how much of the segment is done t seconds from now.
func (s segment) least(t float64) kernel.Pages { return take(s.want.Lo, s.slow*(t-s.wakeLate)) }
func (s segment) most(t float64) kernel.Pages  { return take(s.want.Hi, s.fast*(t-s.wakeEarly)) }

// surely is least where the room is meant that there is when the process holds as
// little as it may: one that was stopped on its way then has all the more to go.
func (s segment) surely(t float64) kernel.Pages {
	want := s.want.Lo
	if s.p.partial && !s.refused {
		want = max(want, s.p.goal.Lo-s.has(s.p).Lo)
	}
	return take(want, s.slow*(t-s.wakeLate))
}

func take(want kernel.Pages, grown float64) kernel.Pages {
	if !(grown > 0) {
		return 0
	}
	if grown >= float64(want) {
		return want
	}
	return kernel.Pages(grown)
}

// never is a time that does not come within any run, in seconds.
const never = 1e9

// when is the first moment at which grown reaches enough, by bisection; never
// if it does not.
func when(grown func(t float64) kernel.Pages, enough kernel.Pages) float64 {
	if enough <= 0 {
		return 0
	}
	if grown(never) < enough {
		return never
	}
	lo, hi := 0.0, never
	for range 80 {
		mid := (lo + hi) / 2
		if grown(mid) >= enough {
			hi = mid
		} else {
			lo = mid
		}
	}
	return hi
}

// overflow is a domain that the growth ahead may fill, and when.
type overflow struct {
	dir         string
	room        Range
	early, late float64
}

// grow lets everything that grows go on until it is done or a limit is hit. It
// returns the worlds that may follow, the likeliest first.
func (w *world) grow(segs []segment) []*world {
	if w.throttle(segs) {
		return []*world{w}
	}
	if next := w.promise(segs); next != nil {
		return next
	}
	return w.proceed(segs)
}

// proceed is grow where everybody gets the address space that is asked for.
func (w *world) proceed(segs []segment) []*world {
	var hits []overflow
	first, certain := float64(never), false
	for _, dir := range w.nearest(w.domainsOf(segs), segs) {
		o := overflow{dir: dir, room: w.room(dir)}
		total := func(f func(segment, float64) kernel.Pages) func(float64) kernel.Pages {
			return func(t float64) kernel.Pages {
				return w.grown(dir, segs, func(s segment) kernel.Pages { return f(s, t) })
			}
		}
		o.early = when(total(segment.most), o.room.Lo+1)
		o.late = when(total(segment.surely), o.room.Hi+1)
		if o.early >= never || !w.mayFill(dir, segs, o.room) {
			continue
		}
		hits = append(hits, o)
		if o.late < never {
			first, certain = min(first, o.late), true
		}
	}
	var out, unlikely []*world
	for _, o := range hits {
		if o.early > first {
			continue // another limit is hit before, whatever happens
		}
		next := w.clone()
		if next.evictsFirst(o.dir, segs) {
			if other := next.preempt(segs, o); other != nil {
				out = append(out, other)
				continue
			}
		}
		triggers := next.advance(segs, o, min(o.late, first))
		branches := next.oom(o.dir, triggers, false)
		if o.late < never || (o.dir != "" && !certain && w.middling(segs, o)) {
			out = append(out, branches...)
		} else {
			unlikely = append(unlikely, branches...)
		}
	}
	if !certain {
		next := w.clone()
		next.finish(segs)
		if len(out) == 0 {
			out = append(out, next)
		} else {
			unlikely = append(unlikely, next)
		}
	}
	return append(out, unlikely...)
}

// mayFill reports whether a room can be filled at all. A process that was
// stopped on its way wants what is left of its goal: where it may have come
// further, it wants less.
func (w *world) mayFill(dir string, segs []segment, room Range) bool {
	var most kernel.Pages
	for _, s := range segs {
		if !w.inside(s.p, dir) {
			continue
		}
		want := s.want.Hi
		if s.p.partial {
			want = min(want, max(0, s.p.goal.Hi-s.has(s.p).Hi))
		}
		most += want
	}
	return most+most/w.costs().perTable() > room.Lo
}

// grown is by how much the segments fill a domain, when each would take what f
// says: in a domain of its own below, and on the nodes that it is confined to, no more than
// there is room for.
func (w *world) grown(dir string, segs []segment, f func(segment) kernel.Pages) kernel.Pages {
	var sum kernel.Pages
	below := map[string][]segment{}
	for _, s := range segs {
		if !w.inside(s.p, dir) {
			continue
		}
		child := w.limitBelow(dir, s.p.p.Cgroup)
		if dir == "" && s.p.domain != "" {
			child = s.p.domain
		}
		if child != "" {
			below[child] = append(below[child], s)
			continue
		}
		g := f(s)
		sum += g + g/w.costs().perTable()
	}
	for child, segs := range below {
		sum += min(w.grown(child, segs, f), max(w.room(child).Hi, 0))
	}
	return sum
}

// limitBelow is the limited cgroup below dir and nearest to it that path is in;
// empty if there is none.
func (w *world) limitBelow(dir, path string) string {
	dir = w.tree(dir)
	best := ""
	for i := range w.cgroups {
		c := &w.cgroups[i]
		if c.Max != nil && c.Path != dir && kernel.InCgroup(path, c.Path) && kernel.InCgroup(c.Path, dir) &&
			(best == "" || len(c.Path) < len(best)) {
			best = c.Path
		}
	}
	return best
}

// nearest drops limits that cannot be the first to be hit because another one,
// below or above them in the tree, is nearer for everybody who grows. What is
// uncertain about the two rooms is the same in both, so their difference is
// known better than they are.
func (w *world) nearest(dirs []string, segs []segment) []string {
	return slices.DeleteFunc(slices.Clone(dirs), func(dir string) bool {
		return slices.ContainsFunc(dirs, func(other string) bool {
			if w.global(dir) || w.global(other) || dir == other {
				return false // the room of the machine and of its nodes is uncertain in its own way
			}
			for _, s := range segs {
				if !w.inside(s.p, dir) || !w.inside(s.p, other) {
					return false
				}
			}
			child, parent := dir, other
			if kernel.InCgroup(other, dir) {
				child, parent = other, dir
			}
			// what the parent has to spare when the child is full
			spare := exactly(w.limit(parent) - w.limit(child)).minus(w.beside(parent, child))
			if dir == child {
				return spare.Hi < 0
			}
			return spare.Lo > 0
		})
	})
}

// beside is what is charged to parent and not to child, which is inside it.
func (w *world) beside(parent, child string) Range {
	var parts []Range
	for i := range w.procs {
		if p := &w.procs[i]; kernel.InCgroup(p.p.Cgroup, parent) && !kernel.InCgroup(p.p.Cgroup, child) {
			parts = append(parts, p.charge())
		}
	}
	var cgroups Range
	for i := range w.cgroups {
		c := w.cgroups[i].Path
		if c != parent && kernel.InCgroup(c, parent) && (c == child || !kernel.InCgroup(c, child)) {
			cgroups = cgroups.plus(w.cgroupCost())
		}
		if kernel.InCgroup(c, parent) && !kernel.InCgroup(c, child) {
			parts = append(parts, w.extra(&w.cgroups[i]))
		}
	}
	return together(append(parts, cgroups)...)
}

// middling reports whether a hit that is not certain is likely all the same:
// the middle of what is wanted exceeds the middle of the room.
func (w *world) middling(segs []segment, o overflow) bool {
	var want kernel.Pages
	for _, s := range segs {
		if w.inside(s.p, o.dir) {
			want += s.want.Mid()
		}
	}
	return want > o.room.Mid()
}

func (w *world) domainsOf(segs []segment) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range segs {
		for _, d := range w.domains(s.p) {
			if !seen[d] {
				seen[d] = true
				out = append(out, d)
			}
		}
	}
	return out
}

// advance moves every segment to the moment between o.early and late at which
// o.dir is full. It returns who may be the one that asked for the page too many.
func (w *world) advance(segs []segment, o overflow, late float64) []string {
	grown := make([]Range, len(segs))
	var sum Range
	for i, s := range segs {
		grown[i] = Range{s.least(o.early), s.most(late)}
		if w.inside(s.p, o.dir) {
			sum = sum.plus(grown[i])
		}
	}
	var triggers []string
	growers := 0
	for i, s := range segs {
		if w.inside(s.p, o.dir) && grown[i].Hi > 0 {
			growers++
		}
	}
	for i, s := range segs {
		g := grown[i]
		alone := growers == 1 && g.Hi > 0 && w.inside(s.p, o.dir)
		if w.inside(s.p, o.dir) {
			// all of them together have just filled the room
			others := sum.minus(Range{g.Hi, g.Lo})
			g.Lo = max(g.Lo, min(g.Hi, o.room.Lo-others.Hi-w.costs().tables(others).Hi))
			g.Hi = max(g.Lo, min(g.Hi, o.room.Hi-others.Lo))
			g.Lo -= min(g.Lo, s.beside(g).Hi)
			if s.want.Hi > 0 && s.wakeEarly <= late {
				triggers = append(triggers, s.p.p.Name)
			}
		}
		p := w.find(s.p.p.Name)
		if !p.partial {
			p.goal = s.has(p).plus(s.wanted())
		}
		s.took(p, g)
		s.set(p, s.has(p).ceil(p.goal.Hi)) // stopped and going on again, it still comes to its goal
		if p.fresh = p.fresh && g.Lo <= 0 && !alone; alone {
			w.fit(s, p, o.dir)
		}
		if g.Hi > 0 {
			p.rest, p.partial = p.goal.minus(s.has(p)).floor(0), true
			p.pc = s.until - 1
		}
	}
	return append(triggers, w.still(segs, o.dir)...)
}

// still are those in a domain who, as far as the model goes, have taken all they
// want by now, and may yet be at it: nobody who grows has waited for them.
func (w *world) still(segs []segment, dir string) []string {
	var out []string
	for i := range w.procs {
		p := &w.procs[i]
		if p.phase != holding || p.sharer || p.anon.Hi+p.shm.Hi+p.file.Hi == 0 || !w.inside(p, dir) {
			continue
		}
		waited := func(s segment) bool { return w.waitedFor(s.p.p, p.p.Name) }
		if !slices.ContainsFunc(segs, waited) {
			out = append(out, p.p.Name)
		}
	}
	return out
}

// waitedFor reports whether a process, or who forked it, began only after the
// named one had settled. Who forks counts as settled: the child is what it does
// next.
func (w *world) waitedFor(p *plan.Process, name string) bool {
	return w.look.waits(w.procs, p.Name)[name]
}

// fit works out from the other end what the only process that grows in a full
// domain has: all that the others have not. What was uncertain about it before
// does not matter then.
func (w *world) fit(s segment, p *proc, dir string) {
	before, started := s.has(p), p.pc == 0
	s.set(p, Range{})
	left := w.room(dir) // with what goes with the pages that are taken
	beside := s.beside(left)
	has := Range{left.Lo - beside.Hi, left.Hi - beside.Lo}
	has = Range{max(has.Lo, before.Lo), min(has.Hi, before.Hi)}
	if has.Lo > has.Hi {
		has = before // the bounds of others are too narrow; leave it alone
	}
	s.set(p, has)
	// where there is next to no room, a process hits the limit as it starts
	p.fresh = started && has.Lo <= 0
}

// beside is what an amount that the segment takes costs in page tables or, for a file that
// nobody maps, in the nodes that index it.
func (s segment) beside(amount Range) Range {
	if s.kind == profile.TmpfsFile {
		return s.p.costs.nodes(amount)
	}
	return s.p.costs.tables(amount)
}

// wanted is what the segment's process wants, refused or not.
func (s segment) wanted() Range {
	if s.refused {
		return s.whole
	}
	return s.want
}

// has is what a process has of the kind that a segment takes.
func (s segment) has(p *proc) Range { return *p.of(s.kind) }

func (s segment) set(p *proc, r Range) { *p.of(s.kind) = r }

// of is what the process has of a kind of memory.
func (p *proc) of(kind profile.Memory) *Range {
	switch kind {
	case profile.SharedMemory:
		return &p.shm
	case profile.TmpfsFile:
		return &p.file
	}
	return &p.anon
}

// finish lets every segment come to its end.
func (w *world) finish(segs []segment) {
	for _, s := range segs {
		p := w.find(s.p.p.Name)
		if p.partial {
			s.set(p, p.goal)
		} else {
			s.took(p, s.want)
		}
		p.fresh = false
		p.pc, p.rest, p.partial = s.until, Range{}, false
		if s.refused {
			w.fails(p)
		}
	}
}

// crawl is how much a throttled process still takes within a run, in pages: at
// most a batch of 64 pages between sleeps that soon last 2 s, more while it is
// just above memory.high.
const crawl = 2048

// throttle stops what would grow past memory.high, which never kills
// (mem_cgroup_handle_over_high). It reports whether it changed anything.
func (w *world) throttle(segs []segment) bool {
	for i := range w.cgroups {
		c := &w.cgroups[i]
		if c.High == nil {
			continue
		}
		var want Range
		for _, s := range segs {
			if kernel.InCgroup(s.p.p.Cgroup, c.Path) {
				want = want.plus(s.want)
			}
		}
		room := exactly(kernel.Pages(*c.High / w.m.PageSize)).minus(w.usage(c.Path)).shift(w.swapFor(c.Path))
		if want.Lo <= room.Hi+crawl {
			continue
		}
		if c.Max != nil && *c.Max/w.m.PageSize < *c.High/w.m.PageSize+crawl {
			continue // memory.max is so near that it is hit first
		}
		for _, s := range segs {
			if !kernel.InCgroup(s.p.p.Cgroup, c.Path) {
				continue
			}
			g := Range{0, min(s.want.Hi, room.Hi+crawl)}
			p := w.find(s.p.p.Name)
			s.took(p, g)
			p.throttled = true
		}
		return true
	}
	return false
}
