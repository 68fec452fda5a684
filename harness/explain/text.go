package explain

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plaintext"
)

// TextOptions say how a text is laid out.
type TextOptions struct {
	Width int  // columns; 0: 80
	All   bool // every row of the ranking, not the first few
}

// rows that are shown of a ranking, and uses of memory.
const (
	someRows  = 10
	someParts = 6
)

// JSON writes one explanation on one line.
func JSON(w io.Writer, e Explanation) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(e)
}

// Line writes an explanation in one line, for a list. n counts from 1.
func Line(w io.Writer, n int, e Explanation, width int) error {
	b := e.Brief()
	line := fmt.Sprintf("%4d  %-24s  %-26s  %-7s  %s", n, plaintext.Cut(b.At, 24), plaintext.Cut(b.Victim, 26), b.Model,
		b.Where)
	return plaintext.Write(w, []string{plaintext.Cut(line, width)}, nil)
}

// Text writes one explanation for a person. n counts from 1.
func Text(w io.Writer, n int, e Explanation, o TextOptions) error {
	if o.Width <= 0 {
		o.Width = 80
	}
	p := page{e: &e, o: o}
	p.line("%s", plaintext.Cut(e.Title(n), p.o.Width))
	p.facts(e.HeadFacts())
	p.line("")
	p.out = append(p.out, plaintext.Wrap(e.Why, p.o.Width)...)
	p.ranking()
	p.line("")
	p.facts(e.ModelFacts())
	p.memory()
	p.facts(e.SavedFacts())
	p.facts(e.NoteFacts())
	if e.WhatIf != nil {
		p.line("")
		p.facts(e.WhatIf.Facts())
	}
	return plaintext.Write(w, p.out, nil)
}

type page struct {
	e   *Explanation
	o   TextOptions
	out []string
}

func (p *page) line(format string, args ...any) { p.out = append(p.out, fmt.Sprintf(format, args...)) }

func (p *page) facts(all []Fact) {
	for _, f := range all {
		p.out = append(p.out, plaintext.Hang(f.Label, f.Text, 10, p.o.Width)...)
	}
}

func (p *page) ranking() {
	e := p.e
	if len(e.Ranking) == 0 {
		return
	}
	p.line("")
	p.facts(e.TotalFacts())
	if !e.Ranked() {
		return
	}
	p.line("")
	g := plaintext.Grid{Right: []bool{false, true, false, true, true, true, true, true}}
	g.Add("", "pid", "comm", "rss", "swap", "pgt", "adj", "score")
	shown := len(e.Ranking)
	if !p.o.All {
		shown = min(shown, someRows)
	}
	victimShown := false
	for i, k := range e.Ranking {
		if i >= shown && (!k.Killed || victimShown) {
			continue
		}
		if i == shown {
			shown++
		}
		victimShown = victimShown || k.Killed
		g.Add(row(k)...)
	}
	p.out = append(p.out, g.Lines("  ")...)
	if more := len(e.Ranking) - shown; more > 0 && !p.o.All {
		p.line("  ... and %d more with lower scores (-v shows all)", more)
	}
}

func row(k Ranked) []string {
	mark := ""
	if k.Killed {
		mark = ">"
	}
	return []string{mark, fmt.Sprint(k.PID), plaintext.Cut(printable(k.Comm), kernel.CommLen), fmt.Sprint(k.RSS),
		fmt.Sprint(k.Swap), fmt.Sprint(k.PgTables), k.AdjText(), k.ScoreText()}
}

func (p *page) memory() {
	m := p.e.Memory
	if m == nil {
		return
	}
	p.facts(p.e.MemoryFacts())
	g := plaintext.Grid{Right: []bool{false, true, true}}
	for i, part := range m.Uses() {
		if i >= someParts && !p.o.All && part.Name != unaccounted {
			continue
		}
		share := ""
		if m.Size != nil && *m.Size > 0 {
			share = fmt.Sprintf("%.1f%%", 100*float64(part.Pages)/float64(*m.Size))
		}
		g.Add(part.Name, part.Pages.Bytes(p.e.PageSize).Human(), share, part.Note)
	}
	for i, l := range g.Lines("  ") {
		if i == 0 {
			p.facts([]Fact{{"", "held by no process:"}})
		}
		p.out = append(p.out, plaintext.Cut(l, p.o.Width))
	}
}
