// Package payload carries the binaries that run on a target: the agent and the
// stressor. make builds them and puts them into bin/, from where they become
// part of oomlab: a user copies one file.
package payload

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
)

//go:embed bin
var files embed.FS

// ErrMissing says that this oomlab was built without its payload, as go install
// does it. What helps stands behind the semicolon.
var ErrMissing = errors.New("this oomlab was built without its agent and its stressor, and runs no scenario; " +
	"install a release, or run make build in a clone of the repository: go install does not embed them")

// Load gives the binaries for the processor that oomlab was built for.
func Load() (agent, stressor []byte, err error) { return For(runtime.GOARCH) }

// For gives the binaries for an architecture, by Go's name for it: guests may have another
// one than this machine.
func For(arch string) (agent, stressor []byte, err error) {
	if agent, err = read("bin/oomlab-agent." + arch); err == nil {
		stressor, err = read("bin/oomlab-stressor." + arch)
	}
	if errors.Is(err, ErrMissing) && arch != runtime.GOARCH {
		err = fmt.Errorf("this oomlab was built without the agent and the stressor for %s; run make build ARCHS=%q in "+
			"a clone of the repository, or install a release", arch, runtime.GOARCH+" "+arch)
	}
	return agent, stressor, err
}

func read(name string) ([]byte, error) {
	data, err := files.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrMissing
	}
	return data, err
}
