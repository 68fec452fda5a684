package verdict_test

import (
	"slices"
	"testing"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/verdict"
)

// TestAProgramMayPrint: what a program of the user's own prints is no step, and may be
// read after its end.
func TestAProgramMayPrint(t *testing.T) {
	in := recordings(t)["6.12/memcg-own-program"]
	i := slices.IndexFunc(in.Events, func(e evidence.Event) bool { return e.Kind == evidence.Exited })
	if i < 0 {
		t.Fatal("the program did not end")
	}
	said := evidence.Event{AtNS: in.Events[i].AtNS + 1, Source: evidence.Stressor, Kind: evidence.Step,
		Process: in.Events[i].Process, PID: in.Events[i].PID, Text: "hello\n"}
	in.Events = slices.Insert(slices.Clone(in.Events), i+1, said)
	if r := verdict.Judge(in); r.Verdict != verdict.Pass {
		t.Errorf("%s: %s", r.Verdict, r.Reason)
	}
}
