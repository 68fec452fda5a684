package rank

import (
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/predict"
)

// The old scale of /proc/PID/oom_adj: include/uapi/linux/oom.h.
const (
	oldDisable = -17 // OOM_DISABLE
	oldMax     = 15  // OOM_ADJUST_MAX
	adjMax     = 1000
)

// OldAdj is what /proc/PID/oom_adj shows for an oom_score_adj: oom_adj_read(),
// fs/proc/base.c.
func OldAdj(adj int) int {
	if adj == adjMax {
		return oldMax
	}
	return min(adj*-oldDisable/adjMax, oldMax)
}

// NewAdj is the oom_score_adj that a write to /proc/PID/oom_adj sets:
// oom_adj_write(), fs/proc/base.c. ok is false for a value that the kernel refuses.
func NewAdj(old int) (adj int, ok bool) {
	if (old < -16 || old > oldMax) && old != oldDisable {
		return 0, false
	}
	if old == oldMax {
		return adjMax, true
	}
	return old * adjMax / -oldDisable, true
}

// Span is a range of points, both ends included.
type Span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// PointsOf is the range of points for which /proc/PID/oom_score shows score, on a
// machine with total pages of memory and swap. ok is false for a score that no points
// give.
func PointsOf(score int, total kernel.Pages, r predict.Rules) (s Span, ok bool) {
	if total <= 0 {
		return Span{}, false
	}
	of := func(points int64) int { return predict.OOMScore(points, total, r) }
	// A score grows with the points: the two ends are found by halving.
	first := func(least int) int64 {
		lo, hi := -4*int64(total), 4*int64(total)
		for lo < hi {
			mid := lo + (hi-lo)/2
			if mid < lo || of(mid) < least {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		return lo
	}
	s = Span{first(score), first(score+1) - 1}
	return s, s.From <= s.To && of(s.From) == score
}

// Change is what would change a process's place in a domain.
type Change struct {
	// Adj is the oom_score_adj nearest to the present one with which it would be
	// first (or, if it is first, would not be any more). Nil: there is none.
	Adj *int `json:"oom_score_adj,omitempty"`
	// First: with it the process is first; else it is not.
	First bool   `json:"first"`
	Why   string `json:"why,omitempty"` // why there is none
}

// change finds it by the score's own function. other is the highest score of all
// other candidates, predict.Never if there are none. Equal scores count as not first.
func change(t predict.Task, other int64, total kernel.Pages, r predict.Rules) Change {
	isFirst := func(adj int) bool {
		t := t
		t.Adj = adj
		return predict.Points(t, total, r) > other
	}
	c := Change{First: !isFirst(t.Adj)}
	if other == predict.Never && t.Adj != predict.AdjMin {
		c.Why = "it is the only candidate"
	}
	for step := 1; step <= 2*adjMax; step++ {
		for _, adj := range []int{t.Adj + step, t.Adj - step} {
			if adj >= predict.AdjMin && adj <= adjMax && isFirst(adj) == c.First {
				c.Adj = &adj
				return c
			}
		}
	}
	if c.Why == "" {
		c.Why = "no oom_score_adj outweighs the difference"
		if total < 1000 {
			c.Why = "the domain has fewer than 1000 pages, so that oom_score_adj counts for nothing"
		}
	}
	return c
}
