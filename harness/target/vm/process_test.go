package vm

import (
	"context"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestLaunchOutlivesAQEMUThatHangs: one that does not greet and does not end when
// it is killed is an error, and nothing that still waits for it brings us down.
// Here its end is kept back by a child that holds its standard error.
func TestLaunchOutlivesAQEMUThatHangs(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	_, err := launch(ctx, []string{"sh", "-c", "echo >&2 group $$; sleep 20 & exec sleep 20"}, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "it hangs in the host's kernel") {
		t.Fatalf("launched: %v", err)
	}
	var group int
	for _, word := range strings.Fields(err.Error()) {
		if n, err := strconv.Atoi(word); err == nil && n > 1 {
			group = n
		}
	}
	if group == 0 {
		t.Fatalf("no process group in %v", err)
	}
	// the end of the child is the end of what waits for it
	if err := syscall.Kill(-group, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		t.Fatal(err)
	}
	timer := time.NewTimer(2 * time.Second)
	defer timer.Stop()
	<-timer.C // a crash comes from a goroutine that nobody can wait for
}
