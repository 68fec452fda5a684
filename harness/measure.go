package harness

import (
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/predict"
)

// measure reads from a rehearsal what each program holds: at the end, if it was
// quiet by then, or at most, if it ended. One that filled its cage, or never
// came to rest, grows.
func measure(events []evidence.Event, pageSize kernel.Bytes) map[string]predict.Measured {
	pages := func(b *kernel.Bytes) kernel.Pages {
		if b == nil {
			return 0
		}
		return b.Pages(pageSize)
	}
	measured := map[string]predict.Measured{}
	quiet := map[string]bool{}
	for _, e := range events {
		switch {
		case e.Kind == evidence.Ready:
			quiet[e.Process] = true
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
		}
	}
	return measured
}
