package agent

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/observe"
	"github.com/oomlab/oomlab/stressor/profile"
)

// podWatch is one wire.Watch being carried out. Its own goroutine scans; the
// observers deliver from theirs.
type podWatch struct {
	session
	n      *node
	req    wire.Watch
	root   string // the hierarchy
	enough <-chan struct{}

	seen    sync.Mutex            // all below; taken before the session's
	cgroups map[string]*container // by directory
	ignored map[string]bool       // directories of others' containers
	byID    map[string]*container
	started map[string]int   // first processes by the container's id, as the runtime told
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
		return &Refusal{What: "the kubelet's cgroups",
			Hint: "none of " + strings.Join(kubepodsNames, ", ") + " is below " + a.hierarchy()}
	}
	return a.alone(func() error { return a.watch(ctx, req, enough, sink) })
}

func (a *Agent) watch(ctx context.Context, req wire.Watch, enough <-chan struct{}, sink func(evidence.Event)) error {
	w := a.newPodWatch(req, enough, sink)
	defer w.close()
	counters, err := observe.OpenVmstat(string(a.root))
	if err != nil {
		return err
	}
	defer counters.Close()
	pods := strings.TrimPrefix(w.n.kubepods, w.root)
	return w.carryOut(ctx, w, "watching "+pods, counters, observe.SamplerOptions{
		Root: string(a.root), Version: a.mount.Version, Base: w.root,
		Cgroups: []string{pods}, Processes: w.living, Period: 2 * scanEvery,
	})
}

func (a *Agent) newPodWatch(req wire.Watch, enough <-chan struct{}, sink func(evidence.Event)) *podWatch {
	root := a.hierarchy()
	return &podWatch{
		session: session{agent: a, paths: newPaths(root, &tree{base: root}), sink: sink, names: map[int]string{}},
		n:       a.node, req: req, root: root, enough: enough,
		cgroups: map[string]*container{}, ignored: map[string]bool{}, byID: map[string]*container{},
		started: map[string]int{}, logs: map[string]*tail{},
		kubelet: openTail(a.node.o.KubeletLog, true), nudge: make(chan struct{}, 1),
	}
}

// begin meets the pods that are there, and has the runtime's events from now on.
func (w *podWatch) begin() {
	w.seen.Lock()
	w.meet(w.n.kubepods, &container{plan: kubelet.Root})
	w.seen.Unlock()
	w.n.deliver(w)
	w.scan()
}

// wait watches until it is enough, and takes in what had happened by then.
func (w *podWatch) wait(ctx context.Context) (end string) {
	end = w.loop(ctx)
	w.drain()
	w.scan()
	if lost := w.n.deliver(nil); lost != "" {
		w.failure("the runtime's events: " + lost)
	}
	return end
}

func (w *podWatch) loop(ctx context.Context) string {
	deadline := time.NewTimer(time.Duration(w.req.DeadlineMS) * time.Millisecond)
	defer deadline.Stop()
	tick := time.NewTicker(scanEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-w.nudge:
		case <-w.enough:
			return endSettled
		case <-deadline.C:
			return endDeadlined
		case <-ctx.Done():
			return endInterrupted
		}
		w.scan()
	}
}

// observed adds names to what eBPF and the kernel log tell.
func (w *podWatch) observed(e evidence.Event) {
	kill := e.Kind == evidence.Kill || e.Kind == evidence.KillDecision || e.Kind == evidence.MarkVictim
	if kill {
		w.scan() // while the victim is still there
	}
	w.seen.Lock()
	defer w.seen.Unlock()
	w.resolve(&e)
	if kill && e.OOM != nil && e.OOM.Task != nil {
		w.victim(e.OOM.Task)
	}
	if e.Process == "" && e.OOM != nil && e.OOM.Task != nil {
		t := e.OOM.Task
		e.Process = w.nameOf(w.own(t.TGID), t.Cgroup, t.Comm)
	}
	if e.Process == "" {
		e.Process = w.name(w.own(e.PID))
	}
	w.emit(e)
}

// nameOf is what the plan calls a process, by its pid if it was seen and by its
// cgroup and its name otherwise.
func (w *podWatch) nameOf(pid int, cgroup, comm string) string {
	if name := w.name(pid); name != "" {
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
	if pid != 0 && pid == first || c.sandbox() {
		return c.process
	}
	for _, child := range w.req.Children {
		name := kubelet.NameOf(child).Process
		if kubelet.ContainerOf(child) == c.process && name[:min(len(name), profile.CommLen)] == comm {
			return child
		}
	}
	return c.process + "/" + comm
}

// scan looks at every cgroup below the pods' and at every log.
func (w *podWatch) scan() {
	w.seen.Lock()
	defer w.seen.Unlock()
	w.walk(w.n.kubepods)
	for dir, c := range w.cgroups {
		if !w.refresh(c) {
			w.gone(dir, c)
			continue
		}
		if c.id != "" {
			w.list(c)
		}
	}
	w.readLogs()
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
	w.seen.Lock()
	defer w.seen.Unlock()
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

// conclude reads everything once more and says who is alive.
func (w *podWatch) conclude() {
	w.seen.Lock()
	defer w.seen.Unlock()
	for _, c := range w.cgroups {
		for _, t := range c.files {
			if t.last != nil {
				w.reading("after", c, t, t.last, false)
			}
		}
		w.tellOnce(c)
		for pid, name := range c.listed {
			if !c.sandbox() {
				w.reportAlive(name, pid)
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
