package explain

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
	"github.com/oomlab/oomlab/harness/predict"
)

// Change is one thing that might have been different.
type Change struct {
	// Text is as it was asked for: "victim.oom_score_adj=-500".
	Text   string `json:"text"`
	victim bool   // it is about the victim, whatever its pid
	pid    int
	kind   changeKind
	adj    int
	limit  kernel.Bytes
}

type changeKind uint8

const (
	changeAdj changeKind = iota
	changeLimit
	changeWithout
)

// ParseChange reads "victim.oom_score_adj=-500", "1234.oom_score_adj=0",
// "limit=512Mi", "without=1234" or "without=victim". The error says what was
// meant to stand there.
func ParseChange(s string) (Change, error) {
	c := Change{Text: s}
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return c, errors.New("write victim.oom_score_adj=-500, 1234.oom_score_adj=0, limit=512Mi or without=1234")
	}
	who, what, dotted := strings.Cut(key, ".")
	var err error
	switch {
	case key == "limit":
		c.kind = changeLimit
		if c.limit, err = kernel.ParseBytes(value); err == nil && c.limit <= 0 {
			err = errors.New("a limit of nothing lets no process live")
		}
		return c, err
	case key == "without":
		c.kind = changeWithout
		return c, c.who(value)
	case dotted && what == "oom_score_adj":
		if err := c.who(who); err != nil {
			return c, err
		}
		if c.adj, err = strconv.Atoi(value); err != nil || c.adj < -1000 || c.adj > 1000 {
			return c, fmt.Errorf("%q is no oom_score_adj; it goes from -1000 to 1000", value)
		}
		return c, nil
	case dotted:
		return c, fmt.Errorf("of a process there is oom_score_adj to change, not %q", what)
	}
	return c, fmt.Errorf("there is no %q to change; there are PID.oom_score_adj, limit and without", key)
}

func (c *Change) who(s string) error {
	if c.victim = s == "victim"; c.victim {
		return nil
	}
	var err error
	if c.pid, err = strconv.Atoi(s); err != nil || c.pid <= 0 {
		return fmt.Errorf("%q is no process; write a pid, or victim", s)
	}
	return nil
}

// WhatIf is who would have been chosen, had things been different and every
// process of the size that it had.
type WhatIf struct {
	Changes []string `json:"changes"`
	// Errors are changes that mean nothing here, such as an unknown pid.
	Errors     []string      `json:"errors,omitempty"`
	TotalPages *kernel.Pages `json:"total_pages,omitempty"`
	VictimPID  *int          `json:"victim_pid,omitempty"`
	VictimComm string        `json:"victim_comm,omitempty"`
	Points     *int64        `json:"points,omitempty"`
	// Text is the answer in words.
	Text    string   `json:"text"`
	Ranking []Ranked `json:"ranking,omitempty"`
}

