package explain_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/explain"
)

// at reads one value of an explanation by its JSON path: "ranking.0.points".
func at(t *testing.T, e explain.Explanation, path string) string {
	t.Helper()
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		t.Fatal(err)
	}
	for key := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			i := -1
			if _, err := fmt.Sscan(key, &i); err != nil || i < 0 || i >= len(x) {
				return "absent"
			}
			v = x[i]
		default:
			return "absent"
		}
	}
	if v == nil {
		return "absent"
	}
	return fmt.Sprint(v)
}

// TestFaults holds small reports, each of one kind of difficulty, against what is
// right for them.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		file string
		want map[string]string
		why  []string // words of Why
		not  []string // words that must not be there
	}{
		{"02-root-discount-vs-printed-score.log", map[string]string{"agrees": "true", "ranking.0.points": "10000",
			"ranking.0.root_bonus": "absent",
			"total_pages":          "10000", "said_twice.0.what": "score", "said_twice.0.row": "1000",
			"said_twice.0.kill_line": "1000"},
			[]string{"lacks CAP_SYS_ADMIN"}, nil},
		{"04-2.6.3x-kill-without-sizes.log", map[string]string{"outcome": "killed", "victim.pid": "20",
			"victim.comm": "app", "agrees": "absent", "global": "true"},
			nil, []string{"nobody"}},
		{"05-killed-nobody-though-summary.log", map[string]string{"outcome": "chosen", "chosen.pid": "20",
			"chosen.comm": "app", "victim": "absent"},
			[]string{"app (pid 20) was chosen", "does not show the kill"}, []string{"nobody"}},
		{"06-unknown-table-column.log", map[string]string{"agrees": "absent", "ranking.0.points": "absent",
			"ranking.1.points":    "absent",
			"replayed_victim_pid": "absent", "victim.pid": "20"}, []string{"columns that are not known ((01)nrss)"},
			[]string{"by the rules"}},
		{"07-memsw-limit.log", map[string]string{"limit_hit": "memory+swap", "memory.swap_used_pages": "5480",
			"would_have_saved.limit.counter":     "memory+swap",
			"would_have_saved.limit.limit_bytes": fmt.Sprint((81920 + 4) << 10)},
			[]string{"memory and swap together of 80Mi (memory alone: 58.6Mi of 64Mi)"},
			[]string{"reached its limit of 64Mi"}},
		{"08-lowmem-not-fragmented.log", map[string]string{"agrees": "true", "memory.free.0.zone": "Normal",
			"memory.free.0.why": "watermark", "memory.free.0.free_bytes": fmt.Sprint(3600 << 10),
			"memory.free.0.watermark_bytes": fmt.Sprint(3732 << 10), "memory.free.1.why": "zone", "victim.pid": "21",
			"replayed_victim_pid": "20"},
			[]string{"zone HighMem, which gfp_mask 0xd0 cannot use", "fragmentation is not the reason",
				"sh (pid 20) was chosen because it asked", "child sleep (pid 21)"}, []string{"was fragmented"}},
		{"09a-free-is-cma.log", map[string]string{"outcome": "nobody", "panic_on_oom": "1",
			"memory.free.0.why": "watermark", "memory.free.0.usable_bytes": fmt.Sprint(5176 << 10),
			"memory.free.0.watermark_bytes": fmt.Sprint(5396 << 10)},
			[]string{"CMA, which only movable memory may use"}, []string{"does not show why"}},
		{"10-thread-on-kill-line.log", map[string]string{"agrees": "true", "victim.pid": "20",
			"victim.sacrifice_child": "absent", "replayed_victim_pid": "20",
			"ranking.0.points": "61055", "total_pages_range.min": "60000", "total_pages_range.max": "60034"}, nil,
			[]string{"in its place", "pid 27"}},
		{"11-5.4.3-pgtables-unit.log", map[string]string{"agrees": "true", "victim.pgtables_kb": "97076",
			"memory.page_tables_pages": "24269", "memory.unaccounted_pages": "3",
			"ranking.0.points": "24598"}, []string{"94.8Mi of 100Mi was page tables"}, []string{"Gi"}},
		{"12-swapoff-origin.log", map[string]string{"agrees": "true", "replayed_victim_pid": "4100",
			"ranking.0.origin": "true", "ranking.0.pid": "4100"},
			[]string{"OOM_FLAG_ORIGIN"}, []string{"by the rules"}},
		{"14-cut-cgroup-path.log", map[string]string{"kubernetes.pod_uid": "11111111-2222-3333-4444-555555555555",
			"kubernetes.container_id": strings.Repeat("1", 64),
			"kubernetes.limit":        "pod", "complete": "false"}, []string{"memory.oom.group is set"},
			[]string{"pod ,"}},
		{"15-64k-pages-head-lost.log", map[string]string{"global": "true", "page_size": "65536",
			"total_pages": "31198", "ranking.0.points": "2059", "ranking.0.pgtables": "6",
			"panic_on_oom": "2", "outcome": "nobody", "complete": "false"}, nil, nil},
		{"21a-scope-in-stack-trace.log", map[string]string{"global": "false", "outcome": "nobody"},
			[]string{"memory cgroup"}, []string{"whether"}},
		{"22-victim-row-missing-kill-line-suffices.log", map[string]string{"agrees": "true", "ranking.0.pid": "4511",
			"ranking.0.points": "821610", "ranking.0.from_kill_line": "true",
			"ranking.1.points": "370371", "complete": "false", "would_have_saved.oom_score_adj.oom_score_adj": "89"},
			nil, nil},
		{"23-usage-far-below-limit.log", map[string]string{"outcome": "chosen", "chosen.pid": "99",
			"chosen.comm": "php", "limit_hit": "absent"},
			[]string{"20 % of its limit of 256Mi", "does not show the kill"}, []string{"reached its limit", "nobody"}},
		{"24a-dropped-lines-called-complete.log", map[string]string{"complete": "false", "agrees": "true"},
			[]string{"that the log still shows"}, nil},
	} {
		t.Run(tt.file, func(t *testing.T) {
			log, err := os.ReadFile("../oomlog/testdata/faults/" + tt.file)
			if err != nil {
				t.Fatal(err)
			}
			e := one(t, string(log), explain.Options{})
			for path, want := range tt.want {
				if got := at(t, e, path); got != want {
					t.Errorf("%s: %s, want %s", path, got, want)
				}
			}
			var text strings.Builder
			if err := explain.Text(&text, 1, e, explain.TextOptions{}); err != nil {
				t.Fatal(err)
			}
			for _, words := range tt.why {
				if !strings.Contains(e.Why, words) {
					t.Errorf("%q is not in: %s", words, e.Why)
				}
			}
			for _, words := range tt.not {
				if strings.Contains(text.String(), words) {
					t.Errorf("%q is in: %s", words, text.String())
				}
			}
			fits(t, text.String())
		})
	}
}

