package wire

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"testing"

	"github.com/oomlab/oomlab/harness/allocs"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/selftest"
	"github.com/oomlab/oomlab/harness/verdict"
)

// FuzzLine: what is read of a line, from any writer, reads the same when it is
// written again, so that a run directory tells what was on the wire.
func FuzzLine(f *testing.F) {
	events, err := fs.ReadFile(selftest.Recorded(), "6.12/memcg-oom-group-takes-all/"+verdict.EventsFile)
	if err != nil {
		f.Fatal(err)
	}
	for line := range bytes.Lines(events) {
		var e evidence.Event
		if err := json.Unmarshal(line, &e); err != nil {
			f.Fatal(err)
		}
		f.Add(encode(f, Message{ID: 1, Events: Events{e, e}}))
	}
	f.Add(encode(f, Hello{Protocol: Protocol, Build: "x", Machine: kernel.Machine{Release: "6.12", PageSize: 4096}}))
	f.Add(encode(f, Request{ID: 7, SampleMS: NoSamples, Plan: plan.Plan{DeadlineMS: 1}}))
	f.Add([]byte(`{"id": 3, "error": "\ud800", "sum": -1, "events": "Bw=="}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		// events are deflated, at most 1032 to 1
		allocs.Within(t, 10_000, len(line), func() {
			same[Hello](t, line)
			same[Request](t, line)
			same[Message](t, line)
		})
	})
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	line, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func same[T any](t *testing.T, line []byte) {
	t.Helper()
	var first, again T
	if json.Unmarshal(line, &first) != nil {
		return
	}
	written := encode(t, first)
	if err := json.Unmarshal(written, &again); err != nil {
		t.Fatalf("%s is written as %s, which is refused: %v", line, written, err)
	}
	if twice := encode(t, again); !bytes.Equal(written, twice) {
		t.Fatalf("%s is written as %s and then as %s", line, written, twice)
	}
}
