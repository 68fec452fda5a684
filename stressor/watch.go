package main

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// watcher waits for everything that happens to the process while it works or
// holds: a word from the agent, its end, the deadline, the end of a child. One
// thread waits for all of them, so that forking costs no thread.
type watcher struct {
	out      *reporter
	deadline int64
	step     atomic.Int64 // the step that is being done
	control  int          // the lines of the agent, or of the parent that forked it; -1: by hand
	wake     int          // an eventfd: children has changed
	line     []byte       // what was read of a line of control

	mu       sync.Mutex
	children []*child
}

// child is a process that this one forked. Its exit status is there when ended
// is closed.
type child struct {
	name  string
	pid   int
	pidfd int
	ended chan struct{}
	code  int
	sig   unix.Signal // 0: it exited
}

func newWatcher(deadline int64, out *reporter) (*watcher, error) {
	w := &watcher{out: out, deadline: deadline, control: profile.ControlFD}
	if out.forHumans {
		w.control = -1
	}
	for _, fd := range []int{profile.ControlFD, profile.ReportFD} {
		unix.CloseOnExec(fd)
	}
	var err error
	if w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fail("eventfd", err)
	}
	return w, nil
}

// adopt starts waiting for a child's end.
func (w *watcher) adopt(name string, pid int) (*child, error) {
	c := &child{name: name, pid: pid, ended: make(chan struct{})}
	var err error
	if c.pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
		return nil, fail("pidfd_open of "+name, err)
	}
	w.mu.Lock()
	w.children = append(w.children, c)
	w.mu.Unlock()
	one := [8]byte{1}
	if err := writeAll(w.wake, one[:]); err != nil {
		return nil, fail("waking the watcher", err)
	}
	return c, nil
}

// run never returns: it ends the process.
func (w *watcher) run() {
	os.Exit(w.loop())
}

func (w *watcher) loop() int {
	for {
		w.mu.Lock()
		children := w.children
		w.mu.Unlock()
		fds := []unix.PollFd{
			{Fd: int32(w.control), Events: unix.POLLIN},
			{Fd: int32(w.wake), Events: unix.POLLIN},
		}
		for _, c := range children {
			fds = append(fds, unix.PollFd{Fd: int32(c.pidfd), Events: unix.POLLIN})
		}
		var timeout *unix.Timespec
		if w.deadline != 0 {
			ts := unix.NsecToTimespec(max(w.deadline-now(), 0))
			timeout = &ts
		}
		n, err := unix.Ppoll(fds, timeout, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return w.out.fatal(profile.ExitFailed, fail("ppoll", err))
		case n == 0:
			return w.out.fatal(profile.ExitDeadline, w.late())
		}
		for i, c := range children {
			if fds[2+i].Revents != 0 {
				if err := w.reap(c); err != nil {
					return w.out.fatal(profile.ExitFailed, err)
				}
			}
		}
		if fds[1].Revents != 0 {
			var count [8]byte
			if _, err := unix.Read(w.wake, count[:]); err != nil && err != unix.EAGAIN && err != unix.EINTR {
				return w.out.fatal(profile.ExitFailed, fail("reading an eventfd", err))
			}
		}
		if fds[0].Revents != 0 {
			if code, over := w.listen(); over {
				return code
			}
		}
	}
}

func (w *watcher) late() error {
	return errors.New("the deadline passed at step " + strconv.FormatInt(w.step.Load()+1, 10))
}

// listen reads what the agent says. Over tells that the process has to end.
func (w *watcher) listen() (code int, over bool) {
	var b [64]byte
	n, err := unix.Read(w.control, b[:])
	switch {
	case err == unix.EINTR:
		return 0, false
	case err != nil:
		return w.out.fatal(profile.ExitFailed, fail("reading descriptor 3", err)), true
	case n == 0:
		return w.out.fatal(profile.ExitOrphaned, errEOF), true
	}
	w.line = append(w.line, b[:n]...)
	line, _, whole := strings.Cut(string(w.line), "\n")
	switch {
	case whole && strings.TrimSuffix(line, "\r") == profile.End:
		return 0, true
	case whole || len(w.line) > len(profile.End)+1:
		err := errors.New("descriptor 3 says " + strconv.Quote(line) + "; only \"end\" is understood here")
		return w.out.fatal(profile.ExitUsage, err), true
	}
	return 0, false
}

// reap takes a child's exit status and reports it.
func (w *watcher) reap(c *child) error {
	var status unix.WaitStatus
	if _, err := retry(func() (int, error) { return unix.Wait4(c.pid, &status, 0, nil) }); err != nil {
		return fail("waiting for "+c.name, err)
	}
	w.mu.Lock()
	rest := make([]*child, 0, len(w.children))
	for _, other := range w.children {
		if other != c {
			rest = append(rest, other)
		}
	}
	w.children = rest
	w.mu.Unlock()
	unix.Close(c.pidfd)
	r := profile.Report{Event: profile.Exited, Name: c.name, PID: c.pid}
	if status.Signaled() {
		c.sig = status.Signal()
		r.Signal = int(c.sig)
	} else {
		c.code = status.ExitStatus()
		r.Code = c.code
	}
	// The report comes first: who waits for the child may exit at once.
	err := w.out.say(r)
	close(c.ended)
	if err != nil {
		return fail("saying that "+c.name+" ended", err)
	}
	return nil
}
