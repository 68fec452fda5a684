package kernel

import "testing"

// TestOOMAdj holds both directions against what 5.10 to 7.3 were seen to do; see
// scenarios/claims/oom-adj-*.yaml.
func TestOOMAdj(t *testing.T) {
	for _, c := range []struct{ written, scoreAdj, shown int }{
		{-17, -1000, -17},
		{-16, -941, -15},
		{-1, -58, 0},
		{0, 0, 0},
		{1, 58, 0},
		{8, 470, 7},
		{14, 823, 13},
		{15, 1000, 15},
	} {
		if got := ScoreAdjOf(c.written); got != c.scoreAdj {
			t.Errorf("oom_adj %d sets oom_score_adj %d, want %d", c.written, got, c.scoreAdj)
		}
		if got := OOMAdjOf(c.scoreAdj); got != c.shown {
			t.Errorf("oom_score_adj %d shows as oom_adj %d, want %d", c.scoreAdj, got, c.shown)
		}
	}
	if got := OOMAdjOf(999); got != 15 {
		t.Errorf("oom_score_adj 999 shows as oom_adj %d, want 15", got)
	}
}
