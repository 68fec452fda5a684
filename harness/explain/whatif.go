package explain

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/predict"
)

// Change is one thing that might have been different.
type Change struct {
	// Text is as it was asked for: "victim.oom_score_adj=-500".
	Text string `json:"text"`
	// who it is about: the victim, whatever its pid; a pid; or all of a name.
	victim bool
	pid    int
	comm   string
	kind   changeKind
	adj    int
	size   kernel.Bytes
	on     int // of a switch
}

type changeKind uint8

const (
	changeAdj changeKind = iota
	changeLimit
	changeSwap
	changeWithout
	changeGroup
	changePanic
)

// changeForms is what there is to change, for errors and help.
const changeForms = "victim.oom_score_adj=-500, PID.oom_score_adj=0, COMM.oom_score_adj=0, limit=512Mi, swap=1Gi, " +
	"without=PID, memory.oom.group=1 or panic_on_oom=0"

// ParseChange reads one of [changeForms]. The error says what was meant to stand there.
func ParseChange(s string) (Change, error) {
	c := Change{Text: s}
	i := strings.LastIndexByte(s, '=')
	if i < 0 {
		return c, errors.New("write " + changeForms)
	}
	key, value := s[:i], s[i+1:]
	if who, ok := strings.CutPrefix(s, "without="); ok {
		c.kind = changeWithout
		return c, c.who(who)
	}
	var err error
	switch key {
	case "limit", "memory.max", "memory.limit_in_bytes":
		c.kind = changeLimit
		if c.size, err = kernel.ParseBytes(value); err == nil && c.size <= 0 {
			err = errors.New("a limit of nothing lets no process live")
		}
		return c, err
	case "swap", "memory.swap.max":
		c.kind = changeSwap
		c.size, err = kernel.ParseBytes(value)
		return c, err
	case "memory.oom.group":
		c.kind = changeGroup
		return c, c.number(value, 1)
	case "panic_on_oom", "vm.panic_on_oom":
		c.kind = changePanic
		return c, c.number(value, 2)
	}
	if who, ok := strings.CutSuffix(key, ".oom_score_adj"); ok {
		if err := c.who(who); err != nil {
			return c, err
		}
		if c.adj, err = strconv.Atoi(value); err != nil || c.adj < -1000 || c.adj > 1000 {
			return c, fmt.Errorf("%q is no oom_score_adj; it goes from -1000 to 1000", value)
		}
		return c, nil
	}
	if _, what, ok := strings.Cut(key, "."); ok {
		return c, fmt.Errorf("of a process there is oom_score_adj to change, not %q", what)
	}
	return c, fmt.Errorf("there is no %q to change; there are %s", key, changeForms)
}

func (c *Change) number(value string, most int) error {
	var err error
	if c.on, err = strconv.Atoi(value); err != nil || c.on < 0 || c.on > most {
		return fmt.Errorf("%q is no value of it; it goes from 0 to %d", value, most)
	}
	return nil
}

func (c *Change) who(s string) error {
	if c.victim = s == "victim"; c.victim {
		return nil
	}
	comm, named := strings.CutPrefix(s, "comm=")
	if named && comm != "" && len(comm) <= 64 {
		c.comm = comm
		return nil
	}
	var err error
	s = strings.TrimPrefix(s, "pid=")
	if c.pid, err = strconv.Atoi(s); err == nil && c.pid > 0 {
		c.comm = s // a process may be called 531
		return nil
	}
	if c.pid = 0; s == "" || len(s) > 64 || err == nil {
		return fmt.Errorf("%q is no process; write a pid, a name, or victim", s)
	}
	c.comm = s
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
	// Together are the pids that memory.oom.group kills with it.
	Together []int `json:"together_pids,omitempty"`
	// Text is the answer in words.
	Text    string   `json:"text"`
	Ranking []Ranked `json:"ranking,omitempty"`
}

// world is what a what-if changes.
type world struct {
	e      *Explanation
	p      replay
	total  *kernel.Pages
	rng    Range
	sorted kernel.Pages
	size   *kernel.Pages // of the limit or the machine, without swap
	group  *bool         // memory.oom.group; nil: as it was
	panics *int          // vm.panic_on_oom; nil: as it was
	notes  []string
}

func (w *world) note(format string, args ...any) {
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
}

