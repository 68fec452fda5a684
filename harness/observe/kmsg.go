package observe

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
)

// kmsgPath is where the kernel log is read.
const kmsgPath = "/dev/kmsg"

// kmsgBuffer holds any record: the kernel formats at most 8 KiB
// (CONSOLE_EXT_LOG_MAX up to 6.3, PRINTK_MESSAGE_MAX later) and fails a read
// into less room than a record needs.
const kmsgBuffer = 32 << 10

// Kmsg follows the kernel log. Its methods are safe for concurrent use.
type Kmsg struct {
	path string
	fd   int // /dev/kmsg, non-blocking
	wake int // eventfd

	mu     sync.Mutex
	run    *kmsgRun // nil: stopped
	closed bool
}

// kmsgRun is one stretch between Start and Stop.
type kmsgRun struct {
	sink    Sink
	stop    bool         // under Kmsg.mu
	waiting []chan error // Drain calls, under Kmsg.mu
	done    chan struct{}
	err     error // set before done is closed
}

// OpenKmsg opens the kernel log behind its last record.
func OpenKmsg(path string) (*Kmsg, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("kernel log %s: seek to its end: %w", path, err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("kernel log %s: eventfd: %w", path, err)
	}
	return &Kmsg{path: path, fd: fd, wake: wake}, nil
}

func unreadable(path string, err error) error {
	return fmt.Errorf("kernel log %s: %w; it needs root or CAP_SYSLOG, and a container its host's device", path, err)
}

// Start delivers to sink every record that is logged from now on. A Kmsg that
// was started already is stopped first.
func (k *Kmsg) Start(sink Sink) error {
	k.Stop()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return fmt.Errorf("kernel log %s: closed", k.path)
	}
	if _, err := unix.Seek(k.fd, 0, unix.SEEK_END); err != nil {
		return fmt.Errorf("kernel log %s: seek to its end: %w", k.path, err)
	}
	k.run = &kmsgRun{sink: sink, done: make(chan struct{})}
	go k.follow(k.run)
	return nil
}

// Stop ends delivery: the sink is not called any more when it returns.
func (k *Kmsg) Stop() {
	k.mu.Lock()
	run := k.run
	k.run = nil
	if run != nil {
		run.stop = true
		k.nudge()
	}
	k.mu.Unlock()
	if run != nil {
		<-run.done
	}
}

// Drain returns when everything that was logged before the call has been
// delivered, gaps included. A line without a newline is not logged yet: the
// kernel keeps it back until it is continued or the next one comes.
func (k *Kmsg) Drain(ctx context.Context) error {
	k.mu.Lock()
	run := k.run
	if run == nil {
		k.mu.Unlock()
		return nil
	}
	read := make(chan error, 1)
	run.waiting = append(run.waiting, read)
	k.nudge()
	k.mu.Unlock()

	select {
	case err := <-read:
		return err
	case <-run.done:
		select {
		case err := <-read:
			return err
		default:
			return run.err
		}
	case <-ctx.Done():
		return fmt.Errorf("kernel log %s: waiting for its last record to be read: %w", k.path, context.Cause(ctx))
	}
}

// Close stops delivery and closes the log.
func (k *Kmsg) Close() error {
	k.Stop()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil
	}
	k.closed = true
	return errors.Join(unix.Close(k.fd), unix.Close(k.wake))
}

