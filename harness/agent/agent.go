package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/observe"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/probe"
)

// Options are what an agent needs to know about its place.
type Options struct {
	Stressor   string     // path of the stressor binary
	Root       probe.Root // "" is "/"
	ScratchDir string     // for undo lists and swap files
	// HostOOM says whether this machine may run out of memory as a whole.
	HostOOM bool
	// Own: the machine, or at least this process, is the agent's alone. It
	// reaps every orphan and locks itself into memory.
	Own bool
	// NoBPF leaves eBPF alone; the kernel log and the counters remain.
	NoBPF bool
	// Node makes it the agent of a cluster's node; nil: it is none.
	Node *NodeOptions
}

// Agent carries out plans on the machine it runs on, one at a time.
type Agent struct {
	root      probe.Root
	scratch   string
	stressor  string
	hostOOM   bool
	own       bool
	mount     kernel.CgroupMount
	mountErr  error
	observers *observers
	spawner   *spawner
	reaper    *reaper
	node      *node       // nil: no cluster's
	busy      atomic.Bool // a plan is being carried out
	adj       string      // the agent's own oom_score_adj before it changed it; "": it did not
}

// New opens an agent: its observers are attached when it returns. An observer
// that cannot be had is not an error; Hello says what is lacking.
func New(ctx context.Context, o Options) (*Agent, error) {
	if o.Root == "" {
		o.Root = "/"
	}
	stressor, err := filepath.Abs(o.Stressor)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(stressor); err != nil {
		return nil, fmt.Errorf("agent: the stressor: %w", err)
	} else if info.Mode()&0o111 == 0 {
		return nil, fmt.Errorf("agent: the stressor: %s cannot be executed", stressor)
	}
	// Processes whose parents were killed become ours, so that their ends are
	// seen; as PID 1 they do anyway.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("agent: prctl PR_SET_CHILD_SUBREAPER: %w", err)
	}
	a := &Agent{root: o.Root, scratch: o.ScratchDir, stressor: stressor, hostOOM: o.HostOOM, own: o.Own}
	a.mount, a.mountErr = a.root.CgroupMount()
	if a.reaper, err = newReaper(); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	a.spawner = newSpawner()
	a.protect()
	a.observers = openObservers(ctx, o)
	if o.Node != nil {
		a.node = openNode(ctx, *o.Node, a.hierarchy())
	}
	return a, nil
}

// protect keeps the agent alive and able to work while the machine has no
// memory. Each part is done where it is allowed: no run depends on it, and a
// run in which the agent was killed is broken, not wrong.
func (a *Agent) protect() {
	file := a.root.Path("/proc/self/oom_score_adj")
	if now, err := os.ReadFile(file); err == nil && writeFile(file, "-1000") == nil {
		a.adj = string(now)
	}
	if !a.own {
		return
	}
	debug.SetMemoryLimit(64 << 20)
	// MCL_ONFAULT: the Go runtime reserves far more than it touches.
	unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT)
}

// Close ends the observers and everything that still runs.
func (a *Agent) Close() error {
	err := a.observers.close()
	a.spawner.close()
	a.reaper.close()
	if a.adj != "" {
		err = errors.Join(err, writeFile(a.root.Path("/proc/self/oom_score_adj"), a.adj))
	}
	return err
}

// hierarchy is the directory where the hierarchy with the memory controller is
// mounted.
func (a *Agent) hierarchy() string { return a.root.Path(a.mount.Root) }

// Do carries out one plan and passes on every event as it happens, in order.
// When it returns, what the plan started has ended and what it changed is put
// back; an error says what could not be done or put back, and is a [*Refusal]
// if the machine lacks something. An interrupted run returns ctx's error, its
// End event says so.
//
// Do calls sink from several goroutines, but never twice at a time.
func (a *Agent) Do(ctx context.Context, req wire.Request, sink func(evidence.Event)) error {
	period := time.Duration(req.SampleMS) * time.Millisecond
	switch {
	case period == 0:
		period = 100 * time.Millisecond
	case period < 0:
		period = 0
	}
	return a.carryOut(ctx, req.Plan, carry{sink: sink, period: period})
}

