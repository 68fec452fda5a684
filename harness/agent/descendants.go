package agent

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
)

// How long a program of the user's own, and what it has started, must have been quiet to
// count as ready, and how often that is looked at. A second is long against a page fault,
// even under emulation, and short against a scenario. A program that works on, or goes on
// starting others, may be about to take more; for longer than idleFor nobody waits for that.
const (
	quietFor   = time.Second
	idleFor    = 5 * time.Second
	quietEvery = 50 * time.Millisecond
)

// quiet follows what a program that cannot say that it is ready holds, together with the
// processes that it has started.
type quiet struct {
	most  kernel.Pages // that they held together
	own   kernel.Pages // the most that the program held itself
	since time.Time    // they have not held more
	calm  time.Time    // nor worked, nor started or lost anybody
	pids  []int        // of the others, in order

	descendants int          // at most, at one time
	theirs      kernel.Pages // the most that these held together
}

// look is what one look at a program and its descendants shows.
type look struct {
	own, theirs kernel.Pages
	busy        bool  // one of them runs, or would, or waits for a disk
	pids        []int // of the descendants, in order
}

// grown takes a look and reports whether all have been quiet.
func (q *quiet) grown(l look, now time.Time) (isQuiet bool) {
	held := l.own + l.theirs
	if q.since.IsZero() || held > q.most {
		q.most, q.since, q.calm = held, now, now
	}
	if l.busy || !slices.Equal(l.pids, q.pids) {
		q.calm = now
	}
	q.own, q.theirs = max(q.own, l.own), max(q.theirs, l.theirs)
	q.descendants = max(q.descendants, len(l.pids))
	q.pids = l.pids
	return now.Sub(q.calm) >= quietFor || now.Sub(q.since) >= idleFor
}

// lookAt reads what a program and its descendants hold now. One that has ended has
// descendants, too; false: nobody is left.
func (r *run) lookAt(p *process) (look, bool) {
	var l look
	alive := p.alive()
	if alive {
		if s, err := r.agent.root.Stat(p.pid); err == nil {
			l.own, l.busy = s.RSS, busy(s)
		}
	}
	members := r.lineage.byPID(p.plan.Name)
	for _, pid := range r.descendants(p) {
		if s, err := r.agent.root.Stat(pid); err == nil && s.State != 'Z' && s.State != 'X' {
			l.pids = append(l.pids, pid)
			l.theirs += s.RSS
			l.busy = l.busy || busy(s)
			if m := members[pid]; m != nil {
				m.most = max(m.most, s.RSS)
			}
		}
	}
	return l, alive || len(l.pids) > 0
}

// busy reports whether a process has something to do, though a loaded machine may not let it.
func busy(s kernel.Stat) bool { return s.State == 'R' || s.State == 'D' }

// descendants are the pids of what a program has started, and that in turn, in order.
// Without process events these are those in its cgroup that are no processes of the plan's
// nor started by another one; an orphan is a descendant of every program in the cgroup.
// Outside of the run's cgroups there may be others, and orphans are not found.
func (r *run) descendants(p *process) []int {
	var out []int
	if r.lineage != nil {
		return slices.Sorted(maps.Keys(r.lineage.byPID(p.plan.Name)))
	}
	if p.plan.Cgroup == "" {
		if p.alive() {
			out = r.childrenOf(p.pid, out)
		}
		slices.Sort(out)
		return out
	}
	members, err := readWords(filepath.Join(r.tree.dir(p.plan.Cgroup), procsFile))
	if err != nil {
		return nil // removed meanwhile, and nobody can be in it
	}
	for _, word := range members {
		pid, err := strconv.Atoi(word)
		if err != nil || r.planned(pid) {
			continue
		}
		switch r.startedBy(pid) {
		case "", p.plan.Name:
			out = append(out, pid)
		}
	}
	slices.Sort(out)
	return out
}

// startedBy is the process of the plan that a process descends from; empty: none that
// has not ended.
func (r *run) startedBy(pid int) string {
	for range 64 { // parents may end, and pids be used again, meanwhile
		s, err := r.agent.root.Stat(pid)
		if err != nil || s.PPID <= 1 || s.PPID == os.Getpid() {
			return ""
		}
		if name := r.name(s.PPID); name != "" {
			return name
		}
		pid = s.PPID
	}
	return ""
}

// childrenOf adds the descendants of a process to pids.
func (r *run) childrenOf(pid int, pids []int) []int {
	files, _ := filepath.Glob(r.agent.root.Path("/proc", strconv.Itoa(pid), "task", "*", "children"))
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		for _, word := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(word); err == nil && r.name(child) == "" {
				pids = r.childrenOf(child, append(pids, child))
			}
		}
	}
	return pids
}

// watchQuiet looks at the programs of the user's own: who is quiet, is ready, and the run
// does not end before those are that a program has left behind.
func (r *run) watchQuiet(now time.Time) {
	for _, p := range r.procs {
		if !p.plan.IsCommand() || p.state != running && p.state != ready && !p.left {
			continue
		}
		l, any := r.lookAt(p)
		isQuiet := any && p.quiet.grown(l, now)
		switch {
		case p.left && (isQuiet || !any):
			p.left = false
			r.happened()
		case isQuiet && p.state == running && !p.plan.Exits:
			p.state = ready
			r.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.Ready, Process: p.plan.Name, PID: p.pid,
				Status: r.agent.usage(p.pid)})
			r.read(p)
			r.happened()
		}
	}
}

// heir notes what a program leaves behind that has ended.
func (r *run) heir(p *process) {
	if !p.plan.IsCommand() {
		return
	}
	if l, any := r.lookAt(p); any && !p.alive() {
		p.left = true
		p.quiet.most, p.quiet.since = 0, time.Time{}
		p.quiet.grown(l, time.Now())
	}
}

// noteStranger remembers a victim that is no process of the plan's.
func (r *run) noteStranger(ev evidence.Event) {
	if ev.Kind != evidence.MarkVictim || ev.Process != "" || ev.OOM == nil || ev.OOM.Task == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	cgroup := ev.OOM.Task.Cgroup
	if r.strangers[cgroup] == nil {
		r.strangers[cgroup] = map[int]bool{}
	}
	r.strangers[cgroup][ev.PID] = true
}

// sayDescendants tells of programs that have started others.
func (r *run) sayDescendants() {
	for _, p := range r.procs {
		if !p.plan.IsCommand() {
			continue
		}
		n := p.quiet.descendants
		r.mu.Lock()
		if r.lineage != nil {
			n = r.lineage.most[p.plan.Name]
		} else if p.plan.Cgroup != "" {
			n = max(n, len(r.strangers[p.plan.Cgroup])) // that came and went between two looks
		}
		r.mu.Unlock()
		if n > 0 {
			r.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.Descendants, Process: p.plan.Name, PID: p.pid,
				N: uint64(n), Held: &evidence.Holding{Resident: p.quiet.theirs.Bytes(kernel.Bytes(os.Getpagesize()))}})
		}
	}
}
