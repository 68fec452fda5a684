package explain

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
	"github.com/oomlab/oomlab/harness/predict"
)

// replay is the kernel's task table as oom_badness() looks at it.
type replay struct {
	rows  []oomlog.TaskRow
	tasks []predict.Task
	never []string // by row: why the kernel passes over it; empty: it does not
	rules predict.Rules

	// chosen is the row of whom the kernel chose, or -1. chosenPID is nil where
	// the log does not tell.
	chosen    int
	chosenPID *int
	// blind says why no scores can be computed; empty: they can.
	blind string
	// lacks are parts of a score that the table has no column for.
	lacks []string
	// origin is the row that is chosen before all scores (OOM_FLAG_ORIGIN).
	origin *int
	// made is the row that is made of the victim's kill line; its own is missing.
	made *int
	// atLeast: the made row lacks what the kill line does not say, the swap.
	atLeast bool
	root    rootSettled
}

// Why a task is never chosen.
const (
	exempt = "oom_score_adj -1000"
	goneBy = "was killed before"
)

func newReplay(r oomlog.Report, pageSize kernel.Bytes, killedBefore func(int, string) (string, bool)) replay {
	p := replay{rules: rulesOf(r, pageSize), chosen: -1, chosenPID: chosenBy(r)}
	p.blind, p.lacks = unreadable(r)
	p.rows = r.Tasks
	if row, ok := p.fromKillLine(r, pageSize); ok {
		p.rows = append(slices.Clone(r.Tasks), row)
		made := len(r.Tasks)
		p.made, p.atLeast = &made, r.Mem == nil || r.Mem.TotalSwapKB == nil || *r.Mem.TotalSwapKB > 0
	}
	r.Tasks = p.rows
	p.tasks, p.never = make([]predict.Task, 0, len(p.rows)), make([]string, 0, len(p.rows))
	for i, c := range r.Candidates(pageSize) {
		row := p.rows[i]
		t := predict.Task{
			RSS: clampPages(c.RSS), Swap: clampPages(c.Swap),
			PgTables: max(0, min(c.PgTables, kernel.Bytes(most))), Adj: max(-1000, min(1000, c.Adj)),
			Root: row.UID == 0,
		}
		why := ""
		if t.Adj == predict.AdjMin {
			why = exempt
		}
		mine := p.chosenPID != nil && (row.PID == *p.chosenPID || row.TGID == *p.chosenPID)
		if mine && (p.chosen < 0 || row.PID == *p.chosenPID) {
			p.chosen = i
		}
		if at, ok := killedBefore(row.PID, row.Name); ok && !mine && why == "" {
			t.Skip, why = true, goneBy
			if at != "" {
				why += ", at " + at
			}
		}
		p.tasks, p.never = append(p.tasks, t), append(p.never, why)
	}
	if p.chosen >= 0 && isOrigin(r) {
		p.origin = &p.chosen
	}
	return p
}

// fromKillLine makes the victim's row of its kill line, where the table has others
// and not this one. A score is then the least that it can be: the line has no swap.
func (p *replay) fromKillLine(r oomlog.Report, pageSize kernel.Bytes) (oomlog.TaskRow, bool) {
	killed := r.Killed()
	if len(killed) == 0 || len(r.Tasks) == 0 || p.blind != "" {
		return oomlog.TaskRow{}, false
	}
	k := killed[0]
	known := func(pid int) bool {
		return slices.ContainsFunc(r.Tasks, func(t oomlog.TaskRow) bool { return t.PID == pid || t.TGID == pid })
	}
	if known(k.PID) || p.chosenPID != nil && known(*p.chosenPID) || k.SacrificeChild || k.AnonRSSKB == nil ||
		k.FileRSSKB == nil || k.Adj == nil || k.PgTablesKB == nil {
		return oomlog.TaskRow{}, false
	}
	pages := func(kb *uint64) kernel.Pages {
		if kb == nil {
			return 0
		}
		return kbPages(*kb, pageSize)
	}
	table := kernel.Bytes(min(*k.PgTablesKB, 1<<40)) * kernel.KiB
	t := oomlog.TaskRow{PID: k.PID, TGID: k.PID, Name: k.Comm, UID: -1, TotalVM: pages(k.TotalVMKB), PgTables: &table,
		RSS: pages(k.AnonRSSKB) + pages(k.FileRSSKB) + pages(k.ShmemRSSKB), Adj: *k.Adj}
	if k.UID != nil {
		t.UID = *k.UID
	}
	return t, true
}

