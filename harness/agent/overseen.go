package agent

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/plan"
)

// overseen is a process of the plan's that somebody else starts and waits for: systemd, or
// an engine of containers. Only the run's loop touches it.
type overseen struct {
	plan  plan.Process
	what  string // for messages: unit web.service
	calls *net.UnixListener
	// met is called when the process has begun a life, before it does anything.
	met func(pid int) error
	// ask goes to see what the overseer makes of it, which may take long and is not done by
	// the loop. The loop calls what it returns, which reports whether the overseer is done.
	ask func() (func() bool, error)
	// pending: something has happened that the overseer may have more to do about; asking:
	// somebody has gone to see.
	pending, asking bool
	changes         int // counts what has happened
}

// oversee takes the calls that a process makes on a socket in a directory that is made.
func (r *run) oversee(o *overseen, socket string) error {
	if r.lineage == nil {
		return fmt.Errorf("%s needs the kernel's process events", o.what)
	}
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		return err
	}
	calls, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return err
	}
	o.calls = calls
	r.overseen[o.plan.Name] = o
	go r.answer(o)
	return nil
}

// answer takes the calls of a process, one for each life.
func (r *run) answer(o *overseen) {
	for {
		conn, err := o.calls.AcceptUnix()
		if err != nil {
			return // closed
		}
		pid, err := callerOf(conn)
		r.drainLineage() // how the former one ended comes first
		r.post(func() {
			defer conn.Close()
			if err == nil {
				err = r.begun(o, conn, pid)
			}
			if err != nil {
				r.fail(fmt.Errorf("%s: %w", o.what, err))
			}
		})
	}
}

// callerOf is the pid of who has connected.
func callerOf(conn *net.UnixConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, os.NewSyscallError("SO_PEERCRED", credErr)
	}
	return int(cred.Pid), nil
}

// begun begins a life of an overseen process, which waits to be told what to become.
func (r *run) begun(o *overseen, conn *net.UnixConn, pid int) error {
	p := r.byName[o.plan.Name]
	c, theirs, err := newChild()
	if err != nil {
		return err
	}
	defer theirs.close()
	c.pid = pid
	p.child = nil
	if p.pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
		p.pidfd = -1
		c.close()
		return os.NewSyscallError("pidfd_open", err)
	}
	r.live(p, c)
	if err := o.met(pid); err != nil {
		return err
	}
	r.changed(o)
	rights := unix.UnixRights(theirs.control, theirs.reports, theirs.output)
	if _, _, err := conn.WriteMsgUnix([]byte{0}, rights, nil); err != nil {
		return err
	}
	r.order(p)
	return nil
}

// changed notes that an overseer may have something to do about a process; nil: nobody has.
func (r *run) changed(o *overseen) {
	if o != nil {
		o.pending = true
		o.changes++
	}
}

// allChanged notes it of all that were started.
func (r *run) allChanged() {
	for name, o := range r.overseen {
		if r.byName[name].lives > 0 {
			r.changed(o)
		}
	}
}

// overseersRest reports whether no overseer has anything to do any more.
func (r *run) overseersRest() bool {
	for _, o := range r.overseen {
		if o.pending {
			return false
		}
	}
	return true
}

// askOverseers goes to see whether they are done.
func (r *run) askOverseers() {
	for _, o := range r.overseen {
		if !o.pending || o.asking {
			continue
		}
		o.asking = true
		changes := o.changes
		go func() {
			rests, err := o.ask()
			r.post(func() {
				o.asking = false
				if err != nil {
					r.fail(fmt.Errorf("%s: %w", o.what, err))
					return
				}
				if changes == o.changes && rests() {
					o.pending = false
					r.happened()
				}
			})
		}()
	}
}
