// Package payload carries the binaries that run on a target: the agent and the
// stressor. make builds them and puts them into bin/, from where they become
// part of oomlab: a user copies one file.
package payload

import (
	"embed"
	"errors"
	"io/fs"
)

//go:embed bin
var files embed.FS

// ErrMissing says that this oomlab was built without its payload.
var ErrMissing = errors.New("this oomlab carries no agent and no stressor; build it with make build")

// Agent is the agent's binary for the machine that oomlab was built for.
func Agent() ([]byte, error) { return read("bin/oomlab-agent") }

// Stressor is the stressor's binary.
func Stressor() ([]byte, error) { return read("bin/oomlab-stressor") }

func read(name string) ([]byte, error) {
	data, err := files.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrMissing
	}
	return data, err
}
