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
	var open []int
	fail := func(err error) (*child, error) {
		for _, fd := range open {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	// The child's ends block, as a program expects of its descriptors; the
	// agent's are nonblocking, so that the runtime waits for them in epoll.
	pipe := func() (r, w int, err error) {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return -1, -1, fmt.Errorf("pipe2: %w", err)
		}
		open = append(open, p[:]...)
		return p[0], p[1], nil
	}
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(fmt.Errorf("open %s: %w", os.DevNull, err))
	}
	open = append(open, null)
	controlR, controlW, err := pipe()
	if err != nil {
		return fail(err)
	}
	reportsR, reportsW, err := pipe()
	if err != nil {
		return fail(err)
	}
	outputR, outputW, err := pipe()
	if err != nil {
		return fail(err)
	}
	c := &child{pidfd: -1}
	fds := make([]uintptr, 5)
	fds[0], fds[1], fds[2] = uintptr(null), uintptr(outputW), uintptr(outputW)
	fds[profile.ControlFD], fds[profile.ReportFD] = uintptr(controlR), uintptr(reportsW)
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
		return fail(err)
	}
	if c.pidfd < 0 { // clone could not make one; the pid is ours until we have waited for it
		if c.pidfd, err = unix.PidfdOpen(c.pid, 0); err != nil {
			syscall.Kill(c.pid, syscall.SIGKILL)
			collect(unix.P_PID, c.pid)
			return fail(fmt.Errorf("pidfd_open: %w", err))
		}
	}
	for _, fd := range []int{null, controlR, reportsW, outputW} {
		unix.Close(fd)
	}
	awaitExec(c, argv)
	c.control, c.reports, c.output = ourEnd(controlW, "control"), ourEnd(reportsR, "reports"), ourEnd(outputR, "output")
	return c, nil
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
