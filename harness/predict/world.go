package predict

import (
	"maps"
	"slices"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/stressor/profile"
)

// phase is where a process is in its life.
type phase int

const (
	waiting phase = iota // not started
	running
	holding // has done its steps and keeps what it has
	ended   // exited, or killed by something that is not the OOM killer
	killed  // by the OOM killer
)

// proc is a process in the model. It is copied by value when the course of
// events forks.
type proc struct {
	p       *plan.Process
	base    kernel.Footprint // before its steps
	costs   pageCosts
	phase   phase
	pc      int   // index of the step it is at
	rest    Range // what is left of that step, in pages, if partial
	partial bool
	goal    Range        // what anon or shm will be when the segment is done, if partial
	anon    Range        // taken by steps, charged and scored
	shm     Range        // the same of shared memory, which has a counter of its own
	file    Range        // of files in a tmpfs: charged, not scored, and there when the process is gone
	fresh   bool         // may not have come as far as its first step
	freed   bool         // has given some of it back
	forks   int          // children that it has forked
	sharer  bool         // of its parent's memory
	huge    kernel.Pages // of the pool of explicit huge pages
	mapped  kernel.Pages // of files
	mapping kernel.Pages // mapped at once, and not touched
	// A program of the user's own may start others: at most so many at one time, which
	// hold at most that together.
	descendants int
	theirs      kernel.Pages
	cache       Range // charged while there is room, and perhaps scored: page cache
	adj         int
	lives       int  // how often it was started again
	order       int  // scan order: when it joined its cgroup, which is when it was forked
	stop        bool // SIGSTOP or a frozen cgroup
	doomed      bool // its overseer stops it, and kills it when it has done its steps
	ends        Ends
	// throttled by memory.high; makes no progress worth counting
	throttled bool
	// On a machine with several NUMA nodes: those that it may use, by what, the domain that
	// is full with them, and what it has on each.
	nodes  kernel.Nodes
	numa   Nodes
	domain string // empty: the machine
	on     []Range
	// oom: a process of the container whose first process this is was OOM-killed
	// in this life of it.
	oom bool
}

// alive reports whether the OOM killer can see the process.
func (p *proc) alive() bool { return p.phase == running || p.phase == holding }

// world is one possible state of things.
type world struct {
	rules      Rules
	m          *kernel.Machine
	plan       *plan.Plan
	measured   map[string]Measured
	look       *lookup
	budget     *budget
	setOf      []int // of equal processes, see alike; nil: each is followed by itself
	procs      []proc
	cgroups    []plan.Cgroup // with limits as they are now
	sysctls    map[string]string
	swapOn     kernel.Bytes
	during     []bool // done
	joined     int
	steps      []Step // kills so far
	panic      string
	noVictim   bool // nobody could be killed
	gaveUp     bool // nobody could be killed for a limit that was lowered
	doubts     string
	unforeseen string       // why nothing can be said of what comes after the last kill, or who it took
	eligible   []string     // whom it may have taken
	squeezed   *string      // a cgroup whose limit was just lowered
	remains    kernel.Pages // of those that were killed for that, at most
	left       []string     // the cgroups they were in
	stacks     kernel.Pages // of their threads, of those who were killed last
	unusing    bool         // swap is being switched off: what was in it comes back
	orphans    []string     // domains with victims whose pages were in swap meanwhile
	swapped    bool         // there has been swap before
	overlapped bool         // a second process was killed before the first had left

	// of pods
	past     []life
	evicted  []string
	mayEvict bool // whether the kubelet evicts depends on when it looks
}

func (w *world) clone() *world {
	w.budget.spend(perEvent + 2*len(w.procs) + len(w.cgroups) + len(w.steps))
	c := *w
	c.procs = slices.Clone(w.procs)
	c.cgroups = slices.Clone(w.cgroups)
	c.sysctls = maps.Clone(w.sysctls)
	c.during = slices.Clone(w.during)
	c.steps = slices.Clip(w.steps)
	return &c
}

func (w *world) find(name string) *proc {
	if i, ok := w.look.procs[name]; ok {
		return &w.procs[i]
	}
	return nil
}

