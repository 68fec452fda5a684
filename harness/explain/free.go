package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
)

// FreeZone is what was free in one zone, and whether the request could have it:
// __zone_watermark_ok() in mm/page_alloc.c. Amounts are bytes.
type FreeZone struct {
	Node int          `json:"node"`
	Zone string       `json:"zone"`
	Free kernel.Bytes `json:"free_bytes"`
	// Usable is Free less what is not for this request: CMA, reserves for atomic
	// requests. It must be more than Mark: the min watermark, and what the zone
	// keeps from requests that may use a higher one (lowmem_reserve).
	Usable kernel.Bytes `json:"usable_bytes"`
	Mark   kernel.Bytes `json:"watermark_bytes,omitempty"`
	// Why is the reason why none of it was of use: node, zone, watermark, pieces.
	// Empty: it was of use.
	Why string `json:"why,omitempty"`

	info oomlog.ZoneInfo
}

// What FreeZone.Why may be.
const (
	wrongNode = "node"      // cpuset or memory policy do not allow it
	wrongZone = "zone"      // the request may not use the zone
	lowMark   = "watermark" // not above its watermark
	noPieces  = "pieces"    // none of it in so large a piece
)

// request is what was asked for, as far as it decides what is of use.
type request struct {
	zone    int // the highest
	movable bool
	order   int
	piece   kernel.Bytes
	page    kernel.Bytes
	allowed func(node int) bool
	kinds   []int // the zones that lowmem_reserve has a number for
}

func (e *Explanation) request() request {
	r := e.report
	q := request{order: 0, piece: e.PageSize, page: e.PageSize, allowed: func(int) bool { return true }}
	if mask := r.Trigger.GFPMask; mask != nil {
		q.zone, q.movable = kernel.GFPZone(*mask), *mask&kernel.GFPMovable != 0
	} else {
		q.zone, q.movable = len(kernel.ZoneTypes), true
	}
	if piece := e.piece(); piece > 0 {
		q.order, q.piece = *r.Trigger.Order, piece
	}
	lists := []string{r.MemsAllowed, r.Trigger.NodeMask}
	if r.Constraint == "CONSTRAINT_MEMORY_POLICY" || r.Constraint == "" {
		lists = append(lists, r.NodeMask)
	}
	var all [][][2]int
	for _, list := range lists {
		if nodes, ok := parseNodes(list); ok {
			all = append(all, nodes)
		}
	}
	q.allowed = func(node int) bool {
		for _, nodes := range all {
			if !slices.ContainsFunc(nodes, func(n [2]int) bool { return n[0] <= node && node <= n[1] }) {
				return false
			}
		}
		return true
	}
	q.kinds = builtZones(r.Mem)
	return q
}

// builtZones are the zones that the kernel is built with, as far as the report shows
// it: lowmem_reserve has a number for each.
func builtZones(m *oomlog.MemInfo) []int {
	printed := map[string]bool{}
	n := 0
	for _, z := range m.Zones {
		printed[z.Name] = true
		n = max(n, len(z.LowmemReserve))
	}
	high := printed["HighMem"] || m.HighMem != nil && *m.HighMem > 0 && !printed["DMA32"]
	var kinds []int
	add := func(is bool, kind int) {
		if is {
			kinds = append(kinds, kind)
		}
	}
	if high { // 32 bits: no DMA32
		add(printed["DMA"] || n >= 4, 0)
		return append(kinds, 2, 3, 4, 5)
	}
	add(printed["DMA"] || n >= 5, 0)
	add(printed["DMA32"] || n >= 5 || n == 4 && printed["DMA"], 1)
	return append(kinds, 2, 4, 5)
}

// reserve is what a zone keeps from the request.
func (q request) reserve(z oomlog.ZoneInfo) kernel.Bytes {
	at := -1
	for i, kind := range q.kinds {
		if kind <= q.zone && i < len(z.LowmemReserve) {
			at = i
		}
	}
	if at < 0 {
		return 0
	}
	return clampPages(z.LowmemReserve[at]).Bytes(q.page)
}

