package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// TestAttachDetach opens and closes the programs OOMLAB_TEST_ATTACH times and wants no
// program, map or file descriptor left of any of them. Links end with their programs.
func TestAttachDetach(t *testing.T) {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("OOMLAB_TEST_ATTACH"), "3"))
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	opt := Options{Status: true, Signals: true, Buffer: 1 << 20}
	first, err := Open(t.Context(), opt) // opens what stays open: the runtime's poller
	if err != nil {
		t.Skipf("needs eBPF: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	programs, maps := map[ebpf.ProgramID]bool{}, map[ebpf.MapID]bool{}
	for range n {
		p, err := Open(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		for _, prog := range p.progs {
			info, err := prog.Info()
			if err != nil {
				t.Fatal(err)
			}
			if id, ok := info.ID(); ok {
				programs[id] = true
			}
		}
		for _, m := range p.maps {
			info, err := m.Info()
			if err != nil {
				t.Fatal(err)
			}
			if id, ok := info.ID(); ok {
				maps[id] = true
			}
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(programs) < n || len(maps) < n {
		t.Fatalf("%d programs and %d maps of %d", len(programs), len(maps), n)
	}
	left := func() string {
		np, nm := 0, 0
		for id := range programs {
			if prog, err := ebpf.NewProgramFromID(id); err == nil {
				prog.Close()
				np++
			} else if !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
		for id := range maps {
			if m, err := ebpf.NewMapFromID(id); err == nil {
				m.Close()
				nm++
			} else if !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
		if fds := descriptors(t); np+nm > 0 || fds > before {
			return fmt.Sprintf("%d programs, %d maps, %d file descriptors", np, nm, fds-before)
		}
		return ""
	}
	// The kernel frees them when nobody can be running them any more.
	deadline, again := time.After(30*time.Second), time.NewTicker(20*time.Millisecond)
	defer again.Stop()
	for text := left(); text != ""; text = left() {
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("left behind after %d times: %s", n, text)
		}
	}
	fmt.Printf("attached and detached %d times: %d programs, %d maps, none left\n", n, len(programs), len(maps))
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
