package explain

import (
	"fmt"
	"math"
	"slices"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
	"github.com/oomlab/oomlab/harness/predict"
)

// Twice is an amount that a report states in two places: in the victim's row and
// in its kill line, or as the score that the kernel prints and the one that its row
// gives.
type Twice struct {
	What string `json:"what"` // score, total_vm, rss, page tables, oom_score_adj
	Unit string `json:"unit,omitempty"`
	Row  int64  `json:"row"`
	Line int64  `json:"kill_line"`
	// Differ: they are not the same, even with what counters move between the two.
	Differ bool `json:"differ,omitempty"`
	// Believed is "row" or "kill line" where they differ, and Note says why.
	Believed string `json:"believed,omitempty"`
	Note     string `json:"note,omitempty"`
}

// drift is how far a counter may move between the choice, the table and the kill
// line, besides what a CPU or a thread keeps back.
func drift(n int64) int64 { return max(64, n/50) }

// units puts the page tables of a kill line right. 5.4.0 to 5.4.7 print bytes as kB
// (__oom_kill_process() in mm/oom_kill.c); page tables are also never larger than
// what they map.
func units(k *oomlog.KillLine, release string, row *oomlog.TaskRow) (note string) {
	if k.PgTablesKB == nil || *k.PgTablesKB < 1024 {
		return ""
	}
	v, err := kernel.ParseVersion(release)
	told := err == nil && v.Series() == "5.4" && v.Patch <= 7
	same := row != nil && row.PgTables != nil && uint64(*row.PgTables) == *k.PgTablesKB
	absurd := err != nil && row == nil && k.TotalVMKB != nil && *k.TotalVMKB > 0 && *k.PgTablesKB > *k.TotalVMKB
	if !told && !same && !absurd || told && row != nil && row.PgTables != nil && !same {
		return ""
	}
	printed := *k.PgTablesKB
	kb := printed / 1024
	k.PgTablesKB = &kb
	return fmt.Sprintf("the kill line says pgtables:%dkB and means bytes, as 5.4.0 to 5.4.7 print them: %dkB", printed,
		kb)
}

// twice compares what the report says twice of the victim.
func (e *Explanation) twice() {
	v := e.Victim
	if v == nil {
		return
	}
	var row *oomlog.TaskRow
	for i := range e.report.Tasks {
		if t := &e.report.Tasks[i]; t.PID == v.PID || t.TGID == v.PID {
			row = t
			break
		}
	}
	printed := v.PgTablesKB
	note := units(v, e.KernelRelease, row)
	if row == nil || e.replay.blind != "" {
		if note != "" {
			e.Twice = append(e.Twice, Twice{What: "page tables", Unit: "kB", Line: clampKB(*printed),
				Row: clampKB(*v.PgTablesKB), Differ: true, Believed: "row", Note: note})
		}
		return
	}
	compare := func(what string, inRow kernel.Bytes, line *uint64, slack bool, note string) {
		if line == nil {
			return
		}
		t := Twice{What: what, Unit: "kB", Row: int64(inRow / kernel.KiB), Line: clampKB(*line), Note: note}
		most := int64(e.PageSize / kernel.KiB)
		if slack {
			most *= drift(t.Row / most)
		}
		if t.Differ = t.Row-t.Line >= most || t.Line-t.Row >= most; t.Differ {
			t.Believed = "row"
			if note == "" {
				t.Note = "the row is of the moment of the choice, and the scores are made of it"
			}
		}
		e.Twice = append(e.Twice, t)
	}
	size := e.PageSize
	compare("total_vm", clampPages(row.TotalVM).Bytes(size), v.TotalVMKB, false, "")
	if v.AnonRSSKB != nil && v.FileRSSKB != nil {
		rss := min(*v.AnonRSSKB, 1<<50) + min(*v.FileRSSKB, 1<<50)
		if v.ShmemRSSKB != nil {
			rss += min(*v.ShmemRSSKB, 1<<50)
		}
		compare("rss", clampPages(row.RSS).Bytes(size), &rss, true, "")
	}
	if row.PgTables != nil {
		compare("page tables", max(0, min(*row.PgTables, kernel.Bytes(most))), printed, true, note)
	}
	if v.Adj != nil {
		t := Twice{What: "oom_score_adj", Row: int64(row.Adj), Line: int64(*v.Adj)}
		if t.Differ = t.Row != t.Line; t.Differ {
			t.Believed, t.Note = "row", "it was changed between the two lines"
		}
		e.Twice = append(e.Twice, t)
	}
}

