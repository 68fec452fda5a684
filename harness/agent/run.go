package agent

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/stressor/profile"
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
	agent  *Agent
	plan   plan.Plan
	tree   *tree
	paths  *paths
	settle time.Duration
	// throttled: the run lasts all of WithinMS.
	throttled bool
	sink      func(evidence.Event)

	procs   []*process
	byName  map[string]*process
	actions []*action
	work    chan func() // things that may block, done one after the other

	posted  chan func()
	closed  chan struct{}
	readers sync.WaitGroup

	busy     *process          // being started; the next one waits for it
	busyTill time.Time         //
	doomed   map[int]time.Time // pids that the kernel says it killed, and when that was noticed
	draining bool              //
	waking   bool              // a timer brings the loop back to settleNext
	drained  int64             // activity when the observers were last drained
	end      string            // set when the run is over
	err      error             // why it failed
	began    time.Time         //
	pressed  atomic.Int64      // invocations of the OOM killer by workers of the kernel's that are over
	activity atomic.Int64      // when something last happened that may have consequences
	ticker   *time.Ticker      //

	mu       sync.Mutex
	over     bool
	children []*child       // of all lives; loop only
	names    map[int]string // pid -> process, those that have ended included
	fds      map[int]int    // pid -> pidfd of what must be killed at the deadline
}

func (a *Agent) newRun(p plan.Plan, t *tree, sink func(evidence.Event)) *run {
	r := &run{
		agent: a, plan: p, tree: t, settle: settleFor, throttled: len(p.Throttled) > 0, sink: sink,
		byName: map[string]*process{}, work: make(chan func(), len(p.During)+1),
		posted: make(chan func(), 256), closed: make(chan struct{}),
		doomed: map[int]time.Time{}, names: map[int]string{}, fds: map[int]int{},
	}
	if a.observers.tier().Tier >= 2 && !slices.ContainsFunc(p.During, effectLater) {
		r.settle = settleSeen
	}
	r.paths = newPaths(a.hierarchy(), t)
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
// nor seen by the observers: what a signal does is up to the process, but for
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

// emit passes an event on, stamped if it has no time of its own.
func (r *run) emit(ev evidence.Event) {
	if ev.AtNS == 0 {
		ev.AtNS = monotonic()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.sink(ev)
	}
}

// finish emits the End event, after which nothing is emitted any more.
func (r *run) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sink(evidence.Event{AtNS: monotonic(), Source: evidence.Agent, Kind: evidence.End, Text: r.end})
	r.over = true
}

// failure says that the agent could not do something that the plan asked for.
func (r *run) failure(text string) {
	r.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.Failure, Text: text})
}

func (r *run) happened() { r.activity.Store(monotonic()) }

// know remembers which process a pid is, for the observers and the deadline.
func (r *run) know(p *process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names[p.pid] = p.plan.Name
	r.fds[p.pid] = p.pidfd
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
		r.post(func() { r.draining, r.drained = false, last })
	}()
}

// drain waits for the observers; one that does not deliver is a failure of the
// run, which makes its verdict broken.
func (r *run) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), drainDeadline)
	defer cancel()
	if err := r.agent.observers.drain(ctx); err != nil {
		r.failure("drain: " + err.Error())
	}
}

// halt stops the processes of a run that was not quiet when it ended, so that
// the last readings of all witnesses are of one moment. A parent is left alone:
// it has to say how its children ended.
func (r *run) halt() {
	for _, p := range r.procs {
		if p.alive() && p.pidfd >= 0 && !r.forks(p) {
			unix.PidfdSendSignal(p.pidfd, unix.SIGSTOP, nil, 0) // it may have ended meanwhile
		}
	}
}

// catchUp takes in what had happened when the loop ended: what the observers
// have yet to deliver, and the ends of processes that are dying.
func (r *run) catchUp() {
	if r.end != endSettled {
		r.halt()
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		r.drain()
	}()
	for waiting := true; waiting; {
		select {
		case f := <-r.posted:
			f()
		case <-drained:
			waiting = false
		}
	}
	deadline := time.NewTimer(statusDeadline)
	defer deadline.Stop()
	for r.dying() {
		select {
		case f := <-r.posted:
			f()
		case <-r.ticker.C: // a process that is gone is seen here first
		case <-deadline.C:
			for _, p := range r.procs {
				if !p.unknown.IsZero() {
					r.unexplained(p)
				}
			}
			return
		}
	}
}

// unexplained gives up waiting for a parent to say how its child ended.
func (r *run) unexplained(p *process) {
	p.unknown = time.Time{}
	r.failure(fmt.Sprintf("process %s (pid %d) ended, and nobody said how within %s", p.plan.Name, p.pid, statusDeadline))
}

