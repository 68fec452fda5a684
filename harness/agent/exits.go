package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
)

// sysrqOrder is the order of an allocation that nobody makes: sysrq-f's
// (mm/oom_kill.c, is_sysrq_oom).
const sysrqOrder = -1

// observed adds what the agent knows to an event and passes it on.
func (r *run) observed(ev evidence.Event) {
	r.resolve(&ev)
	if ev.OOM != nil && ev.Process == "" {
		if ev.Process = r.name(r.own(ev.PID)); ev.Process == "" && r.lineage != nil {
			r.drainLineage() // it may have been started just now
			ev.Process = r.name(r.own(ev.PID))
		}
	}
	if ev.Kind == evidence.OOMReturn && ev.OOM != nil && ev.OOM.Control != nil && ev.OOM.Control.Order == sysrqOrder {
		r.pressed.Add(1)
	}
	r.noteStranger(ev)
	consequence, exiting := follows(ev)
	if consequence {
		r.happened()
	}
	r.emit(ev)
	if consequence && len(r.overseen) > 0 {
		r.post(r.allChanged)
	}
	if exiting = r.own(exiting); exiting != 0 {
		r.post(func() { r.oomKilled(exiting) })
	}
}

// follows says whether an event may have consequences that the run waits for,
// and which process the kernel says it killed.
func follows(ev evidence.Event) (consequence bool, exiting int) {
	switch ev.Kind {
	case evidence.Kill, evidence.MarkVictim:
		return true, ev.PID
	case evidence.OutOfMemory, evidence.OOMReturn, evidence.Badness, evidence.KillDecision, evidence.TaskExit:
		return true, 0
	case evidence.Record:
		if ev.Log == nil {
			return false, 0
		}
		return oomText(ev.Log.Text), killedPID(ev.Log.Text)
	}
	return false, 0
}

// oomText reports whether a line of the kernel log is part of an OOM report.
// It may say yes once too often: then a run lasts a moment longer.
func oomText(text string) bool {
	for _, needle := range []string{"oom", "Killed process", "Out of memory", "out of memory"} {
		if strings.Contains(text, needle) {
			return true
		}
	}
	return false
}

// killedPID is N of "... Killed process N (comm) ...", or 0.
func killedPID(text string) int {
	_, rest, ok := strings.Cut(text, "Killed process ")
	if !ok {
		return 0
	}
	var pid int
	if _, err := fmt.Sscanf(rest, "%d (", &pid); err != nil {
		return 0
	}
	return pid
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
	for _, m := range r.lineage.alive("") {
		unix.Kill(m.pid, unix.SIGSTOP)
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
		r.drainLineage()
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
	for r.anyExiting() {
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
	r.failure(fmt.Sprintf("process %s (pid %d) ended, and nobody said how within %s", p.plan.Name, p.pid,
		statusDeadline))
}

// anyExiting reports whether a process is about to end, or has ended and it is not
// known yet how.
func (r *run) anyExiting() bool {
	for _, p := range r.procs {
		if !p.unknown.IsZero() {
			return true
		}
		if !p.alive() {
			continue
		}
		if s := r.agent.usage(p.pid); r.isExiting(p.pid) || s == nil || s.State == "Z" || s.State == "X" {
			return true
		}
	}
	for _, m := range r.lineage.alive("") {
		if s := r.agent.usage(m.pid); r.isExiting(m.pid) || s == nil || s.State == "Z" || s.State == "X" {
			return true
		}
	}
	return false
}

// oomKilled notes that the OOM killer has killed a process, and with it those whom
// that takes along: its children, by their death signal, and what shares its
// memory, whom __oom_kill_process() kills without a word.
func (r *run) oomKilled(pid int) { r.expectExit(pid, true) }

// expectExit notes that a process is about to end, with its children; withSharers:
// and with those who use its memory, which a signal does not reach.
func (r *run) expectExit(pid int, withSharers bool) {
	if r.isExiting(pid) {
		return
	}
	r.exiting[pid] = time.Now()
	for _, p := range r.procs {
		if p.pid != pid || p.lives == 0 {
			continue
		}
		parent := r.byName[p.plan.Parent]
		if withSharers && parent != nil && parent.alive() && parent.plan.Profile.Children[p.plan.Name].SharesMemory {
			r.expectExit(parent.pid, true)
		}
		r.expectChildrenExit(p, withSharers)
	}
}

func (r *run) expectChildrenExit(p *process, withSharers bool) {
	for _, q := range r.procs {
		if q.plan.Parent == p.plan.Name && q.alive() {
			r.expectExit(q.pid, withSharers)
		}
	}
}

func (r *run) isExiting(pid int) bool {
	_, ok := r.exiting[pid]
	return ok
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
	// ru_maxrss counts those that a process has waited for, too
	waited := r.lineage != nil && r.lineage.most[p.plan.Name] > 0
	if status != nil && (status.MaxRSS == nil || waited) && p.quiet.own > 0 {
		most := p.quiet.own.Bytes(kernel.Bytes(os.Getpagesize())) // of the samples
		status.MaxRSS = &most
	}
	r.emit(evidence.Event{AtNS: at, Source: evidence.Wait, Kind: evidence.Exited, Process: p.plan.Name, PID: pid,
		Exit: status})
	p.state, p.status, p.unknown = ended, nil, time.Time{}
	r.forget(p)
	r.heir(p)
	if r.busy == p {
		r.busy = nil
	}
	r.happened()
	r.expectChildrenExit(p, false)
	for _, q := range r.procs { // orphans are ours now
		if q.plan.Parent == p.plan.Name && !q.unknown.IsZero() {
			r.adopt(q)
		}
	}
	r.changed(r.overseen[p.plan.Name])
	again := p.plan.Parent == "" && !p.plan.Overseen() && (p.plan.Respawn < 0 || p.lives <= p.plan.Respawn)
	if status != nil && status.Signal != 0 && again {
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

// killSurvivors ends whatever still lives and waits for it. Their ends are no evidence.
func (r *run) killSurvivors() error {
	close(r.closed)
	r.haltUnits()
	r.haltContainers()
	var pids []int
	for _, p := range r.procs {
		if p.alive() {
			pids = append(pids, p.pid)
		}
	}
	if r.lineage != nil {
		for _, m := range r.lineage.alive("") { // wherever they are now
			pids = append(pids, m.pid)
		}
		r.lineage.events.Close()
	}
	if r.tree.freezer != "" {
		for _, c := range r.tree.cgroups {
			// The undo list does it again, and reports.
			writeFile(filepath.Join(r.tree.freezer, c.Path, "freezer.state"), "THAWED")
		}
	}
	err := killAll(pids, time.Now().Add(endDeadline), nobody)
	if killErr := killCgroup(r.tree.base, nobody); killErr != nil && !errors.Is(killErr, fs.ErrNotExist) {
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
