package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/plan"
)

// settleFor is how long nothing may happen before a run counts as over: no
// event of the OOM killer, no end of a process, no action. An action such as
// sysrq-f has its effect later and in another context, and a kill takes a
// moment from the decision to the end of its victim.
const settleFor = 300 * time.Millisecond

// settleSeen is the same where nothing can be under way unseen: eBPF tells of
// every invocation of the OOM killer from its beginning, the victims that it
// names are awaited anyway, and no action of the plan has its effect in another
// context. It covers the moment between a process's last report and its sleep.
const settleSeen = 20 * time.Millisecond

// Deadlines of waits inside a run. They are for things that take milliseconds,
// and generous because an emulated machine that is out of memory is slow.
const (
	startDeadline  = 30 * time.Second // a launcher says that it started
	drainDeadline  = 5 * time.Second  // an observer has delivered everything
	statusDeadline = 2 * time.Second  // a parent says how its child ended
)

// How a run ends, the text of the End event.
const (
	endSettled     = "settled"
	endWithin      = "within"
	endInterrupted = "interrupted"
	endDeadlined   = "deadline"
	endFailed      = "failed"
)

// A run is one plan being carried out. Its state belongs to the loop; others
// hand it functions to call with post.
type run struct {
	session
	plan   plan.Plan
	tree   *tree
	settle time.Duration
	// throttled: the run lasts all of WithinMS.
	throttled bool
	inspect   func(*run) // see carry; may be nil

	procs   []*process
	byName  map[string]*process
	actions []*action
	work    chan func() // things that may block, done one after the other

	posted  chan func()
	closed  chan struct{}
	readers sync.WaitGroup

	busy     *process          // being started; the next one waits for it
	busyTill time.Time         //
	exiting  map[int]time.Time // pids that the kernel says it killed, and when that was noticed
	draining bool              //
	waking   bool              // a timer brings the loop back to settleNext
	drained  int64             // activity when the observers were last drained
	end      string            // set when the run is over
	err      error             // why it failed
	began    time.Time         //
	pressed  atomic.Int64      // invocations of the OOM killer by workers of the kernel's that are over
	activity atomic.Int64      // when something last happened that may have consequences
	ticker   *time.Ticker      //

	overseen  map[string]*overseen    // by process
	inside    sync.Map                // by container: the directory of its cgroup, string -> string
	lineage   *lineage                // nil: what programs start is not followed
	children  []*child                // of all lives; loop only
	strangers map[string]map[int]bool // killed in a cgroup, and no processes of the plan's; mu
	fds       map[int]int             // pid -> pidfd of what must be killed at the deadline; mu
}

func (a *Agent) newRun(p plan.Plan, t *tree, c carry) *run {
	r := &run{
		session: session{agent: a, paths: newPaths(a.hierarchy(), t), sink: c.sink, names: map[int]string{}},
		plan:    p, tree: t, settle: settleFor, throttled: len(p.Throttled) > 0, inspect: c.inspect,
		byName: map[string]*process{}, overseen: map[string]*overseen{}, work: make(chan func(), len(p.During)+1),
		posted: make(chan func(), 256), closed: make(chan struct{}),
		exiting: map[int]time.Time{}, fds: map[int]int{}, strangers: map[string]map[int]bool{},
	}
	if c.settle > 0 {
		r.settle = c.settle
	} else if a.observers.tier().Tier >= 2 && !slices.ContainsFunc(p.During, effectLater) {
		r.settle = settleSeen
	}
	for _, proc := range p.Processes {
		one := &process{plan: proc, pidfd: -1}
		r.procs = append(r.procs, one)
		r.byName[proc.Name] = one
	}
	for _, d := range p.During {
		r.actions = append(r.actions, &action{plan: d})
	}
	return r
}

// effectLater reports whether what an action does is not done when it returns,
// nor seen by the observers: what a signal does is up to the process, except for
// SIGKILL and stopping, which are the kernel's.
func effectLater(d plan.During) bool {
	for _, sig := range d.Signal {
		if s := unix.Signal(sig); s != unix.SIGKILL && s != unix.SIGSTOP && s != unix.SIGCONT {
			return true
		}
	}
	return false
}

// post hands the loop a function to call. After the run it is dropped.
func (r *run) post(f func()) {
	select {
	case r.posted <- f:
	case <-r.closed:
	}
}

func (r *run) happened() { r.activity.Store(monotonic()) }

// register remembers which process a pid is, for the observers and the deadline.
func (r *run) register(p *process) {
	r.know(p.pid, p.plan.Name)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fds[p.pid] = p.pidfd
	r.head(p)
	r.main(p)
}

// begin: the counters are all that there is to read.
func (r *run) begin() {}

// wait carries the plan out and takes in what had happened when it was over.
func (r *run) wait(ctx context.Context) string {
	if err := errors.Join(r.openUnits(), r.openContainers()); err != nil {
		r.fail(err)
		return r.end
	}
	stop := r.startRanking()
	r.loop(ctx)
	stop()
	r.catchUp()
	r.ticker.Stop()
	return r.end
}

