//go:build !notlinux

package main

import (
	"context"
	"fmt"

	"github.com/oomlab/oomlab/harness/lab"
)

// cleanHere restores what runs have left on this machine.
func (a *app) cleanHere(ctx context.Context, cached, all bool) error {
	cleaned, err := lab.Clean(ctx, cached, all, a.say)
	for _, what := range cleaned.Kept {
		fmt.Fprintf(a.out, "left alone: %s\n", what)
	}
	for _, what := range cleaned.Removed {
		fmt.Fprintln(a.out, what)
	}
	if err == nil && len(cleaned.Removed) == 0 {
		fmt.Fprintln(a.out, "nothing to clean")
	}
	return err
}
