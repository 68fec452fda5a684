// Package cache keeps what is expensive to make: kernels that were downloaded
// and guests that were booted.
//
// An entry is a directory that appears complete or not at all. Several oomlab
// processes may use one cache: makers of the same entry wait for each other.
package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Root is the directory of the cache: $OOMLAB_CACHE, else
// $XDG_CACHE_HOME/oomlab, else ~/.cache/oomlab. It need not exist yet.
func Root() (string, error) {
	if dir := os.Getenv("OOMLAB_CACHE"); dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return "", fmt.Errorf("OOMLAB_CACHE=%s: %w", dir, err)
		}
		return abs, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place for the cache: %w; set OOMLAB_CACHE to a directory", err)
	}
	return filepath.Join(dir, "oomlab"), nil
}

// Lock takes the lock file at path, waiting until ctx ends. The lock belongs to
// the process and is gone with it; unlock gives it back earlier.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, Hint(err))
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, Hint(err))
	}
	// flock(2) has neither a deadline nor an event to wait for, so a blocking
	// call runs beside us. One that is given up on ends when it gets the lock
	// and then drops it by closing the file.
	got := make(chan error, 1)
	go func() {
		for {
			err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
			if !errors.Is(err, syscall.EINTR) {
				got <- err
				return
			}
		}
	}()
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

// Publish makes the entry dir by letting fill write into an empty directory
// beside it and renaming that into place. When fill fails nothing is left. An
// entry that is there already is replaced.
func Publish(dir string, fill func(tmp string) error) (err error) {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return Hint(err)
	}
	tmp, err := os.MkdirTemp(parent, ".new-")
	if err != nil {
		return Hint(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := fill(tmp); err != nil {
		return Hint(err)
	}
	if err := Remove(dir); err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}

// Remove deletes the entry dir. It is renamed first, so that nobody finds half
// of it. An entry that is not there is no error.
func Remove(dir string) error {
	grave := fmt.Sprintf("%s/.old-%d-%d", filepath.Dir(dir), os.Getpid(), time.Now().UnixNano())
	if err := os.Rename(dir, grave); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	return os.RemoveAll(grave)
}

// Sweep deletes what makers left behind in parent that were killed longer ago
// than age, and returns how many there were. It is best effort: what cannot be
// deleted is left to the next one.
func Sweep(parent string, age time.Duration) (n int) {
	for _, pattern := range []string{".new-*", ".old-*"} {
		names, _ := filepath.Glob(filepath.Join(parent, pattern))
		for _, name := range names {
			if st, err := os.Stat(name); err == nil && time.Since(st.ModTime()) > age && os.RemoveAll(name) == nil {
				n++
			}
		}
	}
	return n
}

// Hint adds the way out to an error that says that the disk is full or that the
// cache cannot be written.
func Hint(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w; free some space, or set OOMLAB_CACHE to a directory with more", err)
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w; set OOMLAB_CACHE to a directory that can be written", err)
	}
	return err
}