func zoneBytes(kb uint64) kernel.Bytes { return kernel.Bytes(min(kb, 1<<50)) * kernel.KiB }

// look says what of a zone's free memory the request could have.
func (q request) look(z oomlog.ZoneInfo) FreeZone {
	f := FreeZone{Node: z.Node, Zone: z.Name, Free: zoneBytes(*z.Free), info: z}
	f.Usable = f.Free
	if !q.movable {
		f.Usable -= zoneBytes(z.KB["free_cma"])
	}
	atomic, ok := z.KB["free_highatomic"]
	if !ok {
		atomic = z.KB["reserved_highatomic"]
	}
	f.Usable = max(0, f.Usable-zoneBytes(atomic))
	if z.Min != nil {
		f.Mark = zoneBytes(*z.Min) + q.reserve(z)
	}
	kind := slices.Index(kernel.ZoneTypes, z.Name)
	switch {
	case !q.allowed(z.Node):
		f.Why, f.Usable = wrongNode, 0
	case kind > q.zone:
		f.Why, f.Usable = wrongZone, 0
	case z.Min != nil && f.Usable-(q.piece-q.page) <= f.Mark:
		f.Why = lowMark
	case q.order > 0 && !q.hasPiece(z):
		f.Why = noPieces
	}
	return f
}

// hasPiece reports whether a zone has a free block that is large enough, of a type
// that the request may take.
func (q request) hasPiece(z oomlog.ZoneInfo) bool {
	mine := "UME"
	if q.movable {
		mine += "C"
	}
	return slices.ContainsFunc(z.Blocks, func(b oomlog.FreeBlocks) bool {
		return b.Count > 0 && zoneBytes(b.KB) >= q.piece && (b.Types == "" || strings.ContainsAny(b.Types, mine))
	})
}

// freeZones says of each zone what was free, and of what use.
func (e *Explanation) freeZones() []FreeZone {
	r := e.report
	if r.Mem == nil || r.Sysrq || e.Global == nil || !*e.Global || r.Trigger.GFPMask == nil || *r.Trigger.GFPMask == 0 {
		return nil
	}
	q := e.request()
	var out []FreeZone
	for _, z := range r.Mem.Zones {
		if z.Free != nil {
			out = append(out, q.look(z))
		}
	}
	return out
}

// freeButNoUse says why a machine that had free memory ran out of it.
func (e *Explanation) freeButNoUse() string {
	r, m := e.report, e.Memory
	if r.Mem == nil || r.Sysrq || e.Global == nil || !*e.Global || m == nil {
		return ""
	}
	pages, ok := r.Mem.Pages["free"]
	zones := m.Free
	free, printed := clampPages(pages).Bytes(e.PageSize), kernel.Bytes(0)
	for _, z := range zones {
		printed += z.Free
	}
	if !ok {
		free = printed
	}
	worth := m.Size != nil && free >= m.Size.Bytes(e.PageSize)/20
	if mask := e.Trigger.GFPMask; worth && mask != nil && *mask == 0 {
		return fmt.Sprintf("%s were free: gfp_mask 0 is a page fault that failed (pagefault_out_of_memory()), for "+
			"whatever reason.", free.Human())
	}
	q := request{}
	if len(zones) > 0 {
		q = e.request()
	}
	if !worth && (q.order == 0 || len(zones) == 0) {
		return ""
	}
	if len(zones) == 0 {
		return fmt.Sprintf("%s were free by then; the log has no zones, which would show why they were of no use.",
			free.Human())
	}
	parts := e.freeParts(zones, q, max(0, free-printed))
	if len(parts) == 0 {
		return fmt.Sprintf("%s were free by then, and by the watermarks the request could have had some; the log "+
			"does not show why it did not. Memory may have been freed after the kernel had decided.", free.Human())
	}
	return fmt.Sprintf("%s were free, but of no use to this request: %s.", free.Human(), strings.Join(parts, "; "))
}

