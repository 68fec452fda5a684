package bpf

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"strings"
	"testing"
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
`
	got, err := parseKallsyms(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
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
	_, err := parseKallsyms(strings.NewReader("nonsense t oom_badness\n"))
	if want := `kallsyms: "nonsense t oom_badness" has no address`; err == nil || !strings.HasPrefix(err.Error(), want) {
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
		if want := fmt.Sprintf("possible CPUs %q are not numbered 0 to N without gaps", in); err == nil || err.Error() != want {
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
		for _, name := range []string{h.trace, h.raw, h.kprobe, h.fentry} {
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