// isOrigin reports whether the chosen task is one that the kernel marks with
// OOM_FLAG_ORIGIN: the one that empties swap (try_to_unuse() in mm/swapfile.c), or
// that undoes KSM (unmerge_and_remove_all_rmap_items() in mm/ksm.c).
// oom_evaluate_task() takes it before any score.
func isOrigin(r oomlog.Report) bool {
	pid, comm := chosenBy(r), r.ContextComm
	for _, k := range r.Kills {
		if pid != nil && (k.PID == *pid || k.ChosenPID != nil && *k.ChosenPID == *pid) {
			comm = k.Comm
		}
	}
	if comm == "swapoff" {
		return true
	}
	asked := pid != nil && r.Trigger.Comm == comm
	if pid != nil && r.Trigger.PID != nil {
		asked = *r.Trigger.PID == *pid
	}
	return asked && slices.ContainsFunc(r.Calls, func(name string) bool {
		return strings.HasSuffix(name, "swapoff") || name == "try_to_unuse" || strings.HasPrefix(name, "unmerge_")
	})
}

// scoreParts are the columns that a score is made of, each with its name in words.
var scoreParts = []struct {
	columns []string
	name    string
}{{[]string{"rss"}, "resident pages"}, {[]string{"swapents"}, "swap"},
	{[]string{"pgtables_bytes", "nr_ptes"}, "page tables"}, {[]string{"oom_score_adj"}, "oom_score_adj"}}

// unreadable says why a table gives no scores, and which parts it has no column for.
func unreadable(r oomlog.Report) (blind string, lacks []string) {
	rewritten := kernel.Version{Major: 2, Minor: 6, Patch: 36}
	if v, err := kernel.ParseVersion(r.KernelRelease); err == nil && v.Compare(rewritten) < 0 {
		return "kernels up to 2.6.35 score by total_vm, children and run time, most of which the log does not have", nil
	}
	if r.TableFormat == "" {
		return "", nil
	}
	if len(r.UnknownColumns) > 0 {
		return fmt.Sprintf("the table has columns that are not known (%s), so nothing is computed from it",
			strings.Join(r.UnknownColumns, ", ")), nil
	}
	columns := strings.Fields(r.TableFormat)
	for _, part := range scoreParts {
		if !slices.ContainsFunc(part.columns, func(c string) bool { return slices.Contains(columns, c) }) {
			lacks = append(lacks, part.name)
		}
	}
	return "", lacks
}

// rulesOf takes the rules of the kernel that the report names; where it names
// none, those of the newest kernel with its layout.
func rulesOf(r oomlog.Report, pageSize kernel.Bytes) predict.Rules {
	v, err := kernel.ParseVersion(r.KernelRelease)
	if err != nil {
		v = map[string]kernel.Version{
			"3.10-3.19": {Major: 3, Minor: 19}, "4.0-4.14": {Major: 4, Minor: 14}, "4.15-4.18": {Major: 4, Minor: 18},
			"4.19-5.0": {Major: 5}, "-5.0": {Major: 5}, "5.1-5.3": {Major: 5, Minor: 3},
		}[r.KernelFormat]
	}
	return predict.RulesFor(v, pageSize)
}

// chosenBy is whom select_bad_process() chose: who was killed, unless a child
// had to die in its place (up to 5.0).
func chosenBy(r oomlog.Report) *int {
	for i := range r.Kills {
		k := &r.Kills[i]
		switch {
		case k.SharesMemory || k.Duplicate:
		case k.ChosenPID != nil:
			return k.ChosenPID
		default:
			return &k.PID
		}
	}
	return r.ContextPID
}

// choose is whom the model chooses in a domain of total pages, or -1.
func (p *replay) choose(total kernel.Pages) int {
	if o := p.origin; o != nil && !p.tasks[*o].Skip {
		return *o
	}
	i, _ := predict.Choose(p.tasks, total, p.rules)
	return i
}

// size is what a process holds, in pages: its score is no size.
func (p *replay) size(i int) int64 {
	plain := p.rules
	plain.RootBonus = false
	return predict.Holds(p.tasks[i], plain)
}

// adj is the oom_score_adj that enters a score.
func (p *replay) adj(i int) int64 { return int64(predict.Adj(p.tasks[i], p.rules)) }

// holds is the part of a score that needs no size of the domain.
func (p *replay) holds(i int) int64 { return predict.Holds(p.tasks[i], p.rules) }

func (p *replay) points(i int, total kernel.Pages) (int64, bool) {
	points := predict.Points(p.tasks[i], total, p.rules)
	return points, points != predict.Never
}

// beats reports whether row j is preferred to row i where their scores are equal.
func (p *replay) beats(j, i int) bool {
	if p.rules.FirstOfEqual {
		return j < i
	}
	return j > i
}

