package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"
)

// Exit statuses of git bisect run: 125 is a commit that cannot be tested; from 128 on the
// bisection stops. Any other than 0 would be a commit that is bad.
const (
	bisectSkip = 125
	bisectStop = 128
)

// exitFlags are conventions of other programs about exit statuses.
type exitFlags struct {
	bisect bool
	skip   int
}

func (e *exitFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&e.bisect, "bisect-exit", false,
		"exit as git bisect run wants it: 0 pass, 1 fail, 125 for broken and skip,\n128 if the command itself is wrong")
	e.addSkip(flags)
}

func (e *exitFlags) addSkip(flags *pflag.FlagSet) {
	flags.IntVar(&e.skip, "skip-exit", exitSkip, "exit with `STATUS` for skip; 77 for autopkgtest and Automake")
}

func (e exitFlags) check() error {
	switch {
	case e.bisect && e.skip != exitSkip:
		return &mistake{"--bisect-exit and --skip-exit contradict each other", ""}
	case e.skip == exitSkip:
		return nil
	case e.skip <= exitFail || e.skip >= bisectSkip || e.skip == exitUsage || e.skip == exitBroken:
		return &mistake{fmt.Sprintf("--skip-exit %d: it is not a status that says something else already, from 2 to %d",
			e.skip, bisectSkip-1), "autopkgtest and Automake take 77"}
	}
	return nil
}

// ofUsage is the exit status where the command line is wrong, which nothing may have read yet:
// no commit is bad for that.
func ofUsage(args []string) int {
	if len(args) == 0 || args[0] != "run" {
		return exitUsage
	}
	for _, arg := range args {
		switch arg {
		case "--":
			return exitUsage
		case "--bisect-exit", "--bisect-exit=true":
			return bisectStop
		}
	}
	return exitUsage
}

// of is what a command ended with, in the terms of the flags. What went wrong is said here
// where the exit status would not be that of its kind.
func (e exitFlags) of(ctx context.Context, a *app, err error) error {
	var code status
	said := errors.As(err, &code)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if !said {
		code = status(statusOf(err))
	}
	to := code
	switch {
	case code == exitSkip:
		to = status(e.skip)
		if e.bisect {
			to = bisectSkip
		}
	case e.bisect && code == exitBroken:
		to = bisectSkip
	}
	if to == code {
		return err
	}
	if !said {
		complain(a.err, err)
	}
	return to
}
