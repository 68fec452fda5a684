package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestPublish(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "entry")
	for _, text := range []string{"first", "second"} { // the second replaces the first
		err := Publish(dir, func(tmp string) error {
			if err := os.WriteFile(filepath.Join(tmp, "file"), []byte(text), 0o644); err != nil {
				return err
			}
			if data, err := os.ReadFile(filepath.Join(dir, "file")); err == nil && string(data) == text {
				t.Error("the entry is there before it is complete")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, "file"))
		if err != nil || string(data) != text {
			t.Errorf("got %q, %v, want %q", data, err, text)
		}
	}
	broken := errors.New("the disk caught fire")
	if err := Publish(dir, func(string) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
	if got := names(t, parent); len(got) != 1 || got[0] != "entry" {
		t.Errorf("left behind: %q", got)
	}
	if err := Remove(dir); err != nil {
		t.Error(err)
	}
	if err := Remove(dir); err != nil {
		t.Errorf("removing what is not there: %v", err)
	}
	if got := names(t, parent); len(got) != 0 {
		t.Errorf("left behind: %q", got)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "lock")
	unlock, err := Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	// flock excludes descriptors, not processes, so one process can test it.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Lock(ctx, path); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want a deadline and the name of the lock", err)
	}
	got := make(chan error)
	go func() {
		unlock, err := Lock(t.Context(), path)
		if err == nil {
			unlock()
		}
		got <- err
	}()
	unlock()
	select {
	case err := <-got:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the lock was not passed on within 10 s")
	}
}

func TestSweep(t *testing.T) {
	parent := t.TempDir()
	for _, name := range []string{".new-1", ".old-2", ".new-fresh", "entry"} {
		if err := os.MkdirAll(filepath.Join(parent, name, "x"), 0o755); err != nil {
			t.Fatal(err)
		}
		if name != ".new-fresh" {
			old := time.Now().Add(-2 * time.Hour)
			if err := os.Chtimes(filepath.Join(parent, name), old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	Sweep(parent, time.Hour)
	if got := strings.Join(names(t, parent), " "); got != ".new-fresh entry" {
		t.Errorf("left %q", got)
	}
}

func TestRoot(t *testing.T) {
	t.Setenv("OOMLAB_CACHE", "/elsewhere")
	if dir, err := Root(); err != nil || dir != "/elsewhere" {
		t.Errorf("%q, %v", dir, err)
	}
	t.Setenv("OOMLAB_CACHE", "")
	t.Setenv("XDG_CACHE_HOME", "/xdg")
	if dir, err := Root(); err != nil || dir != "/xdg/oomlab" {
		t.Errorf("%q, %v", dir, err)
	}
}

func TestHint(t *testing.T) {
	for errno, want := range map[syscall.Errno]string{
		syscall.ENOSPC: "free some space, or set OOMLAB_CACHE",
		syscall.EACCES: "set OOMLAB_CACHE to a directory that can be written",
		syscall.EROFS:  "set OOMLAB_CACHE to a directory that can be written",
	} {
		err := Hint(fmt.Errorf("write: %w", errno))
		if !errors.Is(err, errno) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", errno, err, want)
		}
	}
	if err := Hint(nil); err != nil {
		t.Errorf("nothing became %v", err)
	}
	if err := Hint(syscall.EIO); err != syscall.EIO {
		t.Errorf("EIO became %v", err)
	}
}
