package verdict_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/verdict"
)

// oom_badness() gives no score to a process that no thread of is left, though
// its counters can still be read through signal->oom_mm: a kernel that refuses
// one is right, and one that refuses any other is not.
func TestATornDownProcessHasNoScore(t *testing.T) {
	in, ok := recordings(t)["6.12/memcg-adj-outweighs-size"]
	if !ok {
		t.Fatal("the recording is not there")
	}
	never := int64(math.MinInt64)
	for _, tt := range []struct {
		gone bool
		want verdict.Verdict
	}{{true, verdict.Pass}, {false, verdict.Fail}} {
		changed := in
		changed.Events = slices.Clone(in.Events)
		refused := 0
		for i, e := range changed.Events {
			if e.Kind != evidence.Badness || e.Process != "big" {
				continue
			}
			oom, task, mm := *e.OOM, *e.OOM.Task, *e.OOM.Task.MM
			mm.Gone, task.MM, oom.Task, oom.Points = tt.gone, &mm, &task, &never
			changed.Events[i].OOM = &oom
			refused++
		}
		if refused == 0 {
			t.Fatal("the kernel scored no process called big")
		}
		r := verdict.Judge(changed)
		i := slices.IndexFunc(r.Claims,
			func(c verdict.Claim) bool { return strings.HasPrefix(c.Name, "replay.points") })
		if i < 0 || r.Claims[i].Verdict != tt.want {
			t.Errorf("gone %v: claims %+v, want replay.points to %s", tt.gone, r.Claims, tt.want)
		}
	}
}

// TestAnInterruptedRunClaimsNothing: what it has not shown might have come, and
// what it has shown might not have lasted.
func TestAnInterruptedRunClaimsNothing(t *testing.T) {
	for name, in := range recordings(t) {
		if len(in.Meta.Skip) > 0 || len(in.Events) == 0 {
			continue
		}
		byAgent, byHarness := in, in
		byAgent.Events = slices.Clone(in.Events)
		for i, e := range byAgent.Events {
			if e.Source == evidence.Agent && e.Kind == evidence.End {
				byAgent.Events[i].Text = verdict.Interrupted
			}
		}
		byHarness.Meta.Error = verdict.Interrupted
		for by, in := range map[string]verdict.Input{"agent": byAgent, "harness": byHarness} {
			if by == "agent" && slices.EqualFunc(in.Events, byHarness.Events, func(a, b evidence.Event) bool {
				return a.Text == b.Text
			}) {
				continue // it ended in another way, such as a panic
			}
			r := verdict.Judge(in)
			if r.Verdict != verdict.Broken || !strings.Contains(r.Reason, "interrupted") {
				t.Errorf("%s, told by the %s: %s %s", name, by, r.Verdict, r.Reason)
			}
			for _, c := range r.Claims {
				if c.Verdict != verdict.Skip {
					t.Errorf("%s, told by the %s: %s is %s", name, by, c.Name, c.Verdict)
				}
			}
		}
	}
}
