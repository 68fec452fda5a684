package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/observe"
)

// container is one container, or a pod's sandbox, or a cgroup above them.
type container struct {
	dir     string // of its cgroup
	path    string // from the hierarchy's root
	process string // POD/CONTAINER, POD/sandbox, POD, "" for what is above
	plan    string // the cgroup, as plans name it
	id      string
	first   int  // pid of its first process; 0: not seen yet
	began   bool // the runtime or the kernel has told that the first process ran
	told    bool
	set     *settings // as it was last read; nil: not yet

	files  []*tracked
	listed map[int]string // pid -> process, those that were seen
	adj    map[int]int
}

// sandbox reports whether it is a pod's own container, which only waits.
func (c *container) sandbox() bool { return kubelet.NameOf(c.process).Container == kubelet.Sandbox }

// tracked is one file of counters whose last values are kept, for a cgroup may
// be gone before anybody asks.
type tracked struct {
	name string
	file *os.File
	last map[string]int64
}

// walk meets what is new. A cgroup whose name ends in a container's id is a
// container; what is between it and the top is a class or a pod.
func (w *podWatch) walk(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // it went away
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		sub := filepath.Join(dir, e.Name())
		if w.ignored[sub] {
			continue
		}
		if _, known := w.cgroups[sub]; known && containerID(e.Name()) != "" {
			continue
		}
		id := containerID(e.Name())
		if id == "" {
			w.walk(sub)
			continue
		}
		w.meetContainer(sub, id)
	}
}

// containerID finds the 64 hexadecimal digits of a container in the name of its
// cgroup: ID, or cri-containerd-ID.scope.
func containerID(name string) string {
	name = strings.TrimSuffix(name, ".scope")
	if i := strings.LastIndexByte(name, '-'); i >= 0 {
		name = name[i+1:]
	}
	if len(name) != 64 || strings.Trim(name, "0123456789abcdef") != "" {
		return ""
	}
	return name
}

// bundle is what the runtime's config.json says of a container.
type bundle struct {
	Annotations map[string]string `json:"annotations"`
}

func (w *podWatch) meetContainer(dir, id string) {
	data, err := os.ReadFile(filepath.Join(w.n.o.Bundles, id, "config.json"))
	var b bundle
	if err == nil {
		err = json.Unmarshal(data, &b)
	}
	if err != nil {
		return // not there yet, or not any more
	}
	a := b.Annotations
	pod, ours := w.req.Pods[a["io.kubernetes.cri.sandbox-name"]]
	if !ours || a["io.kubernetes.cri.sandbox-namespace"] != w.req.Namespace {
		w.ignored[dir] = true
		return
	}
	podDir := filepath.Dir(dir)
	class := classOf(podDir)
	if _, known := w.cgroups[podDir]; !known {
		w.meet(podDir, &container{process: pod, plan: kubelet.PodCgroup(class, pod)})
	}
	name := a["io.kubernetes.cri.container-name"]
	if a["io.kubernetes.cri.container-type"] == "sandbox" {
		name = kubelet.Sandbox
	}
	w.meet(dir, &container{process: pod + "/" + name, plan: kubelet.ContainerCgroup(class, pod, name), id: id})
}

// classOf reads the class off the path of a pod's cgroup.
func classOf(dir string) kubelet.Class {
	switch parent := filepath.Base(filepath.Dir(dir)); {
	case strings.Contains(parent, "besteffort"):
		return kubelet.BestEffort
	case strings.Contains(parent, "burstable"):
		return kubelet.Burstable
	}
	return kubelet.Guaranteed
}

// meet begins to keep a cgroup's counters. One of a container is told of when
// its first process is known.
func (w *podWatch) meet(dir string, c *container) {
	c.dir, c.path = dir, strings.TrimPrefix(dir, w.root)
	c.listed, c.adj = map[int]string{}, map[int]int{}
	w.paths.learn(dir)
	names := []string{evidence.FileMemoryEvents, evidence.FileMemoryEventsLocal}
	if w.agent.mount.Version == 1 {
		names = []string{evidence.FileOOMControl}
	}
	for _, name := range names {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		t := &tracked{name: name, file: f}
		c.files = append(c.files, t)
		values, err := t.read()
		if err != nil {
			continue
		}
		t.last = values
		before := values
		if c.process != "" {
			// It was born in this run, and nothing had happened to it then.
			before = make(map[string]int64, len(values))
			for k := range values {
				before[k] = 0
			}
		}
		w.reading("before", c, t, before, false)
	}
	w.cgroups[dir] = c
	if c.id == "" {
		w.tell(c)
		return
	}
	w.byID[c.id] = c
	if pid := w.started[c.id]; pid != 0 {
		c.first, c.began = pid, true
	}
	w.look(c)
	w.list(c)
}

func (w *podWatch) reading(when string, c *container, t *tracked, values map[string]int64, gone bool) {
	w.emit(evidence.Event{Source: evidence.Counters, Kind: evidence.Reading, Counter: &evidence.CounterFile{
		When: when, Cgroup: c.path, File: t.name, Values: values, Gone: gone,
	}})
}

func (t *tracked) read() (map[string]int64, error) {
	buf := make([]byte, 1024)
	n, err := t.file.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return observe.ParseEvents(t.name, strings.NewReader(string(buf[:n])))
}

// refresh keeps the counters' values, and reports whether the cgroup is there.
func (w *podWatch) refresh(c *container) bool {
	for _, t := range c.files {
		values, err := t.read()
		if err != nil {
			return false
		}
		t.last = values
	}
	if c.set == nil {
		w.look(c)
	}
	_, err := os.Stat(c.dir)
	return err == nil
}