// freeParts are the reasons, those that hold most memory first. missing is free
// memory in zones that the report leaves out. Nil: some of it could be used.
func (e *Explanation) freeParts(zones []FreeZone, q request, missing kernel.Bytes) []string {
	type part struct {
		size kernel.Bytes
		text string
	}
	var parts []part
	flags := e.Trigger.GFP
	if flags == "" {
		flags = fmt.Sprintf("gfp_mask %#x", *e.Trigger.GFPMask)
	}
	flags, _, _ = strings.Cut(flags, "|")
	var far, high kernel.Bytes
	highNames := []string{}
	for _, z := range zones {
		switch z.Why {
		case wrongNode:
			far += z.Free
		case wrongZone:
			high += z.Free
			if !slices.Contains(highNames, z.Zone) {
				highNames = append(highNames, z.Zone)
			}
		case lowMark, noPieces:
			parts = append(parts, part{z.Free, e.zonePart(z, q)})
		default:
			return nil
		}
	}
	if far > 0 {
		parts = append(parts, part{far, fmt.Sprintf("%s lay on memory nodes that it may not use", far.Human())})
	}
	if high > 0 {
		parts = append(parts, part{high, fmt.Sprintf("%s lay in zone %s, which %s cannot use", high.Human(),
			printable(strings.Join(highNames, ", ")), flags)})
	}
	if missing > kernel.Bytes(64)*e.PageSize {
		where := "in zones or on nodes that it may not use, which the report leaves out"
		if h := e.report.Mem.HighMem; h != nil && *h > 0 && q.zone < 3 {
			where = "in zone HighMem or Movable, which " + flags + " cannot use and the report leaves out"
		}
		parts = append(parts, part{missing, missing.Human() + " lay " + where})
	}
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(b.size, a.size) })
	var out []string
	for i, p := range parts {
		if i < 4 {
			out = append(out, p.text)
		}
	}
	return out
}

// zonePart says why a zone that the request may use had nothing for it.
func (e *Explanation) zonePart(z FreeZone, q request) string {
	info := z.info
	name := fmt.Sprintf("zone %s of node %d", printable(z.Zone), z.Node)
	if !slices.ContainsFunc(e.report.Mem.Zones, func(o oomlog.ZoneInfo) bool { return o.Node != 0 }) {
		name = "zone " + printable(z.Zone)
	}
	s := fmt.Sprintf("%s had %s", name, z.Free.Human())
	if cma := zoneBytes(info.KB["free_cma"]); cma > 0 && !q.movable {
		s += fmt.Sprintf(", %s of it CMA, which only movable memory may use", cma.Human())
	}
	if z.Usable < z.Free {
		s += fmt.Sprintf(", so %s", z.Usable.Human())
	}
	if z.Why == noPieces {
		s += fmt.Sprintf(", not in pieces of %s: it was fragmented", q.piece.Human())
		if info.Blocks == nil {
			s += " (the log has no list of the pieces; this is what is left)"
		}
		return s
	}
	reserve := q.reserve(info)
	mark := "its min watermark"
	if reserve > 0 {
		mark += fmt.Sprintf(" and the %s that it keeps from requests for higher zones", reserve.Human())
	}
	what := "less than"
	if z.Usable > z.Mark {
		what = "with the piece of " + q.piece.Human() + " taken off less than"
	} else if z.Usable == z.Mark {
		what = "not more than"
	}
	s += fmt.Sprintf(", %s %s, %s", what, mark, z.Mark.Human())
	if q.order > 0 && q.hasPiece(info) {
		s += fmt.Sprintf(" (it had pieces of %s: fragmentation is not the reason)", q.piece.Human())
	}
	return s
}
