package verdict

import (
	"github.com/oomlab/oomlab/harness/evidence"
)

// startedBy are the programs of the user's own that may have started a victim which is no
// process of the plan's: those in its cgroup, where only they and what they start can be, of
// which the agent says that they have started others.
func (a *account) startedBy(v Victim) []string {
	if v.Process != "" || a.in.Plan.On != nil {
		return nil
	}
	var out []string
	for _, e := range a.in.Events {
		q, ok := a.in.Plan.Process(e.Process)
		if e.Kind == evidence.Descendants && ok && q.IsCommand() && q.Cgroup != "" && q.Cgroup == v.Cgroup {
			out = append(out, q.Name)
		}
	}
	return out
}

// descendants: who is said to have started others can have.
func (w *agentWitness) descendants(a *account, found *findings) {
	said := map[string]bool{}
	for _, e := range w.in.Events {
		if e.Kind != evidence.Descendants {
			continue
		}
		l := a.lifeOf(e.Process)
		switch {
		case l == nil || !l.plan.IsCommand() || said[e.Process]:
			found.add(HoldDiffers, "%q is said to have started others: it is no program that the plan has, or twice",
				e.Process)
		case e.PID != l.pid:
			found.add(HoldDiffers, "%s is said to have started others, with the pid %d", l, e.PID)
		case e.Held == nil || e.Held.Resident < 0 || e.Held.Resident%a.pageSize() != 0 || e.N < 1 ||
			e.Held.Told != 0 || e.Held.Overhead != 0:
			found.add(HoldDiffers, "%s is said to have started others, and not how many and what they held", l)
		}
		said[e.Process] = true
	}
}