// gone says what the last values of a cgroup were that is gone.
func (w *podWatch) gone(dir string, c *container) {
	w.tellOnce(c)
	for _, t := range c.files {
		if t.last != nil {
			w.reading("after", c, t, t.last, true)
		}
		t.file.Close()
	}
	delete(w.cgroups, dir)
}

// list tells of every process in a container that is new, and of an
// oom_score_adj that changed.
func (w *podWatch) list(c *container) {
	pids, err := readPIDs(filepath.Join(c.dir, procsFile))
	if err != nil {
		return
	}
	w.findFirst(c)
	if !slices.Contains(pids, c.first) {
		w.missed(c)
	}
	for _, pid := range pids {
		st, err := w.agent.root.Stat(pid)
		if err != nil || w.runtimes(pid) {
			continue // gone, or still the runtime's own
		}
		if _, known := c.listed[pid]; !known {
			name := w.call(c, pid, st.Comm)
			if name != c.process && !slices.Contains(w.req.Children, name) {
				continue // the container's own business, or the runtime's
			}
			c.listed[pid] = name
			w.know(pid, name)
			if !c.sandbox() { // no process of the plan's
				w.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.Spawned, Process: name, PID: pid})
			}
		}
		if pid == c.first {
			adj, err := w.agent.root.OOMScoreAdj(pid)
			if old, known := c.adj[pid]; err == nil && (!known || old != adj) {
				c.adj[pid] = adj
				w.tell(c)
			}
		}
	}
}

// findFirst reads the pid of a container's first process, if it is not known yet.
func (w *podWatch) findFirst(c *container) {
	if c.first == 0 {
		c.first = w.initPID(c.id)
	}
}

// missed tells of a container's first process that ran and was over before a scan found
// it: 96Mi into a limit of 48Mi take less time than a scan on a busy node.
func (w *podWatch) missed(c *container) {
	if _, listed := c.listed[c.first]; listed || !c.began || c.sandbox() {
		return
	}
	c.listed[c.first] = c.process
	w.know(c.first, c.process)
	w.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.Spawned, Process: c.process, PID: c.first})
}

// victim takes the kernel's word that a container's first process ran, whom it kills. runc
// can be killed in its place before it becomes that program.
func (w *podWatch) victim(t *evidence.Task) {
	c := w.cgroups[filepath.Join(w.root, t.Cgroup)]
	if t.Cgroup == "" || c == nil || c.id == "" || strings.HasPrefix(t.Comm, "runc") {
		return
	}
	w.findFirst(c)
	if pid := w.own(t.TGID); pid != 0 && pid == c.first {
		c.began = true // a scan tells, or who finds that it is gone
	}
}

// runtimes reports whether a process is runc, which enters a container before it
// becomes the container's program. Its name changes on the way, its file does not.
func (w *podWatch) runtimes(pid int) bool {
	exe, err := os.Readlink(w.agent.root.Path("/proc", strconv.Itoa(pid), "exe"))
	return err == nil && strings.Contains(exe, "runc")
}

// initPID is the pid of a container's first process, as the runtime wrote it
// down; 0: not yet.
func (w *podWatch) initPID(id string) int {
	text, err := os.ReadFile(filepath.Join(w.n.o.Bundles, id, "init.pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}

// settings are what a cgroup is set to.
type settings struct {
	max, swapMax *kernel.Bytes
	oomGroup     *bool
}

// look reads what a cgroup is set to, if it is there. A container's is not of interest
// until the runtime has set it, which it has when it writes down the first process.
func (w *podWatch) look(c *container) {
	if c.id != "" {
		if w.findFirst(c); c.first == 0 {
			return
		}
	}
	s := settings{max: limit(c.dir, "memory.max"), swapMax: limit(c.dir, "memory.swap.max")}
	if text, err := os.ReadFile(filepath.Join(c.dir, "memory.oom.group")); err == nil {
		on := strings.TrimSpace(string(text)) == "1"
		s.oomGroup = &on
	}
	// what is read of a cgroup that goes away meanwhile looks as if there was no limit
	if _, err := os.Stat(c.dir); err == nil {
		c.set = &s
	}
}

// tellOnce says what there is to say of a container that has ended, or of the end of the
// run, if it has not been said.
func (w *podWatch) tellOnce(c *container) {
	w.missed(c)
	if !c.told {
		w.tell(c)
	}
}

// tell says what a cgroup is set to, or was when it was there.
func (w *podWatch) tell(c *container) {
	c.told = true
	f := &evidence.CgroupFacts{Path: c.path, Plan: c.plan, ID: c.id}
	if _, ran := c.listed[c.first]; ran {
		f.PID = c.first
	}
	if adj, ok := c.adj[c.first]; ok {
		f.OOMScoreAdj = &adj
	}
	if w.look(c); c.set != nil {
		f.Max, f.SwapMax, f.OOMGroup = c.set.max, c.set.swapMax, c.set.oomGroup
	} else {
		f.Unread = true
	}
	w.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.ContainerCgroup, Process: c.process, Cgroup: f})
}

// limit reads one limit; nil: there is none.
func limit(dir, file string) *kernel.Bytes {
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return nil // max
	}
	b := kernel.Bytes(n)
	return &b
}

func readPIDs(file string) ([]int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out []int
	for _, field := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, pid)
	}
	return out, nil
}
