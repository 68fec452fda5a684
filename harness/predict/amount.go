package predict

import (
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
)

// What a stressor costs, and what oom_badness() reads of it. A stressor costs
// the same wherever it starts, to a few pages: the bounds below were measured
// with oomlab chaos (docs/model.md). Amounts are in pages.

// drift is how far a stressor's own resident set is from the one that was measured:
// the Go runtime touches a few pages after the stressor has counted, and a few more
// in one that was forked by another, or has freed memory. Of 1,000 stressors on
// five kernels one in forty is outside, most of them with a thread more.
func (p *proc) drift() Range {
	d := Range{2, 3}
	if p.p.Parent != "" {
		d = Range{3, 6}
	}
	if p.freed {
		d.Hi += 5
	}
	return d
}

// chargeDrift is how far what it is charged with is from that.
var chargeDrift = Range{1, 5}

// margin is how much further from its bounds a score may be before it
// contradicts the model. One stressor in a hundred has a thread more than the
// others, and 17 pages with it. Who is chosen is worked out without it: there it
// would leave many kills open that hardly any of such stressors decides.
func (w *world) margin() kernel.Pages {
	if w.m.Badness == kernel.ReadsExact {
		return 40
	}
	return 40 + max(32, 2*kernel.Pages(w.m.CPUs))
}

// resident is what the process has resident or in swap, exactly counted, file
// pages left out that only a program of the user's own may have.
func (p *proc) resident() Range {
	r := exactly(p.base.RSS()).plus(p.drift()).plus(p.anon).plus(p.shm)
	return r.plus(p.costs.threadsRSS(p.p.Profile.Threads)).plus(p.costs.forks(p.forks))
}

// sharerCost is what a process without memory of its own is charged with.
var sharerCost = Range{2, 10}

// charge is what the process costs its cgroup and the machine.
func (p *proc) charge() Range {
	left := p.file.plus(p.costs.nodes(p.file)) // whoever wrote it
	if !p.alive() {
		return left
	}
	if p.sharer {
		return sharerCost
	}
	c := p.idleCharge().plus(p.anon).plus(p.shm).plus(p.costs.tables(p.anon.plus(p.shm)))
	c = c.plus(p.costs.nodes(p.shm)).plus(left)
	n := p.p.Profile.Threads
	c = c.plus(p.costs.threadsRSS(n)).plus(Range{p.costs.threads(n, leastThread), p.costs.threads(n, mostThread)})
	c = c.plus(p.costs.forkCharge(p.forks)).plus(p.fileCharge())
	if p.fresh {
		c.Lo = 0
	}
	return c
}

// lastCache is how much page cache may be left when reclaim gives up.
const lastCache = 96

// fileCharge is what files leave charged when their pages are gone: the page tables of
// their mappings, and the nodes that remember which pages there were (workingset).
func (p *proc) fileCharge() Range {
	if p.cache.Hi <= 0 || p.p.IsCommand() {
		return Range{}
	}
	return p.costs.tables(exactly(p.mapped)).plus(Range{0, p.costs.nodes(p.cache).Hi + lastCache})
}

// idleCharge is what an idle process is charged with. The measured charge holds
// up to a batch of pages that each CPU has taken in advance (MEMCG_CHARGE_BATCH)
// and that are given back before anybody is killed (drain_all_stock()): where it
// fits what the process is known to have, that counts.
func (p *proc) idleCharge() Range {
	b := p.base
	known := b.Anon + b.PgTable + p.costs.threads(b.Threads, perThread)
	if over := b.Charged - known; over >= -24 && over <= 80 && !p.p.IsCommand() {
		return exactly(known).widen(1, 1).plus(chargeDrift)
	}
	return exactly(b.Charged).widen(b.Charged/4, b.Charged/4+32)
}

// slack is what may be charged to a cgroup whose limit is hit without being
// anybody's: batches that other CPUs took while the stocks were drained, and
// kernel memory.
func (w *world) slack() kernel.Pages { return 64*kernel.Pages(max(1, w.m.CPUs)-1) + 8 }

// swapSlack is how much swap may be left unused when the OOM killer is called:
// pages that are on their way are charged to memory still (the swap cache), and
// reclaim gives up before they have got there.
const swapSlack = 768

// score is what oom_badness() says of the process in the domain dir.
func (w *world) score(p *proc, dir string, total kernel.Pages) Range {
	adj := p.adj
	if p.sharer {
		if parent := w.find(p.p.Parent); parent != nil {
			p = parent // the memory is the same
		}
	}
	rss, tables := w.read(p, dir), w.pageTables(p)
	if w.contained() && kubelet.DomainOf("memcg", dir) != kubelet.InContainer {
		// A program in an image is a file on a disk: when a node runs out, reclaim
		// takes the pages of its text from idle processes. So it does at the limit of a
		// pod that was the first to read them, and is charged for them.
		rss.Lo -= p.base.File + p.base.Shmem
	}
	if w.rules.mistake == fileScored {
		rss = rss.plus(p.file)
	}
	points := func(rss, tables kernel.Pages) kernel.Pages {
		t := Task{RSS: rss, PgTables: tables.Bytes(w.m.PageSize), Adj: adj}
		return kernel.Pages(Points(t, total, w.rules))
	}
	return Range{points(rss.Lo, tables.Lo), points(rss.Hi+w.cacheMapped(p, dir), tables.Hi)}
}

