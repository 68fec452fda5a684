package verdict

import (
	"fmt"
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
)

// life is one process from its start to its end. A process that is started
// again has several.
type life struct {
	process string
	plan    plan.Process
	pid     int // as the agent and the runtime number it
	// kernelPID is as eBPF and the kernel log number it; 0: neither has named it.
	kernelPID int
	born      int64 // AtNS of Spawned
	ready     bool
	readyNS   int64
	read      *evidence.ProcValues // when it was ready
	failed    *evidence.Event      // a step of it that the kernel refused memory
	exit      *evidence.ExitStatus // nil: it was alive at the end, or nobody saw it end
	diedNS    int64
	alive     bool // seen alive at the end
	ends      int  // how many times its end was reported
	tasks     int  // and by the runtime
	// kernelExit is the wait status that eBPF read from the task.
	kernelExit *int
	// task is how the runtime says that a container's first process ended: a
	// signal is a code above 128.
	task *evidence.ExitStatus
	// withFirst: it ended because its container's first process did.
	withFirst bool
	// of is the program of the user's own that has started the process; empty: the plan has
	// it itself. called are the names that it had, the last one last.
	of     string
	called []evidence.Program
}

// lives reads who lived and how each one ended, in the order of birth.
func lives(p plan.Plan, events []evidence.Event, pids pids) []*life {
	var all []*life
	latest := func(pid int, process string) *life {
		for i := len(all) - 1; i >= 0; i-- {
			if all[i].pid == pid && (process == "" || all[i].process == process) {
				return all[i]
			}
		}
		return nil
	}
	born := func(e evidence.Event, pid int) {
		if l := latest(pid, e.Process); l != nil && l.exit == nil && l.task == nil {
			return // announced before
		}
		if q, ok := p.Process(e.Process); ok || e.Kind == evidence.Spawned {
			all = append(all, &life{process: e.Process, plan: q, pid: pid, kernelPID: pids.kernel(pid), born: e.AtNS})
		}
	}
	for _, e := range events {
		switch e.Kind {
		case evidence.Spawned:
			born(e, e.PID)
		case evidence.Forked:
			all = append(all, forked(p, e, pids))
		case evidence.Named:
			if l := latest(e.PID, e.Process); l != nil && e.Program != nil {
				l.called = append(l.called, *e.Program)
			}
		case evidence.ContainerCgroup:
			if e.Cgroup != nil && e.Cgroup.PID > 0 && p.On != nil { // elsewhere the agent has told of it
				born(e, e.Cgroup.PID)
			}
		case evidence.Ready:
			if l := latest(e.PID, e.Process); l != nil {
				l.ready, l.readyNS = true, e.AtNS
			}
		case evidence.ProcRead:
			if l := latest(e.PID, e.Process); l != nil {
				l.read = e.Proc
			}
		case evidence.Failed:
			if l := latest(e.PID, e.Process); l != nil {
				l.failed = &e
			}
		case evidence.Exited:
			if l := latest(e.PID, e.Process); l != nil {
				l.exit, l.diedNS = e.Exit, e.AtNS
				l.ends++
			}
		case evidence.TaskEnded:
			if latest(e.PID, e.Process) == nil {
				born(e, e.PID) // it may be over before anybody has seen it
			}
			if l := latest(e.PID, e.Process); l != nil && e.Exit != nil {
				l.task = &evidence.ExitStatus{Code: e.Exit.Code, By: string(evidence.Runtime)}
				l.diedNS = e.AtNS
				l.tasks++
			}
		case evidence.Alive:
			if l := latest(e.PID, e.Process); l != nil {
				l.alive = true
			}
		case evidence.TaskExit:
			if e.OOM != nil && e.OOM.Task != nil && e.OOM.ExitCode != nil {
				if l := latest(pids.agent(e.OOM.Task.TaskID), ""); l != nil {
					code := *e.OOM.ExitCode
					l.kernelExit = &code
				}
			}
		}
	}
	return all
}

// life is that of the process that a kernel record speaks of by its pid; nil: it is
// not the scenario's.
func (a *account) life(pid int) *life {
	for i := len(a.lives) - 1; i >= 0; i-- {
		if a.lives[i].kernelPID == pid && pid != 0 {
			return a.lives[i]
		}
	}
	return nil
}

// lifeOf is the last life of a process of the plan; nil: it never lived.
func (a *account) lifeOf(process string) *life {
	for i := len(a.lives) - 1; process != "" && i >= 0; i-- {
		if a.lives[i].process == process {
			return a.lives[i]
		}
	}
	return nil
}

// livesOf are all lives of a process, in order.
func (a *account) livesOf(process string) []*life {
	return slices.DeleteFunc(slices.Clone(a.lives), func(l *life) bool { return l.process != process })
}

// last are the last lives of the processes that a scenario's name stands for.
func (a *account) last(name string) []*life {
	var out []*life
	for _, process := range a.names(name) {
		if l := a.lifeOf(process); l != nil {
			out = append(out, l)
		}
	}
	return out
}

func (l *life) String() string { return fmt.Sprintf("%s (pid %d)", l.process, l.pid) }

func status(e evidence.ExitStatus) string {
	if e.Signal != 0 {
		return kernel.SignalName(e.Signal)
	}
	return fmt.Sprintf("exit code %d", e.Code)
}