// charges are what the processes in a cgroup and below it are charged, and what
// the cgroups below it cost; the empty path is the machine.
func (w *world) charges(dir string) []Range {
	if d, ok := w.look.nodes[dir]; ok {
		return w.nodesCharges(d)
	}
	var out []Range
	for i := range w.procs {
		p := &w.procs[i]
		if !kernel.InCgroup(p.p.Cgroup, dir) || w.rules.mistake == fileGoes && !p.alive() {
			continue
		}
		out = append(out, p.charge())
		if w.rules.mistake == cacheStays && p.alive() {
			out = append(out, exactly(p.cache.Hi))
		}
	}
	var cgroups Range // each costs the same: they do err to the same side
	for i := range w.cgroups {
		c := &w.cgroups[i]
		if c.Path != dir && kernel.InCgroup(c.Path, dir) {
			cgroups = cgroups.plus(w.cgroupCost())
		}
		if kernel.InCgroup(c.Path, dir) && !(dir == "" && c.Path == kubelet.NodeRoot) {
			out = append(out, w.extra(c))
		}
	}
	return append(out, cgroups)
}

// usage is the sum of all charges.
func (w *world) usage(dir string) Range { return together(w.charges(dir)...) }

// room is what a domain has left.
func (w *world) room(dir string) Range {
	parts := w.charges(dir)
	for i, c := range parts {
		parts[i] = Range{-c.Hi, -c.Lo}
	}
	return together(append(parts, w.capacity(dir))...)
}

// extra is what is charged to a cgroup that is no process's: while there is
// something in it.
func (w *world) extra(c *plan.Cgroup) Range {
	if c.Extra == nil || c.Path != kubelet.NodeRoot && !w.runs(c.Path) {
		return Range{}
	}
	return Range{c.Extra.Least.Pages(w.m.PageSize), c.Extra.Most.Pages(w.m.PageSize)}
}

// cgroupCost is what a cgroup costs the one above it, in pages: its structures
// and, for each CPU, its statistics are charged to the parent
// (mem_cgroup_alloc()). That is why a pod whose only container has the same
// limit is hit before the container is.
func (w *world) cgroupCost() Range { return Range{0, 3 + 3*kernel.Pages(max(1, w.m.CPUs))} }

// capacity is how much can be charged to a domain before its OOM killer runs.
func (w *world) capacity(dir string) Range {
	if d, ok := w.look.nodes[dir]; ok {
		return w.nodesCapacity(d)
	}
	page := w.m.PageSize
	if dir == "" {
		// The allocator gives up near the min watermarks, after page cache and
		// slab that can be reclaimed are gone; how much of "available" that
		// really is differs from boot to boot. It never gets far below them:
		// what may go on allocating there is atomic, and little.
		pooled := w.pooled()
		free := w.m.MemAvailable.Pages(page) - pooled
		most := max(free+free/32, w.m.MemFree.Pages(page)-pooled-w.m.WatermarkMin/4+256)
		least := free - free/16 - 2*w.m.WatermarkMin
		switch {
		case w.m.MemFree > w.m.MemAvailable:
			// Next to nothing can be reclaimed, and the allocator gives up at the
			// min watermarks: within 1300 pages in a fresh guest.
			least = max(least, w.m.MemFree.Pages(page)-pooled-w.m.WatermarkMin-2000)
		case w.m.MemFree > 0:
			// Of page cache that there is much of, the kernel counts as available
			// what is above the low watermarks, and of all that what is above the
			// high ones and the DMA zone (si_mem_available()). When nobody can be
			// helped, all of the cache is gone, and the min watermarks are left.
			most = max(most, free+free/64+2*w.m.WatermarkMin+dmaZone.Pages(page))
		}
		if pooled != 0 {
			least -= onLists
		}
		// The allocator drains the lists of the processors before it gives up
		// (__alloc_pages_direct_reclaim), and they fill again.
		most += w.m.FreePCP
		room := Range{least, most}.shift((w.swapOn - w.zram()).Pages(page))
		return room.plus(w.zramSaves(room))
	}
	c := w.cgroup(dir)
	if c == nil || c.Max == nil {
		return exactly(1 << 50)
	}
	slack := w.slack()
	if swap := w.swapFor(dir); swap > 0 {
		slack += swapSlack + swap/2
	}
	return exactly(w.limit(dir)).widen(slack, 6)
}

