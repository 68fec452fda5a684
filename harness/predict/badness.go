package predict

import (
	"math"

	"github.com/oomlab/oomlab/harness/kernel"
)

// Never is the score of a task that oom_badness() refuses to consider
// (LONG_MIN in the kernel, since 5.9).
const Never int64 = math.MinInt64

// AdjMin is OOM_SCORE_ADJ_MIN: the adjustment that exempts a process.
const AdjMin = -1000

// Task is one candidate as oom_badness() looks at it. Amounts are in pages.
type Task struct {
	RSS      kernel.Pages // file + anon + shmem, each not below zero
	Swap     kernel.Pages // MM_SWAPENTS
	PgTables kernel.Bytes // mm_pgtables_bytes()
	Adj      int          // signal->oom_score_adj
	Skip     bool         // MMF_OOM_SKIP, vfork, kernel thread, global init
	Root     bool         // has CAP_SYS_ADMIN; matters up to 4.16 only
}

// Rules are the points in which kernels score differently. The zero value is
// the behaviour of 5.9 and newer.
type Rules struct {
	// FloorOne: before 5.9 a score below 1 counted as 1, so that forgiven tasks
	// were equals, whatever they held.
	FloorOne bool
	// FirstOfEqual: before 5.3 oom_evaluate_task() kept the first of equal
	// tasks ("Prefer thread group leaders for display purposes").
	FirstOfEqual bool
	// RootBonus: from 3.14 to 4.16 a task with CAP_SYS_ADMIN was forgiven 3 % of its
	// own pages.
	RootBonus bool
	// RootAdj: before 3.14 it was forgiven 30 of its oom_score_adj.
	RootAdj bool
	// OneStock: before 6.16 each CPU kept charges back for one cgroup at a time, and
	// since for several (NR_MEMCG_STOCK in mm/memcontrol.c).
	OneStock bool
	// PageSize of the machine; zero means 4096.
	PageSize kernel.Bytes

	mistake mistake
}

// RulesFor says how a kernel scores. An unknown (zero) version scores as a
// current one does.
func RulesFor(v kernel.Version, pageSize kernel.Bytes) Rules {
	known := v != (kernel.Version{})
	return Rules{
		FloorOne:     known && !v.AtLeast(5, 9),
		FirstOfEqual: known && !v.AtLeast(5, 3),
		RootBonus:    known && v.AtLeast(3, 14) && !v.AtLeast(4, 17),
		RootAdj:      known && !v.AtLeast(3, 14),
		OneStock:     known && !v.AtLeast(6, 16),
		PageSize:     pageSize,
	}
}

// RulesOf says how the kernel of a machine scores.
func RulesOf(m kernel.Machine) Rules {
	v, err := kernel.ParseVersion(m.Release)
	if err != nil {
		v = kernel.Version{} // as a current one
	}
	return RulesFor(v, m.PageSize)
}

// Points follows oom_badness() in mm/oom_kill.c: the pages that the task's
// death would free, plus oom_score_adj in thousandths of the domain. The
// division comes first, so a domain below 1000 pages knows no adjustment.
func Points(t Task, total kernel.Pages, r Rules) int64 { return r.points(&t, total) }

func (r *Rules) points(t *Task, total kernel.Pages) int64 {
	if t.Skip || t.Adj == AdjMin {
		return Never
	}
	points := r.holds(t) + r.adjustment(r.adj(t), total)
	if r.FloorOne && points < 1 {
		return 1
	}
	return points
}

// Adj is the oom_score_adj that enters a task's score.
func Adj(t Task, r Rules) int { return r.adj(&t) }

func (r *Rules) adj(t *Task) int {
	if r.RootAdj && t.Root {
		return t.Adj - 30
	}
	return t.Adj
}

// Holds is the part of a task's score that does not depend on the domain: the
// pages that its death would free.
func Holds(t Task, r Rules) int64 { return r.holds(&t) }

func (r *Rules) holds(t *Task) int64 {
	size := r.PageSize
	if size <= 0 {
		size = kernel.DefaultPageSize
	}
	pages := int64(t.RSS) + int64(t.Swap)
	if r.mistake != noPageTables {
		pages += int64(t.PgTables / size)
	}
	if r.RootBonus && t.Root {
		pages -= pages * 3 / 100
	}
	return pages
}

// OOMScore is /proc/PID/oom_score of a task that has points, as [Points] gives
// them for the whole machine: total is its memory and swap in pages, whatever
// cgroup the task is in. It follows proc_oom_score() in fs/proc/base.c: a task that
// is never chosen shows 0, and since 5.9 one that holds nothing 666, so that the
// scale has room for negative scores. Before, scores were thousandths of the
// machine.
func OOMScore(points int64, total kernel.Pages, r Rules) int {
	switch {
	case points == Never || total <= 0:
		return 0
	case r.FloorOne:
		return int(points * 1000 / int64(total))
	}
	return int((1000 + points*1000/int64(total)) * 2 / 3)
}

// Choose follows select_bad_process(): the highest score wins, and among equal
// ones the task that is visited last, because oom_evaluate_task() passes over a
// task only when its score is lower; before 5.3, where FirstOfEqual holds, the
// one that is visited first. It returns -1 when no task can be chosen, and
// allocates nothing.
func Choose(tasks []Task, total kernel.Pages, r Rules) (index int, points int64) {
	index, points = -1, Never
	for i := range tasks {
		p := r.points(&tasks[i], total)
		if p == Never || p < points || (r.firstWins() && p == points) {
			continue
		}
		index, points = i, p
	}
	return index, points
}

// TotalPages is the size of a memory cgroup's OOM domain as mem_cgroup_get_max()
// gives it: the limit of the cgroup that was hit and, unless swappiness is 0,
// the swap it may use. A limit of nil is none.
func TotalPages(max, swapMax *kernel.Bytes, swapTotal kernel.Bytes,
	swappiness int, pageSize kernel.Bytes) kernel.Pages {
	if max == nil {
		return 0
	}
	if pageSize <= 0 {
		pageSize = kernel.DefaultPageSize
	}
	total := kernel.Pages(*max / pageSize)
	if swappiness != 0 {
		swap := swapTotal
		if swapMax != nil {
			swap = min(swap, *swapMax)
		}
		total += kernel.Pages(swap / pageSize)
	}
	if total == 0 {
		total = 1 // mem_cgroup_out_of_memory: "?: 1"
	}
	return total
}
