package main

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// reporter says what a stressor does: as lines of JSON to the agent, or, with
// forHumans, as sentences on standard error. Lines are written whole by one
// system call, so that several may speak at once.
type reporter struct {
	fd        int
	name      string
	forHumans bool
}

// say reports r with its missing fields filled in. An error means that nobody
// listens any more.
func (out *reporter) say(r profile.Report) error {
	if r.Name == "" {
		r.Name = out.name
	}
	if r.PID == 0 {
		r.PID = unix.Getpid()
	}
	r.MonoNS = now()
	// A line must stay below PIPE_BUF, 4096, even when every byte is escaped.
	const longest = 512
	if len(r.Error) > longest {
		r.Error = r.Error[:longest]
	}
	line := profile.AppendReport(make([]byte, 0, 256), r)
	if out.forHumans {
		line = sentence(r)
	}
	return writeAll(out.fd, line)
}

// fatal reports an error and passes the exit status on.
func (out *reporter) fatal(code int, err error) int {
	if out.say(profile.Report{Event: profile.Error, Error: err.Error()}) != nil {
		return complain("oomlab-stressor: "+err.Error(), code)
	}
	return code
}

func sentence(r profile.Report) []byte {
	text := r.Event
	switch r.Event {
	case profile.Error:
		text = r.Error
	case profile.Started:
		text = "started as process " + strconv.Itoa(r.PID)
	case profile.Stepped:
		text = "step " + strconv.Itoa(r.Step+1) + " is done, holding " + profile.Quantity(r.Held)
	case profile.Ready:
		text = "ready, holding " + profile.Quantity(r.Held) + ", resident " + profile.Quantity(r.Resident) +
			", and " + profile.Quantity(r.Overhead) + " of its own"
	}
	return []byte("oomlab-stressor: " + text + "\n")
}
