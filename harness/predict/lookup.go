package predict

import (
	"cmp"
	"slices"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
)

// lookup is what follows from a plan and never changes while its course is
// worked out. All worlds of a prediction share one.
type lookup struct {
	procs   map[string]int // a process's place in world.procs
	cgroups map[string]int // a cgroup's place in world.cgroups
	scans   map[string]int // its place in mem_cgroup_scan_tasks()'s walk, from 1
	// before has, for a process, those that it waits for, directly or not, and
	// those that forked it. It is filled when it is asked for.
	before map[string]map[string]bool
	swaps  map[swapKey]kernel.Bytes // see world.swapFor
	nodes  map[string]nodeDomain    // that some process is confined to, see world.confine
}

type swapKey struct {
	dir string
	on  kernel.Bytes
}

func newLookup(procs []proc, cgroups []plan.Cgroup) *lookup {
	l := &lookup{procs: map[string]int{}, cgroups: map[string]int{}, scans: map[string]int{},
		before: map[string]map[string]bool{}, swaps: map[swapKey]kernel.Bytes{},
		nodes: map[string]nodeDomain{}}
	for i := range procs {
		if _, twice := l.procs[procs[i].p.Name]; !twice {
			l.procs[procs[i].p.Name] = i
		}
	}
	for i, c := range cgroups {
		if _, twice := l.cgroups[c.Path]; !twice {
			l.cgroups[c.Path] = i
		}
	}
	for i, path := range walk(cgroups, l.cgroups) {
		l.scans[path] = i + 1
	}
	return l
}

// walk lists cgroups as mem_cgroup_scan_tasks() comes to them: pre-order,
// children in the order in which they were made.
func walk(cgroups []plan.Cgroup, places map[string]int) []string {
	paths := make([]string, len(cgroups))
	for i, c := range cgroups {
		paths[i] = c.Path
	}
	place := func(path string) int {
		if i, ok := places[path]; ok {
			return i
		}
		return -1
	}
	slices.SortStableFunc(paths, func(a, b string) int {
		if kernel.InCgroup(a, b) || kernel.InCgroup(b, a) {
			return cmp.Compare(len(a), len(b))
		}
		a, b = diverge(a, b), diverge(b, a)
		return cmp.Compare(place(a), place(b))
	})
	return paths
}

// waits are the processes that settle, or fork, before the named one begins.
func (l *lookup) waits(procs []proc, name string) map[string]bool {
	if before, ok := l.before[name]; ok {
		return before
	}
	before := map[string]bool{name: true}
	for todo := []string{name}; len(todo) > 0; {
		i, ok := l.procs[todo[0]]
		todo = todo[1:]
		if !ok {
			continue
		}
		for _, earlier := range append(slices.Clip(procs[i].p.After), procs[i].p.Parent) {
			if !before[earlier] {
				before[earlier] = true
				todo = append(todo, earlier)
			}
		}
	}
	l.before[name] = before
	return before
}
