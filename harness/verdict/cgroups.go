package verdict

import (
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
)

// cgroups translates the names that a node and its kernel have for cgroups into
// those of the plan. What is none of the run's gets a leading "//".
type cgroups struct {
	base    string            // of the run, below the root of the hierarchy
	runtime bool              // a node's runtime has made them, and gave them names of its own
	planned map[string]string // such a name -> that in plans
}

func (c *cgroups) hear(e evidence.Event) {
	if e.Kind == evidence.ContainerCgroup && e.Cgroup != nil {
		c.planned[e.Cgroup.Path] = e.Cgroup.Plan
	}
}

// recorded is a path as agents record it: below the run's base or, on a node, from
// the root of the hierarchy.
func (c *cgroups) recorded(path string) string {
	if path == "" || !c.runtime {
		return path
	}
	for p := path; p != ""; p = p[:strings.LastIndexByte(p, '/')] {
		if name, ok := c.planned[p]; ok {
			return strings.TrimSuffix(name, "/") + path[len(p):]
		}
	}
	return "/" + path
}

// printed is a path as the kernel prints it, from the root of the hierarchy.
func (c *cgroups) printed(path string) string {
	if c.runtime {
		return c.recorded(path)
	}
	if _, rest, ok := strings.Cut(path, "/"+c.base); ok && (rest == "" || rest[0] == '/') {
		if rest == "" {
			return base
		}
		return rest
	}
	return "/" + path
}

// base is how the run's own cgroup, above all of the plan's, is called.
const base = "/"
