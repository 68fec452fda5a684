package explain

import (
	"cmp"
	"slices"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
)

// Memory is where the domain's memory was when it ran out. A kill gives back
// only what a process holds; the rest is the other half of an investigation.
type Memory struct {
	// Size is the cgroup's limit, or the machine's managed pages.
	Size *kernel.Pages `json:"size_pages,omitempty"`
	// Usage is what the cgroup is charged, or what is not free on the machine.
	Usage *kernel.Pages `json:"usage_pages,omitempty"`
	// Resident and Swapped add the table up. Pages that processes share count
	// in each of them, as they do in the scores.
	Resident kernel.Pages `json:"resident_pages"`
	Swapped  kernel.Pages `json:"swapped_pages"`
	// Anon is the anonymous memory that the kernel counts for the domain.
	Anon *kernel.Pages `json:"anon_pages,omitempty"`
	// Elsewhere is memory that belongs to no process, the most first.
	Elsewhere []Part `json:"elsewhere"`
	// PageTables are those of processes: they go with them, and scores count them.
	PageTables *kernel.Pages `json:"page_tables_pages,omitempty"`
	// Free says of each zone of a machine what was free, and of what use that was.
	Free []FreeZone `json:"free,omitempty"`
	// Unaccounted is what is in use and in none of the figures that the kernel
	// prints: it closes the sum.
	Unaccounted *kernel.Pages `json:"unaccounted_pages,omitempty"`

	// SwapUsed is what a cgroup had in swap.
	SwapUsed  *kernel.Pages `json:"swap_used_pages,omitempty"`
	FreeSwap  *kernel.Pages `json:"free_swap_pages,omitempty"`
	TotalSwap *kernel.Pages `json:"total_swap_pages,omitempty"`

	tables []kernel.Pages // of the processes of the table
}

// Part is one use of memory, by the kernel's name for it.
type Part struct {
	Name  string       `json:"name"`
	Pages kernel.Pages `json:"pages"`
	Note  string       `json:"note"`
}

// pageTables is the name of memory that belongs to processes, though no process
// can touch it.
const pageTables = "page tables"

// unaccounted is the name of what closes the sum.
const unaccounted = "unaccounted"

// uses of memory by no process, and what there is to know about them. Names are
// those of memory.stat and of show_mem().
var uses = map[string]string{
	"shmem":              "tmpfs, shared memory, memfd: only swap takes it",
	"page cache":         "files: given back when asked, unless dirty, locked or protected",
	"dirty":              "page cache that must be written first",
	"writeback":          "page cache that is being written",
	"slab_unreclaimable": "kernel objects that cannot be given back",
	"slab_reclaimable":   "dentries, inodes: given back slowly",
	"kernel_stack":       "stacks of threads",
	"percpu":             "per-CPU data, of cgroups among others",
	"sock":               "network buffers",
	"vmalloc":            "kernel mappings, BPF maps among others",
	"zswap":              "compressed swap",
	"kmem":               "kernel memory that is in no other line",
	"sec_pagetables":     "page tables of virtual machines and IOMMUs",
	"hugepages":          "hugetlb pools: reserved, used or not; no score counts them",
	"unevictable":        "mlock, ramfs: cannot be reclaimed",
	"bounce":             "bounce buffers",
	"free_cma":           "free, but only for movable memory",
	pageTables:           "of processes: 8 bytes for each page that they map",
	unaccounted:          "in none of the kernel's figures",
}

func memoryOf(r oomlog.Report, pageSize kernel.Bytes) *Memory {
	var m Memory
	for _, t := range r.Tasks {
		m.Resident = clampPages(m.Resident + max(0, clampPages(t.RSS)))
		m.Swapped = clampPages(m.Swapped + max(0, clampPages(t.Swapents)))
	}
	for _, c := range r.Candidates(pageSize) {
		m.tables = append(m.tables, max(0, clampPages(c.PgTables.Pages(pageSize))))
	}
	switch {
	case r.Memcg != nil && (r.Global == nil || !*r.Global):
		m.ofCgroup(r.Memcg, pageSize)
	case r.Mem != nil:
		m.ofMachine(r.Mem, pageSize)
	case len(r.Tasks) == 0:
		return nil
	}
	if m.Elsewhere == nil {
		m.Elsewhere = []Part{}
	}
	slices.SortStableFunc(m.Elsewhere, func(a, b Part) int { return cmp.Compare(b.Pages, a.Pages) })
	return &m
}

func (m *Memory) part(name string, pages kernel.Pages) {
	if pages > 0 {
		m.Elsewhere = append(m.Elsewhere, Part{name, pages, uses[name]})
	}
}

