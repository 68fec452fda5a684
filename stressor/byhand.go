package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// byHand runs the steps that a person wrote as arguments.
func byHand(args []string) int {
	out := &reporter{fd: unix.Stderr, name: "oomlab-stressor", forHumans: true}
	p, err := profile.ParseWords(args)
	if p.Name == "" {
		p.Name = out.name
	}
	for _, s := range p.Steps {
		if err == nil && s.Op.Row().Amount == profile.Name {
			err = errors.New(string(s.Op) + "=" + s.Name + ": is for scenarios alone")
		}
	}
	if err == nil {
		err = p.Validate()
	}
	if err != nil {
		return out.fatal(profile.ExitUsage, errors.New(err.Error()+"; try oomlab-stressor --help"))
	}
	if !sameEverywhere() {
		return out.fatal(profile.ExitFailed, execSelf(os.Args))
	}
	var o options
	if p.DeadlineMS > 0 {
		o.deadline = now() + p.DeadlineMS*1e6
	}
	return work(p, o, out)
}