func clampKB(kb uint64) int64 { return int64(min(kb, 1<<60)) }

// rootRule is what a kernel forgives a task that has CAP_SYS_ADMIN. A report says
// who has uid 0; who has the capability it does not say, and in a container root
// lacks it.
type rootRule uint8

const (
	rootNothing rootRule = iota
	rootShare            // 3 % of its own pages: 3.14 to 4.16
	rootAdj              // 30 of its oom_score_adj: before 3.14
)

// rootSettled is what is assumed of uid 0, and why.
type rootSettled struct {
	byVersion rootRule // what the kernel forgives at all
	rule      rootRule
	why       string // empty: there is nothing to assume
	proved    bool
}

func (p *replay) setRoot(rule rootRule) {
	p.root.rule = rule
	p.rules.RootBonus, p.rules.RootAdj = rule == rootShare, rule == rootAdj
}

// printedScore is the score that the kernel prints of whom it chose, up to 5.0: a
// thousandth of the domain is 1. With oom_kill_allocating_task it prints 0, and of
// an OOM_FLAG_ORIGIN the largest number there is.
func (e *Explanation) printedScore() (int64, bool) {
	p := &e.replay
	if p.chosen < 0 || p.blind != "" || p.lacks != nil || p.origin != nil || e.report.AllocatingTask {
		return 0, false
	}
	for _, k := range e.report.Kills {
		if k.Score != nil && k.ChosenPID != nil && p.chosenPID != nil && *k.ChosenPID == *p.chosenPID {
			return int64(*k.Score), *k.Score >= 0
		}
	}
	return 0, false
}

// settle uses the printed score: it tells whether root was forgiven anything, and
// how large the domain is.
func (e *Explanation) settle() {
	p := &e.replay
	switch {
	case p.rules.RootBonus:
		p.root.byVersion = rootShare
	case p.rules.RootAdj:
		p.root.byVersion = rootAdj
	}
	roots := slices.ContainsFunc(p.tasks, func(t predict.Task) bool { return t.Root && t.Adj != predict.AdjMin })
	p.setRoot(p.root.byVersion)
	if roots && p.root.byVersion != rootNothing {
		p.root.why = "uid 0 is taken to have CAP_SYS_ADMIN"
		if e.LimitOwner.container() {
			p.setRoot(rootNothing)
			p.root.why = "root of a container is taken to lack CAP_SYS_ADMIN"
		}
	}
	score, ok := e.printedScore()
	if !ok {
		return
	}
	options := []rootRule{p.root.rule}
	if p.tasks[p.chosen].Root && p.root.byVersion != rootNothing {
		// distributions backport, so both rules are tried
		for _, other := range []rootRule{rootNothing, p.root.byVersion, rootShare, rootAdj} {
			if !slices.Contains(options, other) {
				options = append(options, other)
			}
		}
	}
	assumed := p.root.rule
	for _, slack := range []bool{false, true} {
		var fits []rootRule
		var found []Range
		for _, o := range options {
			p.setRoot(o)
			if r, ok := e.pinned(score, slack); ok {
				fits, found = append(fits, o), append(found, r)
			}
		}
		if len(fits) == 0 {
			continue
		}
		p.setRoot(fits[0])
		if lacks := slices.Contains(fits, rootNothing); len(options) > 1 && (len(fits) == 1 || !lacks) {
			p.root.proved = true
			name := process(p.rows[p.chosen].Name, p.rows[p.chosen].PID)
			if lacks {
				p.root.why = fmt.Sprintf("the printed score of %d shows that %s lacks CAP_SYS_ADMIN, for which "+
					"kernels up "+
					"to 4.16 take 3 %% off; uid 0 alone does not count", score, name)
			} else {
				p.root.why = fmt.Sprintf("the printed score of %d shows that %s has CAP_SYS_ADMIN", score, name)
			}
		}
		e.pin(score, found[0])
		return
	}
	p.setRoot(assumed)
	e.scoreDiffers(score)
}

