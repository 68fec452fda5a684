package selftest_test

import (
	"io/fs"
	"path"
	"testing"

	"github.com/oomlab/oomlab/harness/clustertest"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/selftest"
	"github.com/oomlab/oomlab/harness/verdict"
	"github.com/oomlab/oomlab/scenarios"
)

// runs are all recorded runs, and the library's scenarios for a cluster, played as
// predicted. Every one of them passes.
func runs(t *testing.T) []selftest.Recording {
	t.Helper()
	out, err := selftest.Recordings()
	if err != nil {
		t.Fatal(err)
	}
	if all, err := fs.Glob(selftest.Recorded(), path.Join("*", "*", verdict.MetaFile)); err != nil ||
		len(all) != len(out) {
		t.Errorf("%d recorded runs pass, of %d (%v)", len(out), len(all), err)
	}
	library, err := scenarios.Match("kube/...")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range library {
		in, err := clustertest.Run(s, nil)
		if err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		if got := verdict.Judge(in); got.Verdict != verdict.Pass {
			t.Errorf("%s: %s before anything is corrupted: %s", s.Name, got.Verdict, got.Reason)
		}
		out = append(out, selftest.Recording{Name: s.Name, Input: in})
	}
	return out
}

// TestEveryLieIsRed makes each witness of each recording lie in turn.
func TestEveryLieIsRed(t *testing.T) {
	tried, lied := map[string]bool{}, map[string]bool{}
	var witnesses []evidence.Source
	for _, r := range runs(t) {
		witnesses = append(witnesses, verdict.Witnesses(r.Input)...)
		for _, trial := range selftest.Try(r) {
			tried[trial.Witness+": "+trial.What], lied[trial.Witness] = true, true
			if !trial.Caught {
				t.Errorf("%s, %s: %s: %s; want it to be caught", r.Name, trial.Witness, trial.What,
					trial.Result.Verdict)
			}
		}
	}
	for _, w := range witnesses {
		if !lied[string(w)] {
			t.Errorf("%s never lied; it needs a file lies_%s.go", w, w)
		}
	}
	for _, want := range []string{
		"kmsg: wrong pid in a kill line", "kmsg: a kill line is missing", "kmsg: a kill line too many",
		"bpf: an event of mark_victim is missing", "bpf: an event of __oom_kill_process came twice",
		"bpf: a score is off by one page", "counters: oom_kill in memory.events is off by +1",
		"counters: oom_kill in vmstat is off by -1", "wait: SIGKILL became exit code 137", "wait: a victim is alive",
		"runtime: 137 became exit code 1", "runtime: an OOM kill that there was not", "agent: another oom_score_adj",
		"agent: a process was not read", "agent: another oom_score in /proc", "agent: another oom_score_adj in /proc",
		"agent: another oom_adj in /proc", "agent: a descendant was not told", "agent: a descendant was told twice",
		"agent: a descendant of another process", "agent: a descendant by another number",
		"agent: a descendant's end was told by its parent",
		"agent: another memory.max", "agent: no memory.swap.max",
		"api: 137 became exit code 0", "api: 137 became exit code 143", "api: OOMKilled became Error",
		"api: Completed became OOMKilled",
		"api: no end of a container was told", "api: a restart too many", "api: another phase",
		"api: a pod was evicted that was not",
		"api: SystemOOM is missing", "api: SystemOOM names a stranger", "api: SystemOOM for nothing",
		"kubelet: its log tells of nothing", "kubelet: an OOM of the node that there was not",
		"kubelet: an eviction that there was not", "kubelet: it cannot evict",
	} {
		if !tried[want] {
			t.Errorf("no recording has anything for %q", want)
		}
	}
}
