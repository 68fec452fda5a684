package observe

import (
	"cmp"
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
)

// fold numbers the events of eBPF, puts those of a decision in the order of time, and
// replaces scans that came to nothing by their number.
//
// The programs keep a decision's candidates back until its scan has chosen somebody, so
// an event of another task may pass them: what comes while a scan is under way waits for
// its end.
//
// While a victim is on its way out, the process at the limit invokes the OOM killer
// again and again, thousands of times a second, and every time the scan is given up at
// the victim (oom_evaluate_task(), "goto abort"). The events of these would say nothing
// new and take longer to pass on than the run itself: a row of such scans becomes one
// event that counts them.
type fold struct {
	sink    Sink
	seq     uint64           // of the last event or loss
	pending []evidence.Event // the beginning of the scan that is under way, and what came since
	scans   uint64           // given up in a row
	records uint64           // that told of them
	last    evidence.Event   // of the last of them
}

// add takes the next event of the ring buffer.
func (f *fold) add(e evidence.Event) {
	switch under := len(f.pending) > 0; {
	case e.Kind == evidence.OutOfMemory:
		f.passPending()
		f.pending = append(f.pending, e)
	case e.Kind == evidence.GivenUp:
		f.giveUp(e)
	case !under:
		f.pass(e)
	case e.OOM == nil || e.OOM.Decision != f.pending[0].OOM.Decision || e.Kind == evidence.Badness:
		f.pending = append(f.pending, e)
	default: // the scan is over
		f.passPending()
		f.pass(e)
	}
}

// giveUp counts the scan that is under way. One that began before anything was
// delivered is not told.
func (f *fold) giveUp(e evidence.Event) {
	if len(f.pending) == 0 || f.pending[0].OOM.Decision != e.OOM.Decision {
		f.passPending()
		return
	}
	records := uint64(1)
	for _, p := range f.pending {
		if p.OOM != nil && p.OOM.Decision == e.OOM.Decision {
			records++
		} else {
			f.pass(p)
		}
	}
	f.pending = f.pending[:0]
	f.scans++
	f.records += records
	f.last = e
}

// pass hands one event on, after the scans that were given up before it.
func (f *fold) pass(e evidence.Event) {
	f.tell()
	if e.OOM != nil {
		f.seq++
		e.OOM.Seq = f.seq
	}
	f.sink(e)
}

// tell passes on how many scans were given up.
func (f *fold) tell() {
	if f.scans == 0 {
		return
	}
	e := f.last
	e.N, e.OOM.FirstSeq = f.scans, f.seq+1
	f.seq += f.records
	e.OOM.Seq = f.seq
	f.scans, f.records = 0, 0
	f.sink(e)
}

// passPending hands on what waited.
func (f *fold) passPending() {
	slices.SortStableFunc(f.pending, func(a, b evidence.Event) int { return cmp.Compare(a.AtNS, b.AtNS) })
	for _, e := range f.pending {
		f.pass(e)
	}
	f.pending = f.pending[:0]
}

// release passes on all that was held back.
func (f *fold) release() {
	f.passPending()
	f.tell()
}
