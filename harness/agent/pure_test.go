package agent

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/probe"
)

func TestFollows(t *testing.T) {
	record := func(text string) evidence.Event {
		return evidence.Event{Kind: evidence.Record, Log: &evidence.LogRecord{Text: text}}
	}
	for _, test := range []struct {
		name        string
		event       evidence.Event
		consequence bool
		exiting     int
	}{
		{"a kill", evidence.Event{Kind: evidence.Kill, PID: 7}, true, 7},
		{"a mark", evidence.Event{Kind: evidence.MarkVictim, PID: 8}, true, 8},
		{"a decision names a victim that may be dying already", evidence.Event{Kind: evidence.KillDecision, PID: 9},
			true, 0},
		{"a killed line", record("Memory cgroup out of memory: Killed process 107 (hog1) total-vm:1kB"), true, 107},
		{"a killed line of a hostile name",
			record("Out of memory: Killed process 12 (Killed process 9 () total-vm:1kB"), true, 12},
		{"a header", record("hog1 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"), true, 0},
		{"another line", record("eth0: link up"), false, 0},
		{"half a killed line", record("Killed process "), true, 0},
		{"a sample", evidence.Event{Kind: evidence.Sample}, false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			consequence, exiting := follows(test.event)
			if consequence != test.consequence || exiting != test.exiting {
				t.Errorf("follows: %t, %d; want %t, %d", consequence, exiting, test.consequence, test.exiting)
			}
		})
	}
}

func TestQuiet(t *testing.T) {
	var q quiet
	at := time.Unix(0, 0)
	for i, step := range []struct {
		after time.Duration
		rss   kernel.Pages
		want  bool
	}{
		{0, 10, false},
		{900 * time.Millisecond, 10, false},
		{50 * time.Millisecond, 11, false}, // it grows: a new second begins
		{999 * time.Millisecond, 9, false}, // shrinking is not growing
		{time.Millisecond, 11, true},
		{time.Millisecond, 12, false},
	} {
		at = at.Add(step.after)
		if got := q.grown(look{own: step.rss}, at); got != step.want {
			t.Errorf("reading %d: %t, want %t", i, got, step.want)
		}
	}
}

// TestQuietTogether: those count, too, that a program has started, and work is not rest.
func TestQuietTogether(t *testing.T) {
	for _, tt := range []struct {
		name  string
		next  func(n int) look // every quietEvery
		quiet time.Duration    // 0: not within ten seconds
	}{
		{"nothing happens", func(int) look { return look{own: 10, theirs: 5, pids: []int{7}} }, quietFor},
		{"a child grows", func(n int) look { return look{own: 10, theirs: kernel.Pages(n), pids: []int{7}} }, 0},
		{"it works", func(n int) look { return look{own: 10, busy: n%10 == 0} }, idleFor},
		{"children come and go", func(n int) look { return look{own: 10, pids: []int{n}} }, idleFor},
	} {
		var q quiet
		begin := time.Unix(0, 0)
		got := time.Duration(0)
		for n := range 200 {
			after := time.Duration(n) * quietEvery
			if q.grown(tt.next(n), begin.Add(after)) {
				got = after
				break
			}
		}
		if got != tt.quiet {
			t.Errorf("%s: quiet after %s, want %s", tt.name, got, tt.quiet)
		}
	}
}

func TestSwapHeader(t *testing.T) {
	h := swapHeader(4096, 256)
	if len(h) != 4096 || !bytes.Equal(h[4086:], []byte("SWAPSPACE2")) {
		t.Fatalf("%d bytes that end %q", len(h), h[len(h)-10:])
	}
	version, last := binary.NativeEndian.Uint32(h[1024:]), binary.NativeEndian.Uint32(h[1028:])
	if version != 1 || last != 255 {
		t.Errorf("version %d, last page %d; want 1 and 255", version, last)
	}
}

func TestMakeSwapRefusesAFileThatIsTooSmall(t *testing.T) {
	name := filepath.Join(t.TempDir(), "swap")
	if err := makeSwapFile(name, kernel.MiB); err != nil {
		t.Fatal(err)
	}
	err := makeSwap(name, 2*kernel.MiB)
	if err == nil || !strings.Contains(err.Error(), "has 1Mi; a swap space of 2Mi was asked for") {
		t.Errorf("makeSwap: %v", err)
	}
	if err := makeSwap(name, kernel.MiB); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(name)
	if err != nil || info.Size() != 1<<20 {
		t.Errorf("the file is %v, %v", info.Size(), err)
	}
}

