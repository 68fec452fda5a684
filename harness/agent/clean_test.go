package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/plan"
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

// killedRun puts an undo list into a scratch directory that would restore a
// sysctl and remove a file.
func killedRun(t *testing.T, scratch, base string) (list, sysctl, swap string) {
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
	list, sysctl, swap := killedRun(t, scratch, "oomlab-0001")
	var c Cleaned
	busy, err := c.undoLists(scratch, nobody)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(sysctl); err != nil || string(got) != "0" {
		t.Errorf("the sysctl is %q (%v), want 0", got, err)
	}
	if exists(swap) || exists(list) {
		t.Errorf("left behind: swap file %v, list %v", exists(swap), exists(list))
	}
	if want := "put back what " + list + " lists"; !slices.Equal(c.Removed, []string{want}) ||
		len(c.Kept)+len(busy) > 0 {
		t.Errorf("got %+v, busy %q; want %q", c, busy, want)
	}
}

// TestCleanLeavesRunsThatGoOn: the list of a run is locked as long as it lives.
func TestCleanLeavesRunsThatGoOn(t *testing.T) {
	scratch := t.TempDir()
	list, sysctl, _ := killedRun(t, scratch, "oomlab-0002")
	f, err := os.Open(list)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	var c Cleaned
	busy, err := c.undoLists(scratch, nobody)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(sysctl); err != nil || string(got) != "1" || !exists(list) {
		t.Errorf("the sysctl is %q (%v), the list is there: %v", got, err, exists(list))
	}
	if want := "oomlab-0002, which is still going on"; !slices.Equal(c.Kept, []string{want}) || len(c.Removed) > 0 {
		t.Errorf("got %+v; want %q kept", c, want)
	}
	for name, want := range map[string]bool{"oomlab-0002": true, "oomlab-0002-agent": true, "oomlab-00021": false} {
		if got := isOf(name, busy); got != want {
			t.Errorf("%s in use: %v, want %v", name, got, want)
		}
	}
}

// TestCleanSaysWhatItCannotUndo: the list stays, and the error names it.
func TestCleanSaysWhatItCannotUndo(t *testing.T) {
	scratch := t.TempDir()
	list := write(t, filepath.Join(scratch, "oomlab-0003.undo.json"), "{")
	_, err := new(Cleaned).undoLists(scratch, nobody)
	if want := list + ": not an undo list: unexpected EOF"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if !exists(list) {
		t.Error("the list is gone")
	}
}

// TestInUse: a cgroup with a process in it, or below it, is in use.
func TestInUse(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, procsFile), "")
	write(t, filepath.Join(dir, "lab", procsFile), "")
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
		if got, err := inUse(dir); err != nil || got != want {
			t.Errorf("got %q (%v), want %q", got, err, want)
		}
	}
	check("is not older than 1h0m0s")
	age()
	check("")
	write(t, filepath.Join(dir, "lab", procsFile), "1\n")
	age()
	check("has processes")
}

// TestCleanLeavesCgroupsInUse: those of runs that go on are passed over, and one
// with a process in it is told of.
func TestCleanLeavesCgroupsInUse(t *testing.T) {
	own := t.TempDir()
	for _, name := range []string{"oomlab-busy", "oomlab-busy-agent", "oomlab-used", "somebody-elses"} {
		write(t, filepath.Join(own, name, procsFile), "1\n")
	}
	var c Cleaned
	err := c.cgroups(own, []string{"oomlab-busy"}, nobody)
	want := filepath.Join(own, "oomlab-used") + ", which has processes and has no undo list"
	if err != nil || !slices.Equal(c.Kept, []string{want}) || len(c.Removed) > 0 {
		t.Errorf("%+v, %v; want %q kept", c, err, want)
	}
}

// TestCleanRemovesWhatKindDiskLeft: the cgroups of a make kind-disk that was killed go in
// every hierarchy, by whatever name they are found; what is in use stays, and so does what
// only looks alike.
func TestCleanRemovesWhatKindDiskLeft(t *testing.T) {
	top := t.TempDir()
	dir := func(name string) string { return filepath.Join(top, name) }
	for _, name := range []string{"oomlab-kind/id", "memory/oomlab-kind", "cpu,cpuacct/oomlab-kind/id/deeper",
		"memory/oomlab-kinder", "memory/other/oomlab-kind"} {
		if err := os.MkdirAll(dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("cpu,cpuacct", dir("cpu")); err != nil {
		t.Fatal(err)
	}
	write(t, dir("pids/oomlab-kind/id/task"), "a process") // rmdir fails, as the kernel's does
	var c Cleaned
	if err := c.kindCgroups(top); err != nil {
		t.Fatal(err)
	}
	if len(c.Removed) != 3 || !slices.Equal(c.Kept, []string{dir("pids/oomlab-kind") + ", which is in use"}) {
		t.Errorf("removed %q, kept %q", c.Removed, c.Kept)
	}
	for name, stays := range map[string]bool{"oomlab-kind": false, "memory/oomlab-kind": false,
		"cpu,cpuacct/oomlab-kind": false, "pids/oomlab-kind/id": true, "memory/oomlab-kinder": true,
		"memory/other/oomlab-kind": true} {
		if exists(dir(name)) != stays {
			t.Errorf("%s is there: %t, want %t", name, !stays, stays)
		}
	}
}
