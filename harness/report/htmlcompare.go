package report

import (
	"bytes"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/oomlab/oomlab/harness/compare"
	"github.com/oomlab/oomlab/harness/plaintext"
)

type comparePage struct {
	Title, Counts           string
	Baseline, BaselineClass string
	Columns                 []pair
	Rows                    []compareRow
	Differences, Checked    []sinceView
	Noise                   []noiseView
	Command                 string
}

type compareRow struct {
	Name  string
	Cells []compareCell
}

type compareCell struct {
	Verdict, Runs, Killed, Points string
	Differs                       bool
}

type sinceView struct {
	Since, After string
	Changes      []changeView
}

type changeView struct{ What, Change, Where string }

type noiseView struct{ Scenario, Column, What, Seen string }

// CompareHTML writes a matrix as one page that needs nothing else. command is
// what repeats it.
func CompareHTML(w io.Writer, c Comparison, command []string) error {
	m := c.Matrix
	v := comparePage{Title: "Kernels compared", Command: shell(command)}
	v.Counts = fmt.Sprintf("%s, %s, %s", plaintext.Count(len(m.Scenarios), "scenario"),
		plaintext.Count(len(m.Columns), "kernel"), plaintext.Count(m.Runs(), "run"))
	for _, col := range m.Columns {
		v.Columns = append(v.Columns, pair{Name: col.Name, Value: strings.Join(col.Releases, ", ")})
	}
	for i, scenario := range m.Scenarios {
		row := compareRow{Name: scenario}
		for j, cell := range m.Cells[i] {
			s := cell.Summary()
			row.Cells = append(row.Cells, compareCell{s.Verdict, s.Runs, plaintext.Cut(s.Killed, 60), s.Points,
				m.Differing(i, j)})
		}
		v.Rows = append(v.Rows, row)
	}
	v.Differences = since(m.Differences(), len(m.Scenarios))
	if c.Checked != nil {
		v.Baseline, v.BaselineClass = fmt.Sprintf("Baseline %s: %s", c.Baseline, checkedLine(*c.Checked)), "pass"
		if len(c.Checked.Drifts) > 0 {
			v.BaselineClass = "fail"
			v.Checked = since(c.Checked.Differences(), len(m.Scenarios))
		}
	}
	for _, n := range m.Noise() {
		what := n.Aspect.What()
		if n.Subject != "" {
			what = n.Subject + ": " + what
		}
		v.Noise = append(v.Noise, noiseView{n.Scenario, n.Column, what, plaintext.Cut(n.Seen, 300)})
	}
	var body bytes.Buffer
	if err := pages.ExecuteTemplate(&body, "compare", v); err != nil {
		return err
	}
	return htmlPage(w, v.Title, template.HTML(body.String()))
}

func since(all []compare.Difference, scenarios int) []sinceView {
	var out []sinceView
	for _, d := range all {
		if n := len(out); n == 0 || out[n-1].Since != d.Since || out[n-1].After != d.After {
			out = append(out, sinceView{Since: d.Since, After: d.After})
		}
		to := &out[len(out)-1].Changes
		for _, g := range d.Groups() {
			change := g.Short
			if g.Subject != "" {
				change = g.Subject + ": " + change
			}
			where := strings.Join(g.Scenarios, ", ")
			switch n := len(g.Scenarios); {
			case n == scenarios && n > 1:
				where = fmt.Sprintf("all %d", n)
			case n > 3:
				where = fmt.Sprintf("%d of %d", n, scenarios)
			}
			*to = append(*to, changeView{d.What, change, where})
		}
	}
	return out
}
