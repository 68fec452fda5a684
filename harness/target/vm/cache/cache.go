// Package cache keeps what is expensive to make: kernels that were downloaded
// and guests that were booted.
//
// An entry is a directory that appears complete or not at all, together with the
// checksums of its files. Only its owner can read it: the memory of a guest may
// contain files that only root can read. Several oomlab processes can share a cache.
package cache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/oomlab/oomlab/harness/host"
	"github.com/oomlab/oomlab/harness/kernel"
)

// parts are the names of everything in a cache.
var parts = []string{"snapshots", "kernels", "node", "userland", "payload", "cluster", "accel.json", "accel.json.lock"}

// tightened are the caches that [Root] has already checked.
var tightened sync.Map

// Root is the directory of the cache: $OOMLAB_CACHE, else
// $XDG_CACHE_HOME/oomlab, else ~/.cache/oomlab. It need not exist yet. Group and
// other permissions, which older versions of oomlab set, are removed.
func Root() (string, error) {
	dir := os.Getenv("OOMLAB_CACHE")
	if dir == "" {
		home, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no place for the cache: %w; set OOMLAB_CACHE to a directory", err)
		}
		dir = filepath.Join(home, "oomlab")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("OOMLAB_CACHE=%s: %w", dir, err)
	}
	if _, done := tightened.LoadOrStore(abs, true); !done {
		tighten(abs)
	}
	return abs, nil
}

// tighten makes a cache private. A part whose own mode is private is skipped: either
// this version created it or an earlier call tightened it. The mode of the directory
// itself changes only if it holds nothing but a cache: OOMLAB_CACHE may be /tmp.
// Errors are ignored: another user's files, and read-only file systems, cannot be
// changed.
func tighten(root string) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return
	}
	ours := true
	for _, e := range entries {
		if !slices.Contains(parts, e.Name()) {
			ours = ours && (strings.HasPrefix(e.Name(), newPrefix) || strings.HasPrefix(e.Name(), oldPrefix))
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode()&0o077 != 0 {
			_ = Private(filepath.Join(root, e.Name()))
		}
	}
	if info, err := os.Stat(root); ours && err == nil && info.Mode()&0o077 != 0 {
		_ = os.Chmod(root, 0o700)
	}
}

// Private removes the group and other permissions of everything below a path, and
// of the path itself last.
func Private(path string) error {
	var errs []error
	err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err == nil && name != path {
			err = private(name, d)
		}
		if !errors.Is(err, fs.ErrNotExist) { // another process removed it
			errs = append(errs, err)
		}
		return nil
	})
	if info, statErr := os.Lstat(path); statErr == nil {
		errs = append(errs, private(path, fs.FileInfoToDirEntry(info)))
	}
	return errors.Join(append(errs, err)...)
}

// private sets the mode of a file in the cache: 0700 for directories, 0600 for
// files. Programs get 0711, in directories that others cannot enter: a stressor that
// has changed its uid executes itself again through /proc/self/exe.
func private(name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o600)
	switch {
	case d.IsDir():
		mode = 0o700
	case !d.Type().IsRegular():
		return nil
	case info.Mode()&0o100 != 0:
		mode = 0o711
	}
	if info.Mode().Perm() == mode {
		return nil
	}
	return os.Chmod(name, mode)
}

// Dir creates a directory of the cache and its parents.
func Dir(path string) error { return Hint(os.MkdirAll(path, 0o700)) }

// Create creates or truncates a file of the cache. It creates missing directories.
func Create(file string) (*os.File, error) {
	if err := Dir(filepath.Dir(file)); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	return f, Hint(err)
}

// Write creates or replaces a file of the cache atomically: after a crash it has the
// old or the new content.
func Write(file string, data []byte) (err error) {
	dir := filepath.Dir(file)
	if err := Dir(dir); err != nil {
		return err
	}
	lock, tmp, err := claim(func() (string, error) {
		f, err := os.CreateTemp(dir, newPrefix)
		if err != nil {
			return "", err
		}
		return f.Name(), f.Close()
	})
	if err != nil {
		return Hint(err)
	}
	defer lock.Close()
	defer func() {
		if err != nil {
			err = Hint(errors.Join(err, os.Remove(tmp)))
		}
	}()
	f, err := Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, file); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir flushes the entries of a directory to disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// maxJSON is the limit for a JSON file. The checksums of a kernel with 6,000 modules
// take half a megabyte.
const maxJSON = 8 << 20

// ReadJSON reads a file of the cache strictly: unknown keys, trailing data, and more
// than 8 MiB are errors. Errors name the file.
func ReadJSON(file string, v any) error {
	// O_NONBLOCK: opening a FIFO would block
	f, err := os.OpenFile(file, os.O_RDONLY|host.NonBlock, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := readJSON(f, v); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func readJSON(f *os.File, v any) error {
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return errors.Join(errors.New("not a regular file"), err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxJSON+1))
	if err != nil {
		return err
	}
	if len(data) > maxJSON {
		return fmt.Errorf("more than %d bytes", maxJSON)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("trailing data after the JSON value")
	}
	return nil
}

// Lock takes the lock file at path, waiting until ctx ends. The lock belongs to
// the process and is gone with it; unlock gives it back earlier.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := Create(path)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	// flock(2) has neither a deadline nor an event to wait for, so a blocking
	// call runs beside us. One that is given up on ends when it gets the lock
	// and then drops it by closing the file.
	got := make(chan error, 1)
	go func() { got <- host.Lock(f) }()
	select {
	case err := <-got:
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		return func() { f.Close() }, nil
	case <-ctx.Done():
		go func() {
			<-got
			f.Close()
		}()
		return nil, fmt.Errorf("waiting for another oomlab that holds %s: %w", path, ctx.Err())
	}
}

// Hint adds the way out to an error that says that the disk is full or that the
// cache cannot be written.
func Hint(err error) error {
	const hinted = "set OOMLAB_CACHE to a directory"
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), hinted):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w; free some space, or %s with more", err, hinted)
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w; %s that can be written", err, hinted)
	}
	return err
}

// Room is an error unless need bytes fit on the disk that dir is on, and how much
// is free there. dir is made.
func Room(dir, what string, need kernel.Bytes) (free kernel.Bytes, err error) {
	if err := Dir(dir); err != nil {
		return 0, err
	}
	bytes, err := host.Free(dir)
	if err != nil {
		return 0, err
	}
	free = kernel.Bytes(bytes)
	if need > free {
		return free, fmt.Errorf("%s: %w", dir,
			Hint(fmt.Errorf("%w: %s needs about %s, and %s is free", syscall.ENOSPC, what, need.Human(),
				free.Human())))
	}
	return free, nil
}

// CannotWrite reports whether an error means that the cache is not writable.
func CannotWrite(err error) bool {
	return errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS)
}

// Allocated is the room that a directory's files take on the disk, which for the
// memory of a guest is less than their length: it has holes.
func Allocated(dir string) kernel.Bytes {
	var sum int64
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil {
			sum += host.Allocated(info)
		}
		return nil
	})
	return kernel.Bytes(sum)
}
