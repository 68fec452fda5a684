package harness

import (
	"slices"

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
			m.Descendants, m.Theirs = int(e.N), e.Held.Resident.Pages(pageSize)
			m.Grows = m.Grows || slices.ContainsFunc(rehearsal.Processes, func(q plan.Process) bool {
				return q.Name == e.Process && filled[q.Cgroup]
			})
			measured[e.Process] = m
		}
	}
	return measured
}
