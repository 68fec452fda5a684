package rank

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plaintext"
)

// JSON writes v, a Ranking or a One, on one line.
func JSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Text writes a ranking. width 0 is no limit.
func (r Ranking) Text(w io.Writer, width int) error {
	var lines []string
	for i, d := range r.Domains {
		if i > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, d.lines(r.Machine)...)
	}
	if r.Left > 0 {
		lines = append(lines, "", fmt.Sprintf("%s not shown, further from their limit; --domains 0 shows all",
			plaintext.Count(r.Left, "domain")))
	}
	if r.Unread > 0 {
		lines = append(lines, "",
			plaintext.Count(r.Unread, "process")+" could not be read; the ranking is without them")
	}
	for _, n := range r.Notes {
		lines = append(lines, "", "note: "+n)
	}
	return write(w, lines, width)
}

func write(w io.Writer, lines []string, width int) error {
	for i := range lines {
		lines[i] = plaintext.Cut(lines[i], width)
	}
	return plaintext.Write(w, lines, nil)
}

// lines are a domain: what it is, the table, and what else there is to know.
func (d *Domain) lines(m Machine) []string {
	out := []string{d.title(m)}
	out = append(out, table(d.Rows)...)
	if more := d.Candidates - len(d.Rows); more > 0 && len(d.Rows) > 0 {
		out = append(out, fmt.Sprintf("  … and %d more", more))
	}
	return append(out, d.remarks()...)
}

// title is a domain in one line.
func (d *Domain) title(m Machine) string {
	text := ""
	switch d.Kind {
	case KindMachine:
		text = fmt.Sprintf("machine: %s of memory, ", m.MemTotal.Human())
		if m.SwapTotal == 0 {
			text += "no swap"
		} else {
			text += m.SwapTotal.Human() + " of swap"
		}
	case KindNodes:
		return fmt.Sprintf("NUMA nodes %s: %s, swap included", d.Nodes, d.Limit.Human())
	default:
		text = "cgroup " + d.Path
		if d.Owner != nil {
			text += " (" + d.Owner.String() + ")"
		}
		text += ": limit " + d.Limit.Human()
	}
	text += fmt.Sprintf("; %s used, %s left", d.Usage.Human(), d.Left.Human())
	switch {
	case d.Growth == nil:
	case d.FullIn != nil:
		text += fmt.Sprintf("; grows by %s/s, full in %s", kernel.Bytes(*d.Growth).Human(), duration(*d.FullIn))
	default:
		text += "; does not grow"
	}
	return text
}

// duration is a time in the unit that a person would choose.
func duration(seconds float64) string {
	switch {
	case seconds < 120:
		return fmt.Sprintf("%.1f s", seconds)
	case seconds < 2*3600:
		return fmt.Sprintf("%.0f min", seconds/60)
	case seconds < 48*3600:
		return fmt.Sprintf("%.0f h", seconds/3600)
	case seconds < 1000*24*3600:
		return fmt.Sprintf("%.0f days", seconds/24/3600)
	}
	return "more than 1000 days"
}

// table has the rows. Points is the sum of the four columns behind it.
func table(rows []Row) []string {
	if len(rows) == 0 {
		return nil
	}
	g := plaintext.Grid{Right: []bool{true, true, false, true, true, true, true, true, true, true, true, false}}
	g.Add("#", "PID", "NAME", "POINTS", "= RSS", "+ SWAP", "+ TABLES", "+ BY ADJ", "ADJ", "OOM_ADJ", "OOM_SCORE",
		"OWNER")
	for _, r := range rows {
		g.Add(strconv.Itoa(r.Rank), strconv.Itoa(r.PID), r.Comm, strconv.FormatInt(r.Points, 10), number(r.RSS),
			number(r.Swap), number(r.PgTables), strconv.FormatInt(r.AdjPoints, 10), strconv.Itoa(r.Adj),
			strconv.Itoa(r.OldAdj), score(r), owner(r.Owner, r.Cgroup))
	}
	return g.Lines("  ")
}

func number(p kernel.Pages) string { return strconv.FormatInt(int64(p), 10) }

// score is what the kernel says, and the model's where they differ.
func score(r Row) string {
	if r.Kernel == nil || *r.Kernel == r.OOMScore {
		return strconv.Itoa(r.OOMScore)
	}
	return fmt.Sprintf("%d (model: %d)", *r.Kernel, r.OOMScore)
}

