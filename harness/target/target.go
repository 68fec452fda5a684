// Package target is where a scenario runs.
package target

import (
	"context"
	"errors"
	"fmt"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/scenario"
)

// Target is a machine that carries out plans. Open targets are not safe for
// concurrent use; open as many as should run side by side.
type Target interface {
	Name() scenario.Target
	// Hello says what the machine is and how much of it can be watched. It
	// returns an error that wraps ErrUnsupported when the machine cannot run
	// anything at all.
	Hello(ctx context.Context) (wire.Hello, error)
	// Do carries out one plan and passes every event on as it arrives, in the
	// order of arrival. When it returns, whatever the plan started has ended
	// and whatever it changed is put back. A machine that went down while it
	// carried out the plan is a *Down error; what was seen up to then was
	// passed on.
	Do(ctx context.Context, req wire.Request, sink func(evidence.Event)) error
	// Artifacts are files that the target keeps about the last Do, such as a
	// VM's console, by the name they get in the run directory.
	Artifacts() map[string]string
	Close() error
}

// Described is a target that may know its node before anything is started there, so that
// a scenario that cannot run on it is skipped at once.
type Described interface {
	// Describe says of the node what is known before Hello; there may be no Node in it.
	Describe(ctx context.Context) (wire.Hello, error)
}

// ErrUnsupported is wrapped by every error that means "this machine cannot".
var ErrUnsupported = errors.New("not supported on this machine")

// Missing says what a machine lacks and what would supply it.
type Missing struct{ What, Hint string }

func (m *Missing) Error() string {
	if m.Hint == "" {
		return "needs " + m.What
	}
	return fmt.Sprintf("needs %s; %s", m.What, m.Hint)
}

// Is makes every Missing an ErrUnsupported.
func (m *Missing) Is(target error) bool { return target == ErrUnsupported }

// Down says how a machine went down while it carried out a plan.
type Down struct {
	How     string // "panic", "hang", "killed", "exited"
	Message string // the panic's text, or what was awaited
	Console string // the last lines of the console
}

func (d *Down) Error() string {
	return fmt.Sprintf("the machine went down (%s): %s", d.How, d.Message)
}