// onLists is what the lists of free pages of a processor may hold back beyond that, when huge
// pages were taken off: since 5.13 they keep pages of that order as well (pcp_allowed_order()).
const onLists = 1024

// dmaZone is the zone below 16Mi on x86, which is kept for those who can use no other
// memory. On arm64 it is room for what else is not known.
const dmaZone = 16 * kernel.MiB

// limit is how much a limited cgroup may hold, swap included, in pages.
func (w *world) limit(dir string) kernel.Pages {
	return kernel.Pages(*w.cgroup(dir).Max/w.m.PageSize) + w.swapFor(dir)
}

// swapFor is the swap that memory charged to a cgroup can go to: the least of
// its own limit, its ancestors' and the machine's.
func (w *world) swapFor(dir string) kernel.Pages {
	if w.swapOn == 0 {
		return 0
	}
	key := swapKey{dir, w.swapOn}
	if free, ok := w.look.swaps[key]; ok {
		return free.Pages(w.m.PageSize)
	}
	free := w.swapOn
	for i := range w.cgroups {
		if c := &w.cgroups[i]; c.SwapMax != nil && kernel.InCgroup(dir, c.Path) {
			free = min(free, *c.SwapMax)
		}
	}
	if below, limited := w.swapBelow(dir); limited {
		free = min(free, below)
	}
	w.look.swaps[key] = free
	return free.Pages(w.m.PageSize)
}

// swapBelow is the swap that those who hold memory in a domain may use together,
// by limits that lie below it; not limited if one of them has none.
func (w *world) swapBelow(dir string) (sum kernel.Bytes, limited bool) {
	seen := map[string]bool{}
	for i := range w.procs {
		path := w.procs[i].p.Cgroup
		if seen[path] || path == dir || !kernel.InCgroup(path, dir) {
			continue
		}
		seen[path] = true
		own := w.cgroup(path)
		if own == nil || own.SwapMax == nil {
			return 0, false
		}
		sum += *own.SwapMax
	}
	return sum, len(seen) > 0
}

func (w *world) cgroup(path string) *plan.Cgroup {
	if i, ok := w.look.cgroups[path]; ok {
		return &w.cgroups[i]
	}
	return nil
}

// domains are the limits above a process, the nearest first, then the NUMA nodes that it
// is confined to, the machine last. The page allocator comes before try_charge_memcg().
func (w *world) domains(p *proc) []string {
	path := p.p.Cgroup
	var out []string
	for i := range w.cgroups {
		if c := &w.cgroups[i]; c.Max != nil && kernel.InCgroup(path, c.Path) {
			out = append(out, c.Path)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return len(b) - len(a) })
	if p.domain != "" {
		out = append(out, p.domain)
	}
	return append(out, "")
}

// total is oc->totalpages of a domain.
func (w *world) total(dir string) kernel.Pages {
	if d, ok := w.look.nodes[dir]; ok {
		return NodesTotal(*w.m, d.nodes, w.swapOn)
	}
	if dir == "" {
		return kernel.Pages((w.m.MemTotal + w.swapOn) / w.m.PageSize)
	}
	c := w.cgroup(dir)
	swappiness := 60
	if w.sysctls["vm.swappiness"] == "0" {
		swappiness = 0
	}
	return TotalPages(c.Max, c.SwapMax, w.swapOn, swappiness, w.m.PageSize)
}

// segment is what a process takes without stopping in between: consecutive
// steps that only grow, perhaps after a sleep.
type segment struct {
	p    *proc
	kind profile.Memory
	want Range
	// refused: it ends when it has taken that, because the kernel promises no more; it
	// wanted whole.
	refused bool
	whole   Range
	slow    float64 // pages a second, at least
	fast    float64 // and at most
	until   int     // pc when it is done
	// it begins this many seconds from now
	wakeEarly, wakeLate float64
}

// The speed of a stressor that was given no rate: from an emulated CPU that
// also runs something else to the fastest machine there is, in bytes a second.
const (
	slowest = 20 << 20
	fastest = 16 << 30
)

// endless is what `leak` wants: more than any machine has.
const endless = kernel.Pages(1 << 40)