// carry is how a plan is carried out, beside the plan.
type carry struct {
	sink   func(evidence.Event)
	period time.Duration // of the samples; 0: none
	settle time.Duration // 0: settleFor
	// inspect is called at the end, before the survivors are killed.
	inspect func(*run)
}

func (a *Agent) carryOut(ctx context.Context, p plan.Plan, c carry) (err error) {
	if !a.busy.CompareAndSwap(false, true) {
		return errors.New("agent: another plan is being carried out")
	}
	defer a.busy.Store(false)
	if a.mountErr != nil {
		return &Refusal{What: "a memory controller", Hint: a.mountErr.Error()}
	}
	if p.CgroupVersion != a.mount.Version {
		return fmt.Errorf("plan: made for cgroup v%d; this machine's memory controller is v%d", p.CgroupVersion, a.mount.Version)
	}
	if p.WithinMS <= 0 || p.DeadlineMS < p.WithinMS {
		return fmt.Errorf("plan: within %d ms and deadline %d ms; want 0 < within <= deadline", p.WithinMS, p.DeadlineMS)
	}
	t, err := plant(a.root, a.mount, p.Base, p.Cgroups)
	if err != nil {
		return err
	}
	if err := a.plantFreezer(t, p); err != nil {
		return err
	}
	sw, err := planSwap(a.root, a.scratch, p.Base, p.Swap)
	if err != nil {
		return err
	}
	list, err := sysctlUndo(a.root, p)
	if err != nil {
		return err
	}
	trees, err := t.undo()
	if err != nil {
		return err
	}
	list = append(append(list, sw.undo()...), trees...)
	undo, err := writeUndo(a.scratch, p.Base, list)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, undo.undo()) }()

	if err := a.quietConsole(p); err != nil {
		return err
	}
	if err := setSysctls(a.root, p.Sysctls); err != nil {
		return err
	}
	if err := sw.on(); err != nil {
		return err
	}
	if err := t.make(); err != nil {
		return err
	}
	return a.observe(ctx, p, t, c)
}

// The console levels of kernel.printk, include/linux/kern_levels.h: all that is
// not debugging, or emergencies alone.
const (
	consoleAll   = "7"
	consoleQuiet = "1"
)

// quietConsole keeps the reports of a virtual machine's OOM kills off its
// console; the kernel log has them all. printk() waits for a serial line, byte
// by byte and in the middle of a kill, long enough for the first victim of a
// group to be gone before the second pass. A machine that is to panic says
// everything: nobody can read its log afterwards.
func (a *Agent) quietConsole(p plan.Plan) error {
	if os.Getpid() != 1 {
		return nil // not a machine of ours
	}
	level := consoleQuiet
	if p.ExpectPanic {
		level = consoleAll
	}
	return writeFile(a.root.Path("/proc/sys/kernel/printk"), level)
}

// plantFreezer finds the place of a second tree if the plan freezes on cgroup
// v1, where the freezer is a hierarchy of its own.
func (a *Agent) plantFreezer(t *tree, p plan.Plan) error {
	freezes := slices.ContainsFunc(p.During, func(d plan.During) bool { return d.Freeze != "" || d.Thaw != "" })
	if t.version != 1 || !freezes {
		return nil
	}
	dir, err := a.root.FreezerV1()
	if err != nil {
		return &Refusal{What: "the cgroup v1 freezer", Hint: err.Error()}
	}
	t.freezer = filepath.Join(dir, p.Base)
	return nil
}

// observe runs the plan's processes between two readings.
func (a *Agent) observe(ctx context.Context, p plan.Plan, t *tree, c carry) error {
	var paths []string
	for _, cg := range p.Cgroups {
		paths = append(paths, cg.Path)
	}
	counters, err := observe.OpenCounters(observe.CountersOptions{
		Root: string(a.root), Version: t.version, Base: t.base, Cgroups: paths,
	})
	if err != nil {
		return err
	}
	defer counters.Close()
	r := a.newRun(p, t, c.sink)
	if c.settle > 0 {
		r.settle = c.settle
	}
	var sampler *observe.Sampler
	if c.period > 0 {
		sampler, err = observe.OpenSampler(observe.SamplerOptions{
			Root: string(a.root), Version: t.version, Base: t.base, Cgroups: paths,
			Processes: r.living, Period: c.period,
		})
		if err != nil {
			return err
		}
	}
	stop := func() {
		a.observers.stop()
		if sampler != nil {
			sampler.Close()
		}
	}
	err = a.observers.start(r.observed)
	if err == nil {
		err = counters.Read("before", r.emit)
	}
	if err != nil {
		stop()
		return err
	}
	r.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.Begin, Text: p.Scenario})
	if sampler != nil {
		sampler.Start(r.emit)
	}
	r.loop(ctx)
	r.catchUp()
	r.ticker.Stop()
	stop()
	r.last(counters, c.inspect)
	err = errors.Join(r.err, r.bury())
	if r.end == endInterrupted {
		err = errors.Join(ctx.Err(), err)
	}
	return err
}

