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
