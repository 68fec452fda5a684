//go:build !notlinux

package main

import (
	"context"
	"errors"
	"os"

	"github.com/oomlab/oomlab/harness/judge"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/watch"
)

// judge watches this machine during an experiment.
func (a *app) judge(ctx context.Context, f judgeFlags) error {
	if f.since != "" {
		return a.judgeSince(f)
	}
	a.reading.Store(false)
	out, _ := raw(a.err).(*os.File) // nil: nowhere
	e, err := watch.During(ctx, watch.DuringOptions{Command: f.during, Own: f.during != "" && len(f.victims) == 0,
		For: f.limit, Settle: f.settle, Out: out, Say: func(text string) { a.say(program + plaintext.Escape(text)) }})
	switch {
	case ctx.Err() != nil && len(e.Witnesses) == 0: // it had not begun
		return errors.Join(context.Cause(ctx), err)
	case errors.Is(err, watch.ErrNested):
		return &mistake{err.Error(), "name the victims with --victim"}
	case err != nil:
		return a.blind(err)
	}
	err = a.judged(f, e)
	if e.Interrupted && errors.As(err, new(status)) {
		return context.Cause(ctx)
	}
	return err
}

// judgeSince judges what this machine still tells of the time since then.
func (a *app) judgeSince(f judgeFlags) error {
	e, err := watch.Since(f.then)
	if err != nil {
		return a.blind(err)
	}
	return a.judged(f, e)
}

// judged shows the judgement, and turns it into an exit status.
func (a *app) judged(f judgeFlags, e judge.Experiment) error {
	j := judge.Judge(e, f.expect)
	var err error
	if f.output.value == "json" {
		err = judge.JSON(a.out, j)
	} else {
		err = judge.Text(raw(a.out), j)
	}
	if err != nil {
		return err
	}
	return done(statusOfVerdict(j.Verdict))
}
