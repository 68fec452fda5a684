package vm

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
)

// guest is the binary of testdata/guest.
var guest = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "oomlab-guest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "guest")
	cmd := exec.Command("go", "build", "-o", name, "./testdata/guest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	return os.ReadFile(name)
})

// options are those of a guest that can be booted here; without QEMU or a cached
// kernel there is nothing to test.
func options(t testing.TB, series string) Options {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a guest; not with -short")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("needs qemu-system-x86_64, from the package qemu-system-x86")
	}
	agent, err := guest()
	if err != nil {
		t.Fatal(err)
	}
	cached, err := kernels.List(kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := len(cached) - 1; i >= 0; i-- {
		if k := cached[i]; series == "" || k.Version.Series() == series {
			return Options{Kernel: k, Agent: agent, Stressor: []byte("no stressor"), Accel: TCG, CacheDir: t.TempDir(), RunDir: t.TempDir(), Log: func(s string) { t.Log(s) }}
		}
	}
	t.Skipf("needs a kernel in the cache: oomlab kernels fetch %s", series)
	panic("unreachable")
}

func open(t testing.TB, o Options) *VM {
	t.Helper()
	v, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// do carries out a plan of the test guest and returns the events.
func do(t testing.TB, v *VM, scenario string) ([]evidence.Event, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var events []evidence.Event
	req := wire.Request{ID: 7, Plan: plan.Plan{Scenario: scenario, DeadlineMS: 20_000}}
	err := v.Do(ctx, req, func(e evidence.Event) { events = append(events, e) })
	return events, err
}

func TestEcho(t *testing.T) {
	v := open(t, options(t, os.Getenv("SERIES")))
	for range 3 {
		begin := time.Now()
		events, err := do(t, v, "echo 3")
		if err != nil {
			t.Fatal(err)
		}
		if len(events) != 3 {
			t.Errorf("%d events, want 3", len(events))
		}
		t.Log(time.Since(begin))
	}
}
