package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/oomlab/oomlab/harness/target"
)

// TestExitStatusesOfOthers: what a run ended with, as git bisect run and autopkgtest take it.
// What was wrong is said once, whatever the status.
func TestExitStatusesOfOthers(t *testing.T) {
	wrong := &mistake{"it is wrong", ""}
	lacks := fmt.Errorf("no QEMU: %w", target.ErrUnsupported)
	for _, c := range []struct {
		err                   error
		plain, bisect, skip77 int
	}{
		{nil, 0, 0, 0},
		{status(exitFail), 1, 1, 1},
		{status(exitSkip), 4, 125, 77},
		{status(exitBroken), 70, 125, 70},
		{wrong, 64, 64, 64}, // see TestBisectionStops
		{lacks, 4, 125, 77},
		{errors.New("the disk is full"), 70, 125, 70},
	} {
		for want, e := range map[int]exitFlags{
			c.plain: {skip: exitSkip}, 1000 + c.bisect: {skip: exitSkip, bisect: true}, 2000 + c.skip77: {skip: 77},
		} {
			var said bytes.Buffer
			a := &app{err: &said}
			err := e.of(t.Context(), a, c.err)
			var code status
			switch {
			case err == nil:
			case errors.As(err, &code):
			default: // main says it
				code = status(statusOf(err))
				complain(&said, err)
			}
			if int(code) != want%1000 {
				t.Errorf("%v with %+v: exit status %d, want %d", c.err, e, code, want%1000)
			}
			lines := bytes.Count(said.Bytes(), []byte("\n"))
			if c.err != nil && !errors.As(c.err, &code) && lines != 1 {
				t.Errorf("%v with %+v: said %q", c.err, e, said.String())
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (exitFlags{bisect: true}).of(ctx, &app{}, context.Canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// TestBisectionStops where the command line is wrong, whatever is wrong with it.
func TestBisectionStops(t *testing.T) {
	for _, args := range [][]string{
		{"run", "--bisect-exit"}, {"run", "--bisect-exit", "--nonsense", "a/b"}, {"run", "--bisect-exit", "no/such"},
		{"run", "no/such", "--bisect-exit", "--kernel", "1.0"}, {"run", "--bisect-exit", "--skip-exit", "77", "a/b"},
	} {
		var out, said bytes.Buffer
		if code := run(t.Context(), args, nil, &out, &said); code != bisectStop || said.Len() == 0 {
			t.Errorf("%q: exit status %d and %q, want %d", args, code, said.String(), bisectStop)
		}
	}
	for _, args := range [][]string{{"run"}, {"run", "--bisect-exit=false"}, {"run", "--", "--bisect-exit"},
		{"list", "--bisect-exit"}} {
		var out, said bytes.Buffer
		if code := run(t.Context(), args, nil, &out, &said); code != exitUsage {
			t.Errorf("%q: exit status %d, want %d", args, code, exitUsage)
		}
	}
}

func TestSkipExit(t *testing.T) {
	for n, ok := range map[int]bool{4: true, 77: true, 2: true, 124: true,
		0: false, 1: false, 64: false, 70: false, 125: false, 130: false, -1: false, 256: false} {
		if err := (exitFlags{skip: n}).check(); (err == nil) != ok {
			t.Errorf("%d: %v", n, err)
		}
	}
	if (exitFlags{skip: 77, bisect: true}).check() == nil {
		t.Error("both flags are taken")
	}
}
