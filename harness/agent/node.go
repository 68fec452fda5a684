package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/observe"
)

// NodeOptions say where the node of a cluster has what its agent reads. What is
// empty is not there; the others' witness is enough then.
type NodeOptions struct {
	Bundles    string   // where the runtime keeps one directory for each container
	PodLogs    string   // where the kubelet keeps what containers print
	KubeletLog string   // file
	Events     []string // command that prints containerd's events
}

// scanEvery is how often the node's cgroups are looked at where nothing else says
// that there is something to be seen: the runtime tells of containers that are
// born, and the kernel of kills.
const scanEvery = 250 * time.Millisecond

// node is what an agent of a cluster's node has beside the others.
type node struct {
	o        NodeOptions
	kubepods string // directory of all pods' cgroup, below the hierarchy
	events   string // how the runtime's are had, or why not

	mu    sync.Mutex
	lost  string    // why there are no more events of the runtime
	watch *podWatch // the one that runs; nil: none
}

// kubepodsNames are where the kubelet puts all pods, by driver, and where it
// does in a node that is a container.
var kubepodsNames = []string{"kubepods", "kubepods.slice", "kubelet/kubepods", "kubelet.slice/kubelet-kubepods.slice"}

// openNode finds the pods' cgroup and subscribes to the runtime's events.
func openNode(ctx context.Context, o NodeOptions, hierarchy string) *node {
	n := &node{o: o, events: "not attached: no command to read them is known"}
	for _, name := range kubepodsNames {
		if _, err := os.Stat(filepath.Join(hierarchy, name)); err == nil {
			n.kubepods = filepath.Join(hierarchy, name)
			break
		}
	}
	if len(o.Events) > 0 {
		if err := n.subscribe(ctx); err != nil {
			n.events = "not attached: " + err.Error()
		} else {
			n.events = "attached: " + filepath.Base(o.Events[0])
		}
	}
	return n
}

// facts are what Hello says of the node; the API knows the rest.
func (n *node) facts(m kernel.CgroupMount, hierarchy string) *kubelet.Node {
	out := &kubelet.Node{CgroupVersion: m.Version}
	if n.kubepods != "" {
		out.Kubepods = strings.TrimPrefix(n.kubepods, hierarchy)
	}
	return out
}

// subscribe reads the runtime's events as long as the agent lives.
func (n *node) subscribe(ctx context.Context) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, n.o.Events[0], n.o.Events[1:]...)
	cmd.Stdout = w
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// PR_SET_PDEATHSIG is about the thread that forked: this one does nothing
		// but wait, and lives as long as the command or the agent.
		runtime.LockOSThread()
		err := cmd.Start()
		w.Close()
		started <- err
		if err == nil {
			err = cmd.Wait()
			n.mu.Lock()
			n.lost = fmt.Sprintf("%s ended: %v", n.o.Events[0], err)
			n.mu.Unlock()
		}
	}()
	if err := <-started; err != nil {
		r.Close()
		return err
	}
	go func() {
		defer r.Close()
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			n.mu.Lock()
			w := n.watch
			n.mu.Unlock()
			if w != nil {
				w.runtimeEvent(lines.Text())
			}
		}
	}()
	return nil
}

