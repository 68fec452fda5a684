package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/probe"
)

const (
	idMain    = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	idSandbox = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	idOther   = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
)

// paperNode is a node of files: cgroups, bundles and logs as a real one has them.
type paperNode struct {
	t      *testing.T
	dir    string
	w      *podWatch
	events []evidence.Event
}

func (n *paperNode) write(file, text string) {
	n.t.Helper()
	name := filepath.Join(n.dir, file)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		n.t.Fatal(err)
	}
}

// counts is a memory.events with n kills.
func counts(n int) string {
	return fmt.Sprintf("low 0\nhigh 0\nmax 5\noom %d\noom_kill %d\noom_group_kill 0\n", n, n)
}

// container puts a container on the node: its cgroup, and what the runtime wrote.
func (n *paperNode) container(cgroup, id, pod, namespace, name, kind, pid string) {
	n.write(filepath.Join("cgroup", cgroup, id, "memory.events"), counts(0))
	n.write(filepath.Join("cgroup", cgroup, id, "cgroup.procs"), pid+"\n")
	n.write(filepath.Join("cgroup", cgroup, id, "memory.max"), "67108864\n")
	n.write(filepath.Join("cgroup", cgroup, id, "memory.swap.max"), "max\n")
	n.write(filepath.Join("cgroup", cgroup, id, "memory.oom.group"), "1\n")
	n.write(filepath.Join("cgroup", cgroup, "memory.events"), counts(0))
	n.write(filepath.Join("bundles", id, "init.pid"), pid)
	n.write(filepath.Join("bundles", id, "config.json"), `{"annotations": {"io.kubernetes.cri.sandbox-name": "`+pod+
		`", "io.kubernetes.cri.sandbox-namespace": "`+namespace+`", "io.kubernetes.cri.container-name": "`+name+
		`", "io.kubernetes.cri.container-type": "`+kind+`"}}`)
	n.write(filepath.Join("root/proc", pid, "stat"), pid+" (main) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 100 0 0 0\n")
	n.write(filepath.Join("root/proc", pid, "oom_score_adj"), "935\n")
}

func newPaperNode(t *testing.T) *paperNode {
	n := &paperNode{t: t, dir: t.TempDir()}
	n.write("cgroup/kubepods/memory.events", counts(2))
	root := filepath.Join(n.dir, "cgroup")
	o := NodeOptions{Bundles: filepath.Join(n.dir, "bundles"), PodLogs: filepath.Join(n.dir, "logs"),
		KubeletLog: filepath.Join(n.dir, "kubelet.log")}
	n.write("kubelet.log", "an old line about oom\n")
	a := &Agent{
		root: probe.Root(filepath.Join(n.dir, "root")), mount: kernel.CgroupMount{Version: 2, Root: "../cgroup"},
		observers: &observers{}, node: openNode(t.Context(), o, root),
	}
	n.w = a.newPodWatch(
		wire.Watch{Namespace: "oomlab", Pods: map[string]string{"web-1f": "web"},
			Children: []string{"web/main/worker"}},
		nil, func(e evidence.Event) { n.events = append(n.events, e) })
	t.Cleanup(n.w.close)
	n.w.meet(n.w.n.kubepods, &container{plan: kubelet.Root})
	return n
}

