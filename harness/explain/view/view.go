// Package view shows explanations of OOM reports as HTML and as Markdown: the file that
// oomlab explain -o html writes, and what the page in a browser shows, are made by the
// same templates. There is no script in what they make, and it needs no network.
//
// The package is pure, and everything that comes from a log is escaped.
package view

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plaintext"
)

//go:embed view.html
var source string

//go:embed view.css
var style string

var templates = template.Must(template.New("").Parse(source))

// someRows are shown of a ranking; the rest is folded away.
const someRows = 12

// maxRows of one ranking are shown at all: a page is mailed, and opened on phones.
const maxRows = 2000

// Page writes reports of one log as a file for a browser. summary may be nil; first is
// the number of the first report.
func Page(w io.Writer, title string, reports []Report, summary *explain.Summary) error {
	p := struct {
		Title   string
		Style   template.CSS
		Policy  string
		Summary template.HTML
		Reports []template.HTML
	}{Title: plaintext.Escape(title), Style: template.CSS(style),
		Policy: "default-src 'none'; style-src 'unsafe-inline'; img-src data:"}
	var err error
	if summary != nil && summary.Reports > 1 {
		if p.Summary, err = Summary(summary); err != nil {
			return err
		}
	}
	for _, r := range reports {
		body, err := r.HTML()
		if err != nil {
			return err
		}
		p.Reports = append(p.Reports, body)
	}
	return templates.ExecuteTemplate(w, "page", p)
}

// Style is what the templates need.
func Style() string { return style }

// Report is one explanation to show.
type Report struct {
	N int // its place in the log, from 1
	explain.Explanation
	// Ask adds fields for what might have been different; a script has to read them.
	Ask bool
}

// HTML is an article about one report.
func (r Report) HTML() (template.HTML, error) {
	e := &r.Explanation
	v := article{
		ID: fmt.Sprintf("report-%d", r.N), N: r.N, Title: e.Title(r.N), Why: e.Why, Head: e.HeadFacts(),
		Model: e.ModelFacts(), Saved: e.SavedFacts(), Notes: e.NoteFacts(), Total: e.TotalFacts(),
		Agrees: e.Agrees != nil && *e.Agrees, Differs: e.Agrees != nil && !*e.Agrees,
		Memory: memoryOf(e),
	}
	if e.Ranked() {
		v.Board = boardOf(e.Ranking, e.PageSize)
	}
	if e.WhatIf != nil {
		v.Answer = answerOf(e)
	}
	if r.Ask && len(e.Ranking) > 0 {
		v.Ask = askOf(e)
	}
	var text bytes.Buffer
	if err := explain.Text(&text, r.N, *e, explain.TextOptions{All: len(e.Ranking) <= maxRows}); err != nil {
		return "", err
	}
	v.Text = text.String()
	return fill("report", v)
}

// Answer is what becomes of a report's ranking with the changes it was asked about.
func Answer(e explain.Explanation) (template.HTML, error) {
	if e.WhatIf == nil {
		return "", nil
	}
	return fill("answer", answerOf(&e))
}

// Summary is a section about all reports of a log.
func Summary(s *explain.Summary) (template.HTML, error) {
	v := struct {
		Facts   []explain.Fact
		Victims []victims
		More    int
	}{Facts: s.Facts()}
	for i, k := range s.Victims {
		if i >= maxRows {
			v.More = len(s.Victims) - i
			break
		}
		limit := "not known"
		if k.Limit > 0 {
			limit = k.Limit.Human()
		}
		v.Victims = append(v.Victims, victims{k.Kills, plaintext.Escape(k.Comm), limit, k.Largest.Human(),
			plaintext.Escape(k.Where())})
	}
	return fill("summary", v)
}

type victims struct {
	Kills                       int
	Comm, Limit, Largest, Where string
}

// List is a navigation of reports, each a button with the number as its value.
func List(all []Report) (template.HTML, error) {
	type row struct {
		N int
		explain.Brief
	}
	var rows []row
	for _, r := range all {
		rows = append(rows, row{r.N, r.Brief()})
	}
	return fill("list", rows)
}

// SummaryMarkdown writes all reports of a log together for a ticket.
func SummaryMarkdown(w io.Writer, s *explain.Summary) error {
	var b strings.Builder
	labels, texts := lines(s.Facts())
	b.WriteString("| | |\n|---|---|\n")
	for i := range labels {
		fmt.Fprintf(&b, "| %s | %s |\n", quote(labels[i]), quote(texts[i]))
	}
	if len(s.Victims) > 0 {
		b.WriteString("\n| kills | victim | limit | largest | where, and over what time |\n|---:|---|---:|---:|---|\n")
	}
	for _, k := range s.Victims[:min(len(s.Victims), maxRows)] {
		limit := "?"
		if k.Limit > 0 {
			limit = k.Limit.Human()
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s |\n", k.Kills, quote(k.Comm), limit, k.Largest.Human(),
			quote(k.Where()))
	}
	if more := len(s.Victims) - maxRows; more > 0 {
		fmt.Fprintf(&b, "\n%d more with fewer kills.\n", more)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// fill executes a template. What HTML cannot hold, and a comm may, is replaced.
func fill(name string, data any) (template.HTML, error) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		return "", err
	}
	return template.HTML(plaintext.EscapeLines(b.String())), nil
}

