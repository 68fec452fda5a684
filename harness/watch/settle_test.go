package watch

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/probe"
	"github.com/oomlab/oomlab/harness/trace"
)

// TestForgetProgram: pages of files that nothing was written to are unmapped, and what was
// written to a page stays, though it cannot be written to any more.
func TestForgetProgram(t *testing.T) {
	page := os.Getpagesize()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(strings.Repeat("a", page)), 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var maps [2][]byte // one clean, one written to
	for i := range maps {
		if maps[i], err = unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE); err != nil {
			t.Fatal(err)
		}
		defer unix.Munmap(maps[i])
	}
	maps[1][0] = 'b'
	for i := range maps {
		if err := unix.Mprotect(maps[i], unix.PROT_READ); err != nil {
			t.Fatal(err)
		}
	}
	if maps[0][0] != 'a' {
		t.Fatal("not what was written")
	}
	before := resident(t, path)
	if err := forgetProgram(probe.Root("/")); err != nil {
		t.Fatal(err)
	}
	if after := resident(t, path); before != "4 kB, 4 kB" || after != "0 kB, 4 kB" && after != "4 kB, 0 kB" {
		t.Errorf("resident: %s, then %s", before, after)
	}
	if maps[0][0] != 'a' || maps[1][0] != 'b' {
		t.Errorf("%c and %c are read; want a and b", maps[0][0], maps[1][0])
	}
}

// resident is what each mapping of a file has in memory.
func resident(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skipf("needs /proc/PID/smaps: %v", err)
	}
	var out []string
	for _, mapping := range strings.Split(string(text), path+"\n")[1:] {
		_, rest, _ := strings.Cut(mapping, "\nRss:")
		value, _, _ := strings.Cut(rest, "\n")
		out = append(out, strings.TrimSpace(value))
	}
	return strings.Join(out, ", ")
}

// TestRehearse: a rehearsal shows one kill as real ones are shown, and no trace of it stays.
func TestRehearse(t *testing.T) {
	for name, o := range map[string]trace.Options{
		"log only":  {PageSize: 4096, Log: true},
		"tier 1":    {PageSize: 4096, BPF: true, Status: true, Log: true, Tier: 1},
		"in detail": {PageSize: 4096, BPF: true, Status: true, Log: true, Tier: 3, WaitNS: 1e9},
	} {
		w := &Watch{root: "/", assembly: o, put: trace.New(o)}
		var shown []trace.Kill
		err := w.Rehearse(func(k trace.Kill) error {
			shown = append(shown, k)
			return nil
		})
		if err != nil || len(shown) != 1 || shown[0].Victim.PID != os.Getpid() || shown[0].Time == "" {
			t.Errorf("%s: %v, %+v", name, err, shown)
		}
		if w.put.Waiting() || w.Again() != 0 || w.Lost() != 0 {
			t.Errorf("%s: something of it stays", name)
		}
	}
	w := &Watch{root: "/", assembly: trace.Options{BPF: true, Tier: 2}}
	if err := w.Rehearse(func(trace.Kill) error { return unix.EPIPE }); !errors.Is(err, unix.EPIPE) {
		t.Errorf("error %v", err)
	}
}
