package plan

import (
	"strconv"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/scenario"
)

// rehearsalMS is how long a program of the user's own may take to come to rest.
const rehearsalMS = 10_000

// Rehearsal is the plan in which a plan's own programs run alone, so that what
// they hold can be measured before anything is predicted. Each gets a cage of
// its own, as large as what it could have in the plan: a program that fills it
// is known to grow at least that far, and no rehearsal endangers the machine.
// needed is false when the plan has no programs of the user's own.
func Rehearsal(p Plan, m kernel.Machine) (rehearsal Plan, needed bool) {
	r := Plan{
		Scenario: p.Scenario, Base: p.Base + "-rehearsal", CgroupVersion: p.CgroupVersion,
		WithinMS: rehearsalMS,
	}
	for i, q := range p.Processes {
		if !q.IsCommand() || len(p.Pods) > 0 { // pods say themselves what they hold

			continue
		}
		cage, none := p.cage(q.Cgroup, m), kernel.Bytes(0)
		c := planCgroup(scenario.Cgroup{
			Path: "/rehearsal-" + strconv.Itoa(i), MemoryMax: &cage, MemorySwapMax: &none,
		}, m)
		if len(r.Processes) > 0 {
			q.After = []string{r.Processes[len(r.Processes)-1].Name} // one at a time
		} else {
			q.After = nil
		}
		q.Cgroup, q.Parent, q.Respawn, q.OOMAdj, q.OOMScoreAdj = c.Path, "", 0, 0, max(0, q.OOMScoreAdj)
		q.Unit, q.Container = "", "" // as the agent starts it, nobody restarts or stops it
		r.Cgroups = append(r.Cgroups, c)
		r.Processes = append(r.Processes, q)
	}
	r.WithinMS *= int64(max(1, len(r.Processes))) // one after the other
	r.DeadlineMS = r.WithinMS + deadlineSlackMS
	for i := range r.Processes {
		r.Processes[i].Launch.DeadlineMS = r.DeadlineMS
	}
	return r, len(r.Processes) > 0
}

// cage is the most that a process in a cgroup can hold: the least limit above
// it, or half of what the machine has to give.
func (p Plan) cage(path string, m kernel.Machine) kernel.Bytes {
	least := m.MemAvailable / 2 / m.PageSize * m.PageSize
	for _, c := range p.Cgroups {
		if c.Max != nil && c.Path != kubelet.NodeRoot && kernel.InCgroup(path, c.Path) {
			least = min(least, *c.Max)
		}
	}
	return least
}