// cacheMapped is the most that a process may have mapped of page cache when somebody is
// killed: of a stressor's files what it has read through a mapping and, where a limit is hit,
// what reclaim has left of that.
func (w *world) cacheMapped(p *proc, dir string) kernel.Pages {
	switch {
	case p.p.IsCommand():
		return p.cache.Hi
	case dir == "": // SysRq f does not reclaim before
		return min(p.mapped, p.cache.Hi)
	}
	return min(p.mapped, p.cache.Hi, lastCache)
}

func (w *world) pageTables(p *proc) Range {
	t := exactly(p.base.PgTable).plus(p.costs.tables(p.anon.plus(p.shm)))
	if p.mapped > 0 {
		t = t.plus(p.costs.tables(exactly(p.mapped)))
	}
	if p.freed {
		t.Hi++
	}
	t.Hi += kernel.Pages(p.forks + (p.p.Profile.Threads+1)/2)
	return t
}

// read is what oom_badness() reads of the process's counters, which up to 6.19
// lag behind: see docs/model.md.
func (w *world) read(p *proc, dir string) Range {
	truth := p.resident()
	if p.fresh {
		truth.Lo = min(truth.Lo, kernel.Pages(0))
	}
	swaps := w.swapped || w.swapFor(p.p.Cgroup) > 0
	if swaps {
		truth.Lo -= p.shm.Lo // what is swapped out of shared memory is in no process's counters
		if w.global(dir) {
			truth.Lo -= p.base.Shmem // so is the program itself, which lies in a tmpfs of the machine's
		}
	}
	switch {
	case w.m.Badness == kernel.ReadsExact:
		return truth
	case w.m.Badness == kernel.ReadsCPUBatched:
		return w.readBatches(p, truth, swaps)
	case p.p.IsCommand() || swaps && p.phase != holding:
		return truth.widen(64*kernel.Pages(max(1, p.base.Threads)), 64)
	}
	// The runtime's threads have faulted a few pages each, together 8 to 13, and
	// keep them to themselves; any other thread keeps nearly all it has.
	r := truth.plus(Range{-13, -8})
	if p.p.Parent != "" {
		r = r.shift(-3) // what a forked one has more, its threads keep as well
	}
	if n := p.p.Profile.Threads; n > 0 {
		own := p.costs.threadsRSS(n)
		r = Range{r.Lo - own.Lo, r.Hi - own.Hi + 2*kernel.Pages(n)}
	}
	if p.phase != holding { // who is ready has given up what its main thread kept, see countAll in the stressor
		r.Lo -= 65
	}
	return r
}

// readBatches is the reading of percpu_counter.count. A page fault adds one page
// to its CPU's part of a counter, which moves to the count when it has reached
// the batch: of pages that came one by one on one CPU, whole batches are read.
func (w *world) readBatches(p *proc, truth Range, swaps bool) Range {
	batch := max(32, 2*kernel.Pages(w.m.CPUs)) // compute_batch_value() in lib/percpu_counter.c
	if p.fresh {
		return truth
	}
	oneByOne := p.p.Launch.OneCPU && p.base.Batched != nil && !p.p.IsCommand()
	if oneByOne && p.freed && !swaps {
		// pages are given back in batches of their own, and leave any remainder
		kept := p.base.File + p.base.Shmem - *p.base.Batched
		r := truth.shift(-kept).widen(batch-1, batch-1)
		if p.shm.Hi > 0 {
			r = r.widen(batch-1, batch-1)
		}
		return r
	}
	if !oneByOne || swaps {
		cpus := kernel.Pages(max(1, w.m.CPUs))
		if p.p.Launch.OneCPU {
			cpus = 1
		}
		r := truth.widen((batch-1)*cpus*3, 0)
		if swaps || cpus > 1 {
			r.Hi += (batch - 1) * cpus
		}
		return r
	}
	whole := func(n kernel.Pages) kernel.Pages { return n / batch * batch }
	// what the counter of shared memory keeps back before anything is taken
	kept := max(0, p.base.Shmem-*p.base.Batched)
	anon := Range{truth.Lo - p.shm.Lo - p.base.File - p.base.Shmem, truth.Hi - p.shm.Hi - p.base.File - p.base.Shmem}
	return Range{
		whole(anon.Lo) + whole(kept+p.shm.Lo) + *p.base.Batched,
		whole(anon.Hi) + whole(kept+p.shm.Hi) + *p.base.Batched,
	}
}