// pinned are the sizes of the domain that give the chosen task the printed score.
// With slack its counters may have moved before the table was printed.
func (e *Explanation) pinned(score int64, slack bool) (Range, bool) {
	p := &e.replay
	least, top := p.holds(p.chosen), p.holds(p.chosen)
	if slack {
		d := drift(least)
		least, top = max(0, least-d), top+d
	}
	adj := p.adj(p.chosen)
	if score == 0 && adj <= 0 && p.rules.FloorOne {
		return e.TotalRange, true // a score below 1 counts as 1, whatever it is
	}
	if e.TotalPages != nil {
		total := int64(*e.TotalPages)
		at := func(holds int64) int64 { return max(1, holds+adj*(total/1000)) * 1000 / max(1, total) }
		return e.TotalRange, at(least) <= score && score <= at(top)
	}
	_, hi := scoreBounds(top, adj, score)
	lo, _ := scoreBounds(least, adj, score)
	r := e.TotalRange
	r.Min = max(r.Min, kernel.Pages(lo))
	if hi < int64(most) {
		if end := kernel.Pages(hi); r.Max == nil || end < *r.Max {
			r.Max = &end
		}
	}
	return r, r.Max == nil || r.Min <= *r.Max
}

// scoreBounds solves (holds + adj*(total/1000)) * 1000 / total == score, where both
// divisions round down, for total. The bounds are what is necessary.
func scoreBounds(holds, adj, score int64) (lo, hi int64) {
	lo, hi = 0, math.MaxInt64
	// adj*(total/1000)*1000 lies between these two times total, plus a rest
	up, down := int64(0), int64(0)
	if adj >= 0 {
		down = -999 * adj
	} else {
		up = -999 * adj
	}
	if a := score - adj; a > 0 { // score*total <= 1000*holds + adj*total + up
		hi = (1000*holds + up) / a
	}
	if a := score + 1 - adj; a > 0 { // (score+1)*total > 1000*holds + adj*total + down
		lo = max(0, floorDiv(1000*holds+down, a)+1)
	}
	return lo, hi
}

// pin takes over what the printed score says of the domain's size.
func (e *Explanation) pin(score int64, r Range) {
	p := &e.replay
	t := Twice{What: "score", Row: score, Line: score}
	if e.TotalPages != nil {
		points, _ := p.points(p.chosen, *e.TotalPages)
		t.Row = points * 1000 / max(1, int64(*e.TotalPages))
	}
	e.Twice = append(e.Twice, t)
	if e.TotalPages != nil || e.TotalRange.same(r) || r.Max == nil && r.Min == e.TotalRange.Min {
		return
	}
	e.TotalRange = r
	if e.TotalFrom != "" && r.Max != nil {
		e.TotalFrom += fmt.Sprintf("; the printed score of %d leaves this", score)
	}
	if r.Max != nil && *r.Max == r.Min {
		e.TotalPages = &r.Min
		points, _ := p.points(p.chosen, r.Min)
		e.TotalFrom += fmt.Sprintf(": %d * 1000 / %d = %d", points, r.Min, score)
	}
}

// scoreDiffers notes a printed score that the row does not give.
func (e *Explanation) scoreDiffers(score int64) {
	p := &e.replay
	total := e.Scored()
	if total <= 0 {
		return
	}
	points, ok := p.points(p.chosen, total)
	if !ok {
		return
	}
	e.Twice = append(e.Twice, Twice{What: "score", Row: points * 1000 / int64(total), Line: score, Differ: true,
		Believed: "kill line", Note: "the kernel chose by it; the row was printed later, or is of another process"})
}
