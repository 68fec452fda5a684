package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"

	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/target"
	"github.com/oomlab/oomlab/harness/target/kube"
	"github.com/oomlab/oomlab/harness/trace"
)

// errEnough ends a stream of kills.
var errEnough = errors.New("enough kills")

// traceKube prints the kills on the nodes of a cluster until it is told to end.
func (a *app) traceKube(ctx context.Context, f traceFlags) error {
	a.ends.Store(true)
	signal.Ignore(syscall.SIGPIPE) // a reader that is gone is an error of write(2)
	if f.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.duration)
		defer cancel()
	}
	p := &nodePrinter{a: a, f: f}
	t := &kube.Tracers{Where: f.where, Line: p.line, Say: func(text string) { a.say(program + plaintext.Escape(text)) }}
	err := t.Follow(ctx)
	switch {
	case errors.Is(err, errEnough), errors.Is(err, syscall.EPIPE):
		err = nil
	case errors.Is(err, kube.ErrNoTracers):
		return untraced{err}
	}
	text := plaintext.Count(p.shown, "kill")
	if p.hidden > 0 {
		text += fmt.Sprintf(", and %d that the flags leave out", p.hidden)
	}
	a.say(program + text)
	return err
}

// untraced is a cluster in which nobody traces.
type untraced struct{ error }

func (e untraced) Error() string {
	return e.error.Error() + "\n" + hinting + "oomlab cluster images --trace FILE writes their image, and " +
		"docs/tracing/daemonset.yaml starts them"
}

// Is makes it a thing that this cluster lacks.
func (e untraced) Is(err error) bool { return err == target.ErrUnsupported }

// nodePrinter takes the lines that tracers print.
type nodePrinter struct {
	a             *app
	f             traceFlags
	shown, hidden int
}

// line takes one: a kill, or what a tracer says of itself.
func (p *nodePrinter) line(node, text string) error {
	var k trace.Kill
	if !strings.HasPrefix(text, "{") || json.Unmarshal([]byte(text), &k) != nil || k.Time == "" {
		if text != "" {
			p.a.say(program + plaintext.Escape(node+": "+strings.TrimPrefix(text, program)))
		}
		return nil
	}
	k.Node = node
	if !p.f.filter.Takes(k) {
		if k.By == trace.ByKernel {
			p.hidden++
		}
		return nil
	}
	var err error
	if p.f.output.value == "json" {
		err = trace.JSON(p.a.out, k)
	} else {
		err = trace.Text(p.a.out, k, trace.TextOptions{Verbose: p.f.verbose})
	}
	if err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	if p.shown++; p.f.count > 0 && p.shown >= p.f.count {
		return errEnough
	}
	return nil
}
