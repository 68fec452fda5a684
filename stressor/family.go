package main

import (
	"errors"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// family forks a profile's children and waits for them.
type family struct {
	profile profile.Profile
	options options
	out     *reporter
	watch   *watcher
	born    map[string]*child
}

// fork starts a child and returns when it has said that it started. A child
// that is killed before that is no failure: its end is reported like any other.
func (f *family) fork(name string) error {
	p := f.profile.Children[name]
	p.Name = name
	if p.SharesMemory {
		return f.forkSharing(p)
	}
	pipes, err := newPipes()
	if err != nil {
		return err
	}
	// Fork and exec happen as one, like vfork: a copy of the page tables, were
	// there one for a moment, would be charged to the cgroup.
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"oomlab-stressor", "launch", "forked"}, &syscall.ProcAttr{
		Files: []uintptr{0, 1, 2, profile.ControlFD: uintptr(pipes.controlR), profile.ReportFD: profile.ReportFD,
			statusFD: uintptr(pipes.statusW)},
	})
	if err != nil {
		return fail("forking "+name, err)
	}
	unix.Close(pipes.controlR)
	unix.Close(pipes.statusW)
	defer unix.Close(pipes.statusR)
	c, err := f.adopt(name, pid)
	if err != nil {
		return err
	}
	// The end for writing stays open as long as this process lives: closing it
	// tells the child that nobody cares for it any more.
	lines := f.launch(p).Line() + "\n" + p.Line() + "\n"
	if err := writeAll(pipes.controlW, []byte(lines)); err != nil && err != unix.EPIPE {
		return fail("telling "+name+" what to do", err)
	}
	var b [1]byte
	n, err := retry(func() (int, error) { return unix.Read(pipes.statusR, b[:]) })
	if err != nil {
		return fail("waiting until "+name+" has started", err)
	}
	if n == 1 {
		return nil
	}
	<-c.ended
	if c.sig == 0 {
		return errors.New(name + " ended with exit status " + strconv.Itoa(c.code) + " before it had started")
	}
	return nil
}

// launch is what a child is told to become.
func (f *family) launch(p profile.Profile) profile.Launch {
	l := profile.Launch{
		OOMScoreAdj: p.OOMScoreAdj, CgroupProcs: p.CgroupProcs,
		DeadlineMS: max((f.options.deadline-now())/1e6, 1),
	}
	for _, s := range f.options.ignore {
		l.Ignore = append(l.Ignore, unix.SignalName(s))
	}
	return l
}

// adopt reports a new child and has the watcher wait for its end.
func (f *family) adopt(name string, pid int) (*child, error) {
	if err := f.out.say(profile.Report{Event: profile.Forked, Name: name, PID: pid}); err != nil {
		return nil, fail("saying that "+name+" is forked", err)
	}
	c, err := f.watch.adopt(name, pid)
	if err == nil {
		f.born[name] = c
	}
	return c, err
}

// wait returns when a child has ended. The deadline bounds it, as it bounds
// everything: the watcher ends the process then.
func (f *family) wait(name string) error {
	<-f.born[name].ended
	return nil
}

type pipes struct{ controlR, controlW, statusR, statusW int }

func newPipes() (pipes, error) {
	var control, status [2]int
	err := unix.Pipe2(control[:], unix.O_CLOEXEC)
	if err == nil {
		err = unix.Pipe2(status[:], unix.O_CLOEXEC)
	}
	if err != nil {
		return pipes{}, fail("pipe2", err)
	}
	return pipes{control[0], control[1], status[0], status[1]}, nil
}
