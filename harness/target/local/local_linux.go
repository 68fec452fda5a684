//go:build !notlinux

package local

import (
	"context"
	"errors"
	"os"

	"github.com/oomlab/oomlab/harness/agent"
	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target"
)

// Local is this machine as a target.
type Local struct {
	agent *agent.Agent
	hello *wire.Hello
}

var _ target.Target = (*Local)(nil)

// Open attaches the observers. It returns a *target.Missing without root.
func Open(ctx context.Context, o Options) (*Local, error) {
	if err := Usable(); err != nil {
		return nil, err
	}
	if o.ScratchDir == "" {
		o.ScratchDir = DefaultScratch
	}
	a, err := agent.New(ctx, agent.Options{
		Stressor: o.Stressor, ScratchDir: o.ScratchDir, HostOOM: o.AllowHostOOM, NoBPF: o.NoBPF,
	})
	if err != nil {
		return nil, err
	}
	return &Local{agent: a}, nil
}

// Usable returns a *target.Missing if this user cannot open a local target at
// all. It changes nothing.
func Usable() error {
	if os.Geteuid() != 0 {
		return &target.Missing{What: "root", Hint: "run it with sudo, or use --target vm"}
	}
	return nil
}

// Name implements target.Target.
func (l *Local) Name() scenario.Target { return scenario.Local }

// Hello measures the machine the first time it is called.
func (l *Local) Hello(ctx context.Context) (wire.Hello, error) {
	if l.hello == nil {
		h, err := l.agent.Hello(ctx)
		if err != nil {
			return wire.Hello{}, missing(err)
		}
		l.hello = &h
	}
	return *l.hello, nil
}

// Do carries out one plan here. What this machine lacks is a *target.Missing.
func (l *Local) Do(ctx context.Context, req wire.Request, sink func(evidence.Event)) error {
	return missing(l.agent.Do(ctx, req, sink))
}

// missing says in target's words what the agent refused.
func missing(err error) error {
	var refusal *agent.Refusal
	if errors.As(err, &refusal) {
		return &target.Missing{What: refusal.What, Hint: refusal.Hint}
	}
	return err
}

// Artifacts are none: everything that happens here is in the events.
func (l *Local) Artifacts() map[string]string { return nil }

// Close detaches the observers and kills whatever still runs.
func (l *Local) Close() error { return l.agent.Close() }
