package harness

import (
	"fmt"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
)

// measure reads from a rehearsal what each program holds: at the end, if it was
// quiet by then, or at most, if it ended. One that filled its cage, or never
// came to rest, grows, and so does one that has started a process which filled it.
func measure(rehearsal plan.Plan, events []evidence.Event, pageSize kernel.Bytes) map[string]predict.Measured {
	pages := func(b *kernel.Bytes) kernel.Pages {
		if b == nil {
			return 0
		}
		return b.Pages(pageSize)
	}
	measured := map[string]predict.Measured{}
	quiet := map[string]bool{}
	filled := map[string]bool{} // cages
	for _, e := range events {
		if _, ok := rehearsal.DescendantOf(e.Process); ok && e.Kind != evidence.Descendants {
			continue // see tree
		}
		switch {
		case e.Kind == evidence.Ready:
			quiet[e.Process] = true
		case e.Kind == evidence.Reading && e.Counter.When == "after":
			filled[e.Counter.Cgroup] = filled[e.Counter.Cgroup] || e.Counter.Values[evidence.CounterOOMKill] > 0
		case e.Kind == evidence.Exited && e.Exit.Signal != 0:
			measured[e.Process] = predict.Measured{Grows: true}
		case e.Kind == evidence.Exited:
			measured[e.Process] = predict.Measured{Footprint: kernel.Footprint{Anon: pages(e.Exit.MaxRSS), Threads: 1}}
		case e.Kind == evidence.Alive && e.Status != nil:
			s := e.Status
			measured[e.Process] = predict.Measured{
				Footprint: kernel.Footprint{
					Anon: pages(s.RssAnon) + pages(s.VmSwap), File: pages(s.RssFile), Shmem: pages(s.RssShmem),
					PgTable: pages(s.VmPTE), Threads: s.Threads,
				},
				Grows: !quiet[e.Process],
			}
		case e.Kind == evidence.Descendants && e.Held != nil:
			m := measured[e.Process]
			m.Tree = tree(events, e.Process, cage(rehearsal, e.Process))
			m.Descendants, m.Theirs = int(e.N), e.Held.Resident.Pages(pageSize)
			m.Grows = m.Grows || filled[cage(rehearsal, e.Process)]
			measured[e.Process] = m
		}
	}
	return measured
}

// cage is the cgroup of a program in a rehearsal.
func cage(rehearsal plan.Plan, program string) string {
	q, _ := rehearsal.Process(program)
	return q.Cgroup
}

// maxRelatives bounds how many processes a prediction follows that a program starts.
const maxRelatives = 64

// relative is a process that a program has started in its rehearsal.
type relative struct {
	evidence.Event // Forked
	held           kernel.Bytes
	exit           *evidence.Event
}

// tree reads from a rehearsal which of the processes that a program has started was killed,
// and who was there beside it; nil: nobody was killed, or nobody told.
func tree(events []evidence.Event, program, cage string) *predict.Tree {
	var all, killed []*relative
	byName := map[string]*relative{}
	kills := int64(0)
	for _, e := range events {
		of, _, _ := plan.SplitDescendant(e.Process)
		switch {
		case e.Kind == evidence.Forked && of == program && e.Program != nil:
			r := &relative{Event: e}
			all, byName[e.Process] = append(all, r), r
		case e.Kind == evidence.Exited && byName[e.Process] != nil:
			r := byName[e.Process]
			if r.exit = &e; e.Exit.MaxRSS != nil {
				r.held = *e.Exit.MaxRSS
			}
			if kernel.SignalName(e.Exit.Signal) == "SIGKILL" {
				killed = append(killed, r)
			}
		case e.Kind == evidence.Alive && byName[e.Process] != nil && e.Status != nil && e.Status.RssAnon != nil:
			s := e.Status
			byName[e.Process].held = *s.RssAnon + *s.RssFile + *s.RssShmem + *s.VmSwap
		case e.Kind == evidence.Reading && e.Counter.When == "after" && e.Counter.Cgroup == cage:
			kills = max(kills, e.Counter.Values[evidence.CounterOOMKill])
		}
	}
	if len(all) == 0 || kills == 0 {
		return nil
	}
	if kills != 1 || len(killed) != 1 {
		return &predict.Tree{Unsure: fmt.Sprintf("%d kills took %d of them", kills, len(killed))}
	}
	return treeAt(all, killed[0])
}

// treeAt is the tree when one of its processes was killed.
func treeAt(all []*relative, victim *relative) *predict.Tree {
	t := &predict.Tree{}
	_, t.Grower, _ = plan.SplitDescendant(victim.Process)
	for _, r := range all {
		_, n, _ := plan.SplitDescendant(r.Process)
		if r != victim && r.AtNS < victim.exit.AtNS && (r.exit == nil || r.exit.AtNS > victim.exit.AtNS) {
			t.Others = append(t.Others, predict.Relative{Number: n, Held: r.held.Pages(kernel.DefaultPageSize)})
		}
	}
	if !ordered(all[:min(t.Grower, len(all))]) {
		t.Unsure = "several of them started others, in an order that depends on timing"
	}
	if len(t.Others) > maxRelatives {
		t.Unsure, t.Others = fmt.Sprintf("there were %d others", len(t.Others)), nil
	}
	return t
}

// ordered reports whether processes are started in the same order each time. Two that start
// others do so in any order, but for one that has started the other and then waits for it.
func ordered(all []*relative) bool {
	parent, child, n := 0, 0, 0
	for _, r := range all {
		switch by := r.Program.Parent; {
		case parent == 0 || by == child && n == 1:
			parent, n = by, 1
		case by == parent:
			n++
		default:
			return false
		}
		child = r.PID
	}
	return true
}