// container is one container, or a pod's sandbox, or a cgroup above them.
type container struct {
	dir     string // of its cgroup
	path    string // from the hierarchy's root
	process string // POD/CONTAINER, POD/sandbox, POD, "" for what is above
	plan    string // the cgroup, as plans name it
	id      string
	first   int // pid of its first process; 0: not seen yet
	told    bool

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

// podWatch is one wire.Watch being carried out. Its own goroutine scans; the
// observers deliver from theirs.
type podWatch struct {
	a     *Agent
	n     *node
	req   wire.Watch
	paths *paths
	root  string // the hierarchy

	mu      sync.Mutex // all below, and the order of what is sent
	sink    func(evidence.Event)
	cgroups map[string]*container // by directory
	ignored map[string]bool       // directories of others' containers
	names   map[int]string        // pid -> process, those that have ended included
	byID    map[string]*container
	logs    map[string]*tail // by file
	kubelet *tail

	nudge chan struct{}
}

// Watch says what happens to pods until enough is closed, the deadline passes
// or ctx ends.
func (a *Agent) Watch(ctx context.Context, req wire.Watch, enough <-chan struct{}, sink func(evidence.Event)) error {
	if a.node == nil {
		return errors.New("agent: this is no node of a cluster")
	}
	if a.node.kubepods == "" {
		return &Refusal{What: "the kubelet's cgroups", Hint: "none of " + strings.Join(kubepodsNames, ", ") + " is below " + a.hierarchy()}
	}
	if !a.busy.CompareAndSwap(false, true) {
		return errors.New("agent: another plan is being carried out")
	}
	defer a.busy.Store(false)
	w := &podWatch{
		a: a, n: a.node, req: req, root: a.hierarchy(), sink: sink,
		cgroups: map[string]*container{}, ignored: map[string]bool{}, names: map[int]string{},
		byID: map[string]*container{}, logs: map[string]*tail{}, nudge: make(chan struct{}, 1),
	}
	w.paths = newPaths(w.root, &tree{base: w.root})
	w.kubelet = openTail(a.node.o.KubeletLog, true)
	defer w.close()
	return w.carryOut(ctx, enough)
}

func (w *podWatch) carryOut(ctx context.Context, enough <-chan struct{}) error {
	counters, err := observe.OpenVmstat(string(w.a.root))
	if err != nil {
		return err
	}
	defer counters.Close()
	sampler, err := observe.OpenSampler(observe.SamplerOptions{
		Root: string(w.a.root), Version: w.a.mount.Version, Base: w.root,
		Cgroups: []string{strings.TrimPrefix(w.n.kubepods, w.root)}, Processes: w.living, Period: 2 * scanEvery,
	})
	if err != nil {
		return err
	}
	if err := w.a.observers.start(w.observed); err != nil {
		return errors.Join(err, sampler.Close())
	}
	stop := func() {
		w.a.observers.stop()
		sampler.Close()
		w.n.mu.Lock()
		w.n.watch = nil
		w.n.mu.Unlock()
	}
	if err := counters.Read("before", w.emit); err != nil {
		stop()
		return err
	}
	w.mu.Lock()
	w.meet(w.n.kubepods, &container{plan: kubelet.Root})
	w.mu.Unlock()
	w.n.mu.Lock()
	w.n.watch = w
	w.n.mu.Unlock()
	w.scan()
	w.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.Begin, Text: "watching " + strings.TrimPrefix(w.n.kubepods, w.root)})
	sampler.Start(w.emit)
	end := w.loop(ctx, enough)

	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainDeadline)
	defer cancel()
	if err := w.a.observers.drain(drain); err != nil {
		w.failure(err.Error())
	}
	w.scan()
	w.n.mu.Lock()
	lost := w.n.lost
	w.n.mu.Unlock()
	if lost != "" {
		w.failure("the runtime's events: " + lost)
	}
	stop()
	if err := counters.Read("after", w.emit); err != nil {
		w.failure(err.Error())
	}
	w.last()
	w.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.End, Text: end})
	return nil
}

func (w *podWatch) loop(ctx context.Context, enough <-chan struct{}) string {
	deadline := time.NewTimer(time.Duration(w.req.DeadlineMS) * time.Millisecond)
	defer deadline.Stop()
	tick := time.NewTicker(scanEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-w.nudge:
		case <-enough:
			return endSettled
		case <-deadline.C:
			return endDeadlined
		case <-ctx.Done():
			return endInterrupted
		}
		w.scan()
	}
}

func (w *podWatch) emit(e evidence.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.send(e)
}

// send is emit for those who hold the lock.
func (w *podWatch) send(e evidence.Event) {
	if e.AtNS == 0 {
		e.AtNS = monotonic()
	}
	w.sink(e)
}

func (w *podWatch) failure(text string) {
	w.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.Failure, Text: text})
}

