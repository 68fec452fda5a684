// Package qmp speaks QEMU's machine protocol, as far as it takes to stop, save,
// load and continue a guest (docs/interop/qmp-spec.txt in QEMU).
package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"github.com/oomlab/oomlab/harness/host"
)

// ErrEnded says that QEMU is gone.
var ErrEnded = errors.New("QEMU closed the monitor: it ended")

// Event is something that happened in QEMU without being asked for.
type Event struct {
	Name string          `json:"event"`
	Data json.RawMessage `json:"data"`
}

// Monitor is a connection to one QEMU. Commands may be given by one goroutine
// at a time.
type Monitor struct {
	conn    *net.UnixConn
	answers chan answer
	events  chan Event

	once sync.Once
	gone chan struct{}
	err  error // why the connection ended; set before gone is closed
}

type answer struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event
	Greeting json.RawMessage `json:"QMP"`
}

// maxEvents is how many events may wait to be read. Everything that oomlab does
// causes fewer than ten; older ones make room for newer ones.
const maxEvents = 64

// Open takes a connected socket and agrees on the protocol. It waits for QEMU to
// greet, until ctx ends.
func Open(ctx context.Context, conn *net.UnixConn) (*Monitor, error) {
	m := &Monitor{conn: conn, answers: make(chan answer), events: make(chan Event, maxEvents),
		gone: make(chan struct{})}
	go m.read()
	if _, err := m.wait(ctx, "greeting"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := m.Do(ctx, "qmp_capabilities", nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return m, nil
}

func (m *Monitor) read() {
	r := bufio.NewReader(m.conn)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			m.end(err)
			return
		}
		var a answer
		if err := json.Unmarshal(line, &a); err != nil {
			m.end(fmt.Errorf("%q is not JSON: %w", line, err))
			return
		}
		if a.Name == "" {
			select {
			case m.answers <- a:
			case <-m.gone:
				return
			}
			continue
		}
		for sent := false; !sent; {
			select {
			case m.events <- a.Event:
				sent = true
			default:
				select {
				case <-m.events:
				default:
				}
			}
		}
	}
}

func (m *Monitor) end(err error) {
	m.once.Do(func() {
		m.err = ended(err)
		close(m.gone)
	})
}

// ended is the error, or ErrEnded where it means that nobody is at the other end.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return ErrEnded
	}
	return err
}

func (m *Monitor) wait(ctx context.Context, what string) (answer, error) {
	// The reader hands an answer over before it meets the end of the connection,
	// so the end never overtakes an answer.
	select {
	case a := <-m.answers:
		return a, nil
	case <-m.gone:
		return answer{}, fmt.Errorf("qmp: waiting for the answer to %s: %w", what, m.err)
	case <-ctx.Done():
		return answer{}, fmt.Errorf("qmp: waiting for the answer to %s: %w", what, context.Cause(ctx))
	}
}

// Do gives a command and waits until QEMU has answered it. arguments is anything
// that becomes a JSON object, or nil. Files become descriptors of QEMU's, for
// getfd. An error means that QEMU refused, or is gone, or that ctx ended; in the
// last case the monitor is of no further use.
func (m *Monitor) Do(ctx context.Context, command string, arguments any, files ...*os.File) error {
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	line, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("qmp: %s: %w", command, err)
	}
	var rights []byte
	if len(files) > 0 {
		rights = host.Rights(files)
	}
	if _, _, err := m.conn.WriteMsgUnix(append(line, '\n'), rights, nil); err != nil {
		return fmt.Errorf("qmp: %s: %w", command, ended(err))
	}
	a, err := m.wait(ctx, command)
	if err != nil {
		return err
	}
	if a.Error != nil {
		return fmt.Errorf("qmp: %s: %s (%s)", command, a.Error.Desc, a.Error.Class)
	}
	return nil
}

// Events are what happens without being asked for. Reading them takes them away
// from Migrated.
func (m *Monitor) Events() <-chan Event { return m.events }

// Migrated waits until saving or loading a guest is over. It needs the migration
// capability "events".
func (m *Monitor) Migrated(ctx context.Context) error {
	for {
		e, err := m.next(ctx)
		if err != nil {
			return fmt.Errorf("qmp: waiting for the end of the migration: %w", err)
		}
		if e.Name != "MIGRATION" {
			continue
		}
		var data struct{ Status string }
		if err := json.Unmarshal(e.Data, &data); err != nil {
			return fmt.Errorf("qmp: event %s %s: %w", e.Name, e.Data, err)
		}
		switch data.Status {
		case "completed":
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("qmp: the migration %s", data.Status)
		}
	}
}

// next is the next event. What QEMU said before it ended is not lost.
func (m *Monitor) next(ctx context.Context) (Event, error) {
	select {
	case e := <-m.events:
		return e, nil
	case <-ctx.Done():
		return Event{}, context.Cause(ctx)
	case <-m.gone:
	}
	select {
	case e := <-m.events:
		return e, nil
	default:
		return Event{}, m.err
	}
}

// Close ends the connection. QEMU goes on.
func (m *Monitor) Close() error {
	m.end(net.ErrClosed)
	return m.conn.Close()
}
