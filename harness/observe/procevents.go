package observe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ProcWhat says what has happened to a process, enum proc_cn_event of
// include/uapi/linux/cn_proc.h.
type ProcWhat uint32

// The events that are delivered.
const (
	ProcForked   ProcWhat = 0x00000001
	ProcExecuted ProcWhat = 0x00000002
	ProcRenamed  ProcWhat = 0x00000200
	ProcExited   ProcWhat = 0x80000000

	procAnswer ProcWhat = 0 // to our own message
)

// ProcEvent is something that the kernel tells of a process, or of a thread of it.
type ProcEvent struct {
	What      ProcWhat
	PID, TGID int    // of the thread and of its process; when forked: of the new one
	Parent    int    // forked: the process that did it
	Status    uint32 // exited: the wait status
	Comm      string // renamed
	AtNS      int64  // CLOCK_MONOTONIC, by the kernel
}

// Numbers of the connector's protocol (drivers/connector/cn_proc.c).
const (
	cnIdxProc     = 1
	cnValProc     = 1
	cnProcListen  = 1
	cnProcIgnore  = 2
	cnHeader      = 20 // struct cn_msg
	procEventBase = 16 // struct proc_event before its union
)

// procBuffer is how much the kernel may queue for us: some 100,000 events.
const procBuffer = 32 << 20

// answerWithin bounds how long the kernel may take to say that it delivers.
const answerWithin = 5 * time.Second

// ProcEvents follows the beginnings and the ends of all processes, as the kernel's
// connector tells them (CONFIG_PROC_EVENTS). Unlike a reading of /proc it misses none,
// however short they live. It needs CAP_NET_ADMIN in the initial user, network and pid
// namespaces.
type ProcEvents struct {
	fd, wake int
	done     chan struct{}

	mu   sync.Mutex // of what follows, and of reading
	sink func(ProcEvent)
	lost func(n uint64, why string)
	next map[uint32]uint32 // by CPU: the number of its next event
	buf  []byte
}

// OpenProcEvents asks the kernel for events, and returns when it delivers them. Each
// goes to sink, from one goroutine at a time; lost is told how many were not delivered.
func OpenProcEvents(sink func(ProcEvent), lost func(n uint64, why string)) (*ProcEvents, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK,
		unix.NETLINK_CONNECTOR)
	if err != nil {
		return nil, fmt.Errorf("process events: %w; the kernel needs CONFIG_CONNECTOR", err)
	}
	p := &ProcEvents{fd: fd, wake: -1, done: make(chan struct{}), sink: sink, lost: lost, next: map[uint32]uint32{},
		buf: make([]byte, 64<<10)}
	if err := p.listen(); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("process events: %w", err)
	}
	if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("process events: eventfd: %w", err)
	}
	go p.follow()
	return p, nil
}

// listen subscribes and waits for the kernel's answer.
func (p *ProcEvents) listen() error {
	if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, procBuffer); err != nil {
		return fmt.Errorf("SO_RCVBUFFORCE: %w; it needs CAP_NET_ADMIN", err)
	}
	if err := unix.Bind(p.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: cnIdxProc}); err != nil {
		return fmt.Errorf("bind: %w; it needs CAP_NET_ADMIN", err)
	}
	if err := p.tell(cnProcListen); err != nil {
		return err
	}
	for end := time.Now().Add(answerWithin); time.Now().Before(end); {
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, int(time.Until(end).Milliseconds())+1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("poll: %w", err)
		}
		n, _, err := unix.Recvfrom(p.fd, p.buf, 0)
		if err != nil {
			continue
		}
		for _, m := range parseProcMessages(p.buf[:n]) {
			if m.event.What != procAnswer {
				continue
			}
			if m.event.Status != 0 {
				return fmt.Errorf("the kernel refuses them: %w; they are for the initial namespaces",
					unix.Errno(m.event.Status))
			}
			return nil
		}
	}
	return fmt.Errorf("the kernel did not answer for %s; it needs CONFIG_PROC_EVENTS", answerWithin)
}

