package lab

import (
	"context"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/scenario"
)

// absent is a target that could not be opened. It makes the reason the result of
// a run, instead of no result.
type absent struct {
	name scenario.Target
	err  error
}

func (a absent) Name() scenario.Target { return a.name }

func (a absent) Hello(context.Context) (wire.Hello, error) { return wire.Hello{}, a.err }

func (a absent) Do(context.Context, wire.Request, func(evidence.Event)) error { return a.err }

func (a absent) Artifacts() map[string]string { return nil }

func (a absent) Close() error { return nil }
