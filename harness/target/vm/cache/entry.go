package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/oomlab/oomlab/harness/host"
)

// Prefixes of names that are not entries: being created, being deleted.
const (
	newPrefix = ".new-"
	oldPrefix = ".old-"
)

// claim calls create and takes an flock on the new path. The lock tells Sweep that
// the process is alive, and the kernel releases it when the process ends.
func claim(create func() (path string, err error)) (*os.File, string, error) {
	for {
		path, err := create()
		if err != nil {
			return nil, "", err
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // Sweep removed it before it was locked
		}
		if err != nil {
			return nil, "", errors.Join(err, os.Remove(path))
		}
		if err := host.Lock(f); err != nil {
			return nil, "", errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close(), os.Remove(path))
		}
		locked, err := f.Stat()
		now, nowErr := os.Lstat(path)
		if err == nil && nowErr == nil && os.SameFile(locked, now) {
			return f, path, nil
		}
		f.Close()
	}
}

// Publish creates the entry dir. fill writes into an empty directory beside it, which
// is then sealed (see Seal) and renamed. After an error nothing is left. An existing
// entry is replaced.
func Publish(dir string, fill func(tmp string) error) (err error) {
	parent := filepath.Dir(dir)
	if err := Dir(parent); err != nil {
		return err
	}
	lock, tmp, err := claim(func() (string, error) { return os.MkdirTemp(parent, newPrefix) })
	if err != nil {
		return Hint(err)
	}
	defer lock.Close()
	defer func() {
		if err != nil {
			err = Hint(errors.Join(err, os.RemoveAll(tmp)))
		}
	}()
	if err := fill(tmp); err != nil {
		return err
	}
	if err := Seal(tmp); err != nil {
		return err
	}
	if err := place(tmp, dir); err != nil {
		return err
	}
	return syncDir(parent)
}

// place renames tmp to dir, in the place of an entry that has that name.
func place(tmp, dir string) error {
	for {
		if err := Remove(dir); err != nil {
			return err
		}
		if err := os.Rename(tmp, dir); !errors.Is(err, fs.ErrExist) { // another process was faster
			return err
		}
	}
}

// Remove deletes the entry dir. It is renamed first, so that no process sees a part of
// it. A missing entry is no error.
func Remove(dir string) error {
	grave := fmt.Sprintf("%s/%s%d-%d", filepath.Dir(dir), oldPrefix, os.Getpid(), time.Now().UnixNano())
	if err := os.Rename(dir, grave); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return os.RemoveAll(grave)
}

// Sweep deletes the leftovers of dead processes in parent and returns how many there
// were. Errors are ignored; the next call tries again.
func Sweep(parent string) (n int) {
	for _, pattern := range []string{newPrefix + "*", oldPrefix + "*"} {
		names, _ := filepath.Glob(filepath.Join(parent, pattern))
		for _, name := range names {
			f, err := os.OpenFile(name, os.O_RDONLY|host.NoFollow|host.NonBlock, 0)
			if err != nil {
				continue
			}
			// see claim
			if locked, err := host.TryLock(f); locked && err == nil && os.RemoveAll(name) == nil {
				n++
			}
			f.Close()
		}
	}
	return n
}