// dying reports whether a process is about to end, or has ended and it is not
// known yet how.
func (r *run) dying() bool {
	for _, p := range r.procs {
		if !p.unknown.IsZero() {
			return true
		}
		if !p.alive() {
			continue
		}
		if s := r.agent.usage(p.pid); r.isDoomed(p.pid) || s == nil || s.State == "Z" || s.State == "X" {
			return true
		}
	}
	return false
}

// doom notes that the OOM killer has killed a process, and with it those whom
// that takes along: its children, by their death signal, and whoever shares its
// memory, whom __oom_kill_process() kills without a word.
func (r *run) doom(pid int) { r.leaves(pid, true) }

// leaves notes that a process is about to end, with its children; withSharers:
// and with those who use its memory, which a signal does not reach.
func (r *run) leaves(pid int, withSharers bool) {
	if r.isDoomed(pid) {
		return
	}
	r.doomed[pid] = time.Now()
	for _, p := range r.procs {
		if p.pid != pid || p.lives == 0 {
			continue
		}
		parent := r.byName[p.plan.Parent]
		if withSharers && parent != nil && parent.alive() && parent.plan.Profile.Children[p.plan.Name].SharesMemory {
			r.leaves(parent.pid, true)
		}
		r.childrenLeave(p, withSharers)
	}
}

func (r *run) childrenLeave(p *process, withSharers bool) {
	for _, q := range r.procs {
		if q.plan.Parent == p.plan.Name && q.alive() {
			r.leaves(q.pid, withSharers)
		}
	}
}

func (r *run) isDoomed(pid int) bool {
	_, ok := r.doomed[pid]
	return ok
}

// done reports whether nothing is pending: every process is ready or has
// ended, every action was carried out, and everyone whom the kernel says it
// killed has been seen to end.
func (r *run) done() bool {
	for _, p := range r.procs {
		if !p.settled() && !r.never(p) {
			return false
		}
		if !p.unknown.IsZero() || p.alive() && r.isDoomed(p.pid) {
			return false
		}
	}
	for _, a := range r.actions {
		if a.state != actionDone {
			return false
		}
	}
	return r.busy == nil
}

// tick looks at what no event tells: programs that have become quiet, and
// deadlines.
func (r *run) tick() {
	now := time.Now()
	if p := r.busy; p != nil && now.After(r.busyTill) {
		r.fail(fmt.Errorf("process %s (pid %d): awaited its start for %s", p.plan.Name, p.pid, startDeadline))
		return
	}
	for _, p := range r.procs {
		if p.plan.IsCommand() && (p.state == running || p.state == ready) {
			if stat, err := r.agent.root.Stat(p.pid); err == nil && p.quiet.grown(stat.RSS, now) && p.state == running {
				p.state = ready
				r.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.Ready, Process: p.plan.Name, PID: p.pid, Status: r.agent.usage(p.pid)})
				r.happened()
			}
		}
		if !p.unknown.IsZero() && now.Sub(p.unknown) > statusDeadline {
			r.unexplained(p)
		}
	}
}

// reported handles one report that came through the pipe of process from; it
// may be of one that from has forked.
func (r *run) reported(from *process, life int, rep profile.Report) {
	p := r.byName[rep.Name]
	if p == nil {
		p = from
	}
	ev := evidence.Event{AtNS: rep.MonoNS, Source: evidence.Stressor, Process: p.plan.Name, PID: rep.PID}
	if rep.Held != 0 || rep.Resident != 0 || rep.Overhead != 0 {
		ev.Held = holding(rep)
	}
	current := rep.PID == p.pid && (p != from || life == p.lives) && p.alive()
	switch rep.Event {
	case profile.Started, profile.Forked:
		if p.plan.Parent != "" {
			r.forked(p, rep.PID)
		} else if current {
			r.started(p)
		}
		return
	case profile.Stepped:
		ev.Kind, ev.Text = evidence.Step, fmt.Sprintf("step %d done", rep.Step)
	case profile.Ready:
		ev.Kind = evidence.Ready
		if ev.Held == nil {
			ev.Held = holding(rep)
		}
		if current {
			p.state, p.overhead = ready, bytesOf(rep.Overhead)
		}
		r.happened()
	case profile.Exited:
		status := &evidence.ExitStatus{Code: rep.Code, Signal: rep.Signal, By: from.plan.Name}
		if p.plan.Parent != "" {
			status.By = p.plan.Parent
			r.gone(p, rep.PID, status, rep.MonoNS)
		}
		return
	default:
		ev.Kind, ev.Text = evidence.Failure, rep.Error
	}
	r.emit(ev)
}

