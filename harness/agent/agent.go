package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/probe"
)

// Options are what an agent needs to know about its place.
type Options struct {
	Stressor   string     // path of the stressor binary
	Root       probe.Root // "" is "/"
	ScratchDir string     // for undo lists and swap files
	// HostOOM says whether this machine may run out of memory as a whole.
	HostOOM bool
	// Userland is what Hello calls the distribution around the agent, if that belongs
	// to a machine of its own.
	Userland string
	// Files are those of Hello.
	Files map[string]string
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
	within    bool // it is in another pid namespace than the kernel log and eBPF
	userland  string
	files     map[string]string
	mount     kernel.CgroupMount
	mountErr  error
	observers *observers
	spawner   *spawner
	reaper    *reaper
	node      *node       // nil: no cluster's
	busy      atomic.Bool // a plan is being carried out
	// procEventsErr is why the kernel does not tell of processes; nil: it does.
	procEventsErr error
	adj           string // the agent's own oom_score_adj before it changed it; "": it did not
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
	a := &Agent{root: o.Root, scratch: o.ScratchDir, stressor: stressor, hostOOM: o.HostOOM, own: o.Own,
		userland: o.Userland, files: o.Files}
	a.within = slices.Contains(a.root.Namespaces(), kernel.PIDNamespace)
	a.mount, a.mountErr = a.root.CgroupMount()
	if a.reaper, err = newReaper(); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	a.spawner = newSpawner()
	a.protect()
	a.observers = openObservers(ctx, o)
	a.procEventsErr = tryProcEvents()
	if o.Own {
		reserveHeap()
	}
	if o.Node != nil {
		a.mount.Self = "/" // the agent's own cgroup is none to divide
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

// heapGoal is how far the agent's heap grows in a run before the collector starts,
// as long as no more than a fifth of it lives.
const heapGoal = 16 << 20

// heapPiece is a page of the Go runtime's (internal/runtime/gc), the least that a hole
// in the heap can be.
const heapPiece = 8 << 10

// reserveHeap takes the memory that the agent will allocate from in a run, now that
// there is some: an agent whose heap grows while the machine has none left is
// itself what invokes the OOM killer.
//
// It takes that and no more. The Go runtime returns what lies above the goal to the
// kernel, bit by bit and even if it is locked: where madvise() is refused it maps new
// pages over the old ones. The machine would have more memory in the end than it had
// when the run was predicted. So what is left from the start is returned at once.
func reserveHeap() {
	// With GOGC=100 the goal is 4 MiB or more (runtime/mgcpacer.go).
	debug.SetGCPercent(100 * heapGoal / (4 << 20))
	json.Marshal(wire.Events{{}}) // makes what every message is packed with; cannot fail
	debug.FreeOSMemory()
	// The collector starts before the goal and may end after it. Small pieces, as the
	// heap is filled from its lowest hole up.
	reserve := make([][]byte, (heapGoal+1<<20)/heapPiece)
	for i := range reserve {
		reserve[i] = make([]byte, heapPiece)
		for k := 0; k < heapPiece; k += os.Getpagesize() {
			reserve[i][k] = 1
		}
	}
	runtime.KeepAlive(reserve)
	runtime.GC()
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
