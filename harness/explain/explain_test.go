package explain_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
	"github.com/oomlab/oomlab/harness/predict"
)

// explained explains all reports of a log.
func explained(t testing.TB, log string, o explain.Options) []explain.Explanation {
	t.Helper()
	x := explain.Explainer{Options: o}
	var out []explain.Explanation
	for r, err := range oomlog.Reports(strings.NewReader(log)) {
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
			fmt.Fprintf(&log, "[%5d.%06d] %s\n", e.Log.USec/1e6, e.Log.USec%1e6, strings.ReplaceAll(e.Log.Text, "\n",
				`\x0a`))
		}
	}
	return log.String()
}

const recordings = "../verdict/testdata"

// witnessed is what eBPF programs saw of the kills of a recorded run: by the
// victim's pid, the choice and the kill.
type witnessed struct {
	chosen, killed map[int]*evidence.OOM
	scanned        map[uint64]map[int]*evidence.OOM // by decision and pid
	begins         map[uint64]int64                 // when a decision began
	ready          map[int]int64                    // when a stressor had done its steps; 0: never
}

// growing reports whether a stressor still took memory when a victim was chosen: by the
// table, which is printed later, it has more.
func (w *witnessed) growing(decision uint64, pid int) bool {
	at, ok := w.ready[pid]
	return ok && (at == 0 || at > w.begins[decision])
}

