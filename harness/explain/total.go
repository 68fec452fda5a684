package explain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
)

// total is oc->totalpages, as constrained_alloc() in mm/oom_kill.c sets it, as
// far as a report shows it.
type total struct {
	pages *kernel.Pages // nil: not known
	rng   Range
	from  string
}

func exactly(p kernel.Pages, from string) total {
	return total{pages: &p, rng: Range{p, &p}, from: from}
}

// most bounds amounts of pages: no machine has more, and sums cannot overflow.
const most = kernel.Pages(1) << 46

func clampPages(p kernel.Pages) kernel.Pages { return max(-most, min(most, p)) }

func kbPages(kb uint64, pageSize kernel.Bytes) kernel.Pages {
	return kernel.Pages(min(kb, 1<<52) * 1024 / uint64(pageSize))
}

func totalOf(r oomlog.Report, pageSize kernel.Bytes) total {
	switch {
	case r.Global == nil:
		return total{from: "not known: nothing tells whether a cgroup or the machine ran out"}
	case !*r.Global:
		return memcgTotal(r.Memcg, pageSize)
	case r.Mem == nil:
		return total{from: "not known: the log lacks the machine's memory figures"}
	case r.Constraint == "CONSTRAINT_CPUSET":
		return nodesTotal(r.Mem, r.MemsAllowed, "mems_allowed", pageSize)
	case r.Constraint == "CONSTRAINT_MEMORY_POLICY":
		return nodesTotal(r.Mem, r.NodeMask, "nodemask", pageSize)
	}
	return machineTotal(r.Mem, pageSize)
}

// memcgTotal follows mem_cgroup_get_max(): the limit and, unless swappiness is
// 0, the swap that the cgroup may use and the machine has. A report prints
// neither swappiness nor the machine's swap.
func memcgTotal(m *oomlog.MemcgUsage, pageSize kernel.Bytes) total {
	if m == nil || m.Memory == nil {
		return total{from: "not known: the log lacks the cgroup's limit"}
	}
	if m.Memory.Unlimited() {
		return total{from: "not known: the cgroup is printed without a limit"}
	}
	limit := kbPages(m.Memory.LimitKB, pageSize)
	var swap *kernel.Pages
	said := true
	switch {
	case m.Swap != nil && !m.Swap.Unlimited():
		p := kbPages(m.Swap.LimitKB, pageSize)
		swap = &p
	case m.MemorySwap != nil && !m.MemorySwap.Unlimited():
		p := max(0, kbPages(m.MemorySwap.LimitKB, pageSize)-limit)
		swap = &p
	case m.Swap == nil && m.MemorySwap == nil:
		said = false
	}
	switch {
	case swap != nil && *swap == 0:
		return exactly(max(1, limit), "memory limit; no swap is allowed")
	case swap != nil:
		top := limit + *swap
		return total{rng: Range{max(1, limit), &top},
			from: "memory limit, and the machine's swap up to the cgroup's swap limit, which is not printed"}
	case !said:
		return total{rng: Range{max(1, limit), nil}, from: "memory limit, and swap, of which nothing is printed"}
	}
	return total{rng: Range{max(1, limit), nil}, from: "memory limit, and all of the machine's swap, which is not " +
		"printed"}
}

// swapPages is the machine's swap. A kernel without CONFIG_SWAP prints no line
// about swap at all.
func swapPages(m *oomlog.MemInfo, pageSize kernel.Bytes) (kernel.Pages, bool) {
	if m.TotalSwapKB != nil {
		return kbPages(*m.TotalSwapKB, pageSize), true
	}
	return 0, m.PagesRAM != nil && m.FreeSwapKB == nil && m.SwapCachePages == nil
}

func machineTotal(m *oomlog.MemInfo, pageSize kernel.Bytes) total {
	if m.PagesRAM == nil {
		return total{from: `not known: the log lacks the line "pages RAM"`}
	}
	ram := clampPages(*m.PagesRAM)
	swap, ok := swapPages(m, pageSize)
	switch {
	case m.PagesReserved == nil && ok:
		top := ram + swap
		return total{rng: Range{swap, &top}, from: `pages RAM and swap; "pages reserved" is missing`}
	case m.PagesReserved == nil:
		return total{from: `not known: the log lacks the lines "pages reserved" and "Total swap"`}
	}
	managed := max(0, ram-clampPages(*m.PagesReserved))
	if !ok {
		return total{rng: Range{managed, nil}, from: `pages RAM less pages reserved; "Total swap" is missing`}
	}
	return exactly(managed+swap, fmt.Sprintf("pages RAM %d - reserved %d + swap %d", ram, ram-managed, swap))
}

// nodesTotal is that of a cpuset or a memory policy: the pages present on its
// nodes, managed or not, and all swap.
func nodesTotal(m *oomlog.MemInfo, list, name string, pageSize kernel.Bytes) total {
	nodes, ok := parseNodes(list)
	if !ok {
		return total{from: fmt.Sprintf("not known: %s=%s names no nodes", name, list)}
	}
	swap, ok := swapPages(m, pageSize)
	if !ok {
		return total{from: `not known: the log lacks the line "Total swap"`}
	}
	sum, seen := swap, 0
	for _, z := range m.Zones {
		if !slices.ContainsFunc(nodes, func(n [2]int) bool { return n[0] <= z.Node && z.Node <= n[1] }) {
			continue
		}
		if z.Present == nil {
			return total{from: "not known: a zone is printed without its present pages"}
		}
		sum = clampPages(sum + kbPages(*z.Present, pageSize))
		seen++
	}
	if seen == 0 {
		return total{from: fmt.Sprintf("not known: no zone of %s=%s is printed", name, list)}
	}
	return exactly(sum, fmt.Sprintf("pages present on nodes %s, and swap %d", list, swap))
}

// parseNodes reads "0,2-3".
func parseNodes(list string) ([][2]int, bool) {
	var out [][2]int
	for one := range strings.SplitSeq(list, ",") {
		lo, hi, ok := strings.Cut(one, "-")
		if !ok {
			hi = lo
		}
		a, err1 := strconv.Atoi(lo)
		b, err2 := strconv.Atoi(hi)
		if err1 != nil || err2 != nil || a < 0 || b < a || len(out) > 1024 {
			return nil, false
		}
		out = append(out, [2]int{a, b})
	}
	return out, len(out) > 0
}

// inThousands is what an adjustment of 1 is worth in a domain of p pages.
func inThousands(p kernel.Pages) int64 { return int64(p) / 1000 }
