package observe

import "github.com/oomlab/oomlab/harness/evidence"

// fold replaces scans that came to nothing by their number.
//
// While a victim is on its way out, the process at the limit invokes the OOM
// killer again and again, thousands of times a second, and every time the scan
// is given up at the victim (oom_evaluate_task(), "goto abort"). Three events
// each of them would say nothing new and take longer to pass on than the run
// itself: a row of such scans becomes one event that counts them.
type fold struct {
	sink    Sink
	pending []evidence.Event // of the decision that is under way
	scans   uint64           // given up in a row
	last    evidence.Event   // of the last of them
	first   uint64           // sequence number of the first event folded
}

// add takes the next event in the order of the kernel.
func (f *fold) add(e evidence.Event) {
	begins := e.Kind == evidence.OutOfMemory
	if begins && len(f.pending) == 0 {
		f.pending = append(f.pending, e)
		return
	}
	if len(f.pending) == 0 {
		f.tell()
		f.sink(e)
		return
	}
	f.pending = append(f.pending, e)
	switch {
	case e.Kind == evidence.OOMReturn && e.OOM.Decision == f.pending[0].OOM.Decision && givenUp(f.pending):
		if f.scans == 0 {
			f.first = f.pending[0].OOM.Seq
		}
		f.scans++
		f.last = e
		f.pending = f.pending[:0]
	case e.Kind != evidence.Badness:
		f.release()
	}
}

// givenUp reports whether a decision ended at a victim that was not gone yet.
func givenUp(events []evidence.Event) bool {
	for _, e := range events {
		if e.Kind == evidence.Badness && e.OOM.Points == nil && e.OOM.Message != "" {
			return true
		}
	}
	return false
}

// tell passes on how many scans were given up.
func (f *fold) tell() {
	if f.scans == 0 {
		return
	}
	e := f.last
	e.Kind, e.N, e.Process, e.PID = evidence.GivenUp, f.scans, "", 0
	oom := *e.OOM
	oom.FirstSeq = f.first
	e.OOM = &oom
	f.scans = 0
	f.sink(e)
}

// release passes on what was held back.
func (f *fold) release() {
	f.tell()
	for _, e := range f.pending {
		f.sink(e)
	}
	f.pending = f.pending[:0]
}