// memcg415 is a report of a cgroup v1 kernel that prints scores, with what differs
// put in.
func memcg415(release, memory, memsw, row, score string) string {
	return "app invoked oom-killer: gfp_mask=0x14000c0(GFP_KERNEL), nodemask=(null), order=0, oom_score_adj=0\n" +
		"CPU: 0 PID: 20 Comm: app Not tainted " + release + " #1\nTask in /x killed as a result of limit of /x\n" +
		"memory: " + memory + "\nmemory+swap: " + memsw + "\n" +
		"[ pid ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name\n" + row + "\n" +
		"Memory cgroup out of memory: Kill process 20 (app) score " + score + " or sacrifice child\n" +
		"Killed process 20 (app) total-vm:80000kB, anon-rss:39600kB, file-rss:0kB, shmem-rss:0kB\n"
}

// TestThePrintedScoreSettles what root was forgiven, and how large the domain is.
func TestThePrintedScoreSettles(t *testing.T) {
	const full, open = "usage 40000kB, limit 40000kB, failcnt 9", "usage 40000kB, limit 9007199254740988kB, failcnt 0"
	const row = "[   20]     0    20    20000     9900   409600        0             0 app"
	for _, tt := range []struct {
		name, log string
		want      map[string]string
		why       string
	}{
		{"root without the capability", memcg415("4.15.0", full, "usage 40000kB, limit 40000kB, failcnt 9", row,
			"1000"),
			map[string]string{"ranking.0.points": "10000", "agrees": "true"}, "lacks CAP_SYS_ADMIN"},
		{"root with it, 3 % of its own", memcg415("4.15.0", full, "usage 40000kB, limit 40000kB, failcnt 9", row,
			"970"),
			map[string]string{"ranking.0.points": "9700", "ranking.0.root_bonus": "300", "agrees": "true"},
			"has CAP_SYS_ADMIN"},
		{"root with it, 30 of its adjustment", memcg415("3.10.0", full, "usage 40000kB, limit 40000kB, failcnt 9", row,
			"970"),
			map[string]string{"ranking.0.points": "9700", "agrees": "true"}, "has CAP_SYS_ADMIN"},
		{"the total with swap", memcg415("4.15.0", full, open, strings.Replace(row, "     0    20", "  1000    20", 1),
			"500"),
			map[string]string{"total_pages_range.min": "19961", "total_pages_range.max": "20000", "agrees": "true"},
			""},
		{"a score that fits nothing", memcg415("4.15.0", full, "usage 40000kB, limit 40000kB, failcnt 9", row, "77"),
			map[string]string{"said_twice.0.differ": "true", "said_twice.0.believed": "kill line",
				"said_twice.0.kill_line": "77"}, ""},
		{"no rule since 4.17", memcg415("4.18.0", full, "usage 40000kB, limit 40000kB, failcnt 9", row, "1000"),
			map[string]string{"ranking.0.points": "10000", "root_note": "absent"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := one(t, tt.log, explain.Options{})
			for path, want := range tt.want {
				if got := at(t, e, path); got != want {
					t.Errorf("%s: %s, want %s", path, got, want)
				}
			}
			if !strings.Contains(e.Why, tt.why) {
				t.Errorf("%q is not in: %s", tt.why, e.Why)
			}
		})
	}
}

