package predict

import (
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/stressor/profile"
)

// pageCosts are costs of processes, in pages of a machine. The kernel's own are bytes or
// page tables, and of larger pages they take fewer. What a process has resident in places
// of its own was measured in pages of 4 KiB: of larger ones it takes as many at the most,
// and at the least as many bytes.
type pageCosts struct{ page kernel.Bytes }

// least is the least that n pages of 4 KiB, measured, are on this machine.
func (c pageCosts) least(n kernel.Pages) kernel.Pages {
	return n * kernel.Pages(kernel.DefaultPageSize) / kernel.Pages(max(c.page, kernel.DefaultPageSize))
}

// What the kernel keeps for a thread: its stack of 16 KiB, its task_struct, and what else it
// has for it.
const (
	leastThread = 24 * kernel.KiB
	perThread   = 26 * kernel.KiB
	mostThread  = 30 * kernel.KiB
)

// threads is what the kernel keeps for n threads, at so much for each.
func (c pageCosts) threads(n int, each kernel.Bytes) kernel.Pages {
	return kernel.Pages(kernel.Bytes(n) * each / c.page)
}

// threadsRSS is what extra threads have resident: stacks, and what the runtime
// keeps for each; the first one costs most.
func (c pageCosts) threadsRSS(n int) Range {
	if n == 0 {
		return Range{}
	}
	p := kernel.Pages(n)
	return Range{c.least(3*p + 6), 4*p + 8}
}

// forks are what a stressor has resident more for n children that it has forked,
// whether they have memory of their own or share its: some pages for the first two,
// and two for each further one. One in twenty has a thread more, and nine pages
// with it; that is left to the margin.
func (c pageCosts) forks(n int) Range {
	if n == 0 {
		return Range{}
	}
	return Range{c.least(7), 11 + 2*kernel.Pages(n-1)}
}

// forkCharge is what it is charged with for n children: its pages, and what the
// kernel keeps.
func (c pageCosts) forkCharge(n int) Range {
	if n == 0 {
		return Range{}
	}
	return Range{c.least(6), 18 + 4*kernel.Pages(n-1)}
}

// perTable is how many pages one last-level page table maps: its entries have eight bytes.
func (c pageCosts) perTable() kernel.Pages { return kernel.Pages(c.page / 8) }

// piece is the most that a stressor maps at once, see profile.LargestPiece.
func (c pageCosts) piece() kernel.Pages { return kernel.Bytes(profile.LargestPiece).Pages(c.page) }

// tables are the page tables that amount pages of memory need, beside those that
// a stressor has anyway: one more from about 440 pages on, and where the runtime
// has put its own mappings decides about another one.
func (c pageCosts) tables(amount Range) Range {
	lo, hi, per := max(amount.Lo, 0), max(amount.Hi, 0), c.perTable()
	return Range{lo / per, (hi+96)/per + 1 + hi/c.piece()}
}

// nodes are the xa_nodes that index the pages of a file in memory: 576 bytes for
// every 64 pages and for every 64 nodes, charged object by object.
func (c pageCosts) nodes(amount Range) Range {
	size := func(p kernel.Pages, object kernel.Bytes) kernel.Pages {
		n := kernel.Bytes((max(p, 0)+63)/64 + (max(p, 0)+64*64-1)/(64*64))
		return kernel.Pages(n * object / c.page)
	}
	hi := size(amount.Hi, 600)
	if amount.Hi > 0 {
		hi += 4
	}
	return Range{size(amount.Lo, 576), hi}
}