// take are the events since the last call, those of one kind.
func (n *paperNode) take(kind evidence.Kind) []evidence.Event {
	var out []evidence.Event
	for _, e := range n.events {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

func TestANodeIsWatched(t *testing.T) {
	n := newPaperNode(t)
	first := n.take(evidence.Reading)
	if len(first) != 1 || first[0].Counter.Cgroup != "/kubepods" || first[0].Counter.Values["oom_kill"] != 2 {
		t.Errorf("the first reading of all pods: %+v", first)
	}
	const pod = "kubepods/burstable/pod6a"
	n.container(pod, idSandbox, "web-1f", "oomlab", "", "sandbox", "70")
	n.container(pod, idMain, "web-1f", "oomlab", "main", "container", "77")
	// runc enters a container before it becomes the program
	runc := filepath.Join(n.dir, "root/proc/77/exe")
	if err := os.Symlink("/memfd:runc_cloned:/proc/self/exe (deleted)", runc); err != nil {
		t.Fatal(err)
	}
	n.w.scan()
	if s := n.take(evidence.Spawned); len(s) != 0 {
		t.Errorf("spawned while runc is there: %+v", s)
	}
	if err := os.Remove(runc); err != nil {
		t.Fatal(err)
	}
	n.container("kubepods/besteffort/pod7b", idOther, "web-1f", "elsewhere", "main", "container", "80")
	n.w.scan()
	facts := map[string]*evidence.CgroupFacts{}
	for _, e := range n.take(evidence.ContainerCgroup) {
		facts[e.Process] = e.Cgroup
	}
	if len(facts) != 4 {
		t.Errorf("cgroups told of: %v", facts)
	}
	f := facts["web/main"]
	if f == nil {
		t.Fatal("nothing is said of the container")
	}
	if f.Path != "/"+pod+"/"+idMain || f.Plan != "/kubepods/burstable/podweb/main" || f.PID != 77 ||
		*f.OOMScoreAdj != 935 || *f.Max != 64*kernel.MiB || f.SwapMax != nil || !*f.OOMGroup {
		t.Errorf("of the container is said %+v", f)
	}
	if facts["web"] == nil || facts["web"].Plan != "/kubepods/burstable/podweb" || facts["web/sandbox"] == nil {
		t.Errorf("of its pod %+v, of its sandbox %+v", facts["web"], facts["web/sandbox"])
	}

	// A child, an oom_score_adj that changes, and a kill that is counted.
	n.write(filepath.Join("cgroup", pod, idMain, "cgroup.procs"), "77\n78\n79\n")
	for pid, comm := range map[string]string{"78": "worker", "79": "6"} {
		n.write(filepath.Join("root/proc", pid, "stat"),
			pid+" ("+comm+") S 77 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 100 0 0 0\n")
	}
	n.write("root/proc/77/oom_score_adj", "-997\n")
	n.write(filepath.Join("cgroup", pod, idMain, "memory.events"), counts(1))
	n.events = nil
	n.w.scan()
	if s := n.take(evidence.Spawned); len(s) != 1 || s[0].Process != "web/main/worker" || s[0].PID != 78 {
		t.Errorf("spawned: %+v", s)
	}
	if c := n.take(evidence.ContainerCgroup); len(c) != 1 || *c[0].Cgroup.OOMScoreAdj != -997 {
		t.Errorf("of the new oom_score_adj is said %+v", c)
	}

	// It goes away: what was counted last is not lost.
	n.events = nil
	if err := os.RemoveAll(filepath.Join(n.dir, "cgroup", pod, idMain)); err != nil {
		t.Fatal(err)
	}
	n.w.scan()
	var gone []evidence.Event
	for _, e := range n.take(evidence.Reading) {
		if e.Counter.Gone {
			gone = append(gone, e)
		}
	}
	if len(gone) != 1 || gone[0].Counter.When != "after" || gone[0].Counter.Values["oom_kill"] != 1 {
		t.Errorf("of the cgroup that is gone is said %+v", gone)
	}
}

// TestAWatchIsASession: it begins and ends once, with readings before and after,
// and says who is alive.
func TestAWatchIsASession(t *testing.T) {
	n := newPaperNode(t)
	n.container("kubepods/burstable/pod6a", idMain, "web-1f", "oomlab", "main", "container", "77")
	n.write("root/proc/77/status",
		"Name:\tmain\nState:\tS (sleeping)\nTgid:\t77\nPid:\t77\nPPid:\t1\nUid:\t0\t0\t0\t0\n")
	for _, f := range []string{"cgroup/kubepods/memory.current", "root/proc/meminfo", "root/proc/loadavg"} {
		n.write(f, "") // of the samples, which nobody looks at
	}
	n.write("root/proc/vmstat", "oom_kill 3\n")
	n.events = nil
	enough := make(chan struct{})
	close(enough)
	sink := func(e evidence.Event) { n.events = append(n.events, e) }
	req := n.w.req
	req.DeadlineMS = 60_000
	if err := n.w.agent.Watch(t.Context(), req, enough, sink); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, e := range n.events {
		switch {
		case e.Kind == evidence.Reading && e.Counter.File == "vmstat":
			order = append(order, e.Counter.When)
		case e.Kind == evidence.Begin, e.Kind == evidence.Spawned, e.Kind == evidence.Alive, e.Kind == evidence.End:
			order = append(order, strings.TrimSpace(string(e.Kind)+" "+e.Process))
		case e.Kind == evidence.Failure:
			t.Error(e.Text)
		}
	}
	want := []string{"before", "spawned web/main", "begin", "after", "alive web/main", "end"}
	if !slices.Equal(order, want) {
		t.Errorf("order %q; want %q", order, want)
	}
	if last := n.events[len(n.events)-1]; last.Text != endSettled {
		t.Errorf("ended: %q; want %q", last.Text, endSettled)
	}
}

func TestWhatARuntimeSays(t *testing.T) {
	n := newPaperNode(t)
	n.container("kubepods/burstable/pod6a", idMain, "web-1f", "oomlab", "main", "container", "77")
	n.w.scan()
	n.events = nil
	for _, line := range []string{
		`2026-11-25 18:00:00.1 +0000 UTC k8s.io /tasks/oom {"container_id":"` + idMain + `"}`,
		`2026-11-25 18:00:00.2 +0000 UTC k8s.io /tasks/exit {"container_id":"` + idMain + `","id":"` + idMain +
			`","pid":77,"exit_status":137}`,
		`2026-11-25 18:00:00.2 +0000 UTC k8s.io /tasks/exit {"container_id":"` + idMain + `","id":"probe",` +
			`"pid":90,"exit_status":1}`,
		`2026-11-25 18:00:00.3 +0000 UTC k8s.io /tasks/oom {"container_id":"` + idOther + `"}`,
		`2026-11-25 18:00:00.3 +0000 UTC k8s.io /containers/delete {"id":"` + idMain + `"}`,
		`no event`,
	} {
		n.w.runtimeEvent(line)
	}
	if len(n.events) != 2 || n.events[0].Kind != evidence.TaskOOM || n.events[1].Kind != evidence.TaskEnded ||
		n.events[1].PID != 77 || n.events[1].Exit.Code != 137 || n.events[0].Process != "web/main" {
		t.Errorf("passed on: %+v", n.events)
	}
}

func TestWhatLogsSay(t *testing.T) {
	n := newPaperNode(t)
	const log = "logs/oomlab_web-1f_6a/main/0.log"
	report := func(text string) string { return "2026-11-25T18:00:00.1Z stdout F " + text + "\n" }
	n.write(log,
		report(`{"event":"ready","name":"worker","pid":2,"mono_ns":5,"held":4096,"resident":4096,"overhead":9}`)+
			report(`{"event":"exited","name":"worker","pid":2,"mono_ns":6,"signal":9}`)+
			report(`the program's own words`)+"2026-11-25T18:00:00.1Z stdout F {\"event\":\"re")
	n.w.scan()
	if r := n.take(evidence.Ready); len(r) != 1 || r[0].Process != "web/main/worker" || r[0].AtNS != 5 ||
		r[0].Held.Told != 4096 {
		t.Errorf("ready: %+v", r)
	}
	if e := n.take(evidence.Exited); len(e) != 1 || e[0].Process != "web/main/worker" || e[0].Exit.Signal != 9 ||
		e[0].Exit.By != "web/main" {
		t.Errorf("exited: %+v", e)
	}
	// The rest of a line that was cut off comes later.
	f, err := os.OpenFile(filepath.Join(n.dir, log), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("ady\",\"name\":\"web/main\",\"pid\":1,\"mono_ns\":7}\n"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	n.write("kubelet.log", "an old line about oom\nI1125 SyncLoop ADD pods=[\"oomlab/web\"]\nI1125 \"eviction "+
		"manager: must evict pod(s)\"\n")
	n.events = nil
	n.w.scan()
	if r := n.take(evidence.Ready); len(r) != 1 || r[0].Process != "web/main" {
		t.Errorf("ready, in two parts: %+v", r)
	}
	lines := n.take(evidence.KubeletLine)
	if len(lines) != 1 || !strings.Contains(lines[0].Text, "must evict") {
		t.Errorf("of the kubelet's log is passed on: %+v", lines)
	}
}

func TestContainerID(t *testing.T) {
	for name, want := range map[string]string{
		idMain:                                idMain,
		"cri-containerd-" + idMain + ".scope": idMain,
		"crio-" + idOther + ".scope":          idOther,
		"burstable":                           "",
		"pod0a1b":                             "",
		strings.ToUpper(idMain):               "",
	} {
		if got := containerID(name); got != want {
			t.Errorf("%s is container %q, want %q", name, got, want)
		}
	}
}

func TestNodeFactsAreRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "kubelet.slice/kubelet-kubepods.slice"), 0o755); err != nil {
		t.Fatal(err)
	}
	f := openNode(t.Context(), NodeOptions{Events: []string{filepath.Join(dir, "no-such-program")}}, dir)
	if got := f.facts(kernel.CgroupMount{Version: 2}, dir); got.Kubepods != "/kubelet.slice/kubelet-kubepods.slice" ||
		got.CgroupVersion != 2 || got.Limit != nil {
		t.Errorf("facts %+v", got)
	}
	for file, text := range map[string]string{
		"memory.max": "268435456\n", "memory.stat": "anon 1048576\nfile 2097152\nkernel 4096\nshmem 8192\nsock 0\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.facts(kernel.CgroupMount{Version: 2}, dir); got.Limit == nil || *got.Limit != 256*kernel.MiB ||
		got.Used != kernel.MiB+12*kernel.KiB {
		t.Errorf("facts of a node that is a container: %+v", got)
	}
	if !strings.HasPrefix(f.events, "not attached: ") || !strings.Contains(f.events, "no such file") {
		t.Errorf("the runtime's events: %q", f.events)
	}
	if !slices.Contains(kubepodsNames, "kubepods") {
		t.Error("the cgroupfs driver's name is not looked for")
	}
}

// TestAContainerOfAMoment: a container whose process is over before a scan finds it is told
// of by what the runtime or the kernel says, before its end, with the limits that it had.
func TestAContainerOfAMoment(t *testing.T) {
	const pod = "kubepods/burstable/pod6a"
	start := `2026-11-25 18:00:00.1 +0000 UTC k8s.io /tasks/start {"container_id":"` + idMain + `","pid":77}`
	exit := `2026-11-25 18:00:00.2 +0000 UTC k8s.io /tasks/exit {"container_id":"` + idMain + `","id":"` + idMain +
		`","pid":77,"exit_status":137}`
	victim := func(comm string) evidence.Event {
		return evidence.Event{Source: evidence.BPF, Kind: evidence.MarkVictim, PID: 77, OOM: &evidence.OOM{
			Task: &evidence.Task{TaskID: evidence.TaskID{TGID: 77, Comm: comm}, Cgroup: "/" + pod + "/" + idMain}}}
	}
	born := []string{"spawned", "container_cgroup"}
	for name, test := range map[string]struct {
		before func(*podWatch) // is told while the container is there and its process is not seen
		after  func(*podWatch) // once its process is gone
		want   []string        // what is told of the container, in order
	}{
		"the runtime tells of its start": {func(w *podWatch) { w.runtimeEvent(start) }, nil, born},
		"and of its end": {func(w *podWatch) { w.runtimeEvent(start) },
			func(w *podWatch) { w.runtimeEvent(exit) }, append(slices.Clone(born), "task_exit")},
		"the kernel names its victim":       {func(w *podWatch) { w.observed(victim("main")) }, nil, born},
		"runc is killed in its place":       {func(w *podWatch) { w.observed(victim("runc:[2:INIT]")) }, nil, born[1:]},
		"nobody has told that it ran":       {func(*podWatch) {}, nil, born[1:]},
		"its start comes before its cgroup": {nil, nil, born},
	} {
		t.Run(name, func(t *testing.T) {
			n := newPaperNode(t)
			if test.before == nil {
				n.w.runtimeEvent(start)
			}
			n.container(pod, idMain, "web-1f", "oomlab", "main", "container", "77")
			n.write(filepath.Join("cgroup", pod, idMain, "cgroup.procs"), "")
			n.w.scan()
			if test.before != nil {
				test.before(n.w)
			}
			if test.after != nil {
				test.after(n.w)
			}
			if err := os.RemoveAll(filepath.Join(n.dir, "cgroup", pod, idMain)); err != nil {
				t.Fatal(err)
			}
			n.w.scan()
			var order []string
			for _, e := range n.events {
				if e.Process != "web/main" {
					continue
				}
				if e.Source != evidence.BPF {
					order = append(order, string(e.Kind))
				}
				if f := e.Cgroup; f != nil && (f.PID == 77) != (test.want[0] == born[0]) || f != nil &&
					(f.Unread || f.Max == nil || *f.Max != 64*kernel.MiB || f.OOMGroup == nil || !*f.OOMGroup) {
					t.Errorf("of the container is said %+v", *f)
				}
			}
			if !slices.Equal(order, test.want) {
				t.Errorf("told in the order %q, want %q", order, test.want)
			}
		})
	}
}

// TestLimitsThatNobodyRead: of a cgroup that is gone before the runtime had set it nobody
// can say which limits it had.
func TestLimitsThatNobodyRead(t *testing.T) {
	n := newPaperNode(t)
	const pod = "kubepods/burstable/pod6a"
	n.container(pod, idMain, "web-1f", "oomlab", "main", "container", "77")
	n.write(filepath.Join("cgroup", pod, idMain, "memory.max"), "max\n")
	n.write(filepath.Join("cgroup", pod, idMain, "cgroup.procs"), "")
	if err := os.Remove(filepath.Join(n.dir, "bundles", idMain, "init.pid")); err != nil {
		t.Fatal(err)
	}
	n.w.scan()
	if err := os.RemoveAll(filepath.Join(n.dir, "cgroup", pod, idMain)); err != nil {
		t.Fatal(err)
	}
	n.w.scan()
	for _, e := range n.take(evidence.ContainerCgroup) {
		if e.Process == "web/main" && (!e.Cgroup.Unread || e.Cgroup.Max != nil || e.Cgroup.PID != 0) {
			t.Errorf("of the container is said %+v", *e.Cgroup)
		}
	}
}
