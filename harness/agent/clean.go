package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/probe"
)

// Cleaned is what was done about the leftovers of killed runs, a line for each.
type Cleaned struct {
	Removed []string // or put back
	Kept    []string // what may be in use, and why
}

// Clean puts back what killed runs have left on a machine: what the undo lists in
// scratch have, and cgroups that none has. Everything is tried, and the error
// joins what could not be put back. say is told whom it waits for.
func Clean(root probe.Root, scratch string, say func(string)) (Cleaned, error) {
	var c Cleaned
	busy, err := c.undoLists(scratch, say)
	err = errors.Join(err, c.kindCgroups(root.Path("/sys/fs/cgroup")))
	mount, mountErr := root.CgroupMount()
	if mountErr != nil {
		return c, err // without a memory controller no run has made a cgroup
	}
	return c, errors.Join(err, c.cgroups(root.Path(mount.Root, mount.Self), busy, say))
}

// undoLists replays the undo lists that killed runs have left. busy are the bases
// of runs that are still going on.
func (c *Cleaned) undoLists(scratch string, say func(string)) (busy []string, err error) {
	pending, err := Pending(scratch)
	if err != nil {
		return nil, privileged(err)
	}
	var errs []error
	for _, list := range pending {
		switch err := Undo(list, say); {
		case errors.Is(err, errInUse):
			base, _, _ := strings.Cut(filepath.Base(list), ".")
			busy = append(busy, base)
			c.Kept = append(c.Kept, base+", which is still going on")
		case errors.Is(err, fs.ErrNotExist): // its run has just ended by itself
		case err != nil:
			errs = append(errs, privileged(err))
		default:
			c.Removed = append(c.Removed, "put back what "+list+" lists")
		}
	}
	return busy, errors.Join(errs...)
}

// privileged adds the way out to an error that root would not get.
func privileged(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; run oomlab clean as root", err)
	}
	return err
}

// basePrefix begins the names of runs' cgroups.
const basePrefix = "oomlab-"

// cgroups removes empty cgroups of runs that left no undo list: somebody deleted
// it, or the run kept it elsewhere. It looks below our own cgroup only, where runs
// make theirs.
func (c *Cleaned) cgroups(own string, busy []string, say func(string)) error {
	entries, err := os.ReadDir(own)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), basePrefix) || e.Name() == kindCgroup || isOf(e.Name(), busy) {
			continue
		}
		dir := filepath.Join(own, e.Name())
		why, err := inUse(dir)
		if err == nil && why == "" {
			// as if the run had left an undo list
			err = replay([]plan.Undo{{Op: undoRmdir, Path: dir}, {Op: undoKill, Path: dir}}, say)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist): // its run has just ended by itself
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", dir, privileged(err)))
		case why != "":
			c.Kept = append(c.Kept, fmt.Sprintf("%s, which %s and has no undo list", dir, why))
		default:
			c.Removed = append(c.Removed, "removed the cgroup "+dir)
		}
	}
	return errors.Join(errs...)
}

// kindCgroup is where the Docker that make kind-disk starts has its containers, in every
// hierarchy; kind-config/node/disk says so.
const kindCgroup = basePrefix + "kind"

// kindCgroups removes what a make kind-disk that was killed has left of it: its processes
// ended with it, so that there are empty cgroups. Others are in use.
func (c *Cleaned) kindCgroups(top string) error {
	var errs []error
	for _, pattern := range []string{kindCgroup, filepath.Join("*", kindCgroup)} { // cgroup v2, and v1
		found, err := filepath.Glob(filepath.Join(top, pattern))
		errs = append(errs, err)
		for _, dir := range found {
			switch err := removeEmpty(dir); {
			case errors.Is(err, fs.ErrNotExist): // a link to the one before
			case errors.Is(err, unix.EBUSY), errors.Is(err, unix.ENOTEMPTY):
				c.Kept = append(c.Kept, dir+", which is in use")
			case err != nil:
				errs = append(errs, privileged(err))
			default:
				c.Removed = append(c.Removed, "removed the cgroup "+dir)
			}
		}
	}
	return errors.Join(errs...)
}

// removeEmpty removes a cgroup and those below it, unless a process is in one of them.
func removeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if err := removeEmpty(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return unix.Rmdir(dir)
}

// isOf reports whether a cgroup is that of a run with one of the bases, or the
// leaf that its agent stepped into.
func isOf(name string, bases []string) bool {
	return slices.ContainsFunc(bases,
		func(base string) bool { return name == base || strings.HasPrefix(name, base+"-") })
}

// young is how long a cgroup without a process may belong to a run whose undo
// list is not where ours are.
const young = time.Hour

// inUse says why a cgroup may be in use; empty: it is not.
func inUse(dir string) (string, error) {
	why := ""
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		procs, err := os.ReadFile(filepath.Join(path, procsFile))
		switch {
		case err != nil:
			return err
		case len(procs) > 0:
			why = "has processes"
		case time.Since(info.ModTime()) < young && why == "":
			why = fmt.Sprintf("is not older than %s", young)
		}
		return nil
	})
	return why, err
}
