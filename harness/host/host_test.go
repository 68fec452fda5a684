//go:build linux && !notlinux

package host

import (
	"context"
	"os/exec"
	"runtime"
	"testing"
	"time"
)

// TestProcessorTime is that of the process alone.
func TestProcessorTime(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	for ProcessorTime(pid) < 20*time.Millisecond {
		if ctx.Err() != nil {
			t.Fatalf("a process that never sleeps ran for %v", ProcessorTime(pid))
		}
		runtime.Gosched()
	}
	cmd.Process.Kill()
	cmd.Wait()
	if ran := ProcessorTime(pid); ran != 0 {
		t.Errorf("a process that has ended runs: %v", ran)
	}
}
