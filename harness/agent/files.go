package agent

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/kernel"
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

// tmpfsDir is where files lie that outlive their writers. Every machine has one, and
// everybody may write there.
const tmpfsDir = "/dev/shm"

// tmpfsPaths gives the steps of a process that write files in a tmpfs their files.
func tmpfsPaths(p plan.Plan, process string, steps []profile.Step) []profile.Step {
	of := slices.IndexFunc(p.Processes, func(q plan.Process) bool { return q.Name == process })
	steps = slices.Clone(steps)
	for i := range steps {
		if steps[i].Op.Row().Outlives() {
			steps[i].Path = tmpfsDir + "/" + p.Base + "." + strconv.Itoa(of) + "." + strconv.Itoa(i)
		}
	}
	return steps
}

// tmpfsUndo removes these files, and refuses a plan that they do not fit in.
func tmpfsUndo(p plan.Plan) ([]plan.Undo, error) {
	var out []plan.Undo
	var sum kernel.Bytes
	for _, q := range p.Processes {
		for _, s := range tmpfsPaths(p, q.Name, q.Profile.Steps) {
			if s.Op.Row().Outlives() {
				out = append(out, plan.Undo{Op: undoUnlink, Path: s.Path})
				sum += kernel.Bytes(s.Bytes)
			}
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(tmpfsDir, &fs); err != nil {
		return nil, fmt.Errorf("statfs %s: %w", tmpfsDir, err)
	}
	free := kernel.Bytes(fs.Bavail) * kernel.Bytes(fs.Bsize)
	switch {
	case fs.Type != unix.TMPFS_MAGIC:
		return nil, &Refusal{What: "a tmpfs for the step tmpfs; " + tmpfsDir + " is none", Hint: "use --target vm"}
	case free < sum:
		return nil, &Refusal{
			What: fmt.Sprintf("%s for files in %s, which has %s left", sum.Human(), tmpfsDir, free.Human()),
			Hint: "remove files there, or use --target vm",
		}
	}
	return out, nil
}
