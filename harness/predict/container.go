package predict

import (
	"slices"

	"github.com/oomlab/oomlab/harness/engine"
	"github.com/oomlab/oomlab/harness/plan"
)

// containers predicts what engines say of containers with a stressor. What a program of the
// user's own does when one of those is killed that it has started, nobody knows.
func (p *Prediction) containers(of plan.Plan) {
	for _, c := range of.Containers {
		q, _ := of.Process(c.Name)
		end, ok := p.Ends[c.Name]
		if q.IsCommand() || !ok || !end.Sure || p.Open {
			continue
		}
		kills := 0
		for _, name := range p.Killed {
			if name == c.Name {
				kills++
			}
		}
		e := engine.End{Engine: c.Engine, Runtime: c.Runtime, Alive: end.Alive, Signal: end.Signal, Code: end.Code,
			Killed: kills > 0 && end.Signal != 0, Lives: kills}
		if kills == 0 && end.Signal != 0 { // somebody else has sent it
			e.Lives = 1
		}
		if end.Alive || end.Signal == 0 {
			e.Lives++
		}
		if p.Containers == nil {
			p.Containers = map[string]Shown{}
		}
		p.Containers[c.Name] = Shown{Shows: e.Shows(), MayMisreport: e.MayMisreport()}
	}
}

// Shown is what an engine will show of a container.
type Shown struct {
	Shows map[string]string `json:"shows"` // by property, where that is known
	// MayMisreport are the misreports that are then no surprise.
	MayMisreport []engine.Misreport `json:"may_misreport,omitempty"`
}

// Misreports reports whether a misreport of a container is no surprise.
func (p *Prediction) Misreports(name string, m engine.Misreport) bool {
	return slices.Contains(p.Containers[name].MayMisreport, m)
}
