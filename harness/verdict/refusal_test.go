package verdict_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/verdict"
)

// TestARefusalIsReplayed: a task that is not the plan's and gets no score from the
// kernel has a reason in the record, or a record from before reasons were kept; a
// reason without a refusal, or a refusal without one, is wrong.
func TestARefusalIsReplayed(t *testing.T) {
	for _, tt := range []struct {
		name    string
		refusal evidence.Refusal
		refused bool
		want    verdict.Verdict
	}{
		{"in vfork, and refused", evidence.RefusedVfork, true, verdict.Pass},
		{"in vfork, and scored", evidence.RefusedVfork, false, verdict.Fail},
		{"no reason, and refused", evidence.NotRefused, true, verdict.Fail},
		{"an old record, and refused", "", true, verdict.Skip},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := recordings(t)["6.12/memcg-adj-outweighs-size"]
			text, err := json.Marshal(in.Events)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, &in.Events); err != nil {
				t.Fatal(err)
			}
			at := slices.IndexFunc(in.Events, func(e evidence.Event) bool { return e.Kind == evidence.Badness })
			for _, e := range in.Events[at:] {
				if e.OOM != nil {
					e.OOM.Seq++
				}
			}
			scored := *in.Events[at].OOM
			task, points := *scored.Task, *scored.Points-998*65
			task.PID, task.TGID, task.Comm, task.Adj, task.Refusal = 9999, 9999, "shim", -998, tt.refusal
			if tt.refused {
				points = predict.Never
			}
			scored.Seq, scored.Task, scored.Points = scored.Seq-1, &task, &points
			in.Events = slices.Insert(in.Events, at, evidence.Event{AtNS: in.Events[at].AtNS, Source: evidence.BPF,
				Kind: evidence.Badness, PID: 9999, OOM: &scored})
			for _, c := range verdict.Judge(in).Claims {
				if c.Name == "replay.points" {
					if c.Verdict != tt.want {
						t.Errorf("%s: %s; want %s", c.Verdict, c.Observed, tt.want)
					}
					return
				}
			}
			t.Error("no claim about the scores")
		})
	}
}
