package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/oomlab/oomlab/harness/compare"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/verdict"
)

// Comparison is a matrix of runs and, where a baseline was given, how it held.
type Comparison struct {
	Matrix  *compare.Matrix
	Checked *compare.Checked
	// Baseline is the baseline's name, for the reader.
	Baseline string
}

// CompareText shows a matrix to a person: every cell, and then only what
// differs, each difference with the first kernel that shows it.
func CompareText(w io.Writer, c Comparison, o Options) error {
	p := matrixPage{page: page{Options: o}, Comparison: c}
	p.matrix()
	p.differences()
	p.noise()
	p.checked()
	return plaintext.Write(w, p.out, nil)
}

type matrixPage struct {
	page
	Comparison
}

// differing marks a cell that is not like the one before it.
const differing = "*"

// matrix shows the cells: as a table where there is room, else a block for each
// scenario.
func (p *matrixPage) matrix() {
	const most = 26 // columns of a list of victims
	m := p.Matrix
	g := plaintext.Grid{}
	head := []string{"SCENARIO"}
	for _, c := range m.Columns {
		head = append(head, strings.ToUpper(c.Name))
	}
	g.Add(head...)
	for i, scenario := range m.Scenarios {
		row := []string{scenario}
		for j, cell := range m.Cells[i] {
			s := cell.Summary()
			text := orNothing(strings.Join(strings.Fields(s.Word()+" "+plaintext.Cut(s.Killed, most)+" "+s.Points),
				" "))
			if m.Differing(i, j) {
				text += differing
			}
			row = append(row, text)
		}
		g.Add(row...)
	}
	lines := g.Lines("")
	widest := 0
	for _, line := range lines {
		widest = max(widest, plaintext.Width(line))
	}
	if widest <= p.width() {
		p.out = append(p.out, lines...)
		return
	}
	for i, scenario := range m.Scenarios {
		if i > 0 {
			p.line("")
		}
		p.line("%s", scenario)
		g := plaintext.Grid{Right: []bool{false, false, false, false, true}}
		for j, cell := range m.Cells[i] {
			s, mark := cell.Summary(), ""
			if m.Differing(i, j) {
				mark = differing
			}
			g.Add(m.Columns[j].Name, mark, orNothing(s.Word()), plaintext.Cut(orNothing(s.Killed),
				max(1, p.width()-40)),
				orNothing(s.Points))
		}
		p.out = append(p.out, g.Lines("  ")...)
	}
}

func (p *matrixPage) differences() {
	all := p.Matrix.Differences()
	if len(p.Matrix.Columns) < 2 {
		return
	}
	if len(all) == 0 {
		p.section("nothing differs")
		return
	}
	p.section("what differs, and since which kernel (%s above: verdict, victims or points)", differing)
	p.since(all)
}

// since shows differences under the kernel that shows them first.
func (p *matrixPage) since(all []compare.Difference) {
	title := ""
	for _, d := range all {
		if t := fmt.Sprintf("  %s, other than %s", d.Since, d.After); t != title {
			title = t
			p.line("%s", t)
		}
		const indent = 18
		label := "    " + string(d.Aspect)
		groups := d.Groups()
		shown := p.shown(len(groups), 4)
		for _, g := range groups[:shown] {
			text := g.Short
			if !p.Verbose {
				text = plaintext.Cut(text, 260)
			}
			if g.Subject != "" {
				text = g.Subject + ": " + text
			}
			if len(p.Matrix.Scenarios) > 1 {
				text += " (" + p.inScenarios(g.Scenarios) + ")"
			}
			p.out = append(p.out, plaintext.Hang(label, text, indent, p.width())...)
			label = ""
		}
		if shown < len(groups) {
			p.out = append(p.out, plaintext.Hang("", fmt.Sprintf("and %s (-v shows all)",
				plaintext.Count(len(groups)-shown, "more change")), indent, p.width())...)
		}
	}
}

// inScenarios says where something was seen.
func (p *matrixPage) inScenarios(names []string) string {
	const most = 3
	switch n := len(names); {
	case n == len(p.Matrix.Scenarios) && n > 1:
		return fmt.Sprintf("all %d scenarios", n)
	case n > most && !p.Verbose:
		return fmt.Sprintf("%d of %d scenarios", n, len(p.Matrix.Scenarios))
	}
	return strings.Join(names, ", ")
}

