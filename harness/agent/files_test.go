package agent

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/stressor/profile"
)

// TestFilesInMemoryAreRefused: a step that is about page cache is not carried out where
// its file would be shared memory.
func TestFilesInMemoryAreRefused(t *testing.T) {
	plans := func(steps ...profile.Step) plan.Plan {
		return plan.Plan{Processes: []plan.Process{{Name: "p", Profile: profile.Profile{Name: "p", Steps: steps}}}}
	}
	const shm = "/dev/shm"
	var fs unix.Statfs_t
	if err := unix.Statfs(shm, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC {
		t.Skip(shm + " is no tmpfs here")
	}
	t.Setenv("OOMLAB_TMP", shm)
	var refusal *Refusal
	for _, op := range []profile.Op{profile.File, profile.Write} {
		if err := filesOnDisk(plans(profile.Step{Op: op, Bytes: 1})); !errors.As(err, &refusal) {
			t.Errorf("%s in %s: %v", op, shm, err)
		}
		if err := filesOnDisk(plans(profile.Step{Op: op, Bytes: 1, Path: "/etc/hostname"})); err != nil {
			t.Errorf("%s of a file that is named: %v", op, err)
		}
	}
	if err := filesOnDisk(plans(profile.Step{Op: profile.Shmem, Bytes: 1})); err != nil {
		t.Errorf("no file: %v", err)
	}
	t.Setenv("OOMLAB_TMP", "/proc") // which is no tmpfs
	if err := filesOnDisk(plans(profile.Step{Op: profile.File, Bytes: 1})); err != nil {
		t.Errorf("on another file system: %v", err)
	}
}

// TestTmpfsFiles: each step has a file of its own, whoever forks whom, all are removed, and
// what does not fit is refused.
func TestTmpfsFiles(t *testing.T) {
	var fs unix.Statfs_t
	if err := unix.Statfs(tmpfsDir, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC {
		t.Skip(tmpfsDir + " is no tmpfs here")
	}
	one := profile.Step{Op: profile.Tmpfs, Bytes: 1}
	p := plan.Plan{Base: "oomlab-test", Processes: []plan.Process{
		{Name: "a", Profile: profile.Profile{Name: "a",
			Steps: []profile.Step{one, {Op: profile.Shmem, Bytes: 1}, one}}},
		{Name: "b", Profile: profile.Profile{Name: "b", Steps: []profile.Step{one}}}}}
	undo, err := tmpfsUndo(p)
	if err != nil || len(undo) != 3 {
		t.Fatalf("%v, %v; want three files", undo, err)
	}
	seen := map[string]bool{}
	for _, q := range p.Processes {
		for _, s := range tmpfsPaths(p, q.Name, q.Profile.Steps) {
			if s.Op == profile.Tmpfs {
				seen[s.Path] = true
			} else if s.Path != "" {
				t.Errorf("%s has the file %s", s.Op, s.Path)
			}
		}
	}
	for _, u := range undo {
		if u.Op != undoUnlink || !seen[u.Path] {
			t.Errorf("%s %s is undone, and nobody writes it", u.Op, u.Path)
		}
	}
	if len(seen) != 3 || p.Processes[0].Profile.Steps[0].Path != "" {
		t.Errorf("files %v; the plan says %q", seen, p.Processes[0].Profile.Steps[0].Path)
	}
	p.Processes[0].Profile.Steps[0].Bytes = 1 << 60
	var refusal *Refusal
	if _, err := tmpfsUndo(p); !errors.As(err, &refusal) {
		t.Errorf("an exbibyte: %v", err)
	}
}
