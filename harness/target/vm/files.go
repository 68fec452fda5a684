package vm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/target"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
)

// filesModules are what a guest needs to reach a disk with a file system.
var filesModules = []string{"virtio_pci", "virtio_blk", "ext4"}

// makeFiles makes a disk with an empty file system. It has no journal and is all laid
// out: nothing writes to it but who writes files.
func makeFiles(name string, size kernel.Bytes) error {
	const program = "mke2fs"
	if _, err := exec.LookPath(program); err != nil {
		return &target.Missing{What: program + " for the disk of a guest with files",
			Hint: "install the package e2fsprogs"}
	}
	if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Truncate(name, int64(size))); err != nil {
		return cache.Hint(err)
	}
	out, err := exec.Command(program, "-q", "-F", "-t", "ext4", "-O", "^has_journal,^resize_inode", "-m", "0",
		"-N", "1024", "-E", "root_owner=0:0,lazy_itable_init=0,nodiscard", name).CombinedOutput()
	if err != nil {
		return fmt.Errorf("vm: %s: %w: %s", program, err, strings.TrimSpace(string(out)))
	}
	return os.Truncate(name, int64(size))
}
