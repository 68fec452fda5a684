package vm

import (
	"context"
	"errors"
	"fmt"
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

// TestAQEMUThatEndsAtOnceSaysWhy, in its own words and without waiting for a
// greeting that cannot come any more.
func TestAQEMUThatEndsAtOnceSaysWhy(t *testing.T) {
	t.Parallel()
	const greets = `echo '{"QMP": {}}' >&3; `
	for script, want := range map[string]string{
		"echo >&2 qemu: unsupported machine type; exit 1": "QEMU: qemu: unsupported machine type (exit status 1)",
		"exit 3":                    "QEMU exited at once without a message: exit status 3",
		"kill -SEGV $$":             "QEMU exited at once without a message: signal: segmentation fault",
		greets + "echo >&2 no room": "QEMU: no room (exit status 0)",
	} {
		begin := time.Now()
		_, err := launch(t.Context(), []string{"sh", "-c", script}, nil, nil)
		var ended *endedError
		if !errors.As(err, &ended) || firstLine(err) != want {
			t.Errorf("%s: %v, want %q", script, err, want)
		}
		if took := time.Since(begin); took > greetWait/4 {
			t.Errorf("%s: it took %v", script, took)
		}
	}
}

// TestAQEMUThatNeverAnswers is killed when the time for its greeting is over.
func TestAQEMUThatNeverAnswers(t *testing.T) {
	defer func(wait time.Duration) { greetWait = wait }(greetWait)
	greetWait = 200 * time.Millisecond
	_, err := launch(t.Context(), []string{"sh", "-c", "echo >&2 still here; exec sleep 60"}, nil, nil)
	want := fmt.Sprintf("qmp: waiting for the answer to greeting: none within %v", greetWait)
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "QEMU: still here") {
		t.Errorf("error %v, want %q and what it wrote", err, want)
	}
}

// TestBootsOn: a guest that is not let run is waited for, one that hangs is not.
func TestBootsOn(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for _, tt := range []struct {
		name                          string
		elapsed, ran, since, ranSince time.Duration
		want                          time.Duration
	}{
		{"it has had its time", 180 * s, 180 * s, 180 * s, 180 * s, 0},
		{"it has had half of it", 180 * s, 90 * s, 180 * s, 90 * s, lookEvery},
		{"and got the rest", 300 * s, 181 * s, 5 * s, 4 * s, 0},
		{"it sleeps", 180 * s, 9 * s, 180 * s, 9 * s, 0},
		{"it went to sleep", 300 * s, 90 * s, 5 * s, s / 10, 0},
		{"the clock has the last word", 718 * s, 100 * s, 5 * s, s, 2 * s},
		{"and says no", 720 * s, 100 * s, 5 * s, s, 0},
	} {
		if got := bootsOn(180*s, tt.elapsed, tt.ran, tt.since, tt.ranSince); got != tt.want {
			t.Errorf("%s: %v more, want %v", tt.name, got, tt.want)
		}
	}
}