func (m *Memory) ofCgroup(g *oomlog.MemcgUsage, pageSize kernel.Bytes) {
	if u := g.Memory; u != nil {
		usage := kbPages(u.UsageKB, pageSize)
		m.Usage = &usage
		if !u.Unlimited() {
			size := kbPages(u.LimitKB, pageSize)
			m.Size = &size
		}
	}
	// v1 up to 5.2 prints the cgroups below as well, each without its own.
	sum := func(names ...string) (total kernel.Pages, any bool) {
		for _, s := range g.Stats {
			for _, name := range names {
				if v, ok := s.Values[name]; ok {
					total, any = clampPages(total+kernel.Pages(min(v, 1<<58)/uint64(pageSize))), true
					break
				}
			}
		}
		return total, any
	}
	anon, okAnon := sum("anon", "rss")
	if okAnon {
		m.Anon = &anon
	}
	shmem, _ := sum("shmem")
	file, okFile := sum("file", "cache")
	m.part("shmem", shmem)
	m.part("page cache", file-shmem)
	for name, keys := range map[string][]string{"dirty": {"file_dirty", "dirty"},
		"writeback": {"file_writeback", "writeback"}} {
		pages, _ := sum(keys...)
		m.part(name, pages)
	}
	unevictable, _ := sum("unevictable")
	m.part("unevictable", unevictable)
	tables, ok := sum("pagetables")
	if !ok { // not printed before 5.11: the processes' own, where kernel memory is charged
		for _, t := range m.tables {
			tables = clampPages(tables + t)
		}
		charged := g.MemorySwap == nil
		if g.Kmem != nil {
			charged = tables <= kbPages(g.Kmem.UsageKB, pageSize)+64
		}
		if !charged || m.Usage != nil && tables > *m.Usage {
			tables = 0
		}
	}
	if tables > 0 {
		m.PageTables = &tables
	}
	kern := tables
	for _, name := range []string{"slab_unreclaimable", "slab_reclaimable", "kernel_stack", "percpu", "vmalloc",
		"sec_pagetables"} {
		pages, _ := sum(name)
		m.part(name, pages)
		kern = clampPages(kern + pages)
	}
	all, ok := sum("kernel")
	if !ok && g.Kmem != nil {
		all, ok = kbPages(g.Kmem.UsageKB, pageSize), true
	}
	if rest := all - kern; ok && rest > 0 {
		m.part("kmem", rest)
		kern = all
	}
	sock, _ := sum("sock")
	zswap, _ := sum("zswap")
	m.part("sock", sock)
	m.part("zswap", zswap)
	if m.Usage != nil && okAnon && okFile {
		if rest := *m.Usage - anon - file - kern - sock - zswap; rest > 0 {
			m.Unaccounted = &rest
		}
	}
	m.swapOf(g, pageSize)
}

// swapOf is how much of a cgroup was in swap, and may be.
func (m *Memory) swapOf(g *oomlog.MemcgUsage, pageSize kernel.Bytes) {
	var used kernel.Pages
	switch {
	case g.Swap != nil:
		used = kbPages(g.Swap.UsageKB, pageSize)
	case g.MemorySwap != nil && g.Memory != nil && g.MemorySwap.UsageKB > g.Memory.UsageKB:
		used = kbPages(g.MemorySwap.UsageKB-g.Memory.UsageKB, pageSize)
	default:
		return
	}
	m.SwapUsed = &used
}

func (m *Memory) ofMachine(i *oomlog.MemInfo, pageSize kernel.Bytes) {
	get := func(names ...string) (sum kernel.Pages, all bool) {
		all = true
		for _, name := range names {
			p, ok := i.Pages[name]
			sum, all = clampPages(sum+clampPages(p)), all && ok
		}
		return sum, all
	}
	if i.TotalSwapKB != nil {
		p := kbPages(*i.TotalSwapKB, pageSize)
		m.TotalSwap = &p
	}
	if i.FreeSwapKB != nil {
		p := kbPages(*i.FreeSwapKB, pageSize)
		m.FreeSwap = &p
	}
	anon, okAnon := get("active_anon", "inactive_anon")
	file, okFile := get("active_file", "inactive_file")
	shmem, _ := get("shmem")
	if okAnon {
		m.Anon = &anon // shmem is on the same lists
	}
	if tables, ok := get("pagetables"); ok && tables > 0 {
		m.PageTables = &tables
	}
	var stacks, huge kernel.Pages
	for _, n := range i.Nodes {
		stacks = clampPages(stacks + kbPages(n.KB["kernel_stack"], pageSize))
	}
	if i.HugePagesKB != nil {
		huge = kbPages(*i.HugePagesKB, pageSize)
	}
	m.part("shmem", shmem)
	m.part("page cache", file)
	m.part("hugepages", huge)
	m.part("kernel_stack", stacks)
	for _, name := range []string{"dirty", "writeback", "slab_unreclaimable", "slab_reclaimable", "unevictable",
		"sec_pagetables", "bounce", "free_cma"} {
		pages, _ := get(name)
		m.part(name, pages)
	}
	if i.PagesRAM == nil || i.PagesReserved == nil {
		return
	}
	size := max(0, clampPages(*i.PagesRAM)-clampPages(*i.PagesReserved))
	m.Size = &size
	free, okFree := get("free")
	if !okFree {
		return
	}
	usage := max(0, size-free)
	m.Usage = &usage
	slab, okSlab := get("slab_reclaimable", "slab_unreclaimable")
	if !okAnon || !okFile || !okSlab {
		return
	}
	other, _ := get("isolated_anon", "isolated_file", "unevictable", "pagetables", "sec_pagetables", "bounce",
		"free_pcp",
		"kernel_misc_reclaimable")
	if rest := usage - anon - file - slab - other - stacks - huge; rest > 0 {
		m.Unaccounted = &rest
	}
}

// biggest is the memory of no process that is worth a sentence: a fifth of the
// domain or more. Dirty pages and the like are part of others.
func (m *Memory) biggest() (Part, bool) {
	if m == nil || m.Size == nil || *m.Size <= 0 {
		return Part{}, false
	}
	all := m.Elsewhere
	if m.Unaccounted != nil {
		all = append(slices.Clone(all), Part{Name: unaccounted, Pages: *m.Unaccounted,
			Note: "in none of the kernel's figures: drivers, network buffers, vmalloc, a balloon"})
	}
	if m.PageTables != nil {
		all = append(slices.Clone(all), Part{Name: pageTables, Pages: *m.PageTables, Note: uses[pageTables]})
	}
	var best Part
	for _, p := range all {
		if p.Name != "dirty" && p.Name != "writeback" && p.Name != "free_cma" && p.Pages > best.Pages {
			best = p
		}
	}
	return best, best.Pages >= *m.Size/5
}
