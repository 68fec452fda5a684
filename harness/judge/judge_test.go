package judge

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/trace"
	"github.com/oomlab/oomlab/harness/verdict"
)

func kill(pid int, comm, cgroup string, own bool) Kill {
	p := trace.Process{PID: pid, Comm: comm, Cgroup: cgroup}
	return Kill{Kill: trace.Kill{By: trace.ByKernel, Victim: p}, Own: &own}
}

// seen is an experiment that all witnesses tell of alike.
func seen(command string, kills ...Kill) Experiment {
	pids := []int{}
	for _, k := range kills {
		pids = append(pids, k.Victim.PID)
	}
	return Experiment{Command: command, Ended: "exit status 0", Kills: kills, Witnesses: []Witness{
		{Name: "eBPF", PIDs: pids, Kills: len(pids)}, {Name: "kernel log", PIDs: pids, Kills: len(pids)},
		{Name: "vmstat", Kills: len(pids)},
	}}
}

func TestJudge(t *testing.T) {
	hog, other := kill(7, "hog", "/app/x", true), kill(8, "redis", "/db", false)
	unknown := kill(10, "maybe", "/app", false)
	unknown.Own = nil
	pod := kill(9, "java", "/kubepods/a", false)
	pod.Victim.Namespace, pod.Victim.Pod = "default", "web-0"
	nowhere, gone := kill(11, "lost", "", false), kill(12, "java", "/kubepods/b", false)
	gone.Victim.Kubernetes = &explain.Kubernetes{PodUID: "b"}
	change := func(e Experiment, f func(*Experiment)) Experiment {
		e.Witnesses = slices.Clone(e.Witnesses)
		f(&e)
		return e
	}
	any := Expectation{Least: 1, Most: -1}
	of := func(victims ...string) Expectation { return Expectation{Victims: victims, Least: 1, Most: -1} }
	for _, c := range []struct {
		name   string
		e      Experiment
		x      Expectation
		want   verdict.Verdict
		reason string // the first
	}{
		{"the hog alone", seen("x", hog), any, verdict.Pass, "1 kill, all of them of what the command started"},
		{"a bystander as well", seen("x", hog, other), any, verdict.Fail,
			"redis[8] in /db was killed, which was not expected"},
		{"a bystander that may be", seen("x", hog, other), of("hog", "/db"),
			verdict.Pass, "2 kills, all of them expected"},
		{"a cgroup above", seen("", hog), of("/app"), verdict.Pass, "1 kill"},
		{"a cgroup beside", seen("", hog), of("/ap"), verdict.Fail, "hog[7]"},
		{"wildcards in a path", seen("", hog), of("/a*/x"), verdict.Pass, "1 kill"},
		{"a pod", seen("", pod), of("default/web-*"), verdict.Pass, "1 kill"},
		{"a pod elsewhere", seen("", pod), of("prod/web-*"), verdict.Fail,
			"java[9] of pod default/web-0 was killed, which was not expected"},
		{"nobody", seen("x"), any, verdict.Fail, "nobody was killed"},
		{"nobody, as expected", seen("x"), Expectation{}, verdict.Pass, "nobody was killed, as expected"},
		{"somebody, though nobody was", seen("x", hog), Expectation{}, verdict.Fail, "1 kill, and at most 0 were expected"},
		{"a victim that was spared", seen("", hog), of("hog", "redis"),
			verdict.Fail, "no victim matches redis"},
		{"too few", seen("x", hog), Expectation{Least: 2, Most: 3}, verdict.Fail, "1 kill, and at least 2 were expected"},
		{"another process in the log", change(seen("x", hog), func(e *Experiment) { e.Witnesses[1].PIDs = []int{8} }), any,
			verdict.Broken, "kernel log tells of kills that eBPF does not: pid 8"},
		{"a kill that the log lacks", change(seen("x", hog), func(e *Experiment) {
			e.Witnesses[1].PIDs, e.Witnesses[1].Kills = []int{}, 0
		}), any, verdict.Broken, "kernel log tells of 0 kills, and there were 1"},
		{"one pid twice", change(seen("x", hog, hog), func(e *Experiment) { e.Witnesses[1].PIDs = []int{7} }), any,
			verdict.Broken, "eBPF tells of kills that kernel log does not: pid 7"},
		{"a kill that only vmstat counted", change(seen("x", hog), func(e *Experiment) { e.Witnesses[2].Kills = 2 }), any,
			verdict.Broken, "vmstat tells of 2 kills, and there were 1"},
		{"events that were lost", change(seen("x", hog), func(e *Experiment) { e.Witnesses[0].Lost = 3 }), any,
			verdict.Broken, "eBPF lost 3 events"},
		{"a group, whose first victim counts twice", change(seen("x", hog, hog), func(e *Experiment) {
			e.Witnesses[2].Kills, e.Witnesses[2].Twice = 3, 1
		}), any, verdict.Pass, "2 kills"},
		{"a group that the counter has once", change(seen("x", hog, hog), func(e *Experiment) {
			e.Witnesses[2].Twice = 1
		}), any, verdict.Broken, "vmstat tells of 1 kill, and there were 2"},
		{"a kill while the counter was read", change(seen("x", hog), func(e *Experiment) {
			e.Witnesses[2].Kills, e.Witnesses[2].Uncertain = 2, 1
		}), any, verdict.Pass, "1 kill"},
		{"more than that", change(seen("x", hog), func(e *Experiment) {
			e.Witnesses[2].Kills, e.Witnesses[2].Uncertain = 3, 1
		}), any, verdict.Broken, "vmstat tells of 3 kills, and there were 1"},
		{"who started it is not known", seen("x", unknown), any, verdict.Broken,
			"it cannot be told whether the command started maybe[10] in /app"},
		{"who started it does not matter", seen("x", unknown), of("maybe"), verdict.Pass, "1 kill"},
		{"interrupted", change(seen("x", hog), func(e *Experiment) { e.Interrupted = true }), any, verdict.Broken,
			"interrupted"},
		{"no log", change(seen("x", hog), func(e *Experiment) {
			e.Witnesses[1] = Witness{Name: "kernel log", Error: "permission denied"}
		}), any, verdict.Pass, "1 kill"},
		{"the log alone", change(seen("x", hog), func(e *Experiment) { e.Witnesses = e.Witnesses[1:2] }), any,
			verdict.Pass, "1 kill, all of them of what the command started; kernel log alone tells of that"},
		{"a time that nobody knows of", change(seen("", hog), func(e *Experiment) {
			e.Unknown = []string{"overwritten"}
		}), of("hog"), verdict.Broken, "overwritten"},
		{"a victim without a cgroup", seen("", hog, nowhere), of("/app"), verdict.Broken,
			"no witness has the cgroup of 1 victim, the first of them lost[11], so that it cannot be told whether /app"},
		{"a victim without a cgroup, by its name", seen("", hog, nowhere), of("/app", "lost"), verdict.Pass, "2 kills"},
		{"a pod whose name is gone", seen("", gone), of("default/web-*"), verdict.Broken,
			"no witness has the pod of 1 victim, the first of them java[12] in /kubepods/b"},
		{"only a counter", change(seen("x", hog), func(e *Experiment) { e.Witnesses = e.Witnesses[2:] }), any,
			verdict.Broken, "no witness names the processes that were killed"},
	} {
		j := Judge(c.e, c.x)
		if j.Verdict != c.want || !strings.HasPrefix(j.Reasons[0], c.reason) {
			t.Errorf("%s: %s, %q; want %s, %q", c.name, j.Verdict, j.Reasons, c.want, c.reason)
		}
		var text, data bytes.Buffer
		if err := Text(&text, j); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text.String()) {
			if len(line) > width+1 {
				t.Errorf("%s: %d columns: %s", c.name, len(line)-1, line)
			}
		}
		if err := JSON(&data, j); err != nil || !json.Valid(data.Bytes()) {
			t.Errorf("%s: %v, %s", c.name, err, data.String())
		}
	}
}

