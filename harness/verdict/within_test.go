package verdict_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/verdict"
)

// What a machine would add to the pids and paths of a node that is a container on it.
const (
	morePID = 20000
	above   = "/docker/4c1d9e0f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f4a3b2c1d"
)

// Where the kernel log has pids and paths.
var (
	logPIDs    = regexp.MustCompile(`(Killed process |pid=|PID: |process )(\d+)|(pid: )(\d+)`)
	logRow     = regexp.MustCompile(`^\[ *(\d+)\] +(\d+) +(\d+)`)
	logPath    = regexp.MustCompile(`(oom_memcg=|task_memcg=|Memory cgroup stats for |Tasks in )(/[^,: ]*)`)
	kubeletPID = regexp.MustCompile(`"Pid":\d+`)
	number     = regexp.MustCompile(`\d+`)
)

func moreOf(pid string) string {
	n, _ := strconv.Atoi(pid)
	return strconv.Itoa(n + morePID)
}

// logWithin is a line of the kernel log as the machine prints it.
func logWithin(text string) string {
	if logRow.MatchString(text) {
		head := logRow.FindString(text)
		fields := number.FindAllString(head, 3)
		return "[" + moreOf(fields[0]) + "] " + fields[1] + " " + moreOf(fields[2]) + text[len(head):]
	}
	text = logPIDs.ReplaceAllStringFunc(text, func(s string) string { return number.ReplaceAllStringFunc(s, moreOf) })
	return logPath.ReplaceAllStringFunc(text, func(s string) string {
		m := logPath.FindStringSubmatch(s)
		return m[1] + strings.TrimSuffix(above+m[2], "/")
	})
}

// within is a run on a node as it would be if the node were a container: eBPF and the
// kernel log have other pids and longer paths, all others tell the same.
func within(t *testing.T, in verdict.Input) verdict.Input {
	t.Helper()
	data, err := json.Marshal(in.Events)
	if err != nil {
		t.Fatal(err)
	}
	in.Events = nil
	if err := json.Unmarshal(data, &in.Events); err != nil {
		t.Fatal(err)
	}
	more := func(id *evidence.TaskID) {
		id.NSTGID = id.TGID
		id.PID, id.TGID = id.PID+morePID, id.TGID+morePID
	}
	for i := range in.Events {
		e := &in.Events[i]
		if e.OOM != nil {
			more(&e.OOM.Current)
			if e.OOM.Task != nil {
				more(&e.OOM.Task.TaskID)
				e.PID += morePID
			}
		}
		if e.Log != nil {
			e.Log.Text = logWithin(e.Log.Text)
		}
		if e.Happened != nil {
			e.Happened.Message = logWithin(e.Happened.Message)
		}
		if e.Kind == evidence.KubeletLine {
			e.Text = kubeletPID.ReplaceAllStringFunc(e.Text,
				func(s string) string { return number.ReplaceAllStringFunc(s, moreOf) })
		}
	}
	in.Machine.Namespaces = []string{kernel.PIDNamespace, kernel.CgroupNamespace}
	in.Meta.Machine = in.Machine
	return in
}

// onNodes are runs on nodes: those that were recorded, and some that are played.
func onNodes(t *testing.T) map[string]verdict.Input {
	t.Helper()
	out := played(t)
	for name, in := range recordings(t) {
		if in.Plan.On != nil && len(in.Machine.Namespaces) == 0 {
			out[name] = in
		}
	}
	return out
}

// TestANodeThatIsAContainer: the verdict does not depend on whether a node is a
// machine or a container on one.
func TestANodeThatIsAContainer(t *testing.T) {
	for name, in := range onNodes(t) {
		plain, got := verdict.Judge(in), verdict.Judge(within(t, in))
		if plain.Verdict != verdict.Pass || got.Verdict != verdict.Pass {
			t.Errorf("%s: %s (%s), and in a container %s (%s) %v", name, plain.Verdict, plain.Reason, got.Verdict,
				got.Reason, got.Disagreements)
			continue
		}
		if len(got.Kills) != len(plain.Kills) {
			t.Errorf("%s: %d kills, and %d in a container", name, len(plain.Kills), len(got.Kills))
			continue
		}
		for i, want := range plain.Kills {
			k := got.Kills[i]
			if k.Victim.PID != want.Victim.PID+morePID || k.Victim.Process != want.Victim.Process ||
				k.Victim.Cgroup != want.Victim.Cgroup || k.OOMMemcg != want.OOMMemcg ||
				k.Trigger.Process != want.Trigger.Process || !slices.Equal(k.Sources, want.Sources) {
				t.Errorf("%s: kill %d is %+v, and in a container %+v", name, i, want, k)
			}
		}
	}
}

