package explain

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
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
	at := printable(e.At)
	if e.At == "" {
		at = "no time"
	}
	where := "unknown"
	switch {
	case e.report.Sysrq:
		where = "sysrq"
	case e.OOMMemcg != "":
		where = e.OOMMemcg
	case e.Global != nil && *e.Global:
		where = "machine"
	case e.Global != nil:
		where = "cgroup"
	}
	victim := "nobody"
	if e.Victim != nil {
		victim = fmt.Sprintf("%s (%d)", printable(e.Victim.Comm), e.Victim.PID)
	}
	if len(e.Kills) > 1 {
		victim += fmt.Sprintf(" +%d", len(e.Kills)-1)
	}
	model := "?"
	if e.Agrees != nil {
		model = map[bool]string{true: "agrees", false: "DIFFERS"}[*e.Agrees]
	}
	line := fmt.Sprintf("%4d  %-24s  %-26s  %-7s  %s", n, plaintext.Cut(at, 24), plaintext.Cut(victim, 26), model,
		printable(where))
	_, err := fmt.Fprintln(w, plaintext.Cut(plain(line), width))
	return err
}

// Text writes one explanation for a person. n counts from 1.
func Text(w io.Writer, n int, e Explanation, o TextOptions) error {
	if o.Width <= 0 {
		o.Width = 80
	}
	p := page{e: &e, o: o}
	p.head(n)
	p.ranking()
	p.model()
	p.memory()
	p.foot()
	var b strings.Builder
	for _, line := range p.out {
		b.WriteString(plain(line))
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

type page struct {
	e   *Explanation
	o   TextOptions
	out []string
}

func (p *page) line(format string, args ...any) { p.out = append(p.out, fmt.Sprintf(format, args...)) }

func (p *page) field(label, text string) {
	if text != "" {
		p.out = append(p.out, plaintext.Hang(label, text, 10, p.o.Width)...)
	}
}

func (p *page) head(n int) {
	e := p.e
	title := fmt.Sprintf("OOM %d", n)
	if e.At != "" {
		title += "  " + printable(e.At)
	}
	if e.Host != "" {
		title += "  " + printable(e.Host)
	}
	p.line("%s", plaintext.Cut(title, p.o.Width))
	killed := "nobody"
	if v := e.Victim; v != nil {
		killed = process(v.Comm, v.PID)
		if size := sizes(*v); size != "" {
			killed += ": " + size
		}
		if len(e.Kills) > 1 {
			killed += fmt.Sprintf("; and %d more", len(e.Kills)-1)
		}
	}
	p.field("killed", killed)
	p.field("trigger", trigger(e.Trigger))
	scope := e.Constraint
	if e.OOMMemcg != "" {
		scope = strings.TrimSpace(scope + " " + printable(e.OOMMemcg))
	}
	p.field("limit", scope)
	if e.TaskMemcg != "" && e.TaskMemcg != e.OOMMemcg {
		p.field("victim's", "cgroup "+printable(e.TaskMemcg))
	}
	p.field("pod", e.Kubernetes.String())
	kern := printable(e.KernelRelease)
	if e.KernelRelease == "" {
		kern = "release not printed"
	}
	if e.KernelFormat != "" {
		kern += "; log of the layout " + e.KernelFormat
	}
	p.field("kernel", kern)
	p.line("")
	p.out = append(p.out, plaintext.Wrap(e.Why, p.o.Width)...)
}

func sizes(k oomlog.KillLine) string {
	var parts []string
	add := func(kb *uint64, what string) {
		if kb != nil {
			parts = append(parts, (kernel.Bytes(min(*kb, 1<<52))*kernel.KiB).Human()+" "+what)
		}
	}
	add(k.AnonRSSKB, "anon")
	add(k.FileRSSKB, "file")
	add(k.ShmemRSSKB, "shmem")
	add(k.PgTablesKB, "page tables")
	if k.Adj != nil {
		parts = append(parts, fmt.Sprintf("oom_score_adj %d", *k.Adj))
	}
	return strings.Join(parts, ", ")
}

func trigger(t oomlog.Trigger) string {
	if t.Comm == "" {
		return ""
	}
	s := printable(t.Comm)
	if t.PID != nil {
		s = process(t.Comm, *t.PID)
	}
	if t.GFP != "" {
		s += ", " + printable(t.GFP)
	}
	if t.Order != nil {
		s += fmt.Sprintf(", order %d", *t.Order)
	}
	if t.Adj != nil {
		s += fmt.Sprintf(", oom_score_adj %d", *t.Adj)
	}
	return s
}

// String is the pod and container in words; empty for none.
func (k *Kubernetes) String() string {
	if k == nil {
		return ""
	}
	var s []string
	add := func(what, value string) {
		if value != "" {
			s = append(s, strings.TrimSpace(what+" "+value))
		}
	}
	add("", k.QoS)
	add("pod", k.PodUID)
	add(strings.TrimSpace(k.Runtime+" container"), k.ContainerID)
	add("in the node container", k.Node)
	add("limit of", map[string]string{"container": "the container", "pod": "the pod", "qos": "the QoS class",
		"kubepods": "all pods", "node": "the node", "machine": "the machine"}[k.Limit])
	return strings.Join(s, ", ")
}

func (p *page) ranking() {
	e := p.e
	if len(e.Ranking) == 0 {
		return
	}
	p.line("")
	p.field("ranking", fmt.Sprintf("in pages of %s; score = rss + swap + page tables + adj, which is oom_score_adj * "+
		"(total / 1000)", e.PageSize))
	total := e.TotalFrom
	switch {
	case e.TotalPages != nil:
		total = fmt.Sprintf("%d pages (%s): %d for each oom_score_adj", *e.TotalPages, e.TotalFrom,
			inThousands(*e.TotalPages))
	case e.TotalRange.Min > 0 || e.TotalRange.Max != nil:
		total = fmt.Sprintf("%s pages: %s", e.span(e.TotalRange, true, 0), e.TotalFrom)
	}
	p.field("total", total)
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
	adj := "?"
	if k.AdjPoints != nil {
		adj = fmt.Sprintf("%+d", *k.AdjPoints)
		if *k.AdjPoints == 0 {
			adj = "0"
		}
	}
	if k.Adj != 0 {
		adj += fmt.Sprintf(" (%d)", k.Adj)
	}
	score := "never"
	switch {
	case k.Points != nil:
		score = fmt.Sprint(*k.Points)
	case k.PointsMin != nil && k.PointsMax != nil:
		score = fmt.Sprintf("%d..%d", *k.PointsMin, *k.PointsMax)
	case k.PointsMin != nil:
		score = fmt.Sprintf("%d or more", *k.PointsMin)
	case k.PointsMax != nil:
		score = fmt.Sprintf("%d or less", *k.PointsMax)
	}
	if k.RootBonus != 0 {
		score += fmt.Sprintf(" (root -%d)", k.RootBonus)
	}
	return []string{mark, fmt.Sprint(k.PID), plaintext.Cut(printable(k.Comm), kernel.CommLen), fmt.Sprint(k.RSS),
		fmt.Sprint(k.Swap), fmt.Sprint(k.PgTables), adj, score}
}

func (p *page) model() {
	e := p.e
	text := "cannot say: the log does not have what that takes"
	if len(e.Missing) > 0 {
		text = "cannot say: missing " + strings.Join(e.Missing, ", ")
	}
	switch {
	case e.Agrees != nil && *e.Agrees && e.report.AllocatingTask:
		text = "agrees: whoever asks is killed"
	case e.Agrees != nil && *e.Agrees && e.ReplayedVictimPID == nil:
		text = "agrees: nobody could be chosen"
	case e.Agrees != nil && *e.Agrees:
		text = fmt.Sprintf("agrees: it chooses pid %d from this table too", *e.ReplayedVictimPID)
		if e.TotalPages == nil && e.Follows != nil && !e.Follows.same(e.TotalRange) {
			text += fmt.Sprintf(", if the domain has %s pages", e.span(*e.Follows, true, 0))
		} else if e.TotalPages == nil {
			text += ", whatever the total"
		}
	case e.Agrees != nil && e.ReplayedVictimPID != nil:
		text = fmt.Sprintf("DIFFERS: it chooses pid %d from this table", *e.ReplayedVictimPID)
	case e.Agrees != nil:
		text = "DIFFERS"
	case e.report.PanicText != "":
		text = "nobody is chosen in a panic"
	case e.Disagreement != "":
		text = "cannot say: " + e.Disagreement
	}
	p.line("")
	p.field("model", text)
}

func (p *page) memory() {
	m := p.e.Memory
	if m == nil {
		return
	}
	size := func(n kernel.Pages) string { return n.Bytes(p.e.PageSize).Human() }
	var s []string
	if m.Usage != nil && m.Size != nil {
		s = append(s, fmt.Sprintf("%s of %s in use", size(*m.Usage), size(*m.Size)))
	}
	if m.Anon != nil {
		s = append(s, size(*m.Anon)+" anonymous")
	}
	if m.Resident > 0 || m.Swapped > 0 {
		s = append(s, fmt.Sprintf("the table's processes hold %s, what they share counted in each, and %s in swap",
			size(m.Resident), size(m.Swapped)))
	}
	p.field("memory", strings.Join(s, "; "))
	g := plaintext.Grid{Right: []bool{false, true, true}}
	parts := m.Elsewhere
	if m.Unaccounted != nil {
		parts = append(parts[:len(parts):len(parts)], Part{Name: "unaccounted", Pages: *m.Unaccounted,
			Note: "in none of the kernel's figures"})
	}
	for i, part := range parts {
		if i >= someParts && !p.o.All {
			break
		}
		share := ""
		if m.Size != nil && *m.Size > 0 {
			share = fmt.Sprintf("%.1f%%", 100*float64(part.Pages)/float64(*m.Size))
		}
		g.Add(part.Name, size(part.Pages), share, part.Note)
	}
	for i, l := range g.Lines("  ") {
		if i == 0 {
			p.field("", "held by no process:")
		}
		p.out = append(p.out, plaintext.Cut(l, p.o.Width))
	}
}

func (p *page) foot() {
	e := p.e
	if len(e.Missing) > 0 {
		p.field("missing", strings.Join(e.Missing, ", "))
	}
	if e.Suppressed != nil {
		p.field("note", fmt.Sprintf("%d reports before this one were swallowed by the rate limit", *e.Suppressed))
	}
	if len(e.Capped) > 0 {
		p.field("note", "longer than what is looked at: "+strings.Join(e.Capped, ", "))
	}
	if w := e.WhatIf; w != nil {
		p.line("")
		p.field("what if", printable(strings.Join(w.Changes, ", ")))
		p.field("", w.Text)
		for _, problem := range w.Errors {
			p.field("", printable(problem))
		}
	}
}