// observed adds names to what eBPF and the kernel log tell.
func (w *podWatch) observed(e evidence.Event) {
	kill := e.Kind == evidence.Kill || e.Kind == evidence.KillDecision || e.Kind == evidence.MarkVictim
	if kill {
		w.scan() // while the victim is still there
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.OOM != nil {
		w.paths.fill(e.OOM)
		if t := e.OOM.Task; t != nil {
			if e.PID == 0 {
				e.PID = t.TGID
			}
			if e.Process == "" {
				e.Process = w.nameOf(t.TGID, t.Cgroup, t.Comm)
			}
		}
	}
	if e.Process == "" {
		e.Process = w.names[e.PID]
	}
	w.send(e)
}

// nameOf is what the plan calls a process, by its pid if it was seen and by its
// cgroup and its name otherwise.
func (w *podWatch) nameOf(pid int, cgroup, comm string) string {
	if name := w.names[pid]; name != "" {
		return name
	}
	c := w.cgroups[filepath.Join(w.root, cgroup)]
	if cgroup == "" || c == nil || c.id == "" {
		return ""
	}
	return w.call(c, pid, comm)
}

// call names a process of a container: its first one by the container, one of
// those that the plan has it fork by its name, any other by what the kernel
// calls it.
func (w *podWatch) call(c *container, pid int, comm string) string {
	first := c.first
	if first == 0 {
		first = w.initPID(c.id)
	}
	if pid == first || c.sandbox() {
		return c.process
	}
	for _, child := range w.req.Children {
		name := kubelet.NameOf(child).Process
		if kubelet.ContainerOf(child) == c.process && name[:min(len(name), commLen)] == comm {
			return child
		}
	}
	return c.process + "/" + comm
}

// commLen is how many bytes of a name the kernel keeps.
const commLen = 15

// scan looks at every cgroup below the pods' and at every log.
func (w *podWatch) scan() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.walk(w.n.kubepods)
	for dir, c := range w.cgroups {
		if !w.refresh(c) {
			w.bury(dir, c)
			continue
		}
		if c.id != "" {
			w.list(c)
		}
	}
	w.readLogs()
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
	if w.a.mount.Version == 1 {
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
	w.list(c)
}

func (w *podWatch) reading(when string, c *container, t *tracked, values map[string]int64, gone bool) {
	w.send(evidence.Event{Source: evidence.Counters, Kind: evidence.Reading, Counter: &evidence.CounterFile{
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
	_, err := os.Stat(c.dir)
	return err == nil
}

// bury says what the last values of a cgroup were that is gone.
func (w *podWatch) bury(dir string, c *container) {
	if !c.told {
		w.tell(c)
	}
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
	if c.first == 0 {
		c.first = w.initPID(c.id)
	}
	for _, pid := range pids {
		st, err := w.a.root.Stat(pid)
		if err != nil || w.runtimes(pid) {
			continue // gone, or still the runtime's own
		}
		if _, known := c.listed[pid]; !known {
			name := w.call(c, pid, st.Comm)
			if name != c.process && !slices.Contains(w.req.Children, name) {
				continue // the container's own business, or the runtime's
			}
			c.listed[pid], w.names[pid] = name, name
			if !c.sandbox() { // no process of the plan's
				w.send(evidence.Event{Source: evidence.Agent, Kind: evidence.Spawned, Process: name, PID: pid})
			}
		}
		if pid == c.first {
			adj, err := w.a.root.OOMScoreAdj(pid)
			if old, known := c.adj[pid]; err == nil && (!known || old != adj) {
				c.adj[pid] = adj
				w.tell(c)
			}
		}
	}
}

// runtimes reports whether a process is runc, which enters a container before it
// becomes the container's program. Its name changes on the way, its file does not.
func (w *podWatch) runtimes(pid int) bool {
	exe, err := os.Readlink(w.a.root.Path("/proc", strconv.Itoa(pid), "exe"))
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

// tell says what a cgroup is set to.
func (w *podWatch) tell(c *container) {
	c.told = true
	f := &evidence.CgroupFacts{Path: c.path, Plan: c.plan, ID: c.id, PID: c.first}
	if adj, ok := c.adj[c.first]; ok {
		f.OOMScoreAdj = &adj
	}
	f.Max, f.SwapMax = limit(c.dir, "memory.max"), limit(c.dir, "memory.swap.max")
	if text, err := os.ReadFile(filepath.Join(c.dir, "memory.oom.group")); err == nil {
		on := strings.TrimSpace(string(text)) == "1"
		f.OOMGroup = &on
	}
	w.send(evidence.Event{Source: evidence.Agent, Kind: evidence.ContainerCgroup, Process: c.process, Cgroup: f})
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

// runtimeEvent takes a line of containerd's events: when, namespace, topic, and
// the event as JSON.
func (w *podWatch) runtimeEvent(line string) {
	i := strings.Index(line, " /tasks/")
	if i < 0 {
		return
	}
	topic, text, ok := strings.Cut(line[i+1:], " ")
	if !ok {
		return
	}
	var task struct {
		ContainerID string `json:"container_id"`
		ID          string `json:"id"`
		PID         int    `json:"pid"`
		ExitStatus  int    `json:"exit_status"`
	}
	if json.Unmarshal([]byte(text), &task) != nil {
		return
	}
	// Whatever it is, there is something to be seen.
	defer w.wake()
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.byID[task.ContainerID]
	if c == nil || c.sandbox() {
		return // a sandbox is killed when its pod is over, and by nobody's fault
	}
	e := evidence.Event{Source: evidence.Runtime, Process: c.process, Text: task.ContainerID}
	switch topic {
	case "/tasks/oom":
		e.Kind = evidence.TaskOOM
	case "/tasks/exit":
		if task.ID != task.ContainerID {
			return // a command beside the container's own
		}
		e.Kind, e.PID, e.Exit = evidence.TaskEnded, task.PID, &evidence.ExitStatus{Code: task.ExitStatus, By: "containerd"}
	default:
		return
	}
	w.send(e)
}

// wake has the next scan come at once.
func (w *podWatch) wake() {
	select {
	case w.nudge <- struct{}{}:
	default:
	}
}

// living names the processes that exist, for the sampler.
func (w *podWatch) living() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]int{}
	for _, c := range w.cgroups {
		for pid, name := range c.listed {
			if !c.sandbox() {
				out[name] = pid
			}
		}
	}
	return out
}

// last reads everything once more and says who is alive.
func (w *podWatch) last() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.cgroups {
		for _, t := range c.files {
			if t.last != nil {
				w.reading("after", c, t, t.last, false)
			}
		}
		if !c.told {
			w.tell(c)
		}
		for pid, name := range c.listed {
			if c.sandbox() {
				continue
			}
			if s := w.a.usage(pid); s != nil && s.State != "Z" {
				w.send(evidence.Event{Source: evidence.Agent, Kind: evidence.Alive, Process: name, PID: pid, Status: s})
			}
		}
	}
}

func (w *podWatch) close() {
	for _, c := range w.cgroups {
		for _, t := range c.files {
			t.file.Close()
		}
	}
	for _, t := range w.logs {
		t.close()
	}
	w.kubelet.close()
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
