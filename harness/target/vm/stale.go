package vm

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/oomlab/oomlab/harness/host"
)

// runDirPrefix begins the names of temporary run directories.
const runDirPrefix = "oomlab-vm-"

// stale is how old a temporary directory is before nobody can be using it: no
// run lasts that long.
const stale = 24 * time.Hour

// RemoveStale removes what VMs of our own user have left in a directory for
// temporary files, and returns the names.
func RemoveStale(dir string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(dir, runDirPrefix+"*"))
	errs := []error{err}
	var removed []string
	for _, name := range names {
		info, err := os.Lstat(name)
		if err != nil || time.Since(info.ModTime()) < stale {
			continue
		}
		if !host.Mine(info) {
			continue
		}
		if err := os.RemoveAll(name); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, name)
	}
	return removed, errors.Join(errs...)
}
