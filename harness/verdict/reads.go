package verdict

import (
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/predict"
)

// procRead holds what was read of /proc against itself: oom_adj is another way to say
// oom_score_adj, and oom_score is made of that and of what the process held.
func (w *agentWitness) procRead(a *account, l *life, e evidence.Event, found *findings) {
	v, s := e.Proc, e.Status
	if !slices.Contains(w.in.Plan.Reads, l.process) {
		found.add(ReadDiffers, "%s was read, which the plan does not ask for", l)
	}
	if !l.ready || e.AtNS < l.readyNS {
		found.add(TimeDiffers, "%s was read before it was ready", l)
	}
	if v == nil || s == nil || !exists(*s) || !whole(*s) {
		found.add(NotRead, "not all that /proc says of %s was read", l)
		return
	}
	w.memory(a, l, s, "when it was read", found)
	if adj := kernel.OOMAdjOf(v.OOMScoreAdj); v.OOMAdj != adj {
		found.add(ReadDiffers, "%s shows oom_adj %d at oom_score_adj %d, which is %d", l, v.OOMAdj, v.OOMScoreAdj, adj)
	}
	if least, most := a.shownScore(*v, *s, e.AtNS); v.OOMScore < least || v.OOMScore > most {
		found.add(ReadDiffers, "%s shows oom_score %d; what it holds makes %d to %d", l, v.OOMScore, least, most)
	}
}

// shownScore is what /proc/PID/oom_score shows at most and at least of a process with that
// oom_score_adj that holds what /proc/PID/status says. Both read the same counters, but
// where oom_badness() reads batched ones status may add what the CPUs keep back (since 6.16, and
// some earlier releases).
func (a *account) shownScore(v evidence.ProcValues, s evidence.ProcessStatus, atNS int64) (least, most int) {
	page := a.pageSize()
	var back kernel.Pages
	if a.in.Machine.Badness == kernel.ReadsCPUBatched {
		_, batches := a.keepers()
		back = 3 * batches
	}
	total := a.machineTotal(atNS)
	of := func(more kernel.Pages) int {
		t := predict.Task{
			RSS:  (*s.RssAnon + *s.RssFile + *s.RssShmem).Pages(page) + more,
			Swap: (*s.VmSwap).Pages(page), PgTables: *s.VmPTE, Adj: v.OOMScoreAdj,
		}
		return predict.OOMScore(predict.Points(t, total, a.rules()), total, a.rules())
	}
	return of(-back), of(back)
}

// unread: all whom the plan asks to read were read, in each life that got so far.
func (w *agentWitness) unread(a *account, found *findings) {
	for _, name := range w.in.Plan.Reads {
		lives := a.livesOf(name)
		if len(lives) == 0 {
			found.add(NotRead, "%s was never started, and so nothing was read of it", name)
		}
		for _, l := range lives {
			switch {
			case l.read == nil && l.ready:
				found.add(NotRead, "nothing was read of %s, which was ready", l)
			case l.read == nil && l == lives[len(lives)-1]:
				found.add(NotRead, "%s was never ready, and so nothing was read of it", l)
			}
		}
	}
}