// started notes that a process runs what it was launched for.
func (r *run) started(p *process) {
	if p.state == starting {
		p.state = running
	}
	if r.busy == p {
		r.busy = nil
	}
}

// forked notes a process that another stressor has started, and watches it.
func (r *run) forked(p *process, pid int) {
	if p.pid == pid && p.lives > 0 {
		return // said twice, by parent and child
	}
	p.pid, p.pidfd, p.state, p.status, p.unknown = pid, -1, running, nil, time.Time{}
	p.lives++
	life := p.lives
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		var mine int
		if mine, err = unix.FcntlInt(uintptr(pidfd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			p.pidfd = mine
			err = r.agent.reaper.watch(pid, pidfd, func(status *evidence.ExitStatus) {
				at := monotonic()
				r.post(func() { r.exited(p, life, status, at) })
			})
		}
	}
	r.know(p)
	r.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.Spawned, Process: p.plan.Name, PID: pid})
	if err != nil { // it has ended already, and its parent will say how
		p.state, p.unknown = ended, time.Now()
	}
	r.happened()
}

// silent notes the end of a report pipe.
func (r *run) silent(p *process, life int) {
	if life != p.lives {
		return
	}
	p.eof = true
	if p.plan.IsCommand() && p.alive() {
		r.started(p) // exec has closed the pipe
	}
	if p.status != nil {
		r.gone(p, p.pid, p.status, p.endedAt)
	}
}

// exited notes that a process has ended. The status is nil when its parent has
// to tell.
func (r *run) exited(p *process, life int, status *evidence.ExitStatus, at int64) {
	if life != p.lives || p.state == ended && p.unknown.IsZero() {
		return // its parent was faster
	}
	r.happened()
	if status == nil && p.plan.Parent != "" {
		// Its parent reaps it; if the parent ends first, it is ours.
		p.state, p.unknown, p.endedAt = ended, time.Now(), at
		if parent := r.byName[p.plan.Parent]; parent == nil || parent.state == ended {
			r.adopt(p)
		}
		return
	}
	if !p.eof && p.child != nil && !r.forks(p) {
		p.status, p.endedAt = status, at // its last reports come first
		return
	}
	r.gone(p, p.pid, status, at)
}

// adopt reaps a process whose parent has ended before it could.
func (r *run) adopt(p *process) {
	if status := collect(unix.P_PID, p.pid); status != nil {
		r.gone(p, p.pid, status, p.endedAt)
	}
}

// forks reports whether other processes of the plan hold p's report pipe.
func (r *run) forks(p *process) bool { return len(p.plan.Profile.Children) > 0 }

// gone emits how a process ended and what follows from it.
func (r *run) gone(p *process, pid int, status *evidence.ExitStatus, at int64) {
	if pid != p.pid || p.state == ended && p.unknown.IsZero() {
		return
	}
	if status != nil && status.MaxRSS == nil && p.quiet.most > 0 {
		most := p.quiet.most.Bytes(kernel.Bytes(os.Getpagesize())) // of the samples
		status.MaxRSS = &most
	}
	r.emit(evidence.Event{AtNS: at, Source: evidence.Wait, Kind: evidence.Exited, Process: p.plan.Name, PID: pid, Exit: status})
	p.state, p.status, p.unknown = ended, nil, time.Time{}
	r.forget(p)
	if r.busy == p {
		r.busy = nil
	}
	r.happened()
	r.childrenLeave(p, false)
	for _, q := range r.procs { // orphans are ours now
		if q.plan.Parent == p.plan.Name && !q.unknown.IsZero() {
			r.adopt(q)
		}
	}
	if status != nil && status.Signal != 0 && p.plan.Parent == "" && (p.plan.Respawn < 0 || p.lives <= p.plan.Respawn) {
		p.state = waiting // startNext starts it at once, whatever it is after
	}
}

// forget closes what the agent held of a process that has ended.
func (r *run) forget(p *process) {
	r.mu.Lock()
	delete(r.fds, p.pid)
	r.mu.Unlock()
	if p.pidfd >= 0 {
		unix.Close(p.pidfd)
		p.pidfd = -1
	}
	if p.child != nil && !r.forks(p) {
		p.child.control.Close() // what it forked lives as long as this is open
	}
}

func holding(rep profile.Report) *evidence.Holding {
	return &evidence.Holding{Told: bytesOf(rep.Held), Resident: bytesOf(rep.Resident), Overhead: bytesOf(rep.Overhead)}
}
