package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target"
)

// Session is one guest that carries out many plans, one after the other, where
// Do of a VM takes a fresh one for each. That saves the restore, and nothing
// else: a plan finds what the plans before it have left in the kernel, such as
// slab caches and the rate limit of its log. It is for plans that keep to
// memory cgroups of their own. A guest that stands still before it has begun with
// a plan is replaced by another one.
//
// Only one session of a VM may be open, and none of its own methods may be
// called meanwhile. A Session is not safe for concurrent use.
type Session struct {
	v     *VM
	guest *Guest
	hello wire.Hello
	last  int   // ID of the last request
	ended error // why the guest can be used no more
}

var _ target.Target = (*Session)(nil)

// Session starts a guest that lives until Close.
func (v *VM) Session(ctx context.Context) (*Session, error) {
	hello, err := v.Hello(ctx)
	if err != nil {
		return nil, err
	}
	guest, err := v.Start(ctx)
	if err != nil {
		return nil, err
	}
	return &Session{v: v, guest: guest, hello: hello}, nil
}

// Name implements target.Target.
func (s *Session) Name() scenario.Target { return s.v.Name() }

// Hello implements target.Target.
func (s *Session) Hello(context.Context) (wire.Hello, error) { return s.hello, nil }

// Do implements target.Target. The request's ID is the session's to choose.
// After an error the guest may be in any state, and every later call fails
// with the same error: close the session and open another.
func (s *Session) Do(ctx context.Context, req wire.Request, sink func(evidence.Event)) error {
	if s.ended != nil {
		return s.ended
	}
	for tries := 1; ; tries++ {
		s.last++
		req.ID = s.last
		if s.ended = s.guest.Ask(ctx, req, sink); !errors.Is(s.ended, errIdle) || tries == restores {
			return s.ended
		}
		s.v.o.Log(fmt.Sprintf("a guest with %s stands still, and another one goes on: %v", s.v.o.Kernel.Release,
			s.ended))
		if s.ended = s.replace(ctx); s.ended != nil {
			return s.ended
		}
	}
}

// replace takes a fresh guest.
func (s *Session) replace(ctx context.Context) error {
	if err := s.guest.Close(); err != nil {
		return err
	}
	guest, err := s.v.Start(ctx)
	if err != nil {
		return err // and the guest stays the one that is closed
	}
	s.guest = guest
	return nil
}

// Artifacts implements target.Target: the console of the guest so far.
func (s *Session) Artifacts() map[string]string {
	return map[string]string{"console.txt": filepath.Join(s.v.runDir, "console.txt")}
}

// Close ends the guest. The VM can be used again.
func (s *Session) Close() error {
	err := s.guest.Close()
	if s.v.o.SwapDisk > 0 {
		err = errors.Join(err, os.Remove(s.v.swapFile()))
	}
	s.ended = errors.Join(errors.New("vm: the session is closed"), s.ended)
	return err
}
