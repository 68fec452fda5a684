package view

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plaintext"
)

// board is a ranking as bars to one scale.
type board struct {
	PageSize string
	Rows     []row // the first ones, and who was killed
	Rest     []row // folded away
	More     int   // beyond maxRows
	Supposed bool  // of a what-if
}

type row struct {
	PID                             int
	Comm, Held, RSS, Swap, PgTables string
	Adj, Score                      string
	Killed                          bool
	Bars                            []bar
	Zero, At                        string
	parts                           [3]int64 // rss, swap, page tables
	adj                             int64
	known                           bool
}

// bar is a part of a row, in a box of 1000 by 24.
type bar struct{ Class, X, Y, Width, Height string }

var partClasses = [3]string{"rss", "swap", "pgtables"}

func boardOf(ranking []explain.Ranked, pageSize kernel.Bytes) *board {
	b := &board{PageSize: pageSize.String()}
	var all []row
	for i, k := range ranking {
		if i >= maxRows && !k.Killed {
			b.More++
			continue
		}
		r := row{
			PID: k.PID, Comm: plaintext.Cut(plaintext.Escape(k.Comm), kernel.CommLen), Killed: k.Killed,
			Held: (k.RSS + k.Swap + k.PgTables).Bytes(pageSize).Human(), RSS: fmt.Sprint(k.RSS),
			Swap: fmt.Sprint(k.Swap), PgTables: fmt.Sprint(k.PgTables), Adj: k.AdjText(), Score: k.ScoreText(),
			parts: [3]int64{max(0, int64(k.RSS)), max(0, int64(k.Swap)), max(0, int64(k.PgTables))},
		}
		if r.Comm == "" {
			r.Comm = "(no name)"
		}
		switch bound := cmp.Or(k.PointsMin, k.PointsMax); {
		case k.Never != "":
		case k.AdjPoints != nil:
			r.adj, r.known = *k.AdjPoints, true
		case bound != nil && (k.PointsMin == nil || k.PointsMax == nil || *k.PointsMin == *k.PointsMax):
			r.adj, r.known = *bound-r.held(), true // the score is that or more, or that or less
		}
		all = append(all, r)
	}
	scale(all)
	for i, r := range all {
		if i < someRows || r.Killed && len(all) > someRows {
			b.Rows = append(b.Rows, r)
			continue
		}
		b.Rest = append(b.Rest, r)
	}
	return b
}

func (r row) held() (sum int64) {
	for _, p := range r.parts {
		sum += p
	}
	return sum
}

// scale makes the bars of all rows. What an adjustment takes off lies below the bar,
// from its end back to the points.
func scale(rows []row) {
	var lo, hi int64
	for _, r := range rows {
		lo, hi = min(lo, r.held()+r.adj), max(hi, r.held(), r.held()+r.adj)
	}
	if hi <= lo {
		return
	}
	x := func(p int64) float64 { return float64(p-lo) / float64(hi-lo) * 1000 }
	for i := range rows {
		r := &rows[i]
		at := int64(0)
		for n, p := range r.parts {
			if p > 0 {
				r.Bars = append(r.Bars, bar{partClasses[n], number(x(at)), "3", number(x(at+p) - x(at)), "13"})
				at += p
			}
		}
		switch {
		case r.adj > 0:
			r.Bars = append(r.Bars, bar{"adj", number(x(at)), "3", number(x(at+r.adj) - x(at)), "13"})
		case r.adj < 0:
			r.Bars = append(r.Bars, bar{"forgiven", number(x(at + r.adj)), "17", number(x(at) - x(at+r.adj)), "5"})
		}
		r.Zero = number(x(0))
		if r.known {
			r.At = number(x(at + r.adj))
		}
	}
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }

// memory is the domain's memory as a bar: what processes hold, and what none holds.
type memory struct {
	Facts []explain.Fact
	Uses  []use
	Bars  []bar
	// Parts name the bars.
	Parts []use
	Label string
	Free  []explain.FreeZone
}

type use struct{ Class, Name, Size, Share, Note string }

// within are uses that are part of others.
var within = map[string]bool{"dirty": true, "writeback": true, "free_cma": true, "unevictable": true}

// useClasses are how many colours there are for memory of no process.
const useClasses = 6

func memoryOf(e *explain.Explanation) *memory {
	m := e.Memory
	if m == nil {
		return nil
	}
	v := &memory{Facts: e.MemoryFacts()}
	size := int64(0)
	if m.Size != nil {
		size = int64(*m.Size)
	}
	share := func(p kernel.Pages) string {
		if size <= 0 {
			return ""
		}
		return fmt.Sprintf("%.1f %%", 100*float64(p)/float64(size))
	}
	at := int64(0)
	piece := func(class, name string, pages kernel.Pages) {
		p := min(int64(pages), size-at)
		if p <= 0 {
			return
		}
		v.Bars = append(v.Bars, bar{class, number(float64(at) / float64(size) * 1000), "2",
			number(float64(p) / float64(size) * 1000), "20"})
		v.Parts = append(v.Parts, use{class, name, pages.Bytes(e.PageSize).Human(), share(pages), ""})
		at += p
	}
	global := e.Global != nil && *e.Global
	var shmem kernel.Pages
	for _, u := range m.Elsewhere {
		if u.Name == "shmem" {
			shmem = u.Pages
		}
	}
	if m.Anon != nil {
		anon := *m.Anon
		if global { // the kernel has shmem on the same lists
			anon = max(0, anon-shmem)
		}
		piece("rss", "anonymous memory of processes", anon)
	}
	if m.PageTables != nil {
		piece("pgtables", "page tables of processes", *m.PageTables)
	}
	n := 0
	for _, u := range m.Uses() {
		class := ""
		if !within[u.Name] {
			class = fmt.Sprintf("u%d", min(n, useClasses-1))
			piece(class, u.Name, u.Pages)
			n++
		}
		v.Uses = append(v.Uses, use{class, u.Name, u.Pages.Bytes(e.PageSize).Human(), share(u.Pages), u.Note})
	}
	if m.Usage != nil && m.Size != nil {
		v.Label = fmt.Sprintf("%s of %s in use", m.Usage.Bytes(e.PageSize).Human(), m.Size.Bytes(e.PageSize).Human())
	}
	v.Free = m.Free
	return v
}
