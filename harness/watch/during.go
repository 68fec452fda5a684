package watch

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/judge"
	"github.com/oomlab/oomlab/harness/probe"
	"github.com/oomlab/oomlab/harness/trace"
)

// DuringOptions say what is watched, and for how long.
type DuringOptions struct {
	// Command is run by the shell, and watched until it has ended; empty: nothing is run.
	Command string
	// Own: it matters who was started by the command.
	Own bool
	// For is how long at most. The command is ended then.
	For time.Duration
	// Settle is how long after the command kills are still of the experiment.
	Settle time.Duration
	// Out is what the command prints to.
	Out io.Writer
	// Say is told what goes on.
	Say func(string)
}

// ErrNested says that the pids of this process's namespace are not the kernel's, so that
// nobody can say whose child a victim was.
var ErrNested = errors.New("this process is in a PID namespace of its own, where it cannot be told what was started " +
	"by the command")

// During watches this machine while a command runs, by eBPF and, each for itself, by the
// kernel log and by /proc/vmstat.
func During(ctx context.Context, o DuringOptions) (e judge.Experiment, err error) {
	adj, _ := probe.Root("/").OOMScoreAdj(0)
	before, vmstatErr := oomKills()
	bpf, bpfErr := Open(ctx, Options{MaxTier: 3, Signals: true, Protect: true})
	if bpfErr == nil && bpf.Tier() < 0 { // it is the kernel log alone, which has a watch of its own
		bpfErr = errors.Join(bpf.bpfErr, bpf.Close())
		bpf = nil
	}
	log, logErr := Open(ctx, Options{NoBPF: true})
	if bpf == nil && log == nil {
		return e, errors.Join(bpfErr, logErr)
	}
	if o.Own && cmp.Or(bpf, log).nested {
		return e, errors.Join(ErrNested, closeAll(bpf, log))
	}
	f := &family{known: map[int]bool{}}
	e.Command = o.Command
	watching, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var all sync.WaitGroup
	both := []*follower{{w: bpf, family: f, say: o.Say}, {w: log, family: f, say: func(string) {}}}
	for _, by := range both {
		if by.w != nil {
			all.Go(func() { by.err = by.w.Run(watching, by) })
		}
	}
	begin := time.Now()
	e.Ended, err = f.run(ctx, o, adj)
	e.Seconds = time.Since(begin).Seconds()
	end()
	all.Wait()
	after, afterErr := oomKills()

	if bpf != nil {
		w := both[0].witness(fmt.Sprintf("eBPF tier %d", bpf.Tier()))
		e.Kills, e.Signals = both[0].kills, both[0].signals
		e.Witnesses = append(e.Witnesses, w)
	} else {
		e.Witnesses = append(e.Witnesses, judge.Witness{Name: "eBPF", Error: firstLine(bpfErr)})
	}
	if log != nil {
		if bpf == nil {
			e.Kills = both[1].kills
		}
		e.Witnesses = append(e.Witnesses, both[1].witness("kernel log"))
	} else {
		e.Witnesses = append(e.Witnesses, judge.Witness{Name: "kernel log", Error: firstLine(logErr)})
	}
	counted := judge.Witness{Name: "oom_kill of /proc/vmstat", Kills: int(after - before)}
	if bad := errors.Join(vmstatErr, afterErr); bad != nil {
		counted = judge.Witness{Name: counted.Name, Error: firstLine(bad)}
	}
	e.Witnesses = append(e.Witnesses, counted)
	return e, errors.Join(err, both[0].err, both[1].err, closeAll(bpf, log))
}

func closeAll(all ...*Watch) error {
	var errs []error
	for _, w := range all {
		if w != nil {
			errs = append(errs, w.Close())
		}
	}
	return errors.Join(errs...)
}

// follower collects what one witness tells.
type follower struct {
	w       *Watch
	family  *family
	say     func(string)
	kills   []judge.Kill
	signals []trace.Kill
	err     error
}

// maxSignals bounds what is kept of signals.
const maxSignals = 1000

