package lab

import (
	"context"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
)

// Name, Hello, Do, Artifacts and Close make the reason why a target could not
// be opened the result of a run, instead of no result.

func (a absent) Name() string { return a.name }

func (a absent) Hello(context.Context) (wire.Hello, error) { return wire.Hello{}, a.err }

func (a absent) Do(context.Context, wire.Request, func(evidence.Event)) error { return a.err }

func (a absent) Artifacts() map[string]string { return nil }

func (a absent) Close() error { return nil }