// TestWhatANodeThatIsAContainerCannotBe: pids and paths of the machine are no excuse
// for what does not fit.
func TestWhatANodeThatIsAContainerCannotBe(t *testing.T) {
	in := onNodes(t)["kube-1.36/three-classes-in-order"]
	for name, tt := range map[string]struct {
		want   string
		change func(*evidence.Event)
	}{
		"eBPF says that the victim is outside of the node": {"kill-without-record", func(e *evidence.Event) {
			if e.OOM != nil && e.OOM.Task != nil {
				e.OOM.Task.NSTGID = 0
			}
			if e.OOM != nil {
				e.OOM.Current.NSTGID = 0
			}
		}},
		"the log has another container's path": {"log-differs", func(e *evidence.Event) {
			if e.Log != nil && strings.Contains(e.Log.Text, "/podweb") || e.Log != nil &&
				strings.Contains(e.Log.Text, "task_memcg="+above+"/kubepods/burstable") {
				e.Log.Text = strings.ReplaceAll(e.Log.Text, above, "/docker/another")
			}
		}},
		"the log has the node's path without the machine's": {"log-differs", func(e *evidence.Event) {
			if e.Log != nil && strings.Contains(e.Log.Text, "task_memcg="+above+"/kubepods/burstable") {
				e.Log.Text = strings.ReplaceAll(e.Log.Text, above, "")
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			in := within(t, in)
			for i := range in.Events {
				tt.change(&in.Events[i])
			}
			r := verdict.Judge(in)
			named := slices.ContainsFunc(r.Disagreements,
				func(d verdict.Disagreement) bool { return string(d.Name) == tt.want })
			if r.Verdict != verdict.Broken || !named {
				t.Errorf("%s, %v; want broken with %s", r.Verdict, r.Disagreements, tt.want)
			}
		})
	}
}

// TestARecordedNodeThatIsAContainer: of runs on a node in pid and cgroup namespaces of its
// own, reports have the kernel's pids and the plan's paths, and every witness that is
// there tells of the kill.
func TestARecordedNodeThatIsAContainer(t *testing.T) {
	n := 0
	for name, in := range recordings(t) {
		if in.Plan.On == nil || len(in.Machine.Namespaces) == 0 {
			continue
		}
		n++
		r := verdict.Judge(in)
		if r.Verdict != verdict.Pass || len(r.Kills) == 0 {
			t.Errorf("%s: %s, %d kills, %v", name, r.Verdict, len(r.Kills), r.Disagreements)
		}
		for _, k := range r.Kills {
			nodes, logged := 0, false
			for _, e := range in.Events {
				if e.Kind == evidence.Spawned && e.Process == k.Victim.Process {
					nodes = e.PID
				}
				logged = logged || e.Log != nil && strings.Contains(e.Log.Text,
					"Killed process "+strconv.Itoa(k.Victim.PID)+" (")
			}
			if !logged || nodes == 0 || nodes == k.Victim.PID {
				t.Errorf("%s: %s has pid %d, and on the node %d; in the log: %t", name, k.Victim.Process, k.Victim.PID,
					nodes, logged)
			}
			if !strings.HasPrefix(k.Victim.Cgroup, "/kubepods") || !slices.Contains(k.Sources, evidence.Runtime) ||
				!slices.Contains(k.Sources, evidence.BPF) || !slices.Contains(k.Sources, evidence.Kmsg) ||
				!slices.Contains(k.Sources, evidence.API) {
				t.Errorf("%s: %+v", name, k)
			}
			if k.Constraint == "none" && !slices.Contains(k.Sources, evidence.Kubelet) {
				t.Errorf("%s: the kubelet does not tell of %s", name, k.Victim)
			}
		}
	}
	if n == 0 {
		t.Error("nothing is recorded on such a node")
	}
}
