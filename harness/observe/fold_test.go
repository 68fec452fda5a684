package observe

import (
	"testing"

	"github.com/oomlab/oomlab/harness/evidence"
)

// TestScansGivenUpAreCountedAndNothingElseIsLost: of every sequence number that
// goes in, exactly one event that comes out speaks.
func TestScansGivenUpAreCountedAndNothingElseIsLost(t *testing.T) {
	points := int64(1)
	var seq, decision uint64
	var in []evidence.Event
	add := func(k evidence.Kind, change func(*evidence.OOM)) {
		seq++
		o := &evidence.OOM{Seq: seq, Decision: decision}
		if change != nil {
			change(o)
		}
		in = append(in, evidence.Event{Source: evidence.BPF, Kind: k, OOM: o})
	}
	givenUp := func() {
		decision++
		add(evidence.OutOfMemory, nil)
		add(evidence.Badness, func(o *evidence.OOM) { o.Points = &points })
		add(evidence.Badness, func(o *evidence.OOM) { o.Message = "is an OOM victim already" })
		add(evidence.OOMReturn, nil)
	}
	kill := func() {
		decision++
		add(evidence.OutOfMemory, nil)
		add(evidence.Badness, func(o *evidence.OOM) { o.Points = &points })
		add(evidence.KillDecision, nil)
		add(evidence.Kill, nil)
		add(evidence.MarkVictim, nil)
		add(evidence.OOMReturn, nil)
	}
	kill()
	for range 100 {
		givenUp()
	}
	add(evidence.TaskExit, nil)
	givenUp()
	kill()
	givenUp()

	var out []evidence.Event
	f := fold{sink: func(e evidence.Event) { out = append(out, e) }}
	for _, e := range in {
		f.add(e)
	}
	f.release()

	next, scans := uint64(1), uint64(0)
	for _, e := range out {
		from := e.OOM.Seq
		if e.Kind == evidence.GivenUp {
			from = e.OOM.FirstSeq
			scans += e.N
		}
		if from != next {
			t.Errorf("%s begins at %d; want %d", e.Kind, from, next)
		}
		next = e.OOM.Seq + 1
	}
	if next != seq+1 || scans != 102 {
		t.Errorf("the last is %d of %d, %d scans given up; want all, 102", next-1, seq, scans)
	}
	if len(out) > 20 {
		t.Errorf("%d events came out; the scans were not folded", len(out))
	}
}