func (p *matrixPage) noise() {
	all := p.Matrix.Noise()
	if len(all) == 0 {
		return
	}
	p.section("not the same every time on one kernel")
	shown := p.shown(len(all), 8)
	for _, n := range all[:shown] {
		text := fmt.Sprintf("%s on %s: %s", n.Scenario, n.Column, n.Seen)
		if n.Subject != "" {
			text = n.Subject + ", " + text
		}
		p.out = append(p.out, plaintext.Hang("  "+string(n.Aspect), text, 16, p.width())...)
	}
	p.more(len(all), shown, "fact")
}

func (p *matrixPage) checked() {
	c := p.Checked
	if c == nil {
		return
	}
	p.section("baseline %s: %s", p.Baseline, checkedLine(*c))
	p.since(c.Differences())
	if len(c.Unknown) > 0 {
		p.out = append(p.out, plaintext.Hang("    not in it", strings.Join(c.Unknown, ", "), 18, p.width())...)
	}
	if len(c.Missing) > 0 {
		p.out = append(p.out, plaintext.Hang("    not run", strings.Join(c.Missing, ", "), 18, p.width())...)
	}
}

// checkedLine says in one line how a baseline held.
func checkedLine(c compare.Checked) string {
	if len(c.Drifts) == 0 {
		return fmt.Sprintf("nothing changed in %s", plaintext.Count(c.Cells, "cell"))
	}
	return fmt.Sprintf("CHANGED: %s in %s", plaintext.Count(len(c.Drifts), "fact"), plaintext.Count(c.Cells, "cell"))
}

// CompareJSON writes one object: the matrix as a baseline has it, and what
// differs in it.
func CompareJSON(w io.Writer, c Comparison) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	doc := struct {
		*compare.Matrix
		Differences []compare.Difference `json:"differences"`
		Noise       []compare.Noise      `json:"noise"`
		Baseline    string               `json:"baseline,omitempty"`
		Checked     *compare.Checked     `json:"checked,omitempty"`
	}{c.Matrix, append([]compare.Difference{}, c.Matrix.Differences()...),
		append([]compare.Noise{}, c.Matrix.Noise()...), c.Baseline, c.Checked}
	if err := enc.Encode(doc); err != nil {
		return fmt.Errorf("comparison: %w", err)
	}
	return nil
}

// CompareMarkdown writes a matrix as the summary of a CI step.
func CompareMarkdown(w io.Writer, c Comparison) error {
	m := c.Matrix
	var b strings.Builder
	row := func(cells ...string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	if c.Checked != nil {
		fmt.Fprintf(&b, "**Baseline `%s`: %s**\n\n", c.Baseline, checkedLine(*c.Checked))
		markdownDifferences(&b, c.Checked.Differences(), len(m.Scenarios))
	}
	head, rule := []string{"scenario"}, []string{"---"}
	for _, col := range m.Columns {
		head, rule = append(head, escape(col.Name)), append(rule, "---")
	}
	row(head...)
	row(rule...)
	for i, scenario := range m.Scenarios {
		cells := []string{escape(scenario)}
		for j, cell := range m.Cells[i] {
			s := cell.Summary()
			text := strings.Join(strings.Fields(sign[verdict.Verdict(s.Verdict)]+" "+s.Runs+" "+
				escape(plaintext.Cut(s.Killed, 40))+" "+s.Points), " ")
			if m.Differing(i, j) {
				text = "**" + text + "**"
			}
			cells = append(cells, orNothing(text))
		}
		row(cells...)
	}
	b.WriteString("\nThe verdict, who was killed in order, and the kernel's score of the first victim in pages. " +
		"**Bold**: differs from the column before.\n")
	if all := m.Differences(); len(all) > 0 {
		b.WriteString("\n### What differs\n\n")
		markdownDifferences(&b, all, len(m.Scenarios))
	} else if len(m.Columns) > 1 {
		b.WriteString("\nNothing differs.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func markdownDifferences(b *strings.Builder, all []compare.Difference, scenarios int) {
	if len(all) == 0 {
		return
	}
	b.WriteString("| since | aspect | change | scenarios |\n| --- | --- | --- | --- |\n")
	for _, d := range all {
		for _, g := range d.Groups() {
			where := strings.Join(g.Scenarios, ", ")
			if len(g.Scenarios) == scenarios && scenarios > 1 {
				where = fmt.Sprintf("all %d", scenarios)
			} else if len(g.Scenarios) > 3 {
				where = fmt.Sprintf("%d of %d", len(g.Scenarios), scenarios)
			}
			change := plaintext.Cut(g.Short, 400)
			if g.Subject != "" {
				change = g.Subject + ": " + change
			}
			fmt.Fprintf(b, "| %s (not %s) | %s | %s | %s |\n", escape(d.Since), escape(d.After), escape(d.What),
				escape(change),
				escape(where))
		}
	}
	b.WriteString("\n")
}
