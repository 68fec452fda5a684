package predict

import (
	"context"
	"slices"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
)

// Read is what /proc/PID says of a process when it is ready.
type Read struct {
	// OOMScoreLeast and OOMScoreMost bound /proc/PID/oom_score, both included.
	OOMScoreLeast int `json:"oom_score_least"`
	OOMScoreMost  int `json:"oom_score_most"`
	OOMScoreAdj   int `json:"oom_score_adj"`
	OOMAdj        int `json:"oom_adj"`
}

// reads are the readings that the plan asks for, of the processes whose own steps decide
// them. What a program of the user's own does to its files in /proc nobody knows.
func reads(ctx context.Context, r Rules, p plan.Plan, m kernel.Machine) map[string]Read {
	var out map[string]Read
	for _, name := range p.Reads {
		q, ok := p.Process(name)
		if !ok || q.IsCommand() || shares(p, q) || readjusted(p, name) {
			continue
		}
		w := alone(ctx, r, p, m, name)
		if w == nil {
			continue
		}
		if out == nil {
			out = map[string]Read{}
		}
		out[name] = w.reading(w.find(name))
	}
	return out
}

// shares reports whether a process uses memory together with another, which gives the one
// the oom_score_adj of the other.
func shares(p plan.Plan, q plan.Process) bool {
	return sharer(p, q) || slices.ContainsFunc(p.Processes, func(o plan.Process) bool {
		return o.Parent == q.Name && sharer(p, o)
	})
}

// readjusted reports whether a process may get another oom_score_adj before it is read,
// which is when it is ready.
func readjusted(p plan.Plan, name string) bool {
	return slices.ContainsFunc(p.During, func(d plan.During) bool {
		_, sets := d.OOMScoreAdj[name]
		return sets && !slices.Contains(d.After, name)
	})
}

// alone is the world when a process is ready that had no limit above it and nobody beside
// it but what it forks: what it holds by then is decided by its steps. Nil: it does not
// get ready.
func alone(ctx context.Context, r Rules, p plan.Plan, m kernel.Machine, name string) *world {
	family := map[string]bool{name: true}
	var processes []plan.Process
	for _, q := range p.Processes { // parents come before children
		if family[q.Name] || family[q.Parent] {
			family[q.Name] = true
			processes = append(processes, q)
		}
	}
	p.Processes, p.During, p.Cgroups = processes, nil, slices.Clone(p.Cgroups)
	for i := range p.Cgroups {
		p.Cgroups[i].Max, p.Cgroups[i].High = nil, nil
	}
	p.Sysctls = append(slices.Clone(p.Sysctls), plan.Sysctl{
		Key: kernel.OvercommitMemory, Value: kernel.OvercommitAlways,
	})
	m.NUMA, m.MemAvailable, m.MemFree = nil, kernel.Pages(endless).Bytes(kernel.DefaultPageSize), 0
	b := &budget{ctx: ctx, left: courseWork}
	w := begin(b, r, &p, m, nil)
	w.launch(w.find(name))
	for w.find(name).phase != holding {
		next := w.step()
		if len(next) == 0 || b.spent() {
			return nil
		}
		w = next[0]
	}
	return w
}

// reading is what /proc says of a process at this moment.
func (w *world) reading(p *proc) Read {
	total := w.total("")
	points := w.score(p, "", total)
	if p.adj != AdjMin {
		points = points.widen(w.margin(), w.margin())
	}
	return Read{
		OOMScoreLeast: OOMScore(int64(points.Lo), total, w.rules),
		OOMScoreMost:  OOMScore(int64(points.Hi), total, w.rules),
		OOMScoreAdj:   p.adj, OOMAdj: kernel.OOMAdjOf(p.adj),
	}
}
