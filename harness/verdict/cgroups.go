package verdict

import (
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/oomlog"
)

// cgroups translates the names that a node and its kernel have for cgroups into
// those of the plan. What is none of the run's gets a leading "//".
type cgroups struct {
	base    string            // of the run, below the root of the hierarchy
	runtime bool              // a node's runtime has made them, and gave them names of its own
	planned map[string]string // such a name -> that in plans
	// within: the agent's root of the hierarchy is not the kernel's but above, as in a
	// node that is a container; above is "" until a report of the log has told it.
	within bool
	above  string
}

func (c *cgroups) hear(e evidence.Event) {
	if e.Kind != evidence.ContainerCgroup || e.Cgroup == nil {
		return
	}
	c.planned[e.Cgroup.Path] = e.Cgroup.Plan
	// crun has the processes of a container in one below that which its engine makes
	if above, ok := strings.CutSuffix(e.Cgroup.Path, "/container"); ok && !c.runtime {
		c.planned[above] = e.Cgroup.Plan
	}
}

// recorded is a path as agents record it: below the run's base or, on a node, from
// the root of the hierarchy.
func (c *cgroups) recorded(path string) string {
	if path == "" || !c.runtime && len(c.planned) == 0 || path == kubelet.NodeRoot {
		return path
	}
	for p := path; p != ""; p = p[:strings.LastIndexByte(p, '/')] {
		if name, ok := c.planned[p]; ok {
			return strings.TrimSuffix(name, "/") + path[len(p):]
		}
	}
	if !c.runtime {
		return path // it has the plan's name
	}
	return "/" + path
}

// printed is a path as the kernel prints it, from the root of the hierarchy.
func (c *cgroups) printed(path string) string {
	if c.runtime {
		return c.recorded(c.below(path))
	}
	if _, rest, ok := strings.Cut(path, "/"+c.base); ok && (rest == "" || rest[0] == '/') {
		if rest == "" {
			return base
		}
		return c.recorded(rest)
	}
	return "/" + path
}

// named is a path that the kernel prints as agents record it.
func (c *cgroups) named(path string) string {
	if c.runtime {
		return c.below(path)
	}
	return c.printed(path)
}

// below takes off a path of the kernel's what is above the node's root. A path that is
// elsewhere is left as it is, which no cgroup of the node's is called.
func (c *cgroups) below(path string) string {
	switch rest, ok := strings.CutPrefix(path, c.above); {
	case !c.within:
	case c.above == "" || !ok || rest != "" && rest[0] != '/':
		return "/" + path
	case rest == "":
		return kubelet.NodeRoot
	default:
		return rest
	}
	return path
}

// find finds out what is above the node's root: what the log's path of a victim has
// more than that which the agent has found by the number that eBPF read. The most
// frequent answer counts; a report that has another is found to differ.
func (c *cgroups) find(events []evidence.Event, reports []oomlog.Report) {
	if !c.within || !c.runtime {
		return
	}
	votes := map[string]int{}
	for _, r := range reports {
		if r.ContextPID == nil {
			continue
		}
		for _, e := range events {
			if e.Kind != evidence.KillDecision && e.Kind != evidence.MarkVictim || e.OOM == nil || e.OOM.Task == nil {
				continue
			}
			t := e.OOM.Task
			above, ok := strings.CutSuffix(r.TaskMemcg, strings.TrimSuffix(t.Cgroup, "/"))
			if t.Cgroup == "" || !ok || above == "" || t.PID != *r.ContextPID && t.TGID != *r.ContextPID {
				continue
			}
			if votes[above]++; votes[above] > votes[c.above] {
				c.above = above
			}
		}
	}
}

// base is how the run's own cgroup, above all of the plan's, is called.
const base = "/"
