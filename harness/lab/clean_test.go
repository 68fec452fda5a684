package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, file, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func exists(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}

// TestCleanCache: snapshots go with --cache, everything with --all, and half-made
// entries always.
func TestCleanCache(t *testing.T) {
	for _, tt := range []struct {
		name           string
		snapshots, all bool
		want           []string // what is left
	}{
		{"neither", false, false, []string{"accel.json", "kernels/6.12", "payload/ab", "snapshots/cd"}},
		{"--cache", true, false, []string{"accel.json", "kernels/6.12", "payload/ab"}},
		{"--all", true, true, []string{"accel.json"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			write(t, filepath.Join(root, "accel.json"), "{}")
			for _, dir := range []string{"kernels/6.12", "payload/ab", "snapshots/cd", "snapshots/.new-1"} {
				write(t, filepath.Join(root, dir, "file"), "")
			}
			long := time.Now().Add(-2 * time.Hour)
			if err := os.Chtimes(filepath.Join(root, "snapshots/.new-1"), long, long); err != nil {
				t.Fatal(err)
			}
			removed, err := cleanCache(root, tt.snapshots, tt.all)
			if err != nil {
				t.Fatal(err)
			}
			if len(removed) == 0 || !strings.HasPrefix(removed[0], "removed 1 half-made entries of ") {
				t.Errorf("removed %q", removed)
			}
			var left []string
			for _, name := range []string{
				"accel.json", "kernels/6.12", "payload/ab", "snapshots/cd", "snapshots/.new-1",
			} {
				if exists(filepath.Join(root, name)) {
					left = append(left, name)
				}
			}
			if strings.Join(left, " ") != strings.Join(tt.want, " ") {
				t.Errorf("left %q, want %q", left, tt.want)
			}
		})
	}
}
