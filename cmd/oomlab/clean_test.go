package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/plan"
)

func newCleaner() (*cleaner, *strings.Builder) {
	var said strings.Builder
	return &cleaner{app: &app{out: &said}}, &said
}

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

// undoList puts an undo list into a scratch directory that would restore a
// sysctl and remove a file.
func undoList(t *testing.T, scratch, base string) (list, sysctl, swap string) {
	t.Helper()
	sysctl = write(t, filepath.Join(t.TempDir(), "panic_on_oom"), "1")
	swap = write(t, filepath.Join(t.TempDir(), "swap"), "")
	data, err := json.Marshal([]plan.Undo{{Op: "write", Path: sysctl, Value: "0"}, {Op: "unlink", Path: swap}})
	if err != nil {
		t.Fatal(err)
	}
	return write(t, filepath.Join(scratch, base+".undo.json"), string(data)), sysctl, swap
}

func TestCleanUndoesKilledRuns(t *testing.T) {
	scratch := t.TempDir()
	list, sysctl, swap := undoList(t, scratch, "oomlab-0001")
	c, said := newCleaner()
	c.undo(scratch)
	if err := c.end(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(sysctl); err != nil || string(got) != "0" {
		t.Errorf("the sysctl is %q (%v), want 0", got, err)
	}
	if exists(swap) || exists(list) {
		t.Errorf("left behind: swap file %v, list %v", exists(swap), exists(list))
	}
	if want := "put back what " + list + " lists\n"; said.String() != want {
		t.Errorf("said %q, want %q", said.String(), want)
	}
}

// TestCleanLeavesRunsThatGoOn: the list of a run is locked as long as it lives.
func TestCleanLeavesRunsThatGoOn(t *testing.T) {
	scratch := t.TempDir()
	list, sysctl, _ := undoList(t, scratch, "oomlab-0002")
	f, err := os.Open(list)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	c, said := newCleaner()
	c.undo(scratch)
	if err := c.end(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(sysctl); err != nil || string(got) != "1" || !exists(list) {
		t.Errorf("the sysctl is %q (%v), the list is there: %v", got, err, exists(list))
	}
	if want := "left alone: oomlab-0002, which is still going on\nnothing to clean\n"; said.String() != want {
		t.Errorf("said %q, want %q", said.String(), want)
	}
	for name, want := range map[string]bool{"oomlab-0002": true, "oomlab-0002-agent": true, "oomlab-00021": false} {
		if got := c.inUse(name); got != want {
			t.Errorf("%s in use: %v, want %v", name, got, want)
		}
	}
}

// TestCleanSaysWhatItCannotUndo: the list stays, and the error names it.
func TestCleanSaysWhatItCannotUndo(t *testing.T) {
	scratch := t.TempDir()
	list := write(t, filepath.Join(scratch, "oomlab-0003.undo.json"), "{")
	c, _ := newCleaner()
	c.undo(scratch)
	err := c.end()
	if want := list + ": not an undo list: unexpected EOF"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if !exists(list) {
		t.Error("the list is gone")
	}
}

// TestCleanTemporary: only old ones of our own kind go.
func TestCleanTemporary(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-2 * stale)
	for _, name := range []string{"oomlab-vm-old", "somebody-elses"} {
		write(t, filepath.Join(dir, name, "console"), "")
		if err := os.Chtimes(filepath.Join(dir, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "oomlab-vm-new", "console"), "")
	c, said := newCleaner()
	c.temporary(dir)
	if err := c.end(); err != nil {
		t.Fatal(err)
	}
	if want := "removed " + filepath.Join(dir, "oomlab-vm-old") + "\n"; said.String() != want {
		t.Errorf("said %q, want %q", said.String(), want)
	}
	for name, want := range map[string]bool{"oomlab-vm-old": false, "oomlab-vm-new": true, "somebody-elses": true} {
		if got := exists(filepath.Join(dir, name)); got != want {
			t.Errorf("%s is there: %v, want %v", name, got, want)
		}
	}
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
			c, said := newCleaner()
			c.cache(root, tt.snapshots, tt.all)
			if err := c.end(); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(said.String(), "removed 1 half-made entries of ") {
				t.Errorf("said %q", said.String())
			}
			var left []string
			for _, name := range []string{"accel.json", "kernels/6.12", "payload/ab", "snapshots/cd", "snapshots/.new-1"} {
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

// TestAlive: a cgroup with a process in it, or below it, is in use.
func TestAlive(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "cgroup.procs"), "")
	write(t, filepath.Join(dir, "lab", "cgroup.procs"), "")
	long := time.Now().Add(-2 * young)
	age := func() {
		t.Helper()
		for _, d := range []string{filepath.Join(dir, "lab"), dir} {
			if err := os.Chtimes(d, long, long); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(want string) {
		t.Helper()
		if got, err := alive(dir); err != nil || got != want {
			t.Errorf("got %q (%v), want %q", got, err, want)
		}
	}
	check("is not older than 1h0m0s")
	age()
	check("")
	write(t, filepath.Join(dir, "lab", "cgroup.procs"), "1\n")
	age()
	check("has processes")
}
