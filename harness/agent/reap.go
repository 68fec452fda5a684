package agent

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
)

// A reaper waits for the ends of processes: one thread in epoll_wait on their
// pidfds, so that nothing is polled and a thousand processes cost no thread
// each.
type reaper struct {
	epoll, wake int

	mu      sync.Mutex
	watched map[int32]*watch
	done    chan struct{}
}

type watch struct {
	pid   int
	ended func(status *evidence.ExitStatus)
}

func newReaper() (*reaper, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	r := &reaper{epoll: epoll, wake: wake, watched: map[int32]*watch{}, done: make(chan struct{})}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wake,
		&unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)}); err != nil {
		unix.Close(epoll)
		unix.Close(wake)
		return nil, fmt.Errorf("epoll_ctl: %w", err)
	}
	go r.loop()
	return r, nil
}

// watch takes over the pidfd and calls ended once, from the reaper's thread,
// when the process has ended. The status is nil when the process was another
// one's child and its parent has to tell.
func (r *reaper) watch(pid, pidfd int, ended func(*evidence.ExitStatus)) error {
	r.mu.Lock()
	r.watched[int32(pidfd)] = &watch{pid: pid, ended: ended}
	r.mu.Unlock()
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(pidfd)}
	if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, pidfd, &event); err != nil {
		r.mu.Lock()
		delete(r.watched, int32(pidfd))
		r.mu.Unlock()
		unix.Close(pidfd)
		return fmt.Errorf("watch pid %d: epoll_ctl: %w", pid, err)
	}
	return nil
}

func (r *reaper) loop() {
	defer close(r.done)
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(r.epoll, events, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return // the descriptor was closed
		}
		for _, e := range events[:n] {
			if int(e.Fd) == r.wake {
				return
			}
			r.mu.Lock()
			w := r.watched[e.Fd]
			delete(r.watched, e.Fd)
			r.mu.Unlock()
			if w == nil {
				continue
			}
			status := collect(unix.P_PIDFD, int(e.Fd))
			unix.EpollCtl(r.epoll, unix.EPOLL_CTL_DEL, int(e.Fd), nil)
			unix.Close(int(e.Fd))
			w.ended(status)
		}
	}
}

// close ends the thread. Processes that are still watched stay what they are.
func (r *reaper) close() {
	one := [8]byte{7: 1}
	unix.Write(r.wake, one[:])
	<-r.done
	r.mu.Lock()
	defer r.mu.Unlock()
	for fd := range r.watched {
		unix.Close(int(fd))
	}
	clear(r.watched)
	unix.Close(r.epoll)
	unix.Close(r.wake)
}

// collect reaps a child that has ended. It returns nil for a process that is
// not our child, or has not ended.
func collect(idType, id int) *evidence.ExitStatus {
	var info siginfo
	var usage unix.Rusage
	for {
		err := waitid(idType, id, &info, unix.WEXITED|unix.WNOHANG, &usage)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || info.pid == 0 {
			return nil
		}
		status := info.exit()
		status.MaxRSS = mostResident(usage.Maxrss)
		return status
	}
}

// mostResident reads ru_maxrss, in KiB, of a child; nil if it does not tell.
// A child that was forked with vfork, as Go does it, has shared the agent's
// memory until it became another program, and execve keeps the most that had
// (fs/exec.c, exec_mmap, setmax_mm_hiwater_rss): a smaller child is hidden
// behind its agent.
func mostResident(childKiB int64) *kernel.Bytes {
	var own unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &own); err != nil || childKiB <= own.Maxrss {
		return nil
	}
	most := kernel.Bytes(childKiB) * kernel.KiB
	return &most
}
