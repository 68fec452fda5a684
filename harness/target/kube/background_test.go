package kube

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/oomlab/oomlab/harness/target/vm/cache"
)

// TestRemoveStale: the credentials of a cluster whose keeper was killed go, those of one
// that is up stay.
func TestRemoveStale(t *testing.T) {
	root := filepath.Join(t.TempDir(), "cache")
	t.Setenv("OOMLAB_CACHE", root)
	if removed, err := RemoveStale(t.Context()); err != nil || len(removed) > 0 {
		t.Errorf("removed %q of nothing, %v", removed, err)
	}
	if _, err := os.Stat(root); err == nil {
		t.Error("looking made a cache")
	}
	keeper := exec.Command("sleep", "60")
	if err := keeper.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	kill := func() {
		if !killed {
			killed = true
			keeper.Process.Kill()
			keeper.Wait()
		}
	}
	defer kill()
	s := State{PID: keeper.Process.Pid, Address: "127.0.0.1:1"}
	var err error
	if s.Start, err = startTime(s.PID); err != nil {
		t.Fatal(err)
	}
	state, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := remember(t.Context(), []byte("credentials"), state); err != nil {
		t.Fatal(err)
	}
	if removed, err := RemoveStale(t.Context()); err != nil || len(removed) > 0 {
		t.Errorf("removed %q of a cluster that is up, %v", removed, err)
	}
	if up, err := Up(); err != nil || up.PID != s.PID {
		t.Errorf("%+v is up, %v", up, err)
	}
	kill()
	want := []string{filepath.Join(root, "cluster", stateFile), filepath.Join(root, "cluster", kubeconfigFile)}
	if removed, err := RemoveStale(t.Context()); err != nil || !slices.Equal(removed, want) {
		t.Errorf("removed %q, %v; want %q", removed, err, want)
	}
	for _, name := range want {
		if _, err := os.Stat(name); err == nil {
			t.Errorf("%s is there", name)
		}
	}
	// what is damaged is of no cluster either
	if err := cache.Write(want[0], []byte("{")); err != nil {
		t.Fatal(err)
	}
	if removed, err := RemoveStale(t.Context()); err != nil || !slices.Equal(removed, want[:1]) {
		t.Errorf("removed %q, %v; want %q", removed, err, want[:1])
	}
}