// cgroup2 is a directory that looks like a v2 hierarchy with a cgroup /own.
func cgroup2(t *testing.T, handedOn, offered string) (probe.Root, kernel.CgroupMount) {
	t.Helper()
	root := t.TempDir()
	own := filepath.Join(root, "cg", "own")
	if err := os.MkdirAll(own, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"cgroup.subtree_control": handedOn, "cgroup.controllers": offered, "cgroup.procs": "",
	} {
		if err := os.WriteFile(filepath.Join(own, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return probe.Root(root), kernel.CgroupMount{Version: 2, Root: "/cg", Self: "/own"}
}

func TestPlantRefuses(t *testing.T) {
	good := []plan.Cgroup{{Path: "/lab"}}
	for _, test := range []struct {
		name              string
		handedOn, offered string
		version           int
		base              string
		cgroups           []plan.Cgroup
		want              string
		refusal           bool
	}{
		{name: "no memory controller", offered: "cpu io", version: 2, base: "oomlab-1", cgroups: good,
			want: "Delegate=yes", refusal: true},
		{name: "no cpusets", handedOn: "memory", offered: "memory", version: 2, base: "oomlab-1",
			cgroups: []plan.Cgroup{{Path: "/lab", Mems: kernel.Nodes{1}}}, want: "needs the cpuset controller", refusal: true},
		{name: "no hierarchy", version: 0, base: "oomlab-1", cgroups: good, want: "needs a memory controller",
			refusal: true},
		{name: "a base that is a path", handedOn: "memory", version: 2, base: "../x", cgroups: good,
			want: `base "../x" is not the name of a directory`},
		{name: "an empty base", handedOn: "memory", version: 2, cgroups: good, want: `base "" is not`},
		{name: "a base that is there", handedOn: "memory", version: 2, base: "cgroup.procs", cgroups: good,
			want: "exists already"},
		{name: "a cgroup outside", handedOn: "memory", version: 2, base: "oomlab-1",
			cgroups: []plan.Cgroup{{Path: "/../x"}}, want: `cgroup "/../x" is not an absolute path`},
		{name: "a relative cgroup", handedOn: "memory", version: 2, base: "oomlab-1",
			cgroups: []plan.Cgroup{{Path: "lab"}}, want: `cgroup "lab" is not an absolute path`},
	} {
		t.Run(test.name, func(t *testing.T) {
			root, mount := cgroup2(t, test.handedOn, test.offered)
			mount.Version = test.version
			_, err := plant(root, mount, test.base, test.cgroups)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("plant: %v, want %q in it", err, test.want)
			}
			var refusal *Refusal
			if errors.As(err, &refusal) != test.refusal {
				t.Errorf("%T, want a refusal: %t", err, test.refusal)
			}
		})
	}
}

// The undo list of a v2 tree whose own cgroup does not hand memory on names
// every change before it is made, in the order of the changes.
func TestPlantUndo(t *testing.T) {
	root, mount := cgroup2(t, "pids", "memory pids")
	tree, err := plant(root, mount, "oomlab-1", []plan.Cgroup{{Path: "/lab"}, {Path: "/lab/a"}})
	if err != nil {
		t.Fatal(err)
	}
	list, err := tree.undo()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, u := range list {
		value := u.Value
		if u.Op == undoMove {
			value = ""
		}
		got = append(got, strings.TrimSpace(u.Op+" "+strings.TrimPrefix(u.Path, string(root))+" "+value))
	}
	want := []string{
		"rmdir /cg/own/oomlab-1-agent",
		"move /cg/own/cgroup.procs",
		"write /cg/own/cgroup.subtree_control -memory",
		"rmdir /cg/own/oomlab-1",
		"rmdir /cg/own/oomlab-1/lab",
		"rmdir /cg/own/oomlab-1/lab/a",
		"kill-cgroup /cg/own/oomlab-1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("undo list\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestPlantHandsOnWhatIsAskedFor: cgroups are cpusets only where a plan sets cpuset.mems.
func TestPlantHandsOnWhatIsAskedFor(t *testing.T) {
	for _, test := range []struct {
		handedOn string
		mems     kernel.Nodes
		want     string
	}{
		{"memory", nil, ""}, {"memory", kernel.Nodes{1}, "cpuset"}, {"pids", kernel.Nodes{1}, "memory cpuset"},
		{"cpuset memory", kernel.Nodes{1}, ""}, {"pids", nil, "memory"},
	} {
		root, mount := cgroup2(t, test.handedOn, "cpuset memory pids")
		tree, err := plant(root, mount, "oomlab-1", []plan.Cgroup{{Path: "/lab", Mems: test.mems}})
		if err != nil || strings.Join(tree.enable, " ") != test.want {
			t.Fatalf("%s is handed on, nodes %v: %v, %v are enabled; want %s", test.handedOn, test.mems, err, tree.enable,
				test.want)
		}
		list, err := tree.undo()
		off := slices.ContainsFunc(list, func(u plan.Undo) bool { return strings.HasPrefix(u.Value, "-") })
		if err != nil || off != (test.want != "") {
			t.Errorf("%v enabled, and the undo list is %+v, %v", tree.enable, list, err)
		}
	}
}

func TestPaths(t *testing.T) {
	root := t.TempDir()
	base := filepath.Join(root, "own", "oomlab-1")
	for _, dir := range []string{filepath.Join(base, "lab", "made-later"), filepath.Join(root, "system.slice")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p := newPaths(root, &tree{base: base, cgroups: []plan.Cgroup{{Path: "/lab"}}})
	for dir, want := range map[string]string{
		base:                                     "/",
		filepath.Join(base, "lab"):               "/lab",
		filepath.Join(base, "lab", "made-later"): "/lab/made-later",
		filepath.Join(root, "system.slice"):      "//system.slice",
		root:                                     "//",
	} {
		id, ok := inode(dir)
		if !ok {
			t.Fatal("no inode number of", dir)
		}
		if got := p.of(id); got != want {
			t.Errorf("%s: %q, want %q", dir, got, want)
		}
	}
	if got := p.of(1 << 60); got != "" {
		t.Errorf("an id that nothing has: %q", got)
	}
}

func TestSysctlUndo(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "proc/sys/vm")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "panic_on_oom"), []byte("0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := plan.Plan{
		Sysctls: []plan.Sysctl{{Key: "vm.panic_on_oom", Value: "1"}},
		During:  []plan.During{{Sysctls: []plan.Sysctl{{Key: "vm.panic_on_oom", Value: "2"}}}},
	}
	list, err := sysctlUndo(probe.Root(root), p)
	if err != nil {
		t.Fatal(err)
	}
	want := []plan.Undo{{Op: undoWrite, Path: filepath.Join(dir, "panic_on_oom"), Value: "0"}}
	if !slices.Equal(list, want) {
		t.Errorf("undo %+v, want %+v", list, want)
	}
	for key, text := range map[string]string{
		"vm.no_such_thing": "vm.no_such_thing", "vm/panic_on_oom": "is not a dotted key", "..": "is not a dotted key",
	} {
		_, err := sysctlUndo(probe.Root(root), plan.Plan{Sysctls: []plan.Sysctl{{Key: key}}})
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want %q in it", key, err, text)
		}
	}
}

// TestOvercommitIsUndone: the policy first, and of the two sysctls that set each other to
// zero the one that held last, though the plan sets one of them alone.
func TestOvercommitIsUndone(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "proc/sys/vm")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"overcommit_memory": "0", "overcommit_ratio": "50",
		"overcommit_kbytes": "0"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	list, err := sysctlUndo(probe.Root(root), plan.Plan{Sysctls: []plan.Sysctl{
		{Key: "vm.overcommit_kbytes", Value: "9"}, {Key: kernel.OvercommitMemory, Value: "2"}}})
	if err != nil {
		t.Fatal(err)
	}
	list = policyLast(probe.Root(root), append(list, plan.Undo{Op: undoSwapoff, Path: "/swap"}))
	var got []string
	for _, u := range slices.Backward(list) {
		got = append(got, filepath.Base(u.Path)+" "+u.Value)
	}
	want := []string{"overcommit_memory 0", "swap ", "overcommit_kbytes 0", "overcommit_ratio 50"}
	if !slices.Equal(got, want) {
		t.Errorf("undone in the order %q, want %q", got, want)
	}
	early, policy := parted([]plan.Sysctl{{Key: "a"}, {Key: kernel.OvercommitMemory}, {Key: "b"}})
	if len(early) != 2 || len(policy) != 1 || policy[0].Key != kernel.OvercommitMemory {
		t.Errorf("%v is set first, %v at last", early, policy)
	}
}

func TestDescribe(t *testing.T) {
	for want, d := range map[string]plan.During{
		"/lab: memory.max = 1, /lab: memory.high = 2": {Writes: []plan.CgroupWrite{{Path: "/lab",
			Writes: []plan.Write{{File: "memory.max", Value: "1"}, {File: "memory.high", Value: "2"}}}}},
		"oom_score_adj of a = -1, oom_score_adj of b = 2": {OOMScoreAdj: map[string]int{"b": 2, "a": -1}},
		"SIGSTOP to a":        {Signal: map[string]int{"a": 19}},
		"freeze /lab":         {Freeze: "/lab"},
		"thaw /lab":           {Thaw: "/lab"},
		"vm.panic_on_oom = 1": {Sysctls: []plan.Sysctl{{Key: "vm.panic_on_oom", Value: "1"}}},
		"sysrq-f":             {Sysrq: "f"},
		"swapoff":             {Swapoff: true},
	} {
		if got := d.String(); got != want {
			t.Errorf("describe: %q, want %q", got, want)
		}
	}
}