// last takes the last readings and says who is alive, then ends the run.
func (r *run) last(counters *observe.Counters, inspect func(*run)) {
	if err := counters.Read("after", r.emit); err != nil {
		r.failure(err.Error())
	}
	for _, p := range r.procs {
		if !p.alive() {
			continue
		}
		if status := r.agent.usage(p.pid); status != nil && status.State != "Z" {
			r.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.Alive, Process: p.plan.Name, PID: p.pid, Status: status})
		}
	}
	if inspect != nil {
		inspect(r)
	}
	r.finish()
}

// bury ends whatever still lives and waits for it. Their ends are no evidence.
func (r *run) bury() error {
	close(r.closed)
	var pids []int
	for _, p := range r.procs {
		if p.alive() {
			pids = append(pids, p.pid)
		}
	}
	if r.tree.freezer != "" {
		for _, c := range r.tree.cgroups {
			writeFile(filepath.Join(r.tree.freezer, c.Path, "freezer.state"), "THAWED") // the undo list does it again and reports
		}
	}
	err := killAll(pids, time.Now().Add(endDeadline))
	if killErr := killCgroup(r.tree.base); killErr != nil && !errors.Is(killErr, fs.ErrNotExist) {
		err = errors.Join(err, killErr)
	}
	for _, c := range r.children {
		c.close()
	}
	for _, p := range r.procs {
		r.forget(p)
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		r.readers.Wait()
	}()
	deadline := time.NewTimer(endDeadline)
	defer deadline.Stop()
	select {
	case <-finished:
	case <-deadline.C:
		err = errors.Join(err, fmt.Errorf("an action still blocks %s after everything was killed", endDeadline))
	}
	if r.agent.own {
		r.agent.reapOrphans()
	}
	return err
}

// reapOrphans reaps what a run has left to the agent as its subreaper. Only an
// agent that has the process to itself may: it does not ask whose children
// they are.
func (a *Agent) reapOrphans() {
	for collect(unix.P_ALL, 0) != nil {
	}
}

// killEverything sends SIGKILL to all that lives, from any goroutine.
func (r *run) killEverything() {
	r.mu.Lock()
	for _, fd := range r.fds {
		if fd >= 0 {
			unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
	}
	r.mu.Unlock()
	if pids, err := membersBelow(r.tree.base); err == nil {
		for _, pid := range pids {
			unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// living names the processes that exist, for the sampler.
func (r *run) living() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]int, len(r.fds))
	for pid := range r.fds {
		out[r.names[pid]] = pid
	}
	return out
}

// usage reads what a process holds; nil if it does not exist.
func (a *Agent) usage(pid int) *evidence.ProcessStatus {
	s, err := a.root.Status(pid)
	if err != nil {
		return nil
	}
	return &evidence.ProcessStatus{
		State: s.State, Threads: s.Threads,
		RssAnon: s.RssAnon, RssFile: s.RssFile, RssShmem: s.RssShmem, VmSwap: s.VmSwap, VmPTE: s.VmPTE,
	}
}

func bytesOf(n int64) kernel.Bytes { return kernel.Bytes(n) }

// monotonic is CLOCK_MONOTONIC in nanoseconds, the clock of every event.
func monotonic() int64 {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail
	return ts.Nano()
}

// uniqueBase names a cgroup for a purpose of the agent's own.
func uniqueBase(purpose string) string {
	return "oomlab-" + purpose + "-" + strconv.Itoa(os.Getpid())
}
