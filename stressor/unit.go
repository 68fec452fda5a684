package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// launchUnit is launch for what another program starts than the agent, such as systemd: the
// descriptors come through a socket, whose other end learns from it which process this is.
func launchUnit(args []string) int {
	if len(args) != 1 {
		return complain(usage(), profile.ExitUsage)
	}
	if err := receive(args[0]); err != nil {
		return complain("oomlab-stressor unit: "+fail(args[0], err).Error(), profile.ExitOrphaned)
	}
	// Who has started it may go away, and start it again.
	return launch([]string{"outlives-parent"})
}

// passed are the descriptors that the agent passes on, in their order.
var passed = []int{profile.ControlFD, profile.ReportFD, unix.Stdout}

// receive puts the descriptors in their places.
func receive(socket string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
		return err
	}
	data, control := make([]byte, 1), make([]byte, unix.CmsgSpace(4*len(passed)))
	_, n, err := retry2(func() (int, int, error) {
		n, oobn, _, _, err := unix.Recvmsg(fd, data, control, unix.MSG_CMSG_CLOEXEC)
		return n, oobn, err
	})
	if err != nil {
		return err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return errors.New("the agent passed no descriptors")
	}
	got, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(got) != len(passed) {
		return errors.New("the agent passed other descriptors than are due")
	}
	const above = 16 // of all places
	for i, from := range got {
		high, err := unix.FcntlInt(uintptr(from), unix.F_DUPFD_CLOEXEC, above)
		if err != nil {
			return err
		}
		unix.Close(from)
		got[i] = high
	}
	unix.Close(fd)
	for i, from := range got {
		if err := unix.Dup3(from, passed[i], 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
		unix.Close(from)
	}
	return unix.Dup3(unix.Stdout, unix.Stderr, 0)
}

// retry2 is retry for calls with two results.
func retry2(call func() (int, int, error)) (int, int, error) {
	for {
		a, b, err := call()
		if err != unix.EINTR {
			return a, b, err
		}
	}
}
