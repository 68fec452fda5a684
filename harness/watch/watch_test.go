package watch

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/probe"
	"github.com/oomlab/oomlab/harness/trace"
)

// place writes a file below a root.
func place(t *testing.T, root, name, text string) {
	t.Helper()
	file := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestGFPWords reads the words of a mask in the forms that kernels print.
func TestGFPWords(t *testing.T) {
	old := `print fmt: "gfp_flags=%s", (REC->gfp_flags) ? __print_flags(REC->gfp_flags, "|", ` +
		`{( unsigned long)(((( gfp_t)(0x400u|0x800u)) | (( gfp_t)0x40u) | (( gfp_t)0x80u))), "GFP_KERNEL"}, ` +
		`{( unsigned long)(( gfp_t)0x100000u), "__GFP_HARDWALL"}, {( unsigned long)0, "GFP_NOTHING"}, ` +
		`{1UL << ((5) + 2), "GFP_SHIFTED"}) : "none"`
	root := t.TempDir()
	place(t, root, "sys/kernel/tracing/events/kmem/kmalloc/format", old)
	flags := readGFP(probe.Root(root))
	for mask, want := range map[uint32]string{
		0xcc0: "GFP_KERNEL", 0x100cc0: "GFP_KERNEL|__GFP_HARDWALL", 0x100cc1: "GFP_KERNEL|__GFP_HARDWALL|0x1",
	} {
		if got := words(flags, mask); got != want {
			t.Errorf("%#x: %q; want %q", mask, got, want)
		}
	}
	if got := words(nil, 0xcc0); got != "" {
		t.Errorf("without words: %q", got)
	}
}

// TestSymbols: an address is in the function that begins before it.
func TestSymbols(t *testing.T) {
	root := t.TempDir()
	place(t, root, "proc/kallsyms", "ffffffff81000100 T second\nffffffff81000000 t first\nffffffff81000200 D data\n"+
		"ffffffffc0000000 t bpf_prog_1_mark_victim\t[bpf]\nbad line\n")
	s := readSymbols(probe.Root(root))
	if s == nil {
		t.Fatal("no symbols")
	}
	got := s.names([]uint64{0xffffffffc0000010, 0xffffffff81000000, 0xffffffff81000234, 0x10, 0xffffffffc0000010})
	if want := []string{"first", "second", "0x10", "bpf_prog_1_mark_victim"}; !slices.Equal(got, want) {
		t.Errorf("%q; want %q", got, want)
	}
	place(t, root, "proc/kallsyms", "0000000000000000 T second\n")
	if readSymbols(probe.Root(root)) != nil {
		t.Error("addresses that are hidden are none")
	}
}

// TestHandler: a kill that a BPF OOM handler chose is told by the kernel's stack, which is
// shown only if that was asked for.
func TestHandler(t *testing.T) {
	root := t.TempDir()
	place(t, root, "proc/kallsyms", "ffffffff81000000 t oom_kill_process\nffffffff81000100 t bpf_handle_oom\n"+
		"ffffffff81000200 T out_of_memory\n")
	for _, tt := range []struct {
		stack  []uint64
		detail bool
		asked  string
	}{
		{[]uint64{0xffffffff81000010, 0xffffffff81000110, 0xffffffff81000210}, false, trace.AskedHandler},
		{[]uint64{0xffffffff81000010, 0xffffffff81000110, 0xffffffff81000210}, true, trace.AskedHandler},
		{[]uint64{0xffffffff81000010, 0xffffffff81000210}, false, trace.AskedAllocation},
	} {
		victim := evidence.Task{TaskID: evidence.TaskID{PID: 7, TGID: 7, Comm: "v"}, StartNS: 1}
		a := trace.New(trace.Options{PageSize: 4096, BPF: true, Status: true, Tier: 2})
		a.Feed(evidence.Event{AtNS: 1, Kind: evidence.MarkVictim, OOM: &evidence.OOM{Task: &victim}})
		got := a.Feed(evidence.Event{AtNS: 2, Kind: evidence.VictimStatus, Killed: &evidence.Killed{
			Victim: evidence.Person{Task: victim}, Trigger: evidence.Person{Task: victim}, Stack: tt.stack}})
		if len(got) != 1 {
			t.Fatalf("%d kills", len(got))
		}
		w := &Watch{root: probe.Root(root), o: Options{Detail: tt.detail}, symbols: readSymbols(probe.Root(root))}
		if w.complete(&got[0]); got[0].Asked != tt.asked || (got[0].Stack != nil) != tt.detail {
			t.Errorf("%+v: asked %q, stack %q", tt, got[0].Asked, got[0].Stack)
		}
	}
}

// TestMissing names what a process lacks, and how to grant exactly that.
func TestMissing(t *testing.T) {
	root := t.TempDir()
	place(t, root, "proc/self/status", "Name:\tx\nCapEff:\t0000004000000000\n") // CAP_PERFMON
	lacks, hints := Missing(probe.Root(root), "/usr/bin/oomlab")
	if len(lacks) != 2 || !strings.HasPrefix(lacks[0], "CAP_BPF, ") || !strings.HasPrefix(lacks[1], "CAP_SYSLOG, ") {
		t.Errorf("lacks %q", lacks)
	}
	if len(hints) != 2 || hints[0] != "sudo setcap cap_bpf,cap_syslog+ep /usr/bin/oomlab" ||
		!strings.Contains(hints[1], "AmbientCapabilities='CAP_BPF CAP_SYSLOG' /usr/bin/oomlab trace") {
		t.Errorf("hints %q", hints)
	}
	place(t, root, "proc/self/status", "CapEff:\t000001ffffffffff\n")
	if lacks, hints := Missing(probe.Root(root), "x"); lacks != nil || hints != nil {
		t.Errorf("root lacks %q, %q", lacks, hints)
	}
}

// TestPodOf: a pod is called as its directory of logs is.
func TestPodOf(t *testing.T) {
	root := t.TempDir()
	place(t, root, "var/log/pods/default_web-0_6a6e5c0e-3b0b-4b56-9c0b-2e4a1c1d2f30/app/0.log", "")
	w := Watch{root: probe.Root(root)}
	if ns, name := podOf(w.root, "6a6e5c0e-3b0b-4b56-9c0b-2e4a1c1d2f30"); ns != "default" || name != "web-0" {
		t.Errorf("%q/%q", ns, name)
	}
	if ns, name := podOf(w.root, "2e4a1c1d2f30"); ns != "" || name != "" {
		t.Errorf("a part of a UID: %q/%q", ns, name)
	}
}

// FuzzGFP: whatever a format file holds.
func FuzzGFP(f *testing.F) {
	f.Add(`{(0x1u|0x2u), "GFP_X"}`, uint32(3))
	f.Fuzz(func(t *testing.T, format string, mask uint32) {
		flags := parseGFP(format)
		if len(flags) > len(format) {
			t.Errorf("%d flags of %d bytes", len(flags), len(format))
		}
		_ = words(flags, mask)
	})
}
