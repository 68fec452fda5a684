package lab

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/oomlab/oomlab/harness"
	"github.com/oomlab/oomlab/harness/payload"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target"
	"github.com/oomlab/oomlab/harness/target/kube"
	"github.com/oomlab/oomlab/harness/verdict"
	"github.com/oomlab/oomlab/scenarios"
)

// TestANodeHasOneRunAtATime: runs on two nodes of a fleet go on side by side, and
// two on the same node do not: each would see the other's kills.
func TestANodeHasOneRunAtATime(t *testing.T) {
	l := &Lab{}
	release := l.node("worker-1")
	l.node("worker-2")()
	if l.nodes["worker-1"].TryLock() {
		t.Error("worker-1 is free while a run is on it")
	}
	release()
	l.node("worker-1")()
}

func TestRunsSideBySideGetDirectoriesOfTheirOwn(t *testing.T) {
	l := &Lab{o: Options{RunsDir: filepath.Join(t.TempDir(), "runs")}}
	var mu sync.Mutex
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			dir, err := l.newRun("memcg/a")
			mu.Lock()
			defer mu.Unlock()
			if err != nil || seen[dir] {
				t.Errorf("%s, %v; want a new directory", dir, err)
			}
			seen[dir] = true
		})
	}
	wg.Wait()
	if !seen[filepath.Join(l.o.RunsDir, "0020-memcg-a")] {
		t.Errorf("no 0020-memcg-a among %v", seen)
	}
	// numbers go on where an earlier oomlab stopped
	if err := os.Mkdir(filepath.Join(l.o.RunsDir, "0141-system-b"), 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := l.newRun("memcg/a")
	if want := "0142-memcg-a"; err != nil || filepath.Base(dir) != want {
		t.Errorf("%s, %v; want %s", dir, err, want)
	}
}

func TestUnknownTargetIsRefused(t *testing.T) {
	_, err := Open(Options{Target: "kvm"})
	if want := `target "kvm": there are local, vm, kube`; err == nil || err.Error() != want {
		t.Errorf("%v; want %s", err, want)
	}
}

// TestWhereAScenarioRuns without looking at this machine.
func TestWhereAScenarioRuns(t *testing.T) {
	one := func(targets ...scenario.Target) scenario.Scenario { return scenario.Scenario{Targets: targets} }
	elsewhere := kube.Where{Context: "prod"}
	for _, tt := range []struct {
		name string
		s    scenario.Scenario
		o    Options
		want scenario.Target
	}{
		{"what needs a kubelet", one(scenario.Kube), Options{}, scenario.Kube},
		{"whatever else was asked for", one(scenario.Kube), Options{Target: scenario.VM}, scenario.Kube},
		{"what needs none", one(scenario.VM, scenario.Kube), Options{}, scenario.VM},
		{"a VM asked for", one(scenario.VM, scenario.Kube), Options{Target: scenario.VM, Cluster: elsewhere},
			scenario.VM},
		{"a cluster asked for", one(scenario.VM, scenario.Kube), Options{Target: scenario.Kube}, scenario.Kube},
		{"a cluster named", one(scenario.VM, scenario.Kube), Options{Cluster: elsewhere}, scenario.Kube},
		{"a kernel named", one(scenario.Local, scenario.VM, scenario.Kube), Options{Kernel: "6.12"}, scenario.VM},
		{"no pods, and a cluster named", one(scenario.VM), Options{Cluster: elsewhere}, scenario.VM},
		{"no pods, and a cluster asked for", one(scenario.VM), Options{Target: scenario.Kube}, scenario.Kube},
		// and is skipped there
	} {
		l := &Lab{o: tt.o}
		if got, because := l.choose(t.Context(), tt.s); got != tt.want {
			t.Errorf("%s: %s (%s); want %s", tt.name, got, because, tt.want)
		}
	}
}

// TestTheReasonNamesTheNode: a run on a node that is a container says so.
func TestTheReasonNamesTheNode(t *testing.T) {
	s := scenario.Scenario{Targets: []scenario.Target{scenario.Kube}}
	for want, where := range map[string]kube.Where{
		"it has pods; a VM cluster":                           {},
		"it has pods; a VM cluster whose node is a container": {Container: true},
		"it has pods; context prod":                           {Context: "prod"},
	} {
		l := &Lab{o: Options{Cluster: where}}
		if _, got := l.choose(t.Context(), s); got != want {
			t.Errorf("%q; want %q", got, want)
		}
	}
}

// TestEveryTargetCanBeOpened: a target of scenarios without an opener, or the
// reverse, is one that somebody forgot to register.
func TestEveryTargetCanBeOpened(t *testing.T) {
	for _, name := range scenario.Targets {
		if openers[name] == nil {
			t.Errorf("there is no opener for target %s", name)
		}
		if name.Traits() == (scenario.Traits{}) {
			t.Errorf("nothing is known of target %s", name)
		}
	}
	if len(openers) != len(scenario.Targets) {
		t.Errorf("%d openers for %d targets", len(openers), len(scenario.Targets))
	}
}

// TestATargetThatCannotBeOpenedIsAResult, so that a table of many runs has a
// row for it: a machine that lacks something skips, anything else is broken.
func TestATargetThatCannotBeOpenedIsAResult(t *testing.T) {
	s, err := scenarios.Load("memcg/one-process-over-its-limit")
	if err != nil {
		t.Fatal(err)
	}
	source, err := scenarios.Source(s.Name)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		err    error
		word   verdict.Verdict
		reason string
	}{
		{&target.Missing{What: "QEMU", Hint: "install it"}, verdict.Skip, "needs QEMU; install it"},
		{errors.New("the disk is full"), verdict.Broken, "the disk is full"},
	} {
		r, err := harness.Run(t.Context(), absent{scenario.VM, tt.err}, s, source,
			harness.Options{Dir: filepath.Join(t.TempDir(), "run")})
		if err != nil || r.Verdict != tt.word || r.Reason != tt.reason || len(r.Claims) != 0 {
			t.Errorf("%v, %s, %q, %d claims; want %s, %q and no claims", err, r.Verdict, r.Reason, len(r.Claims),
				tt.word, tt.reason)
		}
	}
}

// BenchmarkScenario is a whole memcg scenario, from the restore of a guest to
// the verdict. The first iteration may boot the guest once.
func BenchmarkScenario(b *testing.B) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		b.Skip("needs QEMU")
	}
	if _, _, err := payload.Load(); err != nil {
		b.Skip(err)
	}
	l, err := Open(Options{Target: scenario.VM, RunsDir: filepath.Join(b.TempDir(), "runs"),
		Log: func(s string) { b.Log(s) }})
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"memcg/one-process-over-its-limit", "memcg/bigger-of-two-dies",
		"memcg/oom-group-takes-all"} {
		s, err := scenarios.Load(name)
		if err != nil {
			b.Fatal(err)
		}
		source, err := scenarios.Source(name)
		if err != nil {
			b.Fatal(err)
		}
		run := func() {
			r, err := l.RunOne(context.Background(), Job{Scenario: s, Source: source}, nil)
			if err != nil || r.Verdict != verdict.Pass {
				b.Fatalf("%v, %s: %s", err, r.Verdict, r.Reason)
			}
		}
		run() // makes the snapshot
		b.Run(strings.TrimPrefix(name, "memcg/"), func(b *testing.B) {
			for b.Loop() {
				run()
			}
		})
	}
}
