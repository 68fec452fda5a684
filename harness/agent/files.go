package agent

import (
	"cmp"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/stressor/profile"
)

// filesOnDisk refuses a plan whose processes have page cache where files are in memory:
// pages of a tmpfs are shared memory, which nobody can take back without swap.
func filesOnDisk(p plan.Plan) error {
	if len(p.Pods) > 0 || !hasFiles(p) {
		return nil
	}
	dir := cmp.Or(os.Getenv("OOMLAB_TMP"), "/tmp")
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("statfs %s: %w", dir, err)
	}
	switch fs.Type {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return &Refusal{
			What: "a file system on a disk for the steps file and write; " + dir + " is in memory",
			Hint: "set OOMLAB_TMP to a directory on a disk, or use --target vm with a kernel that has virtio and ext4",
		}
	}
	return nil
}

// hasFiles reports whether a process has a file of its own.
func hasFiles(p plan.Plan) bool {
	for _, q := range p.Processes {
		for _, s := range q.Profile.Steps {
			if s.Op.Row().Memory == profile.PageCache && s.Path == "" {
				return true
			}
		}
	}
	return false
}
