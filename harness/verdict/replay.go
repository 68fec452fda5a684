package verdict

import (
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
	"github.com/oomlab/oomlab/harness/predict"
)

// rules are how scores are replayed.
func (a *account) rules() predict.Rules {
	r := a.in.Rules
	if r.PageSize <= 0 {
		r.PageSize = a.pageSize()
	}
	return r
}

// counts picks the reading that oom_badness() used on this machine. Counters are
// clamped at zero, as get_mm_counter() does.
func (a *account) counts(mm *evidence.MM) evidence.Counts {
	c := mm.Batched
	if a.in.Machine.Badness == kernel.ReadsExact {
		c = mm.Exact
	}
	return evidence.Counts{File: max(0, c.File), Anon: max(0, c.Anon), Swap: max(0, c.Swap), Shmem: max(0, c.Shmem)}
}

// task is a candidate as the model takes it.
func (a *account) task(t *evidence.Task) predict.Task {
	if t == nil || t.MM == nil {
		return predict.Task{Skip: true}
	}
	c := a.counts(t.MM)
	return predict.Task{
		RSS: c.File + c.Anon + c.Shmem, Swap: c.Swap, PgTables: t.MM.PgTables, Adj: t.Adj,
		Skip: t.MM.OOMSkip || t.MM.Gone || t.Refusal != "" && t.Refusal != evidence.NotRefused,
	}
}

// unexplained reports whether the kernel gave a candidate no score, and the record
// does not say why: one that is not the plan's, in a run from before refusals were
// recorded.
func (a *account) unexplained(o *evidence.OOM) bool {
	return o.Task != nil && o.Task.Refusal == "" && a.life(o.Task.TGID) == nil &&
		o.Points != nil && finite(o.Points) == nil && finite(a.replay(o.Task, 1)) != nil
}

// replay is our score of a task from the numbers that the kernel read.
func (a *account) replay(t *evidence.Task, total kernel.Pages) *int64 {
	if t == nil || t.MM == nil {
		return nil
	}
	p := predict.Points(a.task(t), total, a.rules())
	return &p
}

// choice is the candidate that the model chooses from the numbers that the
// kernel read, in its order; -1: none.
func (a *account) choice(d *decision) int {
	tasks := make([]predict.Task, len(d.rows))
	for i, o := range d.rows {
		tasks[i] = a.task(o.Task)
		tasks[i].Skip = tasks[i].Skip || a.unexplained(o)
	}
	c, _ := predict.Choose(tasks, d.total(d.rows[0]), a.rules())
	return c
}

// finite hides LONG_MIN, which is not a number of pages but a refusal.
func finite(p *int64) *int64 {
	if p == nil || *p == predict.Never {
		return nil
	}
	v := *p
	return &v
}

// swap is the machine's, with what the plan switches on.
func (a *account) swap() kernel.Bytes {
	swap := a.in.Machine.SwapTotal
	if a.in.Plan.Swap != nil {
		swap += a.in.Plan.Swap.Usable(a.pageSize())
	}
	return swap
}

// swapAt is the swap space at some time: none once it is being switched off, for
// sys_swapoff() takes it off total_swap_pages before it brings the pages back.
func (a *account) swapAt(atNS int64) kernel.Bytes {
	for _, d := range a.in.Plan.During {
		if !d.Swapoff {
			continue
		}
		var from int64
		for _, name := range d.After {
			for _, l := range a.livesOf(name) {
				switch {
				case l.ready:
					from = max(from, l.readyNS)
				case l.exit != nil:
					from = max(from, l.diedNS)
				}
			}
		}
		if atNS >= from+d.DelayMS*1e6 {
			return 0
		}
	}
	return a.swap()
}

// machineTotal is what oom_badness() measures with where the machine as a whole is out of
// memory: its RAM and the swap space at that time.
func (a *account) machineTotal(atNS int64) kernel.Pages {
	return kernel.Pages((a.in.Machine.MemTotal + a.swapAt(atNS)) / a.pageSize())
}

// limitTotals are what oom_badness() may have measured with where the limit of one of the
// plan's cgroups was hit: that limit, or one that was written to it later, each with
// whatever swap there was. Nil: the cgroup is none of the plan's, or has no limit.
func (a *account) limitTotals(path string) []kernel.Pages {
	c, ok := a.in.Plan.Cgroup(path)
	if !ok {
		return nil
	}
	limits, swaps := []*kernel.Bytes{c.Max}, []kernel.Bytes{a.swap()}
	for _, d := range a.in.Plan.During {
		if d.Swapoff {
			swaps = append(swaps, 0)
		}
		for _, w := range d.Writes {
			if w.Path == path && w.Max != nil {
				limits = append(limits, w.Max)
			}
		}
	}
	var out []kernel.Pages
	for _, limit := range limits {
		for _, swap := range swaps {
			if limit != nil {
				out = append(out, predict.TotalPages(limit, c.SwapMax, swap, a.swappiness(), a.pageSize()))
			}
		}
	}
	return out
}

// swappiness is 0 where the machine's is, and otherwise any other.
func (a *account) swappiness() int {
	if a.in.sysctl("vm.swappiness") == "0" {
		return 0
	}
	return 60
}

// sysctl is the value of one before anything happens.
func (in Input) sysctl(key string) string {
	for _, s := range in.Plan.Sysctls {
		if s.Key == key {
			return s.Value
		}
	}
	return in.Machine.Sysctls[key]
}

// logTotal is the size of a report's domain by what the log prints: the limit
// that was hit and the swap that comes on top, some NUMA nodes with all swap, or the whole
// machine.
func (a *account) logTotal(r oomlog.Report) kernel.Pages {
	swap := a.swapAt(a.kmsg().at(&r))
	if nodes := nodesOf(r); nodes != nil && len(a.in.Machine.NUMA) > 0 {
		return predict.NodesTotal(a.in.Machine, nodes, swap)
	}
	if r.Memcg == nil || r.Memcg.Memory == nil {
		return a.machineTotal(a.kmsg().at(&r))
	}
	limit := kernel.Bytes(r.Memcg.Memory.LimitKB) * kernel.KiB
	var swapMax *kernel.Bytes
	switch {
	case r.Memcg.Swap != nil && !r.Memcg.Swap.Unlimited():
		b := kernel.Bytes(r.Memcg.Swap.LimitKB) * kernel.KiB
		swapMax = &b
	case r.Memcg.MemorySwap != nil && !r.Memcg.MemorySwap.Unlimited():
		b := kernel.Bytes(r.Memcg.MemorySwap.LimitKB)*kernel.KiB - limit
		swapMax = &b
	}
	return predict.TotalPages(&limit, swapMax, swap, a.swappiness(), a.pageSize())
}

// nodesOf are the NUMA nodes that a report is about; nil: it is not about some nodes.
func nodesOf(r oomlog.Report) kernel.Nodes {
	list := ""
	switch constraints[r.Constraint] {
	case "cpuset":
		list = r.MemsAllowed
	case "mempolicy":
		list = r.NodeMask
	}
	nodes, err := kernel.ParseNodes(list)
	if err != nil {
		return nil
	}
	return nodes
}
