package explain_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/kernel"
)

var update = flag.Bool("update", false, "write the golden files anew")

// explained explains all reports of a log.
func explained(t testing.TB, log string, o explain.Options) []explain.Explanation {
	t.Helper()
	x := explain.Explainer{Options: o}
	var out []explain.Explanation
	for r, err := range kernel.Reports(strings.NewReader(log)) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, x.Explain(r))
	}
	return out
}

func one(t testing.TB, log string, o explain.Options) explain.Explanation {
	t.Helper()
	all := explained(t, log, o)
	if len(all) != 1 {
		t.Fatalf("%d reports, want 1", len(all))
	}
	return all[0]
}

// recorded is the kernel log of a run that was recorded in a VM.
func recorded(t testing.TB, run string) string {
	t.Helper()
	events, err := os.ReadFile(filepath.Join(recordings, run, "events.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	for line := range bytes.Lines(events) {
		var e struct {
			Source string
			Log    *struct {
				USec uint64
				Text string
			}
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if e.Source == "kmsg" && e.Log != nil {
			fmt.Fprintf(&log, "[%5d.%06d] %s\n", e.Log.USec/1e6, e.Log.USec%1e6, strings.ReplaceAll(e.Log.Text, "\n", `\x0a`))
		}
	}
	return log.String()
}

const recordings = "../verdict/testdata"

// TestRecordedLogsSayWhatTheKernelComputed holds what is read from the log
// against what eBPF programs saw in the kernel at the same time.
func TestRecordedLogsSayWhatTheKernelComputed(t *testing.T) {
	runs, err := filepath.Glob(filepath.Join(recordings, "*", "*", "result.json"))
	if err != nil || len(runs) < 20 {
		t.Fatalf("%d recorded runs, %v", len(runs), err)
	}
	compared := 0
	for _, file := range runs {
		run, _ := filepath.Rel(recordings, filepath.Dir(file))
		t.Run(run, func(t *testing.T) {
			type kill struct {
				Victim     struct{ PID int }
				Points     int64
				TotalPages kernel.Pages `json:"total_pages"`
			}
			var seen struct {
				Kernel struct{ Release string }
				Kills  []kill
			}
			result, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(result, &seen); err != nil {
				t.Fatal(err)
			}
			exact := strings.HasPrefix(seen.Kernel.Release, "7.3")
			for _, e := range explained(t, recorded(t, run), explain.Options{}) {
				if e.Victim == nil {
					continue
				}
				i := slices.IndexFunc(seen.Kills, func(k kill) bool { return k.Victim.PID == e.Victim.PID })
				if i < 0 {
					t.Errorf("eBPF did not see the kill of pid %d", e.Victim.PID)
					continue
				}
				kill := seen.Kills[i]
				if e.Agrees == nil || !*e.Agrees {
					t.Errorf("the model does not agree: %s", e.Why)
				}
				if e.TotalPages != nil && kill.TotalPages != *e.TotalPages {
					t.Errorf("total pages %d, the kernel had %d", *e.TotalPages, kill.TotalPages)
				}
				j := slices.IndexFunc(e.Ranking, func(k explain.Ranked) bool { return k.Killed })
				if e.TotalPages == nil || j < 0 || e.Ranking[j].Points == nil || !exact {
					continue
				}
				if strings.Contains(e.Victim.Message, "oom_kill_allocating_task") {
					continue // no scores were computed
				}
				// the table is printed after the choice, and counters may move
				if got := *e.Ranking[j].Points; got < kill.Points-4 || got > kill.Points+4 {
					t.Errorf("%d points from the table, the kernel had %d", got, kill.Points)
				}
				compared++
			}
		})
	}
	if compared < 15 {
		t.Errorf("only %d scores were compared", compared)
	}
}

func TestGolden(t *testing.T) {
	fixture := func(name string) string {
		log, err := os.ReadFile(filepath.Join("../kernel/testdata/oom", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(log)
	}
	changes := func(texts ...string) explain.Options {
		var o explain.Options
		for _, text := range texts {
			c, err := explain.ParseChange(text)
			if err != nil {
				t.Fatal(err)
			}
			o.WhatIf = append(o.WhatIf, c)
		}
		return o
	}
	for _, tt := range []struct {
		name, log string
		o         explain.Options
	}{
		{"adj-outweighs-size", recorded(t, "7.3/memcg-adj-outweighs-size"), changes("victim.oom_score_adj=-600")},
		{"qos-score-not-class", recorded(t, "7.3/qos-score-not-class"), explain.Options{}},
		{"machine", recorded(t, "7.3/system-minus-1000-survives"), changes("without=victim")},
		{"swap", recorded(t, "5.10/memcg-swap-delays-the-kill"), explain.Options{}},
		{"sysrq", recorded(t, "7.3/system-sysrq-f"), explain.Options{}},
		{"panic", recorded(t, "7.3/system-panic-on-oom"), explain.Options{}},
		{"group", fixture("linux-6.18-group.log"), changes("limit=1Gi")},
		{"allocating-task", fixture("linux-6.1-allocating-task.log"), explain.Options{}},
		{"sacrificed-child", fixture("linux-4.19-global.log"), explain.Options{}},
		{"cpuset", fixture("linux-5.3-cpuset.log"), explain.Options{}},
		{"exiting", fixture("linux-7.3-exiting.log"), explain.Options{}},
		{"kubernetes", kubeLog, changes("1204.oom_score_adj=-997", "limit=512Mi", "without=99")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			for i, e := range explained(t, tt.log, tt.o) {
				if err := explain.Text(&b, i+1, e, explain.TextOptions{}); err != nil {
					t.Fatal(err)
				}
				b.WriteString("\n")
				if err := explain.JSON(&b, e); err != nil {
					t.Fatal(err)
				}
			}
			golden(t, tt.name+".golden", b.Bytes())
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("%s:%d differs (go test -update writes it anew)\n got: %s\nwant: %s", file, i+1,
				strings.Join(g[min(i, len(g)):min(i+1, len(g))], ""), strings.Join(w[min(i, len(w)):min(i+1, len(w))], ""))
		}
	}
}

// kubeLog is what a node of Kubernetes with the systemd driver prints.
const kubeLog = `[ 1000.000001] java invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=936
[ 1000.000002] CPU: 1 PID: 1204 Comm: java Not tainted 6.1.0-18-amd64 #1  Debian 6.1.76-1
[ 1000.000003] memory: usage 262144kB, limit 262144kB, failcnt 77
[ 1000.000004] swap: usage 0kB, limit 9007199254740988kB, failcnt 0
[ 1000.000005] Memory cgroup stats for /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice/cri-containerd-00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff.scope:
[ 1000.000006] anon 167772160\x0afile 92274688\x0akernel 8388608\x0akernel_stack 524288\x0apagetables 1048576\x0ashmem 83886080\x0afile_dirty 0\x0aslab_unreclaimable 2097152
[ 1000.000007] Tasks state (memory values in pages):
[ 1000.000008] [  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name
[ 1000.000009] [   1190]     0  1190      242        1    28672        0          -998 pause
[ 1000.000010] [   1204]  1000  1204   900000    31000   614400        0           936 java
[ 1000.000011] [   1260]  1000  1260    90000    12000   204800        0           936 sidecar worker
[ 1000.000012] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=cri-containerd-00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff.scope,mems_allowed=0,oom_memcg=/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice/cri-containerd-00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff.scope,task_memcg=/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice/cri-containerd-00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff.scope,task=java,pid=1204,uid=1000
[ 1000.000013] Memory cgroup out of memory: Killed process 1204 (java) total-vm:3600000kB, anon-rss:120000kB, file-rss:4000kB, shmem-rss:0kB, UID:1000 pgtables:600kB oom_score_adj:936
`

// TestTextFitsAndIsPlain: 80 columns, and nothing of a log that a terminal
// would obey.
func TestTextFitsAndIsPlain(t *testing.T) {
	hostile := strings.ReplaceAll(kubeLog, "sidecar worker", "\x1b[31msidecar\x9b worker 𝔘𝔫𝔦 of a very long name")
	for _, log := range []string{kubeLog, hostile, recorded(t, "7.3/qos-score-not-class")} {
		for i, e := range explained(t, log, explain.Options{}) {
			var b bytes.Buffer
			if err := explain.Text(&b, i+1, e, explain.TextOptions{All: true}); err != nil {
				t.Fatal(err)
			}
			fits(t, b.String())
		}
	}
}

func fits(t testing.TB, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		// rows of the ranking are as wide as their numbers
		if n := len([]rune(line)); n > 80 && !strings.Contains(line, "..") && !strings.HasPrefix(line, "  ") {
			t.Errorf("%d columns: %s", n, line)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }) {
			t.Errorf("control characters: %q", line)
		}
	}
}

// TestAnEarlierVictimIsPassedOver: a process that an earlier report killed and
// that is still in the table has been reaped.
func TestAnEarlierVictimIsPassedOver(t *testing.T) {
	again := strings.NewReplacer("[ 1000.", "[ 1003.", "task=java,pid=1204,uid=1000", "task=sidecar worker,pid=1260,uid=1000",
		"Killed process 1204 (java)", "Killed process 1260 (sidecar worker)").Replace(kubeLog)
	all := explained(t, kubeLog+again, explain.Options{})
	if len(all) != 2 {
		t.Fatalf("%d reports, want 2", len(all))
	}
	e := all[1]
	if e.Agrees == nil || !*e.Agrees || e.ReplayedVictimPID == nil || *e.ReplayedVictimPID != 1260 {
		t.Errorf("agrees %v, replayed %v; want pid 1260: %s", e.Agrees, e.ReplayedVictimPID, e.Why)
	}
	i := slices.IndexFunc(e.Ranking, func(k explain.Ranked) bool { return k.PID == 1204 })
	if want := "was killed before, at 1000.000001"; e.Ranking[i].Never != want {
		t.Errorf("never %q, want %q", e.Ranking[i].Never, want)
	}
	if alone := one(t, again, explain.Options{}); alone.Agrees == nil || *alone.Agrees || !strings.Contains(alone.Disagreement, "MMF_OOM_SKIP") {
		t.Errorf("without the earlier report: agrees %v, %q", alone.Agrees, alone.Disagreement)
	}
}

// TestDisagreements: each has a reason of its own.
func TestDisagreements(t *testing.T) {
	other := strings.NewReplacer("task=java,pid=1204,uid=1000", "task=pause,pid=1190,uid=0", "Killed process 1204 (java)", "Killed process 1190 (pause)")
	for _, tt := range []struct{ name, log, want string }{
		{"unknown", other.Replace(kubeLog), "MMF_OOM_SKIP) or is between vfork and exec"},
		{"close", other.Replace(strings.NewReplacer("    1    28672        0          -998", "30500   614400        0           936").Replace(kubeLog)), "The table is printed after the choice"},
		{"exempt", other.Replace(strings.ReplaceAll(kubeLog, "-998", "-1000")), "may never be chosen (oom_score_adj -1000)"},
		{"unsigned", other.Replace(strings.ReplaceAll(kubeLog, "6.1.0-18-amd64", "5.8.0-rc4-next-20200710")), "compares signed scores as unsigned numbers"},
		{"nobody", strings.NewReplacer("936", "-1000", "-998", "-1000").Replace(kubeLog), "no process of the table may be killed by the rules, and yet one was"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := one(t, tt.log, explain.Options{})
			switch {
			case e.Agrees == nil || *e.Agrees:
				t.Errorf("agrees: %v", e.Agrees)
			case !strings.Contains(e.Disagreement, tt.want):
				t.Errorf("%q does not say %q", e.Disagreement, tt.want)
			}
		})
	}
}