// nudge makes follow look around. k.mu is held.
func (k *Kmsg) nudge() {
	// The counter of an eventfd is full only after 2^64-2 nudges that nobody
	// saw; there is no other way for this to fail.
	_, _ = unix.Write(k.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// follow reads until it is stopped or the log cannot be read any more.
func (k *Kmsg) follow(run *kmsgRun) {
	defer close(run.done)
	var log kmsgLog
	buf := make([]byte, kmsgBuffer)
	for {
		k.mu.Lock()
		stop, waiting := run.stop, run.waiting
		run.waiting = nil
		k.mu.Unlock()
		if stop {
			return
		}
		err := k.readAll(run, &log, buf)
		for _, w := range waiting {
			w <- err
		}
		if err != nil {
			run.err = err
			return
		}
		if err := k.await(); err != nil {
			run.err = fmt.Errorf("kernel log %s: ppoll: %w", k.path, err)
			run.sink(evidence.Event{Source: evidence.Kmsg, Kind: evidence.Lost, N: 1, Text: run.err.Error()})
			return
		}
	}
}

// readAll delivers records until there is none left.
func (k *Kmsg) readAll(run *kmsgRun, log *kmsgLog, buf []byte) error {
	for {
		n, err := unix.Read(k.fd, buf)
		if err == unix.EAGAIN {
			return nil
		}
		if err == unix.EINTR {
			continue
		}
		for _, e := range log.next(buf[:max(n, 0)], err) {
			run.sink(e)
		}
		if err != nil && err != unix.EPIPE {
			return fmt.Errorf("kernel log %s: %w", k.path, err)
		}
		k.mu.Lock()
		stop := run.stop
		k.mu.Unlock()
		if stop {
			return nil
		}
	}
}

// await returns when there is a record to read or somebody nudged.
func (k *Kmsg) await() error {
	fds := []unix.PollFd{{Fd: int32(k.fd), Events: unix.POLLIN}, {Fd: int32(k.wake), Events: unix.POLLIN}}
	for {
		_, err := unix.Ppoll(fds, nil, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		var count [8]byte
		_, _ = unix.Read(k.wake, count[:]) // EAGAIN: it was the log
		return nil
	}
}

// ReadKmsg returns what the kernel log still holds, from its first record on. What was
// overwritten before that is not among the losses: the first record's number tells of it.
func ReadKmsg(path string) ([]evidence.Event, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer unix.Close(fd)
	// not SEEK_DATA, which is behind what `dmesg --clear` hides
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return nil, fmt.Errorf("kernel log %s: seek to its beginning: %w", path, err)
	}
	var out []evidence.Event
	var log kmsgLog
	buf := make([]byte, kmsgBuffer)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case err == unix.EAGAIN:
			return out, nil
		case err == unix.EINTR, err == unix.EPIPE && !log.started:
			continue
		case err != nil && err != unix.EPIPE:
			return nil, fmt.Errorf("kernel log %s: %w", path, err)
		}
		out = append(out, log.next(buf[:max(n, 0)], err)...)
	}
}

// kmsgLog turns the results of read(2) on /dev/kmsg into evidence and notices
// what is missing between them.
type kmsgLog struct {
	started bool
	last    uint64 // sequence number of the last record
	broken  bool   // the next record follows a gap of unknown size
}

// next takes one result. A record that was overwritten before it was read
// makes read(2) fail once with EPIPE; the next record's sequence number then
// tells how many there were.
func (l *kmsgLog) next(b []byte, err error) []evidence.Event {
	if err == unix.EPIPE {
		l.broken = true
		return nil
	}
	if err != nil {
		return []evidence.Event{{Source: evidence.Kmsg, Kind: evidence.Lost, N: 1,
			Text: "the log ends here: " + err.Error()}}
	}
	r, err := kernel.ParseKmsgRecord(b)
	if err != nil {
		return []evidence.Event{{Source: evidence.Kmsg, Kind: evidence.Lost, N: 1, Text: err.Error()}}
	}
	at := r.USec * 1000
	var events []evidence.Event
	switch {
	case l.started && r.Seq > l.last+1:
		events = append(events,
			evidence.Event{AtNS: at, Source: evidence.Kmsg, Kind: evidence.Lost, N: r.Seq - l.last - 1,
				Text: fmt.Sprintf("records %d to %d were overwritten before they were read", l.last+1, r.Seq-1)})
	case l.broken:
		events = append(events, evidence.Event{AtNS: at, Source: evidence.Kmsg, Kind: evidence.Lost, N: 1,
			Text: fmt.Sprintf("records before %d were overwritten before they were read; at least one", r.Seq)})
	}
	l.started, l.broken, l.last = true, false, r.Seq
	return append(events,
		evidence.Event{AtNS: at, Source: evidence.Kmsg, Kind: evidence.Record, Log: &evidence.LogRecord{
			Priority: r.Priority, Facility: r.Facility, Seq: r.Seq, USec: r.USec, Text: r.Text, Cont: r.Cont,
			Caller: r.Caller,
		}})
}