// TestTextEscapes: what a process is called cannot move the cursor.
func TestTextEscapes(t *testing.T) {
	k := kill(7, "a\x1b[2Jb", "/x\ny", false)
	var text bytes.Buffer
	if err := Text(&text, Judge(seen("sh\x1b]0;t\a", k), Expectation{Least: 1, Most: -1})); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(text.String(), "\x1b\a") {
		t.Errorf("%q", text.String())
	}
}

// TestTextSince: after the fact each kill has its time, and nothing is said of signals.
func TestTextSince(t *testing.T) {
	k := kill(7, "hog", "/app", false)
	k.Time = "2026-12-01T10:00:05.25Z"
	e := seen("", k)
	e.Since, e.Seconds = "2026-12-01T10:00:00Z", 9
	var text bytes.Buffer
	if err := Text(&text, Judge(e, Expectation{Least: 1, Most: -1})); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"since     2026-12-01T10:00:00Z, 9.0 s\n", "\n  1  2026-12-01 10:00:05 hog[7] in /app",
		"\nsignals by other processes: nobody watched for them\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, text.String())
		}
	}
}

func TestCheck(t *testing.T) {
	for pattern, ok := range map[string]bool{"": false, "[": false, "a*": true, "/x": true, "ns/pod-?": true,
		"verylongprocessname": false, "verylongprocess*": true, "exactly15bytes1": true, "a/b/c": false, "ns/": false,
		"/a/b/c": true} {
		if err := Check(pattern); (err == nil) != ok {
			t.Errorf("%q: %v", pattern, err)
		}
	}
}
