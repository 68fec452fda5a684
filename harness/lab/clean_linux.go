//go:build !notlinux

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/oomlab/oomlab/harness/agent"
	"github.com/oomlab/oomlab/harness/target/kube"
	"github.com/oomlab/oomlab/harness/target/local"
	"github.com/oomlab/oomlab/harness/target/vm"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
)

// Clean puts back what killed runs have left on this machine, ends the VM cluster
// in the background and removes half-made entries of the cache; with snapshots
// those of VMs too, and with all everything that the cache holds. What cannot be
// put back is an error, and the rest is all the same. say is told whom it waits for.
func Clean(ctx context.Context, snapshots, all bool, say func(string)) (agent.Cleaned, error) {
	c, err := agent.Clean("/", local.DefaultScratch, say)
	errs := []error{err}
	removed, err := vm.RemoveStale(os.TempDir())
	for _, name := range removed {
		c.Removed = append(c.Removed, "removed "+name)
	}
	errs = append(errs, err)
	root, err := cache.Root()
	if err != nil {
		if !snapshots && !all {
			err = nil // without a place for it there is no cache
		}
		return c, errors.Join(append(errs, err)...)
	}
	switch s, err := kube.Down(ctx); {
	case errors.Is(err, kube.ErrDown):
		removed, err = kube.RemoveStale(ctx)
		for _, name := range removed {
			c.Removed = append(c.Removed, "removed "+name)
		}
		errs = append(errs, err)
	case err != nil:
		errs = append(errs, err)
	default:
		c.Removed = append(c.Removed, "ended the VM cluster at https://"+s.Address)
	}
	removed, err = cleanCache(root, snapshots || all, all)
	c.Removed = append(c.Removed, removed...)
	return c, errors.Join(append(errs, err)...)
}

// cleanCache removes what makers of entries left that were killed and, where asked
// for, entries. It says what it removed.
func cleanCache(root string, snapshots, all bool) (removed []string, err error) {
	var errs []error
	for _, part := range []struct {
		dir, what string
		remove    bool
	}{
		{"snapshots", "snapshot", snapshots}, {"kernels", "kernel", all},
		{"node", "node image", all}, {"userland", "userland", all}, {"payload", "unpacked payload", all},
		{"cluster", "", false}, {"", "", false},
	} {
		dir := filepath.Join(root, part.dir)
		if n := cache.Sweep(dir); n > 0 {
			removed = append(removed, fmt.Sprintf("removed %d half-made entries of %s", n, dir))
		}
		if !part.remove {
			continue
		}
		names, err := filepath.Glob(filepath.Join(dir, "[^.]*"))
		errs = append(errs, err)
		for _, name := range names {
			if err := cache.Remove(name); err != nil {
				errs = append(errs, err)
				continue
			}
			removed = append(removed, fmt.Sprintf("removed the %s %s", part.what, name))
		}
	}
	return removed, errors.Join(errs...)
}