type article struct {
	ID, Title, Why, Text             string
	N                                int
	Agrees, Differs                  bool
	Head, Total, Model, Saved, Notes []explain.Fact
	Board                            *board
	Memory                           *memory
	Answer                           *answer
	Ask                              *ask
}

// answer is that of a what-if.
type answer struct {
	Facts []explain.Fact
	Board *board
}

func answerOf(e *explain.Explanation) *answer {
	a := &answer{Facts: e.WhatIf.Facts()}
	if len(e.WhatIf.Ranking) > 0 {
		ranking := slices.Clone(e.WhatIf.Ranking)
		for i := range ranking {
			ranking[i].Killed = e.WhatIf.VictimPID != nil && ranking[i].PID == *e.WhatIf.VictimPID
		}
		a.Board = boardOf(ranking, e.PageSize)
		a.Board.Supposed = true
	}
	return a
}

// ask are the values that fields begin with.
type ask struct {
	Adj, N          int
	Limit           string
	LimitBytes, Max int64
	Swap            string
	Names           []string
}

func askOf(e *explain.Explanation) *ask {
	a := &ask{}
	names := map[string]bool{}
	for i, k := range e.Ranking {
		if k.Killed && (e.Victim == nil || k.PID == e.Victim.PID) {
			a.Adj = k.Adj
		}
		name := plaintext.Escape(k.Comm)
		if i < 200 && !names[name] && name == k.Comm {
			names[name], a.Names = true, append(a.Names, name)
		}
	}
	if m := e.Memory; m != nil && m.Size != nil {
		size := m.Size.Bytes(e.PageSize)
		a.Limit, a.LimitBytes, a.Max = size.Human(), int64(size), int64(size/kernel.MiB)*4+64
	}
	return a
}

// lines joins facts for Markdown: those without a label belong to the one before.
func lines(all []explain.Fact) (labels, texts []string) {
	for _, f := range all {
		if f.Label == "" && len(texts) > 0 {
			texts[len(texts)-1] += "; " + f.Text
			continue
		}
		labels, texts = append(labels, f.Label), append(texts, f.Text)
	}
	return labels, texts
}

// Markdown writes one report for a ticket.
func (r Report) Markdown(w io.Writer) error {
	e := &r.Explanation
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n%s\n\n", quote(e.Title(r.N)), quote(e.Why))
	table := func(facts []explain.Fact) {
		labels, texts := lines(facts)
		for i := range labels {
			fmt.Fprintf(&b, "| %s | %s |\n", quote(labels[i]), quote(texts[i]))
		}
	}
	b.WriteString("| | |\n|---|---|\n")
	table(e.HeadFacts())
	table(e.ModelFacts())
	table(e.MemoryFacts())
	table(e.SavedFacts())
	table(e.NoteFacts())
	if e.WhatIf != nil {
		table(e.WhatIf.Facts())
	}
	if e.Ranked() {
		fmt.Fprintf(&b, "\nThe highest scores, in pages of %s:\n\n| | pid | name | rss | swap | page tables | "+
			"adjustment | score |\n|---|---:|---|---:|---:|---:|---:|---:|\n", e.PageSize)
		rest := 0
		for i, k := range e.Ranking {
			if i >= someRows && !k.Killed {
				rest++
				continue
			}
			mark := ""
			if k.Killed {
				mark = "killed"
			}
			fmt.Fprintf(&b, "| %s | %d | %s | %d | %d | %d | %s | %s |\n", mark, k.PID, quote(k.Comm), k.RSS, k.Swap,
				k.PgTables, quote(k.AdjText()), quote(k.ScoreText()))
		}
		if rest > 0 {
			fmt.Fprintf(&b, "\n%d more with lower scores.\n", rest)
		}
	}
	if m := e.Memory; m != nil && len(m.Uses()) > 0 {
		b.WriteString("\nHeld by no process:\n\n| | | |\n|---|---:|---|\n")
		for _, u := range m.Uses() {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", quote(u.Name), u.Pages.Bytes(e.PageSize).Human(), quote(u.Note))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// quote makes a text fit for a cell of a table in an issue, where @ names a person.
func quote(s string) string { return plaintext.Markdown(plaintext.Escape(s), "@") }
