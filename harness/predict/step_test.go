package predict

import (
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/stressor/profile"
)

// TestEveryStepHasARule: a step that the model does not know would keep its
// process from going on.
func TestEveryStepHasARule(t *testing.T) {
	for _, row := range profile.Steps {
		step := profile.Step{Op: row.Op, Bytes: 1 << 20, Rate: 1 << 20, DurationMS: 1, Name: "child"}
		p := plan.Process{Name: "p", Profile: profile.Profile{Name: "p", Steps: []profile.Step{step}}}
		w := &world{m: &kernel.Machine{PageSize: kernel.DefaultPageSize}, plan: &plan.Plan{},
			procs: []proc{{p: &p, phase: running}}}
		w.look = newLookup(w.procs, nil)
		if w.instant() {
			continue
		}
		if _, mapped := w.mapAhead(); mapped {
			continue
		}
		if s, ok := w.next(&w.procs[0]); !ok || row.Memory != profile.NoMemory && s.want.Lo <= 0 {
			t.Errorf("%s: no rule says what it does", row.Op)
		}
	}
}
