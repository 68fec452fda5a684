package verdict

import (
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
)

// agentWitness is the agent: what it did and when the run was over, and what it read
// of the cgroups that a node's kubelet and runtime have made.
type agentWitness struct {
	bystander
	in       Input
	begin    int64
	end      int64
	ended    bool
	endText  string
	down     string // the machine went down: how and why
	failures []string
	cgroups  map[string][]evidence.CgroupFacts // by process or pod
}

// What is found of the agent's record.
const (
	NoEnd       Kind = "no-end"       // the record stops before the run ended
	AgentFailed Kind = "agent-failed" // a step of the plan could not be carried out
	NeverReady  Kind = "never-ready"  // a process did not finish its steps in time
)

func init() {
	addWitness(80, func(in Input) witness {
		return &agentWitness{in: in, cgroups: map[string][]evidence.CgroupFacts{}}
	})
}

func (a *account) agent() *agentWitness { return witnessOf[*agentWitness](a) }

func (*agentWitness) source() evidence.Source { return evidence.Agent }

func (w *agentWitness) hear(e evidence.Event) {
	switch e.Kind {
	case evidence.Begin:
		w.begin = e.AtNS
	case evidence.End:
		w.ended, w.endText, w.end = true, e.Text, e.AtNS
	case evidence.Down:
		w.down = e.Text
	case evidence.Failure:
		w.failures = append(w.failures, e.Text)
	case evidence.ContainerCgroup:
		if e.Cgroup != nil {
			w.cgroups[e.Process] = append(w.cgroups[e.Process], *e.Cgroup)
		}
	}
}

// adjOf is the oom_score_adj of a container's first process, in each of its lives.
func (w *agentWitness) adjOf(container string) []int {
	var out []int
	for _, f := range w.cgroups[container] {
		if f.OOMScoreAdj != nil {
			out = append(out, *f.OOMScoreAdj)
		}
	}
	return out
}

func (w *agentWitness) complete(a *account, found *findings) {
	for _, text := range w.failures {
		found.add(AgentFailed, "%s", text)
	}
	if why := w.in.Meta.Error; why != "" {
		found.add(AgentFailed, "%s", why)
	}
	switch {
	case w.down != "":
		if w.in.Scenario.Expect.Panic == "" {
			found.add(NoEnd, "%s", w.down)
		}
	case !w.ended:
		found.add(NoEnd, "the record stops before the run ended")
	case w.endText == "interrupted":
		found.add(NoEnd, "the run was interrupted")
	default:
		w.ready(a, found)
	}
}

// ready: a process that neither ended nor finished its steps leaves open what it
// would have done, unless the scenario is about just that. Of a program of the
// user's own in a container nobody can say when it is ready.
func (w *agentWitness) ready(a *account, found *findings) {
	unseen := a.runtime().absent() == ""
	for _, l := range a.lives {
		open := slices.Contains(w.in.Plan.Throttled, l.process) || l.plan.Respawn < 0 || l.plan.Endless()
		if l.exit == nil && !l.ready && !open && !(unseen && l.plan.IsCommand()) {
			found.add(NeverReady, "%s had not finished its steps after %d ms", l, w.in.Plan.WithinMS)
		}
	}
}
