package explain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
)

// What Explanation.Outcome may be. A log that does not show a kill does not show
// that nobody was killed.
const (
	Killed  = "killed"
	WasOnly = "chosen"
	Exiting = "exiting"
	Nobody  = "nobody"
	Unknown = "unknown"
)

// Chosen is whom the kernel chose, and the line that says so.
type Chosen struct {
	PID  int    `json:"pid"`
	Comm string `json:"comm,omitempty"`
	From string `json:"from"`
}

func outcome(r oomlog.Report) (string, *Chosen) {
	if len(r.Killed()) > 0 {
		return Killed, nil
	}
	for _, k := range r.Kills {
		switch {
		case k.AlreadyExiting:
			return Exiting, &Chosen{k.PID, k.Comm, "the line that says that it is already exiting"}
		case k.Announced:
			return WasOnly, &Chosen{k.PID, k.Comm, `"Kill process"`}
		}
	}
	switch {
	case r.NoKillable || r.PanicText != "":
		return Nobody, nil
	case r.ContextPID != nil:
		return WasOnly, &Chosen{*r.ContextPID, r.ContextComm, "the oom-kill: line"}
	case r.ContextComm != "":
		return Unknown, nil
	}
	return Unknown, nil
}

// oneProcess puts a report right in which "Kill process" names a thread and "Killed
// process" its process. Kernels whose scan goes through threads do that (Red Hat's
// 3.10, for_each_process_thread()); the table has processes only, so a pid that it
// lacks is a thread's, unless rows are missing.
func oneProcess(r oomlog.Report, pageSize kernel.Bytes) oomlog.Report {
	in := func(pid int) int {
		return slices.IndexFunc(r.Tasks, func(t oomlog.TaskRow) bool { return t.PID == pid || t.TGID == pid })
	}
	cloned := false
	for i, k := range r.Kills {
		if k.ChosenPID == nil || *k.ChosenPID == k.PID || k.Announced || in(*k.ChosenPID) >= 0 {
			continue
		}
		row := in(k.PID)
		if row < 0 || !k.ChosenThread && !scoreFits(r, k, row, pageSize) {
			continue
		}
		if !cloned {
			r.Kills, cloned = slices.Clone(r.Kills), true
		}
		r.Kills[i].SacrificeChild, r.Kills[i].ChosenPID, r.Kills[i].ChosenComm = false, &r.Kills[i].PID, k.Comm
	}
	return r
}

// scoreFits reports whether a printed score is that of a row.
func scoreFits(r oomlog.Report, k oomlog.KillLine, row int, pageSize kernel.Bytes) bool {
	if k.Score == nil {
		return false
	}
	total := totalOf(r, pageSize)
	e := Explanation{report: &r, TotalPages: total.pages, TotalRange: total.rng}
	e.replay = newReplay(r, pageSize, func(int, string) (string, bool) { return "", false })
	if e.replay.blind != "" || e.replay.lacks != nil {
		return false
	}
	e.replay.chosen = row
	for _, rule := range []rootRule{rootNothing, rootShare, rootAdj} {
		e.replay.setRoot(rule)
		if _, ok := e.pinned(int64(*k.Score), true); ok && e.TotalRange.Min > 0 {
			return true
		}
	}
	return false
}

// panicOnOOM reads check_panic_on_oom()'s words.
func panicOnOOM(r oomlog.Report) *int {
	one, two := 1, 2
	switch {
	case strings.Contains(r.PanicText, "compulsory panic_on_oom"):
		return &two
	case strings.Contains(r.PanicText, "system-wide panic_on_oom"):
		return &one
	}
	return nil
}

// limitHit is which counter of a cgroup was full. With cgroup v1 a charge goes to
// memory+swap first (try_charge() in mm/memcontrol.c), and either limit can be the
// one that was hit.
func limitHit(r oomlog.Report, pageSize kernel.Bytes) (hit, note string) {
	if r.Global == nil || *r.Global || r.Memcg == nil {
		return "", ""
	}
	best, bestFill, all := (*oomlog.Usage)(nil), -1.0, 0
	for _, c := range []struct {
		name string
		u    *oomlog.Usage
	}{{"memory", r.Memcg.Memory}, {"memory+swap", r.Memcg.MemorySwap}} {
		if c.u == nil || c.u.Unlimited() || c.u.LimitKB == 0 {
			continue
		}
		all++
		fill := float64(c.u.UsageKB) / float64(c.u.LimitKB)
		// of two that are as full the one that was refused something
		if fill > bestFill || fill > 0.99*bestFill && best.Failcnt == 0 && c.u.Failcnt > 0 {
			best, bestFill, hit = c.u, fill, c.name
		}
	}
	if best == nil {
		return "", ""
	}
	piece := uint64(pageSize / kernel.KiB)
	if order := r.Trigger.Order; order != nil && *order > 0 && *order < 20 {
		piece <<= *order
	}
	if bestFill < 0.9 && best.UsageKB+piece < best.LimitKB {
		human := func(kb uint64) string { return (kernel.Bytes(min(kb, 1<<52)) * kernel.KiB).Human() }
		return "", fmt.Sprintf("When the report was printed the cgroup used %s, %.0f %% of its limit of %s: what "+
			"filled it was given back by then, or was charged to another cgroup.", human(best.UsageKB), 100*bestFill,
			human(best.LimitKB))
	}
	return hit, ""
}
