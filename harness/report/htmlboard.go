package report

import (
	"cmp"
	"fmt"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/verdict"
)

// board is the candidates of one decision, each with a bar of what its points
// are made of.
type board struct {
	Title string
	Parts []pair // the classes of the bars and their names, for the legend
	Rows  []boardRow
	More  string
}

type boardRow struct {
	Name                                                         string
	Chosen                                                       bool
	Points, RSS, Swap, PgTables, Adjustment, Replayed, Predicted string
	Bars                                                         []bar
	Zero, At                                                     string

	parts [5]kernel.Pages // anon, file, shmem, swap, page tables
	adj   kernel.Pages
	known bool
}

// bar is a rectangle in a strip of 1000 by 24.
type bar struct{ Class, X, Y, Width, Height string }

var barParts = [5]string{"anon", "file", "shmem", "swap", "pgtables"}

var legend = []pair{{Name: "anon", Value: "anonymous"}, {Name: "file", Value: "file"}, {Name: "shmem", Value: "shared"},
	{Name: "swap", Value: "swap"},
	{Name: "pgtables", Value: "page tables"}, {Name: "adj", Value: "oom_score_adj: added, or forgiven (below the bar)"}}

// boards are the scoreboards of a run with what each score is made of, which is
// in the events of eBPF.
func boards(s Subject, most, mostRows int) []board {
	tasks, totals := candidates(s.Input)
	var out []board
	for i, rows := range s.Result.Scoreboard {
		if i == most {
			break
		}
		b := board{Title: fmt.Sprintf("Scoreboard of decision %d", i+1), Parts: legend}
		var total kernel.Pages
		if i < len(totals) {
			total = totals[i]
		}
		if total > 0 {
			b.Title += fmt.Sprintf(", %d pages in all", total)
		}
		shown := rows
		if len(rows) > mostRows {
			shown = highest(rows, mostRows)
			b.More = fmt.Sprintf("The highest %d of %d candidates.", mostRows, len(rows))
		}
		for _, row := range shown {
			v := boardRow{Name: named(row.Process, row.Comm, row.PID), Chosen: row.Chosen,
				Points: cmp.Or(number(row.Points), "never"), Replayed: cmp.Or(number(row.Replayed), "never"),
				Predicted: nothing}
			if i == 0 {
				v.Predicted = cmp.Or(bounds(s.Result.Prediction, row.Process), nothing)
			}
			if i < len(tasks) && row.Points != nil {
				if t := tasks[i][row.PID]; t != nil && t.MM != nil {
					v.split(s.Input.Machine, t, total)
				}
			}
			b.Rows = append(b.Rows, v)
		}
		b.scale()
		out = append(out, b)
	}
	return out
}

// candidates are the tasks of every decision that a scoreboard is made of, by
// pid, and the size of each decision's domain: in the order of the scoreboards.
func candidates(in verdict.Input) (tasks []map[int]*evidence.Task, totals []kernel.Pages) {
	type decision struct {
		tasks  map[int]*evidence.Task
		total  kernel.Pages
		chosen bool
	}
	byID := map[uint64]*decision{}
	var order []*decision
	for _, e := range in.Events {
		if e.Source != evidence.BPF || e.OOM == nil || e.OOM.Decision == 0 {
			continue
		}
		d := byID[e.OOM.Decision]
		if d == nil {
			d = &decision{tasks: map[int]*evidence.Task{}}
			byID[e.OOM.Decision] = d
			order = append(order, d)
		}
		switch e.Kind {
		case evidence.Badness:
			if t := e.OOM.Task; t != nil {
				d.tasks[t.TGID] = t
			}
			if e.OOM.TotalPages != nil {
				d.total = kernel.Pages(*e.OOM.TotalPages)
			}
		case evidence.KillDecision:
			d.chosen = e.OOM.Task != nil
			if e.OOM.Control != nil && d.total == 0 {
				d.total = e.OOM.Control.TotalPages
			}
		}
	}
	for _, d := range order {
		if len(d.tasks) > 0 && d.chosen {
			tasks, totals = append(tasks, d.tasks), append(totals, d.total)
		}
	}
	return tasks, totals
}

// split says what the points of a task are made of.
func (r *boardRow) split(m kernel.Machine, t *evidence.Task, total kernel.Pages) {
	c := t.MM.Batched
	if m.Badness == kernel.ReadsExact {
		c = t.MM.Exact
	}
	pageSize := m.PageSize
	if pageSize <= 0 {
		pageSize = kernel.DefaultPageSize
	}
	r.parts = [5]kernel.Pages{max(0, c.Anon), max(0, c.File), max(0, c.Shmem), max(0, c.Swap),
		kernel.Pages(t.MM.PgTables / pageSize)}
	r.adj = kernel.Pages(t.Adj) * (total / 1000) // divided first, as oom_badness() does
	r.known = true
	r.RSS = fmt.Sprint(r.parts[0] + r.parts[1] + r.parts[2])
	r.Swap, r.PgTables = fmt.Sprint(r.parts[3]), fmt.Sprint(r.parts[4])
	r.Adjustment = fmt.Sprintf("%+d", r.adj)
	if r.adj == 0 {
		r.Adjustment = "0"
	}
}

// scale makes the bars of all rows, to one scale.
func (b *board) scale() {
	var lo, hi kernel.Pages
	for _, r := range b.Rows {
		held := r.held()
		lo, hi = min(lo, held+r.adj), max(hi, held, held+r.adj)
	}
	if hi <= lo {
		return
	}
	x := func(p kernel.Pages) float64 { return float64(p-lo) / float64(hi-lo) * 1000 }
	for i := range b.Rows {
		r := &b.Rows[i]
		if !r.known {
			continue
		}
		at := kernel.Pages(0)
		for n, p := range r.parts {
			if p > 0 {
				r.Bars = append(r.Bars, bar{barParts[n], number1(x(at)), "3", number1(x(at+p) - x(at)), "12"})
				at += p
			}
		}
		switch {
		case r.adj > 0:
			r.Bars = append(r.Bars, bar{"adj", number1(x(at)), "3", number1(x(at+r.adj) - x(at)), "12"})
		case r.adj < 0: // what is forgiven lies under the bar, from its end back to the points
			r.Bars = append(r.Bars, bar{"forgiven", number1(x(at + r.adj)), "17", number1(x(at) - x(at+r.adj)), "5"})
		}
		r.Zero, r.At = number1(x(0)), number1(x(at+r.adj))
	}
}

func (r boardRow) held() kernel.Pages {
	var all kernel.Pages
	for _, p := range r.parts {
		all += p
	}
	return all
}
