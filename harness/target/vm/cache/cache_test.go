package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/target/vm/cache/cachetest"
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
		if err := Verify(dir); err != nil {
			t.Error(err)
		}
		cachetest.Private(t, dir)
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

// child runs this test again, in a role that its environment names.
func child(t *testing.T, role string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), "OOMLAB_TEST_ROLE="+strings.Join(append([]string{role}, args...), " "))
	return cmd
}

func role() []string { return strings.Fields(os.Getenv("OOMLAB_TEST_ROLE")) }

// TestSweep: what a maker that was killed has left goes at once, and what one
// that lives is at work on stays.
func TestSweep(t *testing.T) {
	if r := role(); len(r) > 0 {
		err := Publish(r[1], func(string) error { return syscall.Kill(os.Getpid(), syscall.SIGKILL) })
		t.Fatalf("alive: %v", err)
	}
	parent := t.TempDir()
	if err := os.MkdirAll(filepath.Join(parent, ".old-2", "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := Publish(filepath.Join(parent, "entry"), func(tmp string) error {
		if out, err := child(t, "dies", filepath.Join(parent, "another")).CombinedOutput(); err == nil {
			t.Errorf("the maker was not killed: %s", out)
		}
		if got := names(t, parent); len(got) != 3 {
			t.Errorf("there are %q; want those of two makers, and .old-2", got)
		}
		if n := Sweep(parent); n != 2 {
			t.Errorf("%d were swept, want 2", n)
		}
		return os.WriteFile(filepath.Join(tmp, "file"), nil, 0o644)
	})
	if err != nil {
		t.Error(err)
	}
	if got := strings.Join(names(t, parent), " "); got != "entry" {
		t.Errorf("left %q", got)
	}
}

// TestManyProcesses use one cache: they make, replace, read, remove and sweep one
// entry and one file, and every few moments one is killed. Nobody ever sees half
// of anything, nor is kept from anything.
func TestManyProcesses(t *testing.T) {
	if r := role(); len(r) > 0 {
		useCache(t, r[1])
		return
	}
	parent := t.TempDir()
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			for n := range 4 {
				cmd := child(t, "uses", parent)
				kill := n%2 == 1
				var out bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &out
				if err := cmd.Start(); err != nil {
					t.Error(err)
					return
				}
				if kill {
					timer := time.AfterFunc(50*time.Millisecond, func() { cmd.Process.Kill() })
					defer timer.Stop()
				}
				if err := cmd.Wait(); err != nil && !kill {
					t.Errorf("%v: %s", err, out.Bytes())
				}
			}
		})
	}
	wg.Wait()
	Sweep(parent)
	for _, name := range names(t, parent) {
		if strings.HasPrefix(name, newPrefix) || strings.HasPrefix(name, oldPrefix) {
			t.Errorf("%s was left", name)
		}
	}
	cachetest.Private(t, filepath.Join(parent, "file.json"))
}

func useCache(t *testing.T, parent string) {
	dir, file := filepath.Join(parent, "entry"), filepath.Join(parent, "file.json")
	for n := range 60 {
		err := Publish(dir, func(tmp string) error {
			return errors.Join(os.WriteFile(filepath.Join(tmp, "a"), []byte{byte(n)}, 0o644),
				os.WriteFile(filepath.Join(tmp, "b"), []byte{byte(n)}, 0o644))
		})
		if err != nil {
			t.Errorf("publish: %v", err)
		}
		if e, err := Open(dir); err == nil {
			// others remove what they find meanwhile, but never mix two of them
			err := e.Verify()
			if err != nil && !strings.Contains(err.Error(), "missing") && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("verify: %v", err)
			}
			e.Close()
		} else if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, ErrUnsealed) {
			t.Errorf("open: %v", err)
		}
		if err := Write(file, fmt.Appendf(nil, `{"n": %d}`, n)); err != nil {
			t.Errorf("write: %v", err)
		}
		var v struct{ N int }
		if err := ReadJSON(file, &v); err != nil {
			t.Errorf("read: %v", err)
		}
		if n%10 == 0 {
			if err := Remove(dir); err != nil {
				t.Errorf("remove: %v", err)
			}
			Sweep(parent)
		}
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
	once := Hint(syscall.ENOSPC)
	if again := Hint(fmt.Errorf("make: %w", once)); strings.Count(again.Error(), "OOMLAB_CACHE") != 1 {
		t.Errorf("hinted twice: %v", again)
	}
	if err := Hint(nil); err != nil {
		t.Errorf("nothing became %v", err)
	}
	if err := Hint(syscall.EIO); err != syscall.EIO {
		t.Errorf("EIO became %v", err)
	}
}

// TestRootTightens what an older oomlab left for others to read, and nothing that
// is not a cache's.
func TestRootTightens(t *testing.T) {
	for name, foreign := range map[string]bool{"a cache": false, "a cache beside other things": true} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			t.Setenv("OOMLAB_CACHE", root)
			loose := func(name string, mode os.FileMode) {
				file := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(os.WriteFile(file, nil, mode), os.Chmod(file, mode)); err != nil {
					t.Fatal(err)
				}
			}
			loose("snapshots/ab/ram", 0o644)
			loose("snapshots/.lock-ab", 0o644)
			loose("payload/cd/oomlab-stressor", 0o755)
			loose("node/image-2/pki/admin.key", 0o640)
			loose("accel.json", 0o644)
			if foreign {
				loose("photo.jpeg", 0o644)
			}
			if err := os.Chmod(root, 0o755); err != nil {
				t.Fatal(err)
			}
			if _, err := Root(); err != nil {
				t.Fatal(err)
			}
			for _, part := range []string{"snapshots", "payload", "node", "accel.json"} {
				if st, err := os.Stat(filepath.Join(root, part)); err != nil || st.Mode()&0o077 != 0 {
					t.Errorf("%s: %v, %v", part, st.Mode(), err)
				}
			}
			if !foreign {
				cachetest.Private(t, root)
				return
			}
			for _, name := range []string{"", "photo.jpeg"} {
				if st, err := os.Stat(filepath.Join(root, name)); err != nil || st.Mode()&0o077 == 0 {
					t.Errorf("%s/%s: %v, %v; it is not ours", root, name, st.Mode(), err)
				}
			}
		})
	}
}

func TestReadJSON(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	big := `{"a": 1, "b": "` + strings.Repeat("x", maxJSON) + `"}`
	for name, test := range map[string]struct{ text, want string }{
		"good":    {`{"a": 1}` + "\n", ""},
		"other":   {`{"a": 1, "c": 2}`, `unknown field "c"`},
		"two":     {`{"a": 1}{"a": 2}`, "trailing data after the JSON value"},
		"cut":     {`{"a": `, "unexpected EOF"},
		"empty":   {"", "EOF"},
		"zeros":   {"\x00\x00\x00", "invalid character"},
		"big":     {big, "more than 8388608 bytes"},
		"fifo":    {"", "not a regular file"},
		"../gone": {"", "no such file"},
	} {
		file := filepath.Join(dir, name)
		if test.text != "" || name == "empty" {
			if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var v struct {
			A int
			B string
		}
		err := ReadJSON(file, &v)
		if test.want == "" && (err != nil || v.A != 1) {
			t.Errorf("%s: %v", name, err)
		}
		if test.want == "" {
			continue
		}
		if text := fmt.Sprint(err); !strings.Contains(text, test.want) || !strings.Contains(text, filepath.Base(name)) {
			t.Errorf("%s: %.200v, want %q and the file", name, err, test.want)
		}
	}
}
