package main

import (
	"strconv"
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// A child that shares its parent's memory runs on top of a Go heap that is not
// its own: it must never run Go code, not even a signal handler. It is a loop
// of a few instructions in assembly. It is born with every signal blocked and
// unblocks them when none has a handler any more, which CLONE_CLEAR_SIGHAND
// (Linux 5.5) sees to; a signal then does to it what it does by default.

// cloneArgs is struct clone_args of linux/sched.h, in its first version.
type cloneArgs struct {
	_ structs.HostLayout // the kernel reads what nobody here does

	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls uint64
}

// birth is what the child reads. Its layout is known to the assembly.
type birth struct {
	_ structs.HostLayout

	parent  uint64                    // offset 0: pid
	comm    [profile.CommLen + 1]byte // offset 8
	unblock uint64                    // offset 24: the empty set of signals
}

// cloneSharing calls clone3. In the parent it returns the child's pid or a
// negative errno. The child sets its name and its death signal, checks that its
// parent still lives, unblocks signals and pauses forever.
func cloneSharing(args *cloneArgs, size uintptr, b *birth) int

// forkSharing starts a child with CLONE_VM and without CLONE_THREAD: a process
// of its own to the OOM killer, which kills it along with the processes it shares
// memory with (mm/oom_kill.c, __oom_kill_process).
func (f *family) forkSharing(p profile.Profile) error {
	// The child's stack is never written: its loop has no calls.
	stack, err := mapMemory(-1, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return fail("mapping a stack for "+p.Name, err)
	}
	b := &birth{parent: uint64(unix.Getpid())}
	copy(b.comm[:profile.CommLen], p.Name)
	args := &cloneArgs{
		flags:      unix.CLONE_VM | unix.CLONE_CLEAR_SIGHAND,
		exitSignal: uint64(unix.SIGCHLD),
		stack:      uint64(uintptr(unsafe.Pointer(&stack[0]))),
		stackSize:  uint64(len(stack)),
	}
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
		return fail("blocking signals", err)
	}
	pid := cloneSharing(args, unsafe.Sizeof(*args), b)
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil); err != nil {
		return fail("unblocking signals", err)
	}
	if pid < 0 {
		return fail("clone3 with CLONE_VM|CLONE_CLEAR_SIGHAND", unix.Errno(-pid))
	}
	births = append(births, b)
	if _, err := f.adopt(p.Name, pid); err != nil {
		return err
	}
	if err := settle(p, pid); err != nil {
		return err
	}
	for _, event := range []string{profile.Started, profile.Ready} {
		if err := f.out.say(profile.Report{Event: event, Name: p.Name, PID: pid}); err != nil {
			return fail("speaking for "+p.Name, err)
		}
	}
	return nil
}

// births keeps what children may still read.
var births []*birth

// settle places a child that cannot do it itself. The kernel passes an
// oom_score_adj on to every process that shares the memory, this one included
// (fs/proc/base.c, __set_oom_adj).
func settle(p profile.Profile, pid int) error {
	if p.CgroupProcs != "" {
		if err := writeFile(p.CgroupProcs, strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	if p.OOMScoreAdj != nil {
		return writeFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", strconv.Itoa(*p.OOMScoreAdj))
	}
	return nil
}