func owner(o *explain.Owner, path string) string {
	if o != nil {
		return o.String()
	}
	return cmp.Or(path, "-")
}

// remarks are what the table does not show.
func (d *Domain) remarks() []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, "  "+fmt.Sprintf(format, args...)) }
	if d.Exempt > 0 {
		add("%s never chosen (oom_score_adj -1000, or init)", isAre(d.Exempt, "process"))
	}
	if d.Equal > 1 && d.Kind == KindMachine {
		add("%d have the highest score: the youngest of them dies", d.Equal)
	} else if d.Equal > 1 {
		add("%d have the highest score: which of them dies depends on the order in which the kernel visits them", d.Equal)
	}
	if d.Group != nil {
		add("memory.oom.group of %s: with the first, all %s of it die", d.Group.Cgroup,
			plaintext.Count(d.Group.Processes, "process"))
	}
	if b := d.ByScore; b != nil {
		add("/proc/PID/oom_score misleads here: %s (pid %d) has the highest, %d, but is number %d: "+
			"oom_score is about the machine", b.Comm, b.PID, b.OOMScore, b.Rank)
	}
	for _, n := range d.Notes {
		add("%s", n)
	}
	return out
}

func isAre(n int, what string) string {
	if n == 1 {
		return plaintext.Count(n, what) + " is"
	}
	return plaintext.Count(n, what) + " are"
}

// Text writes what there is to know of one process.
func (o One) Text(w io.Writer, width int) error {
	r := o.Row
	lines := []string{fmt.Sprintf("%s (pid %d) in %s", r.Comm, r.PID, owner(r.Owner, r.Cgroup))}
	lines = append(lines, fmt.Sprintf("  holds      %d pages: %d resident, %d in swap, %d of page tables",
		r.RSS+r.Swap+r.PgTables, r.RSS, r.Swap, r.PgTables))
	adjusted := fmt.Sprintf("  adjusted   oom_score_adj %d, which the old oom_adj shows as %d", r.Adj, r.OldAdj)
	if back, ok := NewAdj(r.OldAdj); ok && back != r.Adj {
		adjusted += fmt.Sprintf("; written back, that sets %d", back)
	}
	lines = append(lines, adjusted)
	text := "  oom_score  " + score(r)
	if o.Scores != nil {
		text += fmt.Sprintf(", which %d to %d points of the machine give", o.Scores.From, o.Scores.To)
	}
	lines = append(lines, text)
	if o.Never != "" {
		lines = append(lines, "  never chosen: "+o.Never)
	}
	for _, p := range o.Places {
		lines = append(lines, "", p.Domain.name())
		lines = append(lines, "  "+p.text(), "  "+p.Change.text(p.Row.Adj))
	}
	return write(w, lines, width)
}

// name is a domain in a few words.
func (d *Domain) name() string {
	switch d.Kind {
	case KindMachine:
		return "the machine"
	case KindNodes:
		return "NUMA nodes " + d.Nodes
	}
	text := "cgroup " + d.Path
	if d.Owner != nil {
		text += " (" + d.Owner.String() + ")"
	}
	return fmt.Sprintf("%s: limit %s, %s left", text, d.Limit.Human(), d.Left.Human())
}

// text is the place in words.
func (p Place) text() string {
	if p.Row.Rank == 0 {
		return fmt.Sprintf("not a candidate; %s", isAreCandidates(p.Domain.Candidates))
	}
	text := fmt.Sprintf("number %d of %d: %d points, %d of them by oom_score_adj", p.Row.Rank, p.Domain.Candidates,
		p.Row.Points, p.Row.AdjPoints)
	if p.Row.Rank > 1 {
		first := p.Domain.Rows[0]
		text += fmt.Sprintf("; first is %s (pid %d) with %d", first.Comm, first.PID, first.Points)
	} else if p.Domain.Equal > 1 {
		text += fmt.Sprintf("; %d have as many", p.Domain.Equal)
	}
	return text
}

func isAreCandidates(n int) string {
	if n == 1 {
		return "1 other process is"
	}
	return fmt.Sprintf("%d other processes are", n)
}

func (c Change) text(adj int) string {
	goal := "would no longer be first"
	if c.First {
		goal = "would be first"
	}
	if c.Adj == nil {
		return fmt.Sprintf("no oom_score_adj changes that: %s", c.Why)
	}
	return fmt.Sprintf("with oom_score_adj %d instead of %d it %s", *c.Adj, adj, goal)
}