// wins gives the sizes of the domain within r for which row v is chosen. Every
// score is a straight line over what an adjustment of 1 is worth, so they are
// one interval. Where a score below 1 counts as 1 (up to 5.8) only sizes that
// leave v more than that are given.
func (p *replay) wins(v int, r Range) (Range, bool) {
	lo, hi := inThousands(r.Min), int64(math.MaxInt64)
	if r.Max != nil {
		hi = inThousands(*r.Max)
	}
	// need a + b*k >= 0
	need := func(a, b int64) {
		switch {
		case b == 0 && a < 0:
			hi = -1
		case b > 0:
			lo = max(lo, -floorDiv(a, b))
		case b < 0:
			hi = min(hi, floorDiv(a, -b))
		}
	}
	switch o := p.origin; {
	case o != nil && *o == v:
		return r, true
	case o != nil && !p.tasks[*o].Skip, p.never[v] != "":
		return Range{}, false
	}
	mine, adj := p.holds(v), p.adj(v)
	if p.rules.FloorOne {
		need(mine-2, adj)
	}
	for j := range p.tasks {
		if j == v || p.never[j] != "" {
			continue
		}
		a := mine - p.holds(j)
		if p.beats(j, v) {
			a--
		}
		need(a, adj-p.adj(j))
	}
	if lo > hi {
		return Range{}, false
	}
	out := Range{Min: max(r.Min, kernel.Pages(lo*1000)), Max: r.Max}
	if hi < int64(most)/1000 {
		top := kernel.Pages(hi*1000 + 999)
		if r.Max == nil || top < *r.Max {
			out.Max = &top
		}
	}
	return out, true
}

// floorDiv divides by b > 0 and rounds down.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// unsigned is whom a kernel chooses that has signed scores and compares them as
// unsigned numbers, or -1.
func (p *replay) unsigned(total kernel.Pages) int {
	chosen, best := -1, uint64(1)<<63 // LONG_MIN
	for i, t := range p.tasks {
		points := predict.Points(t, total, predict.Rules{PageSize: p.rules.PageSize})
		if points != predict.Never && uint64(points) >= best {
			chosen, best = i, uint64(points)
		}
	}
	return chosen
}

// ranking orders the table by the scores in a domain of sorted pages. Scores
// are exact where total is known, bounds over rng where it is not.
func (p *replay) ranking(total *kernel.Pages, rng Range, sorted kernel.Pages) []Ranked {
	type place struct {
		i      int
		points int64
	}
	places := make([]place, len(p.rows))
	for i := range p.rows {
		points, ok := p.points(i, sorted)
		if !ok {
			points = predict.Never
		}
		if p.origin != nil && *p.origin == i {
			points = math.MaxInt64 // as in oom_evaluate_task()
		}
		places[i] = place{i, points}
	}
	slices.SortFunc(places, func(a, b place) int {
		order := cmp.Compare(b.i, a.i)
		if p.rules.FirstOfEqual {
			order = -order
		}
		return cmp.Or(cmp.Compare(b.points, a.points), order)
	})
	out := make([]Ranked, 0, len(places))
	for n, at := range places {
		row := p.rows[at.i]
		t := p.tasks[at.i]
		pageSize := p.rules.PageSize
		k := Ranked{
			Rank: n + 1, PID: row.PID, Comm: row.Name, RSS: row.RSS, Swap: row.Swapents,
			PgTables: kernel.Pages(t.PgTables / pageSize), Adj: row.Adj, Never: p.never[at.i], Killed: at.i == p.chosen,
			UID: row.UID, TotalVM: row.TotalVM, RSSAnon: row.RSSAnon, RSSFile: row.RSSFile, RSSShmem: row.RSSShmem,
		}
		k.Origin = p.origin != nil && *p.origin == at.i
		k.FromKillLine = p.made != nil && *p.made == at.i
		if p.blind != "" {
			out = append(out, k)
			continue
		}
		k.RootBonus = p.size(at.i) - p.holds(at.i) + (int64(t.Adj)-p.adj(at.i))*inThousands(sorted)
		if total != nil || t.Adj == 0 {
			worth := int64(t.Adj) * inThousands(sorted)
			k.AdjPoints = &worth
		}
		if k.Never == "" {
			p.score(&k, at.i, total, rng, sorted)
		}
		out = append(out, k)
	}
	return out
}

func (p *replay) score(k *Ranked, i int, total *kernel.Pages, rng Range, sorted kernel.Pages) {
	exact := func(at kernel.Pages) *int64 {
		points, _ := p.points(i, at)
		return &points
	}
	adj := p.adj(i)
	if total != nil || adj == 0 {
		k.Points = exact(sorted)
		if k.FromKillLine && p.atLeast {
			k.Points, k.PointsMin = nil, k.Points
		}
		return
	}
	low, high := exact(rng.Min), (*int64)(nil)
	if rng.Max != nil {
		high = exact(*rng.Max)
	}
	if adj < 0 {
		low, high = high, low
	}
	k.PointsMin, k.PointsMax = low, high
}