// Kill implements Sink.
func (f *follower) Kill(k trace.Kill) error {
	own := f.family.has(k.Victim.PID, k.Victim.ParentPID)
	switch {
	case k.By == trace.ByKernel:
		f.kills = append(f.kills, judge.Kill{Kill: k, Own: own})
	case len(f.signals) < maxSignals && (k.Daemon || own && k.Trigger != nil &&
		!f.family.has(k.Trigger.PID, k.Trigger.ParentPID)):
		f.signals = append(f.signals, k)
	}
	return nil
}

// Trouble implements Sink.
func (f *follower) Trouble(text string) { f.say(text) }

// witness is what was told of, by pids.
func (f *follower) witness(name string) judge.Witness {
	w := judge.Witness{Name: name, Kills: len(f.kills), PIDs: []int{}, Lost: f.w.Lost()}
	for _, k := range f.kills {
		w.PIDs = append(w.PIDs, k.Victim.PID)
	}
	return w
}

// oomKills is oom_kill of /proc/vmstat, which counts victims (since 4.13).
func oomKills() (uint64, error) {
	data, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strconv.ParseUint(strings.TrimSpace(text), 10, 64)
		}
	}
	return 0, errors.New("/proc/vmstat has no oom_kill")
}

// family is a command and what it has started.
type family struct {
	mu    sync.Mutex
	root  int // the command's pid; 0: there is none
	known map[int]bool
}

// lookEvery is how often it is looked who belongs to the family. What lives shorter is known by
// its parent.
const lookEvery = 200 * time.Millisecond

// maxGenerations bounds a walk through parents.
const maxGenerations = 64

// run runs the command, or waits, and says how the command ended.
func (f *family) run(ctx context.Context, o DuringOptions, adj int) (ended string, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.For)
	defer cancel()
	if o.Command == "" {
		<-ctx.Done()
		return "", nil
	}
	// what it leaves behind becomes this process's child, and stays in the family
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return "", os.NewSyscallError("prctl", err)
	}
	cmd := Shell(ctx, adj, o.Command)
	cmd.Stdout, cmd.Stderr = o.Out, o.Out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGTERM) }
	cmd.WaitDelay = 2 * time.Second
	done := make(chan error, 1)
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // PR_SET_PDEATHSIG is about the thread that forked
		err := cmd.Start()
		if err == nil {
			f.mu.Lock()
			f.root = cmd.Process.Pid
			f.known[f.root] = true
			f.mu.Unlock()
		}
		started <- err
		if err == nil {
			done <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return "", err
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var settled <-chan time.Time
	for {
		select {
		case <-tick.C:
			f.look()
		case err := <-done:
			if ctx.Err() != nil {
				_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // who did not heed SIGTERM
			}
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil {
				return "", err
			}
			ended = "exit status 0"
			if cmd.ProcessState != nil {
				ended = cmd.ProcessState.String()
			}
			if ctx.Err() != nil {
				return ended + ", for its time was over,", nil
			}
			settled = time.After(o.Settle)
		case <-settled:
			return ended, nil
		}
	}
}

// look adds who is there now.
func (f *family) look() {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, d := range dirs {
		if pid, err := strconv.Atoi(d.Name()); err == nil {
			f.has(pid, parent(pid))
		}
	}
}

// has reports whether a process belongs to the family, whose parent is or was ppid.
func (f *family) has(pid, ppid int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.root == 0 || pid <= 0 {
		return false
	}
	self := os.Getpid()
	walked := []int{pid}
	for range maxGenerations {
		if f.known[walked[len(walked)-1]] || ppid == self && pid != self {
			for _, pid := range walked {
				f.known[pid] = true
			}
			return true
		}
		if ppid <= 1 {
			return false
		}
		walked = append(walked, ppid)
		ppid = parent(ppid)
	}
	return false
}

// parent is the fourth field of /proc/PID/stat; 0: the process is gone.
func parent(pid int) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	ppid, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return 0
	}
	return ppid
}

// Shell is a command of the shell's that does not inherit the protection of this process,
// whose oom_score_adj was adj.
func Shell(ctx context.Context, adj int, command string) *exec.Cmd {
	return exec.CommandContext(ctx, "/bin/sh", "-c",
		`echo "$0" > /proc/self/oom_score_adj 2>/dev/null; exec /bin/sh -c "$1"`, strconv.Itoa(adj), command)
}
