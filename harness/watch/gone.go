package watch

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// departures are when victims were gone, by the time of the kill. A pidfd tells that a
// process has ended for good (exit_notify() in kernel/exit.c), which is after it has given
// its memory back (exit_mm()). No tracepoint does: since 6.16 that of the exit comes first.
type departures struct {
	mu sync.Mutex
	of map[int64]chan int64
}

// maxDepartures bounds how many victims are awaited at a time.
const maxDepartures = 1 << 10

// await waits for a victim to be gone, once, and for no longer than most.
func (d *departures) await(pid int, at int64, most time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of == nil {
		d.of = map[int64]chan int64{}
	}
	if _, known := d.of[at]; known || len(d.of) >= maxDepartures {
		return
	}
	after := make(chan int64, 1)
	d.of[at] = after
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		if err == unix.ESRCH {
			after <- monotonic() - at // it was faster
		}
		close(after)
		return
	}
	go func() {
		defer unix.Close(fd)
		defer close(after)
		deadline := time.Now().Add(most)
		for {
			left := time.Until(deadline)
			if left <= 0 {
				return
			}
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
			if n > 0 {
				after <- monotonic() - at
				return
			}
			if err != nil && err != unix.EINTR {
				return
			}
		}
	}()
}

// take is how long after the kill a victim was gone; false: that is not known. It waits
// for a victim that is on its way out, but not longer than most.
func (d *departures) take(at int64, most time.Duration) (int64, bool) {
	d.mu.Lock()
	after, known := d.of[at]
	delete(d.of, at)
	d.mu.Unlock()
	if !known {
		return 0, false
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case ns, ok := <-after:
		return ns, ok
	case <-timer.C:
		return 0, false
	}
}
