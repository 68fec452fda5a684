package lab

import (
	"context"

	"github.com/oomlab/oomlab/harness/agent/wire"
)

// Here says what this machine is as the target local, and how much of it can
// be watched. The error is why nothing can run on it.
func (l *Lab) Here(ctx context.Context) (wire.Hello, error) {
	l.localMu.Lock()
	defer l.localMu.Unlock()
	t, err := l.openLocal(ctx)
	if err != nil {
		return wire.Hello{}, err
	}
	return t.Hello(ctx)
}