// TestSaved: with the limit and the adjustment that are given the victim lives, and
// with a little less it does not.
func TestSaved(t *testing.T) {
	e := one(t, kubeLog, explain.Options{})
	if e.Saved == nil || e.Saved.Limit == nil || e.Saved.Adj == nil {
		t.Fatalf("saved: %+v", e.Saved)
	}
	if got, want := int64(e.Saved.Limit.Limit), int64(262144<<10+4096); got != want {
		t.Errorf("limit %d, want %d", got, want)
	}
	for adj, dies := range map[int]int{e.Saved.Adj.Adj: 1260, e.Saved.Adj.Adj + 1: 1204} {
		c, err := explain.ParseChange(fmt.Sprintf("java.oom_score_adj=%d", adj))
		if err != nil {
			t.Fatal(err)
		}
		w := one(t, kubeLog, explain.Options{WhatIf: []explain.Change{c}}).WhatIf
		if w.VictimPID == nil || *w.VictimPID != dies {
			t.Errorf("with oom_score_adj %d: %s", adj, w.Text)
		}
	}
}

// TestWhatIf has a row for each kind of change.
func TestWhatIf(t *testing.T) {
	noSwap := strings.ReplaceAll(kubeLog, "limit 9007199254740988kB", "limit 0kB")
	for _, tt := range []struct {
		log, change string
		victim      int // 0: nobody
		words       string
	}{
		{kubeLog, "java.oom_score_adj=0", 1260, "would have been killed"},
		{kubeLog, "comm=java.oom_score_adj=0", 1260, "would have been killed"},
		{kubeLog, "pid=1204.oom_score_adj=0", 1260, "would have been killed"},
		{noSwap, "without=comm=sidecar worker", 1204, "up to 46.9Mi more would have been free"},
		{noSwap, "memory.max=1Gi", 1204, "1Gi would not have been full yet"},
		{noSwap, "memory.swap.max=1Gi", 1204, "up to 1Gi could have been swapped out first"},
		{noSwap, "swap=1Gi", 1204, "up to 1Gi could have been swapped out first"},
		{noSwap, "memory.oom.group=1", 1204, "all 3 processes"},
		{noSwap, "memory.oom.group=0", 1204, "died alone"},
		{noSwap, "panic_on_oom=1", 1204, "not for a cgroup"},
		{noSwap, "panic_on_oom=2", 0, "would have panicked"},
		{noSwap, "without=sidecar worker", 1204, "up to 46.9Mi more would have been free"},
		{arm64, "panic_on_oom=1", 0, "would have panicked"},
		{arm64, "swap=2Gi", 900, "could have been swapped out"},
		{strings.Replace(arm64, "db", "stress", 1), "stress.oom_score_adj=-1000", 0, "Nobody could have been killed"},
	} {
		c, err := explain.ParseChange(tt.change)
		if err != nil {
			t.Fatal(err)
		}
		w := one(t, tt.log, explain.Options{WhatIf: []explain.Change{c}}).WhatIf
		got := 0
		if w.VictimPID != nil {
			got = *w.VictimPID
		}
		if got != tt.victim || !strings.Contains(w.Text, tt.words) || w.Errors != nil {
			t.Errorf("%s: pid %d, %q, %q; want pid %d, %q", tt.change, got, w.Text, w.Errors, tt.victim, tt.words)
		}
	}
	if w := one(t, memcg415("4.15.0", "usage 1kB, limit 1kB, failcnt 9", "usage 1kB, limit 1kB, failcnt 9", "", "1"),
		explain.Options{WhatIf: []explain.Change{mustChange(t, "memory.oom.group=1")}}).WhatIf; len(w.Errors) != 1 ||
		!strings.Contains(w.Errors[0], "cgroup v1") {
		t.Errorf("on cgroup v1: %+v", w)
	}
}

func mustChange(t *testing.T, s string) explain.Change {
	t.Helper()
	c, err := explain.ParseChange(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
