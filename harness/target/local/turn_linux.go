//go:build !notlinux

package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/oomlab/oomlab/harness/host"
)

// Turn waits until no other oomlab runs a scenario on this machine, and keeps
// others from it until the file that it returns is closed. The kills of one run
// are collateral of another, whatever their cgroups are called: a run claims that
// nobody else was killed on the whole machine.
//
// scratch is where undo lists are; empty: [DefaultScratch]. wait is told if there
// is somebody to wait for.
func Turn(ctx context.Context, scratch string, wait func()) (*os.File, error) {
	if scratch == "" {
		scratch = DefaultScratch
	}
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(scratch, "turn.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	ours, err := host.TryLock(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: lock: %w", f.Name(), err), f.Close())
	}
	if ours {
		return f, nil
	}
	wait()
	locked := make(chan error, 1)
	go func() { locked <- host.Lock(f) }()
	select {
	case err := <-locked:
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: lock: %w", f.Name(), err), f.Close())
		}
		return f, nil
	case <-ctx.Done():
		go func() { // the lock is given back as soon as it is ours
			<-locked
			f.Close()
		}()
		return nil, fmt.Errorf("waiting for another oomlab's run on this machine: %w", ctx.Err())
	}
}
