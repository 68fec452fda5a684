package predict

import (
	"strconv"

	"github.com/oomlab/oomlab/harness/kernel"
)

// The pool of explicit huge pages (mm/hugetlb.c). Its pages are taken off what
// everybody else can get as soon as they are reserved, whether or not somebody uses
// them; they are part of MemTotal all the same, and so of what scores are scaled with.

// maxHugeNumber is more huge pages than a machine can have.
const maxHugeNumber = 1 << 40

// hugePages is a sysctl that counts huge pages, in small ones.
func (w *world) hugePages(sysctl string) kernel.Pages {
	n, err := strconv.ParseInt(w.sysctls[sysctl], 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return kernel.Pages(min(n, maxHugeNumber)) * w.m.HugePageSize().Pages(w.m.PageSize)
}

// pooled is what the pool has taken of the machine since the machine was read, in
// small pages. Huge pages in use stay until they are given back, however far the pool
// is shrunk (set_max_huge_pages()), and beyond the pool some may be taken on demand.
func (w *world) pooled() kernel.Pages {
	if w.rules.mistake == poolForgotten {
		return 0
	}
	before := kernel.Pages(w.m.HugePages) * w.m.HugePageSize().Pages(w.m.PageSize)
	return max(w.pool(), w.hugeInUse()) - before
}

// pool is the size of the pool, in small pages.
func (w *world) pool() kernel.Pages {
	if _, set := w.sysctls[kernel.NrHugepages]; !set {
		return kernel.Pages(w.m.HugePages) * w.m.HugePageSize().Pages(w.m.PageSize)
	}
	return w.hugePages(kernel.NrHugepages)
}

// hugeInUse is what processes have of the pool.
func (w *world) hugeInUse() kernel.Pages {
	var sum kernel.Pages
	for i := range w.procs {
		if p := &w.procs[i]; p.alive() {
			sum += p.huge
		}
	}
	return sum
}
