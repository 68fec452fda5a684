package watch

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/observe"
	"github.com/oomlab/oomlab/harness/probe"
	"github.com/oomlab/oomlab/harness/trace"
)

// family is a command and what it has started, directly or not. The kernel's process events
// tell of each; without them /proc is read now and then, and who lived shorter may be missed.
type family struct {
	events *observe.ProcEvents // nil: there are none

	mu      sync.Mutex
	members map[int][]life // by pid, of which one may be used again
	lost    bool           // some events did not arrive
}

// life is one process, from when to when.
type life struct {
	bornNS, diedNS int64  // CLOCK_MONOTONIC; 0: not known, or not yet
	start          uint64 // field 22 of /proc/PID/stat, where that was read
}

// lookEvery is how often /proc is read where there are no events, and orphans are reaped.
const lookEvery = 100 * time.Millisecond

// seenAfter is how long a process lives at least that no reading of /proc misses.
const seenAfter = 5 * lookEvery

// afterDeath is how long after a process was on its way out it may still be killed, as far as
// the clocks of different witnesses go.
const afterDeath = int64(100 * time.Millisecond)

func openFamily(wanted bool) *family {
	f := &family{members: map[int][]life{}}
	if wanted {
		f.events, _ = observe.OpenProcEvents(f.event, func(uint64, string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.lost = true
		})
	}
	return f
}

func (f *family) close() {
	if f.events != nil {
		f.events.Drain()
		f.events.Close()
	}
}

// event follows who forks and who exits. The command is the only child that this process forks.
func (f *family) event(e observe.ProcEvent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case e.What == observe.ProcForked && e.PID == e.TGID && (e.Parent == os.Getpid() || f.lives(e.Parent) != nil):
		f.members[e.PID] = append(f.members[e.PID], life{bornNS: e.AtNS})
	case e.What == observe.ProcExited && e.PID == e.TGID:
		if l := f.lives(e.PID); l != nil {
			l.diedNS = e.AtNS
		}
	}
}

// lives is the member with a pid that has not ended; nil: there is none.
func (f *family) lives(pid int) *life {
	all := f.members[pid]
	if len(all) == 0 || all[len(all)-1].diedNS != 0 {
		return nil
	}
	return &all[len(all)-1]
}

// owns reports whether a victim is of the family; nil: it cannot be told.
func (f *family) owns(k trace.Kill) *bool {
	yes, no := true, false
	f.mu.Lock()
	defer f.mu.Unlock()
	timed := k.Source == trace.FromBPF // the log has a clock of its own
	for _, l := range f.members[k.Victim.PID] {
		if !timed || l.bornNS <= k.AtNS && (l.diedNS == 0 || k.AtNS <= l.diedNS+afterDeath) {
			return &yes
		}
	}
	switch {
	case f.events != nil && !f.lost:
		return &no
	case f.events == nil && timed && k.Victim.StartNS != 0 &&
		k.AtNS-int64(k.Victim.StartNS) > seenAfter.Nanoseconds():
		return &no
	}
	return nil
}

// sent reports whether the family sent a signal itself.
func (f *family) sent(k trace.Kill) bool {
	if k.Trigger == nil {
		return false
	}
	k.Victim = *k.Trigger
	own := f.owns(k)
	return own != nil && *own
}

// run runs the command, or waits, and says how the command ended and how long it took.
func (f *family) run(ctx context.Context, o DuringOptions, adj int) (ended string, took time.Duration, err error) {
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, o.For)
	defer cancel()
	if o.Command == "" {
		<-ctx.Done()
		return "", 0, nil
	}
	// what it leaves behind becomes this process's child
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return "", 0, os.NewSyscallError("prctl", err)
	}
	cmd := Shell(context.WithoutCancel(ctx), adj, o.Command)
	if o.Out != nil {
		cmd.Stdout, cmd.Stderr = o.Out, o.Out
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	begin := time.Now()
	started, done := make(chan error, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // PR_SET_PDEATHSIG is about the thread that forked
		err := cmd.Start()
		started <- err
		if err == nil {
			done <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return "", 0, err
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	over := ctx.Done()
	var settled, hardly <-chan time.Time
	signal := unix.SIGTERM
	for {
		select {
		case <-tick.C:
			f.look(cmd.Process.Pid)
			if over == nil && settled == nil && f.end(signal) == 0 && ended != "" {
				if whole.Err() != nil {
					return ended + ", interrupted,", took, nil
				}
				return ended + ", for its time was over,", took, nil
			}
		case <-over:
			if ended != "" { // only what it has left behind may still run, and may go on
				return ended, took, nil
			}
			over, hardly = nil, time.After(endWait)
			f.end(signal)
		case <-hardly:
			signal = unix.SIGKILL
		case err := <-done:
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				return "", 0, err
			}
			ended, took = cmd.ProcessState.String(), time.Since(begin)
			if over != nil {
				settled = time.After(o.Settle)
			}
		case <-settled:
			return ended, took, nil
		}
	}
}

// endWait is how long a command may take to heed SIGTERM.
const endWait = 2 * time.Second

// end sends a signal to all members that live, and returns how many these are.
func (f *family) end(signal unix.Signal) int {
	f.mu.Lock()
	var pids []int
	for pid := range f.members {
		if f.lives(pid) != nil {
			pids = append(pids, pid)
		}
	}
	f.mu.Unlock()
	n := 0
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // it is gone
		}
		f.mu.Lock()
		same := f.lives(pid) != nil
		f.mu.Unlock()
		if same && unix.PidfdSendSignal(fd, signal, nil, 0) == nil {
			n++
		}
		unix.Close(fd)
	}
	return n
}

// look reads /proc: who belongs to the family, where no events tell, and whom of those that it
// has left behind this process has to reap.
func (f *family) look(command int) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	self := os.Getpid()
	processes := map[int]kernel.Stat{}
	for _, d := range dirs {
		if pid, err := strconv.Atoi(d.Name()); err == nil {
			if s, err := probe.Root("/").Stat(pid); err == nil {
				processes[pid] = s
				if s.PPID == self && s.State == 'Z' && pid != command {
					_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
				}
			}
		}
	}
	if f.events != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := monotonic()
	for pid := range f.members {
		if l := f.lives(pid); l != nil && l.start != processes[pid].StartTime {
			l.diedNS = now
		}
	}
	for again := true; again; {
		again = false
		for pid, s := range processes {
			if f.lives(pid) == nil && s.State != 'Z' && (s.PPID == self || f.lives(s.PPID) != nil) {
				f.members[pid] = append(f.members[pid], life{start: s.StartTime})
				again = true
			}
		}
	}
}

// Shell is a command of the shell's that does not inherit the protection of this process,
// whose oom_score_adj was adj.
func Shell(ctx context.Context, adj int, command string) *exec.Cmd {
	return exec.CommandContext(ctx, "/bin/sh", "-c",
		`echo "$0" > /proc/self/oom_score_adj 2>/dev/null; exec /bin/sh -c "$1"`, strconv.Itoa(adj), command)
}
