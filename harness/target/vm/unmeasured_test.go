package vm

import (
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/kernel"
)

// A guest that is too slow to be measured must not become a snapshot; one that
// has no memory controller is what it is.
func TestUnmeasured(t *testing.T) {
	for _, tt := range []struct {
		is   string
		kept bool
	}{{"yes", true}, {"no", true}, {"unsure", false}} {
		answer := kernel.Answer{Is: tt.is, Why: "awaited for 1m0s"}
		h := wire.Hello{}
		h.Machine.Abilities = map[kernel.Ability]kernel.Answer{kernel.AbilityMemcg: answer}
		why := unmeasured(h)
		if (why == "") != tt.kept || !tt.kept && !strings.Contains(why, "awaited for 1m0s") {
			t.Errorf("memcg %q: %q", tt.is, why)
		}
	}
}