func witness(t *testing.T, run string) witnessed {
	t.Helper()
	f, err := os.Open(filepath.Join(recordings, run, "events.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	events, err := evidence.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	w := witnessed{map[int]*evidence.OOM{}, map[int]*evidence.OOM{}, map[uint64]map[int]*evidence.OOM{},
		map[uint64]int64{}, map[int]int64{}}
	for _, e := range events {
		switch {
		case e.Kind == evidence.Ready:
			w.ready[e.PID] = e.AtNS
		case e.Kind == evidence.Spawned && w.ready[e.PID] == 0:
			w.ready[e.PID] = 0
		case e.OOM != nil && (w.begins[e.OOM.Decision] == 0 || e.AtNS < w.begins[e.OOM.Decision]):
			w.begins[e.OOM.Decision] = e.AtNS
		}
		if e.OOM == nil || e.OOM.Task == nil {
			continue
		}
		pid := e.OOM.Task.PID
		switch e.Kind {
		case evidence.Badness:
			if w.scanned[e.OOM.Decision] == nil {
				w.scanned[e.OOM.Decision] = map[int]*evidence.OOM{}
			}
			w.scanned[e.OOM.Decision][pid] = e.OOM
		case evidence.KillDecision:
			w.chosen[pid] = e.OOM
		case evidence.Kill:
			if _, twice := w.killed[pid]; !twice {
				w.killed[pid] = e.OOM
			}
		}
	}
	return w
}

// reads are the counters that the kernel of a recording prints: from 7.0 on the
// exact ones.
func reads(release string, mm *evidence.MM) evidence.Counts {
	if v, err := kernel.ParseVersion(release); err == nil && v.AtLeast(7, 0) {
		return mm.Exact
	}
	return mm.Batched
}

// lag is how far a counter may move between two looks at it, in pages: what a
// CPU or a thread keeps back.
const lag = 64

func near(a, b kernel.Pages) bool { return a-b <= lag && b-a <= lag }

// follows is near for the table, which is printed after the scan: meanwhile
// whoever does not wait for memory goes on taking it.
func follows(scan, table kernel.Pages) bool { return scan-table <= lag && table-scan <= 4*lag }

// TestLogsSayWhatEBPFSaw holds every report that is read from a recorded kernel
// log against what eBPF programs saw in the kernel at the same time: who asked
// and for what, what ran out, each candidate and its score, who was killed and
// what it held.
func TestLogsSayWhatEBPFSaw(t *testing.T) {
	runs, err := filepath.Glob(filepath.Join(recordings, "*", "*", "result.json"))
	if err != nil || len(runs) < 20 {
		t.Fatalf("%d recorded runs, %v", len(runs), err)
	}
	reports, rows, scores := map[string]int{}, 0, 0
	for _, file := range runs {
		run, _ := filepath.Rel(recordings, filepath.Dir(file))
		t.Run(run, func(t *testing.T) {
			saw := witness(t, run)
			if len(saw.scanned) == 0 && len(saw.chosen) == 0 && strings.Contains(recorded(t, run), "Killed process") {
				t.Skip("eBPF saw victims only")
			}
			for _, e := range explained(t, recorded(t, run), explain.Options{}) {
				if e.Victim == nil {
					continue
				}
				limited := e.Trigger.Comm == "" && len(e.Ranking) == 0 // the rate limit left the line of the kill
				if chosen := saw.chosen[e.Victim.PID]; !limited && (e.Agrees == nil || !*e.Agrees && !(chosen != nil &&
					saw.growing(chosen.Decision, *e.ReplayedVictimPID) &&
					strings.Contains(e.Disagreement, "printed after the choice"))) {
					t.Errorf("the model does not agree: %s", e.Why)
				}
				for _, k := range e.Kills {
					killed, ok := saw.killed[k.PID]
					if !ok {
						t.Errorf("eBPF did not see the kill of pid %d", k.PID)
						continue
					}
					sameKill(t, e.KernelRelease, k, killed)
				}
				chosen, ok := saw.chosen[e.Victim.PID]
				if !ok {
					t.Errorf("eBPF did not see that pid %d was chosen", e.Victim.PID)
					continue
				}
				if limited {
					continue
				}
				sameCircumstances(t, e, chosen)
				if strings.Contains(e.Victim.Message, "oom_kill_allocating_task") {
					continue // nobody was looked at
				}
				kernelDir, _, _ := strings.Cut(run, "/")
				reports[kernelDir]++
				for _, k := range e.Ranking {
					looked, ok := saw.scanned[chosen.Decision][k.PID]
					if !ok {
						t.Errorf("eBPF did not see that %s (pid %d) was looked at", k.Comm, k.PID)
						continue
					}
					if saw.growing(chosen.Decision, k.PID) && looked.Task.Comm == "stressor" {
						continue // it has yet to take its name and its oom_score_adj
					}
					rows++
					task, counts := looked.Task, reads(e.KernelRelease, looked.Task.MM)
					if killed := saw.killed[e.Victim.PID]; killed != nil && killed.Task.MM != nil &&
						killed.Task.MM.Batched.Shmem < chosen.Task.MM.Batched.Shmem {
						continue // kswapd took pages that all share before the table was printed
					}
					rss := max(0, counts.Anon) + max(0, counts.File) + max(0, counts.Shmem)
					if task.Comm != k.Comm || task.UID != int(k.UID) || task.Adj != k.Adj ||
						task.MM.PgTables.Pages(e.PageSize) != k.PgTables ||
						!near(counts.Swap, k.Swap) || !follows(rss, k.RSS) {
						t.Errorf("%+v\nwhere eBPF saw %+v, %+v", k, *task, *task.MM)
					}
					if looked.Points != nil && (*looked.Points == predict.Never) != (k.Never != "") {
						t.Errorf("pid %d: never %q, where eBPF saw the score %d", k.PID, k.Never, *looked.Points)
					}
					if looked.Points == nil || k.Points == nil || e.TotalPages == nil {
						continue
					}
					scores++
					if !follows(kernel.Pages(*looked.Points), kernel.Pages(*k.Points)) {
						t.Errorf("pid %d: %d points from the table, the kernel had %d", k.PID, *k.Points,
							*looked.Points)
					}
				}
			}
		})
	}
	t.Logf("reports by kernel: %v; %d rows, %d scores", reports, rows, scores)
	for _, name := range []string{"5.10", "5.10-v1", "6.1", "6.1-v1", "6.12", "6.18", "7.3"} {
		if reports[name] < 4 {
			t.Errorf("%s: only %d reports were compared", name, reports[name])
		}
	}
	if rows < 200 || scores < 60 {
		t.Errorf("only %d rows and %d scores were compared", rows, scores)
	}
}

// sameKill compares a "Killed process" line with the task that eBPF saw killed.
func sameKill(t *testing.T, release string, k oomlog.KillLine, saw *evidence.OOM) {
	t.Helper()
	task := saw.Task
	if k.Comm != task.Comm || k.UID == nil || int(*k.UID) != task.UID || k.Adj == nil || *k.Adj != task.Adj ||
		k.Message != saw.Message {
		t.Errorf("%+v, where eBPF saw %+v, %q", k, *task, saw.Message)
	}
	pages := func(kb *uint64) kernel.Pages { return kernel.Pages(*kb / 4) }
	counts := reads(release, task.MM)
	for name, pair := range map[string][2]kernel.Pages{
		"total-vm": {pages(k.TotalVMKB), task.MM.TotalVM}, "anon-rss": {pages(k.AnonRSSKB), counts.Anon},
		"file-rss": {pages(k.FileRSSKB), max(0, counts.File)}, "shmem-rss": {pages(k.ShmemRSSKB), counts.Shmem},
		"pgtables": {pages(k.PgTablesKB), task.MM.PgTables.Pages(4096)},
	} {
		if !near(pair[0], pair[1]) {
			t.Errorf("pid %d: %s of %d pages, where eBPF saw %d", k.PID, name, pair[0], pair[1])
		}
	}
}

// runCgroup is the cgroup of a run: at the root, below the agent's service in a userland, or
// below the slice of runs with units.
var runCgroup = regexp.MustCompile(`^(/oomlab-agent\.service|/oomlab\.slice)?/oomlab-[^/]+/`)

// containerNode is the cgroup of a node that is a container.
var containerNode = regexp.MustCompile(`^/docker/[0-9a-f]{64}`)

// sameCircumstances compares who asked, for what, and what had run out.
func sameCircumstances(t *testing.T, e explain.Explanation, saw *evidence.OOM) {
	t.Helper()
	if e.Trigger.PID == nil || *e.Trigger.PID != saw.Current.PID || e.Trigger.Comm != saw.Current.Comm {
		t.Errorf("the trigger is %s (%v), where eBPF saw %+v", e.Trigger.Comm, e.Trigger.PID, saw.Current)
	}
	control := saw.Control
	// a run's cgroups are below one of its own, which its events leave out
	memcg := runCgroup.ReplaceAllString(e.OOMMemcg, "/")
	memcg = containerNode.ReplaceAllString(memcg, "") // the paths of eBPF's events are the node's own
	constraint := map[string]string{"none": "CONSTRAINT_NONE", "memcg": "CONSTRAINT_MEMCG"}[control.Constraint]
	if constraint == "" || e.Constraint != constraint || memcg != control.Memcg {
		t.Errorf("%s of %q, where eBPF saw %s of %q", e.Constraint, e.OOMMemcg, control.Constraint, control.Memcg)
	}
	if e.Trigger.Order == nil || *e.Trigger.Order != control.Order || e.Trigger.GFPMask == nil ||
		*e.Trigger.GFPMask != uint64(control.GFP) {
		t.Errorf("%+v, where eBPF saw gfp %#x and order %d", e.Trigger, control.GFP, control.Order)
	}
	switch total := control.TotalPages; {
	case e.TotalPages != nil && *e.TotalPages != total:
		t.Errorf("total pages %d, the kernel had %d", *e.TotalPages, total)
	case total < e.TotalRange.Min || e.TotalRange.Max != nil && total > *e.TotalRange.Max:
		t.Errorf("total pages within %+v, the kernel had %d", e.TotalRange, total)
	}
}

func TestGolden(t *testing.T) {
	fixture := func(name string) string {
		log, err := os.ReadFile(filepath.Join("../oomlog/testdata", name))
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
			golden.File(t, "testdata/"+tt.name+".golden", b.Bytes())
		})
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
	again := strings.NewReplacer("[ 1000.", "[ 1003.", "task=java,pid=1204,uid=1000",
		"task=sidecar worker,pid=1260,uid=1000",
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
	if alone := one(t, again, explain.Options{}); alone.Agrees == nil || *alone.Agrees ||
		!strings.Contains(alone.Disagreement, "MMF_OOM_SKIP") {
		t.Errorf("without the earlier report: agrees %v, %q", alone.Agrees, alone.Disagreement)
	}
}

// TestDisagreements: each has a reason of its own.
func TestDisagreements(t *testing.T) {
	other := strings.NewReplacer("task=java,pid=1204,uid=1000", "task=pause,pid=1190,uid=0",
		"Killed process 1204 (java)", "Killed process 1190 (pause)")
	for _, tt := range []struct{ name, log, want string }{
		{"unknown", other.Replace(kubeLog), "MMF_OOM_SKIP) or is between vfork and exec"},
		{"close", other.Replace(strings.NewReplacer("    1    28672        0          -998",
			"30500   614400        0           936").Replace(kubeLog)), "The table is printed after the choice"},
		{"exempt", other.Replace(strings.ReplaceAll(kubeLog, "-998", "-1000")),
			"may never be chosen (oom_score_adj -1000)"},
		{"unsigned", other.Replace(strings.ReplaceAll(kubeLog, "6.1.0-18-amd64", "5.8.0-rc4-next-20200710")),
			"compares signed scores as unsigned numbers"},
		{"nobody", strings.NewReplacer("936", "-1000", "-998", "-1000").Replace(kubeLog),
			"no process of the table may be killed by the rules, and yet one was"},
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
