//go:build !linux || notlinux

package local

import (
	"context"
	"os"

	"github.com/oomlab/oomlab/harness/target"
)

// Local is this machine as a target; there is none without Linux.
type Local struct{ target.Target }

// Open returns a *target.Missing.
func Open(context.Context, Options) (*Local, error) { return nil, Usable() }

// Usable returns a *target.Missing.
func Usable() error { return &target.Missing{What: "Linux", Hint: "use --context, for a cluster"} }

// Turn returns a *target.Missing.
func Turn(context.Context, string, func()) (*os.File, error) { return nil, Usable() }