// tell sends an operation to the connector.
func (p *ProcEvents) tell(op uint32) error {
	b := make([]byte, unix.NLMSG_HDRLEN+cnHeader+4)
	o := binary.NativeEndian
	o.PutUint32(b[0:], uint32(len(b)))
	o.PutUint16(b[4:], unix.NLMSG_DONE)
	cn := b[unix.NLMSG_HDRLEN:]
	o.PutUint32(cn[0:], cnIdxProc)
	o.PutUint32(cn[4:], cnValProc)
	o.PutUint16(cn[16:], 4)
	o.PutUint32(cn[cnHeader:], op)
	if err := unix.Sendto(p.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// follow reads until Close.
func (p *ProcEvents) follow() {
	defer close(p.done)
	for {
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}, {Fd: int32(p.wake), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			p.mu.Lock()
			p.lost(1, "poll: "+err.Error())
			p.mu.Unlock()
			return
		}
		if fds[1].Revents != 0 {
			return
		}
		p.Drain()
	}
}

// Drain returns when everything that happened before the call has been delivered: the
// kernel queues an event while it happens.
func (p *ProcEvents) Drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		n, _, err := unix.Recvfrom(p.fd, p.buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS):
			p.lost(1, "the socket was full")
			p.next = map[uint32]uint32{} // which is told once
			continue
		case errors.Is(err, unix.EAGAIN):
			return
		case err != nil:
			p.lost(1, err.Error())
			return
		}
		for _, m := range parseProcMessages(p.buf[:n]) {
			p.deliver(m)
		}
	}
}

// deliver passes an event on and counts what is missing before it: the kernel numbers
// them by CPU, and does not wait for memory to send one.
func (p *ProcEvents) deliver(m procMessage) {
	if m.event.What == procAnswer {
		return
	}
	if want, ok := p.next[m.cpu]; ok && m.seq != want {
		p.lost(uint64(m.seq-want), "the kernel could not send them")
	}
	p.next[m.cpu] = m.seq + 1
	switch m.event.What {
	case ProcForked, ProcExecuted, ProcRenamed, ProcExited:
		p.sink(m.event)
	}
}

// Close ends delivery: the sink is not called any more when it returns.
func (p *ProcEvents) Close() {
	one := [8]byte{7: 1}
	unix.Write(p.wake, one[:])
	<-p.done
	_ = p.tell(cnProcIgnore) // kernels before 6.4 count a listener that only leaves for ever
	unix.Close(p.fd)
	unix.Close(p.wake)
}

// procMessage is an event with its number.
type procMessage struct {
	seq, cpu uint32
	event    ProcEvent
}

// parseProcMessages reads a datagram. What is too short for what it says is left out.
func parseProcMessages(b []byte) []procMessage {
	o := binary.NativeEndian
	var out []procMessage
	for len(b) >= unix.NLMSG_HDRLEN {
		length := int(o.Uint32(b))
		if length < unix.NLMSG_HDRLEN || length > len(b) {
			break
		}
		if m, ok := parseProcMessage(b[unix.NLMSG_HDRLEN:length]); ok {
			out = append(out, m)
		}
		b = b[min(len(b), (length+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return out
}

func parseProcMessage(b []byte) (m procMessage, ok bool) {
	o := binary.NativeEndian
	if len(b) < cnHeader+procEventBase || o.Uint32(b) != cnIdxProc || o.Uint32(b[4:]) != cnValProc {
		return m, false
	}
	m.seq = o.Uint32(b[8:])
	b = b[cnHeader:]
	m.event.What, m.cpu, m.event.AtNS = ProcWhat(o.Uint32(b)), o.Uint32(b[4:]), int64(o.Uint64(b[8:]))
	b = b[procEventBase:]
	pid := func(i int) int { return int(int32(o.Uint32(b[4*i:]))) }
	need := map[ProcWhat]int{procAnswer: 4, ProcForked: 16, ProcExecuted: 8, ProcRenamed: 24, ProcExited: 16}
	if len(b) < need[m.event.What] {
		return m, false
	}
	switch e := &m.event; e.What {
	case procAnswer:
		e.Status = o.Uint32(b)
	case ProcForked:
		e.Parent, e.PID, e.TGID = pid(1), pid(2), pid(3)
	case ProcExecuted:
		e.PID, e.TGID = pid(0), pid(1)
	case ProcRenamed:
		e.PID, e.TGID = pid(0), pid(1)
		e.Comm = string(bytes.TrimRight(b[8:24], "\x00"))
	case ProcExited:
		e.PID, e.TGID, e.Status = pid(0), pid(1), o.Uint32(b[8:])
	}
	return m, true
}