func (e *Explanation) whatIf(changes []Change) WhatIf {
	var out WhatIf
	w := world{e: e, p: e.replay, total: e.TotalPages, rng: e.TotalRange, sorted: e.Scored()}
	w.p.tasks, w.p.never, w.p.rows = slices.Clone(w.p.tasks), slices.Clone(w.p.never), slices.Clone(w.p.rows)
	if e.Memory != nil {
		w.size = e.Memory.Size
	}
	for _, c := range changes {
		out.Changes = append(out.Changes, c.Text)
		if problem := w.change(c); problem != "" {
			out.Errors = append(out.Errors, c.Text+": "+problem)
		}
	}
	out.TotalPages = w.total
	if len(w.p.rows) == 0 {
		out.Text = "The log has no task table, so there is nobody to choose from."
		return out
	}
	if w.p.blind != "" {
		out.Text = capital(w.p.blind) + "."
		return out
	}
	out.Ranking = w.p.ranking(w.total, w.rng, w.sorted)
	if w.panicked() {
		text := "The kernel would have panicked before choosing anybody."
		out.Text = strings.Join(append([]string{text}, capitals(w.notes)...), " ")
		return out
	}
	i := w.p.choose(w.sorted)
	about := ""
	if i >= 0 && w.total == nil {
		if r, ok := w.p.wins(i, w.rng); !ok || !w.rng.same(r) {
			w.note("this holds if the domain has %s pages; its size is not known.", e.span(r, ok, w.sorted))
		}
		about = map[int]string{1: "at least ", -1: "at most "}[cmp.Compare(w.p.tasks[i].Adj, 0)]
	}
	if i >= 0 && i == made(&w.p) && w.p.atLeast {
		about = "at least "
	}
	text := out.answer(&w.p, i, w.sorted, e.replay.chosen, about)
	w.together(i, &out)
	out.Text = strings.Join(append([]string{text}, capitals(w.notes)...), " ")
	return out
}

func made(p *replay) int {
	if p.made == nil {
		return -1
	}
	return *p.made
}

// change makes one change, or says why it means nothing here.
func (w *world) change(c Change) (problem string) {
	e := w.e
	switch c.kind {
	case changeLimit:
		w.resize(c.size)
		return ""
	case changeSwap:
		return w.swap(c.size)
	case changeGroup:
		if m := e.report.Memcg; m != nil && (m.MemorySwap != nil || m.Kmem != nil) {
			return "the report is of cgroup v1, which has no memory.oom.group"
		}
		on := c.on == 1
		w.group = &on
		return ""
	case changePanic:
		w.panics = &c.on
		return ""
	}
	found := w.find(c)
	if len(found) == 0 {
		return "the task table has no such process"
	}
	var freed kernel.Pages
	for _, i := range found {
		if c.kind == changeWithout {
			w.p.tasks[i].Skip, w.p.never[i] = true, "left out"
			freed += clampPages(w.p.rows[i].RSS)
			continue
		}
		w.p.tasks[i].Adj, w.p.rows[i].Adj = c.adj, c.adj
		if w.p.never[i] == exempt || c.adj == predict.AdjMin {
			w.p.never[i] = ""
		}
		if c.adj == predict.AdjMin {
			w.p.never[i] = exempt
		}
	}
	name := process(w.p.rows[found[0]].Name, w.p.rows[found[0]].PID)
	if len(found) > 1 {
		name = fmt.Sprintf("the %d processes %s", len(found), printable(c.comm))
	}
	switch {
	case c.kind == changeWithout:
		w.note("without %s up to %s more would have been free, and memory might not have run out then.", name,
			e.bytes(freed))
	case len(found) > 1:
		w.note("%s are changed together.", name)
	case w.p.origin != nil && *w.p.origin == found[0]:
		w.note("%s is chosen before all scores (OOM_FLAG_ORIGIN), which the kernel does not ask oom_score_adj about.",
			name)
	}
	return ""
}

// find gives the rows that a change is about.
func (w *world) find(c Change) []int {
	if c.victim {
		if w.p.chosen < 0 {
			return nil
		}
		return []int{w.p.chosen}
	}
	var all []int
	for i, t := range w.p.rows {
		if c.pid > 0 && (t.PID == c.pid || t.TGID == c.pid) {
			return []int{i}
		}
		if t.Name == c.comm {
			all = append(all, i)
		}
	}
	return all
}

