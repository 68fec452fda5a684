package agent

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
)

// readings is how often a process is read until it has held still meanwhile.
const readings = 5

// read records what /proc says of a process that has just become ready, where the plan
// asks for it. What it holds is read before and after: oom_score is made of that.
func (r *run) read(p *process) {
	if !slices.Contains(r.plan.Reads, p.plan.Name) {
		return
	}
	ev := evidence.Event{Source: evidence.Agent, Kind: evidence.ProcRead, Process: p.plan.Name, PID: p.pid}
	for range readings {
		before := r.agent.usage(p.pid)
		values, err := r.agent.procValues(p.pid)
		if err != nil {
			r.failure(fmt.Sprintf("process %s (pid %d) cannot be read: %v", p.plan.Name, p.pid, err))
			return
		}
		ev.Proc, ev.Status = &values, r.agent.usage(p.pid)
		if reflect.DeepEqual(before, ev.Status) {
			break
		}
	}
	r.emit(ev)
}

func (a *Agent) procValues(pid int) (v evidence.ProcValues, err error) {
	var errs [3]error
	v.OOMScore, errs[0] = a.root.OOMScore(pid)
	v.OOMScoreAdj, errs[1] = a.root.OOMScoreAdj(pid)
	v.OOMAdj, errs[2] = a.root.OOMAdj(pid)
	return v, errors.Join(errs[:]...)
}
