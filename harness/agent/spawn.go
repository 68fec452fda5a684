package agent

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// A spawner starts processes from one thread of its own.
//
// PR_SET_PDEATHSIG fires when the thread that forked ends, not the process.
// The Go runtime ends threads as it likes, so all children are forked by a
// goroutine that is locked to its thread for as long as the agent lives: then
// the children die with the agent and not before.
type spawner struct {
	requests chan func()
	done     chan struct{}
}

func newSpawner() *spawner {
	s := &spawner{requests: make(chan func()), done: make(chan struct{})}
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		defer close(s.done)
		for f := range s.requests {
			f()
		}
	}()
	return s
}

// close ends the thread. Every child that still lives is killed by it.
func (s *spawner) close() {
	close(s.requests)
	<-s.done
}

// child is a launcher that has been started and waits for its Launch.
type child struct {
	pid     int
	pidfd   int
	control *os.File // the child's descriptor 3; closing it ends a stressor
	reports *os.File // the child's descriptor 4
	output  *os.File // what it writes to standard output and error
}

// start runs argv with the pipes that package profile describes. The child has
// a session of its own, so a terminal's Ctrl-C reaches the agent alone.
func (s *spawner) start(argv, env []string) (*child, error) {
	fail := func(err error) (*child, error) { return nil, fmt.Errorf("start %s: %w", argv[0], err) }
	c, theirs, err := newChild()
	if err != nil {
		return fail(err)
	}
	defer theirs.close()
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		c.close()
		return fail(fmt.Errorf("open %s: %w", os.DevNull, err))
	}
	defer unix.Close(null)
	fds := make([]uintptr, 5)
	fds[0], fds[1], fds[2] = uintptr(null), uintptr(theirs.output), uintptr(theirs.output)
	fds[profile.ControlFD], fds[profile.ReportFD] = uintptr(theirs.control), uintptr(theirs.reports)
	finished := make(chan struct{})
	s.requests <- func() {
		defer close(finished)
		c.pid, _, err = syscall.StartProcess(argv[0], argv, &syscall.ProcAttr{
			Env:   env,
			Files: fds,
			Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true, PidFD: &c.pidfd},
		})
	}
	<-finished
	if err != nil {
		c.close()
		return fail(err)
	}
	if c.pidfd < 0 { // clone could not make one; the pid is ours until we have waited for it
		if c.pidfd, err = unix.PidfdOpen(c.pid, 0); err != nil {
			syscall.Kill(c.pid, syscall.SIGKILL)
			collect(unix.P_PID, c.pid)
			c.close()
			return fail(fmt.Errorf("pidfd_open: %w", err))
		}
	}
	awaitExec(c, argv)
	return c, nil
}

// ends are the descriptors of a child's pipes that are the child's.
type ends struct{ control, reports, output int }

func (e ends) close() {
	for _, fd := range []int{e.control, e.reports, e.output} {
		unix.Close(fd)
	}
}

// newChild makes the pipes of a child that is not started. The child's ends block, as a
// program expects of its descriptors; the agent's are nonblocking, so that the runtime
// waits for them in epoll.
func newChild() (*child, ends, error) {
	var p [3][2]int
	for i := range p {
		if err := unix.Pipe2(p[i][:], unix.O_CLOEXEC); err != nil {
			for _, made := range p[:i] {
				unix.Close(made[0])
				unix.Close(made[1])
			}
			return nil, ends{}, fmt.Errorf("pipe2: %w", err)
		}
	}
	control, reports, output := p[0], p[1], p[2]
	c := &child{pidfd: -1, control: ourEnd(control[1], "control"), reports: ourEnd(reports[0], "reports"),
		output: ourEnd(output[0], "output")}
	return c, ends{control[0], reports[1], output[1]}, nil
}

// execDeadline bounds how long a child may take to become its program.
const execDeadline = 2 * time.Second

// awaitExec waits until the child has the memory of its program, or has ended.
//
// syscall.StartProcess returns when execve(2) has closed the descriptors that are
// to be closed; on Linux 6.12 and 7.3 with one processor the child was then often
// seen with the memory that vfork(2) shares with its parent, and a sample of it
// was a sample of the agent. What /proc/PID/cmdline shows belongs to the memory.
func awaitExec(c *child, argv []string) {
	file := "/proc/" + strconv.Itoa(c.pid) + "/cmdline"
	want := strings.Join(argv, "\x00") + "\x00"
	for end := time.Now().Add(execDeadline); time.Now().Before(end); {
		if now, err := os.ReadFile(file); err != nil || string(now) == want {
			return
		}
		// readable: it has ended
		ready := []unix.PollFd{{Fd: int32(c.pidfd), Events: unix.POLLIN}}
		if n, _ := unix.Poll(ready, 1); n > 0 {
			return
		}
	}
}

func ourEnd(fd int, name string) *os.File {
	unix.SetNonblock(fd, true) // cannot fail on a pipe
	return os.NewFile(uintptr(fd), name)
}

// close closes the agent's ends of the child's pipes. The pidfd belongs to the
// reaper that watches it.
func (c *child) close() {
	c.control.Close()
	c.reports.Close()
	c.output.Close()
}