// shift makes the domain larger by so many pages.
func (w *world) shift(by kernel.Pages) {
	w.rng.Min = max(1, w.rng.Min+by)
	if w.rng.Max != nil {
		top := max(1, *w.rng.Max+by)
		w.rng.Max = &top
	}
	w.sorted = w.rng.Min
	if w.total != nil {
		total := max(1, *w.total+by)
		w.total, w.sorted = &total, total
	}
}

// resize is the domain with another limit, or the machine with other memory; what
// swap adds to it stays.
func (w *world) resize(limit kernel.Bytes) {
	pages := clampPages(kernel.Pages(limit / w.e.PageSize))
	if m := w.e.Memory; m != nil && m.Usage != nil && *m.Usage < pages {
		w.note("%s were in use, so %s would not have been full yet; the answer is for when they are, with sizes as "+
			"they were.",
			w.e.bytes(*m.Usage), w.e.bytes(pages))
	}
	old := kernel.Pages(0)
	if w.size != nil {
		old = *w.size
	}
	w.size = &pages
	w.shift(pages - old)
}

// swap is the domain with another amount of swap: what a cgroup may use, or what the
// machine has.
func (w *world) swap(size kernel.Bytes) (problem string) {
	pages, m := clampPages(kernel.Pages(size/w.e.PageSize)), w.e.Memory
	if m == nil || w.size == nil || w.e.Global == nil {
		return "the log does not show how much memory there is besides swap"
	}
	var used kernel.Pages
	if m.SwapUsed != nil {
		used = *m.SwapUsed
	} else if m.TotalSwap != nil && m.FreeSwap != nil {
		used = *m.TotalSwap - *m.FreeSwap
	}
	switch {
	case *w.e.Global && m.TotalSwap == nil:
		return "the log does not show how much swap there was"
	case *w.e.Global:
		w.shift(pages - *m.TotalSwap)
	default:
		total := *w.size + pages
		w.total, w.sorted, w.rng = &total, total, Range{total, &total}
	}
	if pages > used {
		w.note("%s of swap were in use, so up to %s could have been swapped out first, and memory might not have "+
			"run out "+
			"then.", w.e.bytes(used), w.e.bytes(pages-used))
	}
	return ""
}

// panicked follows check_panic_on_oom().
func (w *world) panicked() bool {
	r := w.e.report
	set := w.panics
	if set == nil {
		return r.PanicText != "" && !r.NoKillable
	}
	if r.Sysrq || *set == 0 {
		return false
	}
	whole := r.Global != nil && *r.Global && (r.Constraint == "" || r.Constraint == "CONSTRAINT_NONE")
	if *set == 1 && !whole {
		w.note("The value 1 of vm.panic_on_oom is for the whole machine: not for a cgroup, a cpuset or a memory policy.")
	}
	return *set == 2 || whole
}

// together says who would have died with the chosen one: mem_cgroup_get_oom_group().
func (w *world) together(i int, out *WhatIf) {
	e := w.e
	if i < 0 || w.group == nil {
		return
	}
	if !*w.group {
		w.note("without memory.oom.group it would have died alone.")
		return
	}
	if e.report.OOMMemcg == "" || victimPath(*e.report) != e.report.OOMMemcg {
		w.note("with memory.oom.group all processes of its cgroup die with it; the table does not say which these are.")
		return
	}
	for j, t := range w.p.rows {
		if w.p.tasks[j].Adj != predict.AdjMin && !w.p.tasks[j].Skip {
			out.Together = append(out.Together, t.PID)
		}
	}
	w.note("with memory.oom.group all %d processes of %s die that are not at oom_score_adj -1000.", len(out.Together),
		printable(e.report.OOMMemcg))
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
	w.VictimPID, w.VictimComm = &p.rows[i].PID, p.rows[i].Name
	name := process(p.rows[i].Name, p.rows[i].PID)
	if p.origin != nil && *p.origin == i {
		return name + " would have been killed all the same, before all scores."
	}
	points, _ := p.points(i, at)
	w.Points = &points
	if i == before {
		return fmt.Sprintf("%s would have been killed all the same, with %s%d points.", name, about, points)
	}
	return fmt.Sprintf("%s would have been killed, with %s%d points.", name, about, points)
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
