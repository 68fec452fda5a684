package rank

import (
	"path"
	"slices"
)

// Brief is a process with memory of its own of which no more than its
// /proc/PID/oom_score was read: one small file, where the rest takes four.
type Brief struct {
	PID    int
	Cgroup string
	Score  int
}

// Everyone reports whether a ranking with these options needs each process in full: it
// shows all rows or all domains, or the machine has NUMA nodes that processes can be
// confined to, which only their files tell.
func (o Options) Everyone(m Machine) bool {
	return o.Top == 0 || o.Cgroup == "" && (o.Domains == 0 || len(m.Nodes) > 1)
}

// Needs tells which processes a ranking with o needs in full, out of all that there
// are: those of the domains that it shows, and those that may be in a row of the
// machine's. It expects that not [Options.Everyone] is needed.
//
// The kernel's score for the machine grows with the points that the machine's ranking
// goes by, so whoever is in the first rows has at least the score of the last of them.
// A score of 0 says nothing: kernel threads have it, and exempt processes.
func (s Snapshot) Needs(all []Brief, o Options) (func(Brief) bool, error) {
	shown, err := domains(Snapshot{Machine: s.Machine, Cgroups: s.Cgroups}, o.Cgroup)
	if err != nil {
		return nil, err
	}
	byFill(shown)
	if o.Cgroup == "" {
		shown = shown[:min(len(shown), o.Domains+1)]
	}
	paths := map[string]bool{}
	for _, d := range shown {
		if d.Kind == KindCgroup {
			paths[d.Path] = true
		}
	}
	least := 0 // no row of the machine is wanted
	if o.Cgroup == "" {
		least = lastScore(all, o.Top)
	}
	return func(b Brief) bool {
		if b.Score <= 0 || b.PID == 1 || least > 0 && b.Score >= least {
			return true
		}
		for dir := b.Cgroup; ; dir = path.Dir(dir) {
			if paths[dir] {
				return true
			}
			if dir == "/" || dir == "." || dir == "" {
				return false
			}
		}
	}, nil
}

// lastScore is the least score that one of the first rows can have: one less than that
// of the last row, because a process goes on while it is looked at.
func lastScore(all []Brief, rows int) int {
	scores := make([]int, 0, len(all))
	for _, b := range all {
		scores = append(scores, b.Score)
	}
	slices.Sort(scores)
	return max(1, scores[max(0, len(scores)-rows)]-1)
}
