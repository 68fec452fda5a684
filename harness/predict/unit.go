package predict

import (
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/systemd"
)

// units predicts what systemd says of units with a stressor. What a program of the user's
// own does when one of those is killed that it has started, nobody knows.
func (p *Prediction) units(of plan.Plan) {
	for _, u := range of.Units {
		q, _ := of.Process(u.Name)
		end, ok := p.Ends[u.Name]
		if q.IsCommand() || !ok || !end.Sure || p.Open {
			continue
		}
		kills := 0
		for _, name := range p.Killed {
			if name == u.Name {
				kills++
			}
		}
		s := systemd.End{OOMPolicy: u.OOMPolicy, Restart: u.Restart, Alive: end.Alive, Signal: end.Signal,
			Code: end.Code, Killed: kills > 0 && end.Signal != 0, Lives: kills,
			Stopped: of.Stops(u.Name)}
		if kills == 0 && end.Signal != 0 { // somebody else has sent it
			s.Lives = 1
		}
		if end.Alive || end.Signal == 0 {
			s.Lives++
		}
		if p.Units == nil {
			p.Units = map[string]map[string]string{}
		}
		p.Units[u.Name] = s.Shows()
	}
}
