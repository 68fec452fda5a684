package vm

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestRemoveStale: only old ones of our own kind go.
func TestRemoveStale(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-2 * stale)
	for _, name := range []string{"oomlab-vm-old", "somebody-elses"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(dir, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "oomlab-vm-new"), 0o755); err != nil {
		t.Fatal(err)
	}
	removed, err := RemoveStale(dir)
	if want := filepath.Join(dir, "oomlab-vm-old"); err != nil || !slices.Equal(removed, []string{want}) {
		t.Errorf("removed %q, %v; want %q", removed, err, want)
	}
	for name, want := range map[string]bool{"oomlab-vm-old": false, "oomlab-vm-new": true, "somebody-elses": true} {
		if _, err := os.Lstat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: %v; want it there: %v", name, err, want)
		}
	}
}