// conclude says who is alive.
func (r *run) conclude() {
	for _, p := range r.procs {
		if p.alive() {
			r.reportAlive(p.plan.Name, p.pid)
		}
	}
	for _, m := range r.lineage.alive("") {
		r.reportAlive(m.name, m.pid)
	}
	r.sayDescendants()
	r.sayUnits()
	r.sayContainers()
	if r.inspect != nil {
		r.inspect(r)
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
	for _, m := range r.lineage.alive("") {
		out[m.name] = m.pid
	}
	return out
}

// loop carries the plan out, from the first process to the quiet at the end.
func (r *run) loop(ctx context.Context) {
	r.began = time.Now()
	r.happened()
	within := time.NewTimer(time.Duration(r.plan.WithinMS) * time.Millisecond)
	defer within.Stop()
	deadline := time.AfterFunc(time.Duration(r.plan.DeadlineMS)*time.Millisecond, func() {
		r.killEverything()
		r.post(func() {
			r.failure(fmt.Sprintf("the deadline of %d ms passed; everything was killed", r.plan.DeadlineMS))
			r.stop(endDeadlined)
		})
	})
	defer deadline.Stop()
	r.ticker = time.NewTicker(quietEvery)
	r.readers.Add(1)
	go func() {
		defer r.readers.Done()
		standBack()
		for f := range r.work {
			f()
		}
	}()
	defer close(r.work)

	for r.end == "" {
		r.startNext()
		r.startActions()
		r.settleNext()
		if r.end != "" {
			return
		}
		select {
		case f := <-r.posted:
			f()
		case <-r.ticker.C:
			r.tick()
		case <-within.C:
			r.stop(endWithin)
		case <-ctx.Done():
			r.stop(endInterrupted)
		}
	}
}

func (r *run) stop(how string) {
	if r.end == "" {
		r.end = how
	}
}

func (r *run) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.stop(endFailed)
}

// startNext starts the first process of the plan that may start. One is
// started at a time, so that the order in which processes join their cgroups
// is the plan's: it decides between equal scores.
func (r *run) startNext() {
	for r.busy == nil && r.end == "" {
		var next *process
		for _, p := range r.procs {
			if p.state == waiting && p.plan.Parent == "" && (p.lives > 0 || r.reached(p.plan.After)) {
				next = p
				break
			}
		}
		if next == nil {
			return
		}
		r.busy, r.busyTill = next, time.Now().Add(startDeadline)
		if err := r.start(next); err != nil {
			r.fail(err)
		}
		r.happened()
	}
}

// reached reports whether all of the processes are ready or have ended, or
// will never be started.
func (r *run) reached(names []string) bool {
	for _, name := range names {
		if p := r.byName[name]; p != nil && !p.settled() && !r.never(p) {
			return false
		}
	}
	return true
}

// never reports whether a process that is forked by another one will not be
// started any more.
func (r *run) never(p *process) bool {
	if p.state != waiting || p.plan.Parent == "" {
		return false
	}
	parent := r.byName[p.plan.Parent]
	return parent == nil || parent.settled() || r.never(parent)
}

// settleNext ends the run when everything is done and quiet. The observers are
// drained before that is believed.
func (r *run) settleNext() {
	if r.throttled || r.draining || !r.done() {
		return
	}
	last := r.activity.Load()
	if left := int64(r.settle) - (monotonic() - last); left > 0 {
		if !r.waking {
			r.waking = true
			time.AfterFunc(time.Duration(left), func() { r.post(func() { r.waking = false }) }) // comes back here
		}
		return
	}
	if r.drained == last {
		r.stop(endSettled)
		return
	}
	r.draining = true
	go func() {
		r.drain()
		r.drainLineage()
		r.post(func() { r.draining, r.drained = false, last })
	}()
}

// done reports whether nothing is pending: every process is ready or has
// ended, every action was carried out, and everyone whom the kernel says it
// killed has been seen to end.
func (r *run) done() bool {
	for _, p := range r.procs {
		if !p.settled() && !r.never(p) {
			return false
		}
		if !p.unknown.IsZero() || p.alive() && r.isExiting(p.pid) {
			return false
		}
	}
	for _, m := range r.lineage.alive("") {
		if r.isExiting(m.pid) {
			return false
		}
	}
	for _, a := range r.actions {
		if a.state != actionDone {
			return false
		}
	}
	return r.busy == nil && r.overseersRest()
}

// tick looks at what no event tells: programs that have become quiet, and
// deadlines.
func (r *run) tick() {
	now := time.Now()
	if p := r.busy; p != nil && now.After(r.busyTill) {
		r.fail(fmt.Errorf("process %s (pid %d): awaited its start for %s", p.plan.Name, p.pid, startDeadline))
		return
	}
	r.watchQuiet(now)
	r.lookAround(now)
	r.askOverseers()
	for _, p := range r.procs {
		if !p.unknown.IsZero() && now.Sub(p.unknown) > statusDeadline {
			r.unexplained(p)
		}
	}
}
