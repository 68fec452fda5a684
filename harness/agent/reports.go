package agent

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/stressor/profile"
)

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
			defer r.read(p) // after it has been said that it is ready
		}
		r.happened()
	case profile.Exited:
		status := &evidence.ExitStatus{Code: rep.Code, Signal: rep.Signal, By: from.plan.Name}
		if p.plan.Parent != "" {
			status.By = p.plan.Parent
			r.gone(p, rep.PID, status, rep.MonoNS)
		}
		return
	case profile.Error:
		ev.Kind, ev.Text = evidence.Failure, rep.Error
		if rep.Errno != "" { // an outcome, and for the judge to weigh
			ev.Kind, ev.Call = evidence.Failed, &evidence.FailedCall{Errno: rep.Errno, Step: rep.Step}
			r.happened()
		}
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
	r.register(p)
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

func holding(rep profile.Report) *evidence.Holding {
	return &evidence.Holding{Told: bytesOf(rep.Held), Resident: bytesOf(rep.Resident), Overhead: bytesOf(rep.Overhead)}
}
