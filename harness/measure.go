package harness

import (
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/predict"
)

// measure reads what a rehearsed program holds. One that is alive and was
// never quiet grows; one that has ended does not appear, and needs no memory
// that a limit could refuse for long.
func measure(e evidence.Event, pageSize kernel.Bytes) predict.Measured {
	pages := func(b *kernel.Bytes) kernel.Pages {
		if b == nil {
			return 0
		}
		return b.Pages(pageSize)
	}
	s := e.Status
	return predict.Measured{
		Footprint: kernel.Footprint{
			Anon: pages(s.RssAnon) + pages(s.VmSwap), File: pages(s.RssFile), Shmem: pages(s.RssShmem),
			PgTable: pages(s.VmPTE), Threads: s.Threads,
		},
		Grows: e.Text == "growing",
	}
}
