package rank

import (
	"fmt"
	"slices"

	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/predict"
)

// One is what a ranking says of one process.
type One struct {
	Row    Row    `json:"process"` // its place on the machine; Rank 0: it is never chosen there
	Never  string `json:"never,omitempty"`
	Scores *Span  `json:"points_of_oom_score,omitempty"` // points that give the same oom_score
	// Places are the domains in which it is a candidate, or would be.
	Places []Place `json:"domains"`
}

// Place is a process's place in one domain.
type Place struct {
	Domain Domain `json:"domain"` // with the first row only
	Row    Row    `json:"place"`  // Rank 0: it is never chosen
	Change Change `json:"change"`
}

// Explain finds the place of one process in each of its domains.
func Explain(s Snapshot, pid int, o Options) (One, error) {
	at := slices.IndexFunc(s.Processes, func(p Process) bool { return p.PID == pid })
	if at < 0 {
		return One{}, fmt.Errorf("there is no process %d with memory of its own; kernel threads have none", pid)
	}
	p := &s.Processes[at]
	o.Top, o.Domains, o.Cgroup = 0, 0, ""
	all, err := Rank(s, o)
	if err != nil {
		return One{}, err
	}
	rules, m := s.Machine.rules(), s.Machine
	one := One{Places: []Place{}}
	switch {
	case p.Init:
		one.Never = "it is init (pid 1): oom_unkillable_task()"
	case p.Adj == predict.AdjMin:
		one.Never = "its oom_score_adj is -1000"
	}
	for _, d := range all.Domains {
		if !d.holds(p) {
			continue
		}
		place := Place{Row: row(0, scored{p, predict.Points(p.task(), d.TotalPages, rules)}, d.TotalPages, m, rules)}
		other := predict.Never
		for _, r := range d.Rows {
			if r.PID == pid {
				place.Row = r
			} else if other == predict.Never {
				other = r.Points
			}
		}
		place.Row.Owner = explain.OwnerOf(p.Cgroup)
		if place.Row.Rank == 0 {
			place.Row.Points, place.Row.AdjPoints = 0, 0
		}
		if p.Init {
			place.Change.Why = "init is never chosen"
		} else {
			place.Change = change(p.task(), other, d.TotalPages, rules)
		}
		d.Rows = d.Rows[:min(1, len(d.Rows))]
		place.Domain = d
		one.Places = append(one.Places, place)
		if d.Kind == KindMachine {
			one.Row = place.Row
		}
	}
	if span, ok := PointsOf(one.Row.OOMScore, m.total(), rules); ok && one.Row.Rank > 0 {
		one.Scores = &span
	}
	return one, nil
}

// holds reports whether a process is looked at when the domain runs out.
func (d *Domain) holds(p *Process) bool {
	switch d.Kind {
	case KindCgroup:
		return kernel.InCgroup(p.Cgroup, d.Path)
	case KindNodes:
		return intersect(p.Mems, d.Nodes)
	}
	return true
}
