package vm

import (
	"errors"
	"testing"

	"github.com/oomlab/oomlab/harness/target"
)

// TestWhatTheGuestLacksIsASkip: an agent that refuses a plan says what the machine
// lacks, and that is no failure of the run.
func TestWhatTheGuestLacksIsASkip(t *testing.T) {
	_, _, err := heard([]byte(`{"id":3,"error":"needs a disk; load it","lacks":"a disk","hint":"load it"}`), 3, 0, nil)
	var missing *target.Missing
	if !errors.As(err, &missing) || !errors.Is(err, target.ErrUnsupported) || missing.What != "a disk" ||
		missing.Hint != "load it" {
		t.Errorf("a refusal is %v", err)
	}
	if _, _, err := heard([]byte(`{"id":3,"error":"disk on fire"}`), 3, 0, nil); err == nil ||
		errors.Is(err, target.ErrUnsupported) {
		t.Errorf("a failure is %v", err)
	}
}
