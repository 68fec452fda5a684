package verdict

import (
	"testing"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
)

// TestTheOrderCouldChange: a place in a ranking says something where the first was ahead
// by more than it and the others have gained or lost by the time of the kill.
func TestTheOrderCouldChange(t *testing.T) {
	ranked := func(rows ...evidence.RankedRow) evidence.RankedDomain {
		return evidence.RankedDomain{Cgroup: "/lab", TotalPages: 1000, Rows: rows}
	}
	row := func(pid int, holds kernel.Pages) evidence.RankedRow {
		return evidence.RankedRow{PID: pid, Holds: holds, Points: int64(holds)}
	}
	seen := func(pid, adj int, points int64) *evidence.OOM {
		total := int64(1000)
		return &evidence.OOM{Points: &points, TotalPages: &total,
			Task: &evidence.Task{TaskID: evidence.TaskID{TGID: pid}, Adj: adj}}
	}
	for _, tt := range []struct {
		name string
		of   evidence.RankedDomain
		at   *decision
		open string
	}{
		{"nothing moved", ranked(row(1, 500), row(2, 400)),
			&decision{rows: []*evidence.OOM{seen(1, 0, 500), seen(2, 0, 400)}}, ""},
		{"one grew, and not enough", ranked(row(1, 500), row(2, 400)),
			&decision{rows: []*evidence.OOM{seen(1, 0, 500), seen(2, 0, 499)}}, ""},
		{"one grew", ranked(row(1, 500), row(2, 400)),
			&decision{rows: []*evidence.OOM{seen(1, 0, 500), seen(2, 0, 500)}},
			"pid 1 was 100 pages ahead of pid 2, and the two had changed by 100 since"},
		{"one came", ranked(row(1, 500)), &decision{rows: []*evidence.OOM{seen(1, 0, 500), seen(2, 0, 1)}},
			"pid 2 had come since"},
		{"one left", ranked(row(1, 500), row(2, 1)), &decision{rows: []*evidence.OOM{seen(1, 0, 500)}},
			"pid 2 had gone since"},
		{"one was adjusted", ranked(row(1, 500)), &decision{rows: []*evidence.OOM{seen(1, 9, 509)}},
			"the oom_score_adj of pid 1 had changed since"},
		{"tier 2", ranked(row(1, 500)), &decision{}, "the candidates at the kill were not seen"},
		{"nobody was compared", ranked(row(1, 500)),
			&decision{message: allocatingTask, rows: []*evidence.OOM{seen(1, 0, 500)}}, "the kernel compared nobody"},
	} {
		if got := newAccount(Input{}).moved(tt.of, tt.at); got != tt.open {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.open)
		}
	}
}

// TestRankedIsFirstOrOther, and neither where several are equal.
func TestRankedIsFirstOrOther(t *testing.T) {
	for _, tt := range []struct {
		r            Ranked
		first, other bool
	}{
		{Ranked{Place: 1, Of: 3}, true, false},
		{Ranked{Place: 2, Of: 3}, false, true},
		{Ranked{Place: 0, Of: 3}, false, true},
		{Ranked{Place: 1, Of: 3, Equal: 2}, false, false},
		{Ranked{Place: 2, Of: 3, Equal: 2}, false, false},
		{Ranked{Place: 3, Of: 3, Equal: 2}, false, true},
		{Ranked{}, false, false},
	} {
		if tt.r.isFirst() != tt.first || tt.r.isOther() != tt.other {
			t.Errorf("%+v: first %t, other %t; it says %s", tt.r, tt.r.isFirst(), tt.r.isOther(), &tt.r)
		}
	}
}
