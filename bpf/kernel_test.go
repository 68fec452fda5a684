package bpf

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

func TestParseKallsyms(t *testing.T) {
	const text = `ffffffff82a3f0c0 D __per_cpu_offset
ffffffff812122d0 t __oom_kill_process.cold
ffffffff81598eb0 t __oom_kill_process
ffffffff81599610 T oom_badness
ffffffff81599500 t oom_badness.part.0
ffffffff81599310 t oom_kill_process.constprop.0
ffffffff81599311 t oom_kill_process_other
ffffffffc0000000 t out_of_memory	[module]
ffffffffc0000001 t bpf__bpf_oom_ops_no_handler	[module]
ffffffffc0000002 t bpf__bpf_oom_ops_handle_out_of_memory	[bpf]
ffffffffc0000003 t bpf__bpf_oom_ops_handle_cgroup_offline	[bpf]
ffffffffc0000004 t bpf__bpf_oom_ops_handle_out_of_memory	[bpf]
ffffffffc0000005 t bpf__tcp_congestion_ops_init	[bpf]
`
	got, handler, err := parseKallsyms(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if want := "handle_cgroup_offline, handle_out_of_memory"; handler != want {
		t.Errorf("handler %q; want %q", handler, want)
	}
	want := map[string]uint64{
		"__per_cpu_offset":             0xffffffff82a3f0c0,
		"__oom_kill_process":           0xffffffff81598eb0,
		"oom_badness":                  0xffffffff81599610,
		"oom_badness.part.0":           0xffffffff81599500,
		"oom_kill_process.constprop.0": 0xffffffff81599310,
	}
	if !maps.Equal(got, want) {
		t.Errorf("%x; want %x", got, want)
	}

	o := &offer{symbols: got}
	for fn, want := range map[string]string{
		"oom_badness":      "",
		"oom_kill_process": "compiled as oom_kill_process.constprop.0, whose arguments may be others",
		"out_of_memory":    "not in /proc/kallsyms: the compiler inlined it",
	} {
		if why := o.missing(fn); why != want {
			t.Errorf("%s: %q; want %q", fn, why, want)
		}
	}
	if part := o.part("oom_badness"); part != "oom_badness.part.0" {
		t.Errorf("part %q", part)
	}
	unread := &offer{symbolsErr: errors.New("permission denied")}
	if why := unread.missing("out_of_memory"); why != "" {
		t.Errorf("unreadable symbols say %q; only trying can tell", why)
	}
}

func TestParseKallsymsRefuses(t *testing.T) {
	_, _, err := parseKallsyms(strings.NewReader("nonsense t oom_badness\n"))
	if want := `kallsyms: "nonsense t oom_badness" has no address`; err == nil ||
		!strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v; want %q", err, want)
	}
}

func TestParsePossible(t *testing.T) {
	for in, want := range map[string]int{"0": 1, "0-1": 2, "0-1023": 1024} {
		if n, err := parsePossible(in); n != want || err != nil {
			t.Errorf("%q: %d, %v; want %d", in, n, err, want)
		}
	}
	for _, in := range []string{"", "1-3", "0-3,8-11", "0-x"} {
		_, err := parsePossible(in)
		if want := fmt.Sprintf("possible CPUs %q are not numbered 0 to N without gaps", in); err == nil ||
			err.Error() != want {
			t.Errorf("%q: error %v; want %q", in, err, want)
		}
	}
}

// TestHooks wants every program of the object file to be in the table of hooks.
func TestHooks(t *testing.T) {
	spec, err := loadOom()
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, h := range hooks {
		for _, name := range []string{h.trace, h.raw, h.bare, h.kprobe, h.fentry} {
			if name == "" {
				continue
			}
			p, ok := spec.Programs[name]
			if !ok {
				t.Errorf("%s: the object file has no program %s", h.name, name)
				continue
			}
			if symbol := path.Base(p.SectionName); symbol != h.symbol {
				t.Errorf("%s: program %s is for %s; want %s", h.name, name, symbol, h.symbol)
			}
			used[name] = true
		}
	}
	for name := range spec.Programs {
		if !used[name] {
			t.Errorf("program %s has no hook", name)
		}
	}
}

// TestBare: a program for kernels without BTF must have nothing to relocate, in
// the functions that it calls either.
func TestBare(t *testing.T) {
	spec, err := loadOom()
	if err != nil {
		t.Fatal(err)
	}
	relocated := func(name string) bool {
		return slices.ContainsFunc(spec.Programs[name].Instructions, func(i asm.Instruction) bool {
			return btf.CORERelocationMetadata(&i) != nil
		})
	}
	for _, h := range hooks {
		if h.bare != "" && relocated(h.bare) {
			t.Errorf("%s needs BTF", h.bare)
		}
		if h.raw != "" && !relocated(h.raw) {
			t.Errorf("%s needs no BTF, or this test finds nothing", h.raw)
		}
	}
}

func TestVictimFormat(t *testing.T) {
	const format = `name: mark_victim
ID: 546
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:int pid;	offset:8;	size:4;	signed:1;
	field:__data_loc char[] comm;	offset:12;	size:4;	signed:0;

print fmt: "pid=%d comm=%s", REC->pid, __get_str(comm)
`
	if err := checkVictimFormat(format); err != nil {
		t.Error(err)
	}
	for change, want := range map[[2]string]string{
		{"pid;	offset:8;", "pid;	offset:16;"}: "offset:16;",
		{"field:int pid;", "field:long pid;"}: "no int pid",
	} {
		err := checkVictimFormat(strings.Replace(format, change[0], change[1], 1))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with %q: %v; want %s", change[1], err, want)
		}
	}
}
