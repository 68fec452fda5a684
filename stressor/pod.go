package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// keptFD is where a container's first process keeps the other end of its own
// control file open.
const keptFD = 7

// pod becomes the stressor of a container. Nobody is there to speak with it:
// the launch and the profile are its arguments, its reports go to the
// container's log, and the container's end is its own.
func pod(args []string) int {
	if len(args) != 2 {
		return complain("oomlab-stressor pod: needs a launch and a profile, each as one argument", profile.ExitUsage)
	}
	l, err := profile.ParseLaunch(args[0])
	if err == nil {
		err = l.Validate()
	}
	if err == nil && (len(l.Argv) > 0 || l.CgroupProcs != "" || l.OOMScoreAdj != nil) {
		err = errors.New("a container's program, cgroup and oom_score_adj are the kubelet's")
	}
	var p profile.Profile
	if err == nil {
		if p, err = profile.ParseProfile(args[1]); err == nil {
			err = p.Validate()
		}
	}
	var o options
	if err == nil {
		o.ignore, err = signals(l.Ignore)
	}
	if err != nil {
		return complain("oomlab-stressor pod: "+err.Error(), profile.ExitUsage)
	}
	o.comm, o.deadline = l.Comm, now()+l.DeadlineMS*1e6
	// Its parent is the runtime, in a namespace that it cannot see; when that
	// ends is none of its business.
	o.outlives = true
	if err = os.Setenv(inPodEnv, "1"); err == nil {
		err = prepare(l, o)
	}
	if err == nil {
		err = talkToYourself([]byte(p.Line() + "\n"))
	}
	if err == nil {
		err = execSelf(o.args())
	}
	return complain("oomlab-stressor pod: "+err.Error(), profile.ExitFailed)
}

// talkToYourself puts a line into the control file of the program that this
// process is about to become, and sends its reports to standard output.
func talkToYourself(line []byte) error {
	var control [2]int
	if err := unix.Pipe2(control[:], unix.O_CLOEXEC); err != nil {
		return fail("pipe2", err)
	}
	// Both ends move out of the way first: each may sit where another belongs.
	var moved [2]int
	for i, fd := range control {
		var err error
		if moved[i], err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, keptFD+1); err != nil {
			return fail("moving a pipe", err)
		}
		unix.Close(fd)
	}
	for _, d := range [][2]int{{moved[0], profile.ControlFD}, {unix.Stdout, profile.ReportFD}, {moved[1], keptFD}} {
		if err := unix.Dup3(d[0], d[1], 0); err != nil {
			return fail("dup3", err)
		}
	}
	// A pipe takes 64 KiB without anybody reading; a longer profile would wait
	// forever.
	if len(line) > 1<<16 {
		return errors.New("the profile is longer than 64Ki")
	}
	return writeAll(keptFD, line)
}
