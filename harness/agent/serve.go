package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
)

// lineLimit bounds one line of a request; a plan is some kilobytes.
const lineLimit = 16 << 20

// Serve speaks package wire on a line: it says Hello and then carries out the
// requests it reads, one at a time, until the reader ends. When that happens
// while a plan is carried out, nobody is left who wants it: it is interrupted
// and put back. An error means that the line is not to be trusted any more.
//
// A run that fails is an answer (Message.Error), not an error of Serve.
func (a *Agent) Serve(ctx context.Context, r io.Reader, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &answers{w: bufio.NewWriterSize(w, 64<<10)}
	hello, err := a.Hello(ctx)
	if err != nil {
		return err
	}
	if err := out.write(hello); err != nil {
		return err
	}
	requests, broken := make(chan wire.Request), make(chan error, 1)
	go func() {
		defer close(requests)
		defer cancel()
		broken <- readRequests(ctx, r, requests)
	}()
	for req := range requests {
		if a.own && req.WallNS > 0 {
			setClock(req.WallNS)
		}
		if req.Enough {
			continue // of a watch that has ended by itself
		}
		if err := a.answer(ctx, req, requests, out); err != nil {
			return err
		}
	}
	return <-broken
}

func readRequests(ctx context.Context, r io.Reader, to chan<- wire.Request) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), lineLimit)
	lines.Split(wire.ScanLines)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var req wire.Request
		if err := json.Unmarshal(lines.Bytes(), &req); err != nil {
			return fmt.Errorf("request is not understood: %w; the line begins %.80q", err, lines.Bytes())
		}
		select {
		case to <- req:
		case <-ctx.Done():
			return nil
		}
	}
	return lines.Err()
}

// backlog is how many events may wait for the line. Whoever has more to tell
// waits: the agent's memory is part of the machine that is observed.
const backlog = 1024

// answer carries out one request and writes its messages, the last of which
// counts the events before it. A line that is slower than events come gets
// those that have come meanwhile in one message.
//
// While a watch goes on, requests bring its end.
func (a *Agent) answer(ctx context.Context, req wire.Request, requests <-chan wire.Request, out *answers) error {
	sum := 0
	events, told := make(chan evidence.Event, backlog), make(chan struct{})
	go func() {
		defer close(told)
		for ev := range events {
			batch := wire.Events{ev}
			for more := len(events); more > 0; more-- {
				batch = append(batch, <-events)
			}
			sum += len(batch)
			out.write(wire.Message{ID: req.ID, Events: batch}) // an error stays, and is returned by the last write
		}
	}()
	sink := func(ev evidence.Event) { events <- ev }
	var err error
	switch {
	case req.Clock:
	case req.Watch != nil:
		over := make(chan struct{})
		err = a.Watch(ctx, *req.Watch, enoughOf(req.ID, requests, over), sink)
		close(over)
	default:
		err = a.Do(ctx, req, sink)
	}
	close(events)
	<-told
	last := wire.Message{ID: req.ID, Done: err == nil, Sum: sum}
	if err != nil {
		last.Error = err.Error()
		var refusal *Refusal
		if errors.As(err, &refusal) {
			last.Lacks, last.Hint = refusal.What, refusal.Hint
		}
	}
	return out.write(last)
}

// enoughOf is closed when a request says that the watch with the id is to end, or
// when no more requests come. It takes none after over is closed.
func enoughOf(id int, requests <-chan wire.Request, over <-chan struct{}) <-chan struct{} {
	enough := make(chan struct{})
	go func() {
		for {
			select {
			case req, more := <-requests:
				if !more || req.Enough && req.ID == id {
					close(enough)
					return
				}
			case <-over:
				return
			}
		}
	}()
	return enough
}

// answers writes lines. Its first error stays.
type answers struct {
	mu  sync.Mutex
	w   *bufio.Writer
	err error
}

func (o *answers) write(v any) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return o.err
	}
	line, err := json.Marshal(v)
	if err == nil {
		_, err = o.w.Write(append(line, '\n'))
	}
	o.err = errors.Join(err, o.w.Flush())
	return o.err
}

// setClock sets the wall clock, which a machine that was restored from a
// snapshot has wrong. Nothing but the kernel log's readers would notice.
func setClock(wallNS int64) {
	tv := unix.NsecToTimeval(time.Duration(wallNS).Nanoseconds())
	unix.Settimeofday(&tv)
}
