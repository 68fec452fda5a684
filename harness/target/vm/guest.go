package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
)

// Guest is a running copy of a VM's snapshot that somebody uses over the network
// too, beside talking to its agent. It lives until Close, and never longer than
// the context it was started with or this process.
type Guest struct {
	v    *VM
	p    *process
	said <-chan []byte
	stop func()
	once sync.Once
	err  error
}

// Plug gives the VM its end of a Cable, which a VM with a link needs before it is
// started. The end stays the caller's to close.
func (v *VM) Plug(end *os.File) { v.link = end }

// Start starts a guest. It is not safe for concurrent use with Do.
func (v *VM) Start(ctx context.Context) (*Guest, error) {
	p, err := v.fresh(ctx)
	if err != nil {
		return nil, err
	}
	if v.onStart != nil {
		v.onStart(p)
	}
	g := &Guest{v: v, p: p}
	g.said, g.stop = lines(p.channel)
	v.consoles["console.txt"] = filepath.Join(v.runDir, "console.txt")
	return g, nil
}

// Address is where loopback leads to the guest's port.
func (g *Guest) Address() string { return fmt.Sprintf("127.0.0.1:%d", g.p.port) }

// PID is QEMU's.
func (g *Guest) PID() int { return g.p.cmd.Process.Pid }

// Done is closed when QEMU has ended.
func (g *Guest) Done() <-chan struct{} { return g.p.done }

// Ask sends a request to the agent and passes on what it answers, until it has
// said everything. One request at a time; a Watch is ended with [Guest.Enough].
func (g *Guest) Ask(ctx context.Context, req wire.Request, sink func(evidence.Event)) error {
	return g.v.converse(ctx, g.p, g.said, req, sink)
}

// Enough ends the watch that the request began. Its answer still comes to Ask.
func (g *Guest) Enough(id int) error {
	line, err := json.Marshal(wire.Request{ID: id, Enough: true})
	if err != nil {
		return err
	}
	_, err = g.p.channel.Write(append(line, '\n'))
	return err
}

// Close ends the guest.
func (g *Guest) Close() error {
	g.once.Do(func() {
		g.stop()
		g.err = g.p.kill()
	})
	return g.err
}