func (e *Explanation) whatIf(changes []Change) WhatIf {
	var w WhatIf
	p := e.replay
	p.tasks, p.never, p.rows = slices.Clone(p.tasks), slices.Clone(p.never), slices.Clone(p.rows)
	total, rng, sorted := e.TotalPages, e.TotalRange, e.Scored()
	var notes []string
	for _, c := range changes {
		w.Changes = append(w.Changes, c.Text)
		if c.kind == changeLimit {
			total, rng, sorted = e.resized(c.limit, &notes)
			continue
		}
		i := e.rowOf(c)
		if i < 0 {
			w.Errors = append(w.Errors, fmt.Sprintf("%s: the task table has no such process", c.Text))
			continue
		}
		if c.kind == changeWithout {
			p.tasks[i].Skip, p.never[i] = true, "left out"
			freed := clampPages(p.rows[i].RSS)
			notes = append(notes, fmt.Sprintf("without %s up to %s more would have been free, and memory might not have run "+
				"out then.",
				process(p.rows[i].Name, p.rows[i].PID), e.bytes(freed)))
			continue
		}
		p.tasks[i].Adj, p.rows[i].Adj = c.adj, c.adj
		if p.never[i] == exempt || c.adj == predict.AdjMin {
			p.never[i] = ""
		}
		if c.adj == predict.AdjMin {
			p.never[i] = exempt
		}
	}
	w.TotalPages = total
	if len(p.rows) == 0 {
		w.Text = "The log has no task table, so there is nobody to choose from."
		return w
	}
	w.Ranking = p.ranking(total, rng, sorted)
	i := p.choose(sorted)
	if i >= 0 && total == nil {
		if r, ok := p.wins(i, rng); !ok || !rng.same(r) {
			notes = append(notes, fmt.Sprintf("this holds if the domain has %s pages; its size is not known.",
				e.span(r, ok, sorted)))
		}
	}
	about := ""
	if i >= 0 && total == nil && p.tasks[i].Adj > 0 {
		about = "at least "
	} else if i >= 0 && total == nil && p.tasks[i].Adj < 0 {
		about = "at most "
	}
	w.Text = strings.Join(append([]string{w.answer(&p, i, sorted, e.replay.chosen, about)}, capitals(notes)...), " ")
	return w
}

func capitals(notes []string) []string {
	out := make([]string, len(notes))
	for i, n := range notes {
		out[i] = strings.ToUpper(n[:1]) + n[1:]
	}
	return out
}

func (w *WhatIf) answer(p *replay, i int, at kernel.Pages, before int, about string) string {
	if i < 0 {
		return "Nobody could have been killed: the allocation fails in a cgroup, and a machine panics."
	}
	points, _ := p.points(i, at)
	w.VictimPID, w.VictimComm, w.Points = &p.rows[i].PID, p.rows[i].Name, &points
	name := process(p.rows[i].Name, p.rows[i].PID)
	if i == before {
		return fmt.Sprintf("%s would have been killed all the same, with %s%d points.", name, about, points)
	}
	return fmt.Sprintf("%s would have been killed, with %s%d points.", name, about, points)
}

func (e *Explanation) rowOf(c Change) int {
	if c.victim {
		return e.replay.chosen
	}
	return slices.IndexFunc(e.replay.rows, func(t oomlog.TaskRow) bool { return t.PID == c.pid || t.TGID == c.pid })
}

// resized is the domain with another limit, or the machine with other memory;
// what swap adds to it stays.
func (e *Explanation) resized(limit kernel.Bytes, notes *[]string) (*kernel.Pages, Range, kernel.Pages) {
	pages := kernel.Pages(limit / e.PageSize)
	var old kernel.Pages
	if m := e.Memory; m != nil && m.Size != nil {
		old = *m.Size
	}
	if m := e.Memory; m != nil && m.Usage != nil && *m.Usage < pages {
		*notes = append(*notes, fmt.Sprintf("%s were in use, so %s would not have been full yet; the answer is for when "+
			"they are, with sizes as they were.",
			e.bytes(*m.Usage), e.bytes(pages)))
	}
	shift := func(p kernel.Pages) kernel.Pages { return max(1, p-old+pages) }
	rng := Range{Min: shift(e.TotalRange.Min)}
	if e.TotalRange.Max != nil {
		top := shift(*e.TotalRange.Max)
		rng.Max = &top
	}
	if e.TotalPages == nil {
		return nil, rng, rng.Min
	}
	total := shift(*e.TotalPages)
	return &total, rng, total
}

// span writes a range of pages.
func (e *Explanation) span(r Range, ok bool, at kernel.Pages) string {
	switch {
	case !ok:
		return fmt.Sprintf("about %d", at)
	case r.Max == nil:
		return fmt.Sprintf("%d or more", r.Min)
	case r.Min == 0:
		return fmt.Sprintf("at most %d", *r.Max)
	}
	return fmt.Sprintf("%d to %d", r.Min, *r.Max)
}
