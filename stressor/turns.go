package main

import (
	"math/bits"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// The scheduling policies of include/uapi/linux/sched.h, and the nice value
// that SCHED_IDLE counts as where leaving it is a matter of privilege.
const (
	schedOther  = 0
	schedIdle   = 5
	niceCeiling = 20 // RLIMIT_NICE for nice 0, which is 20 - rlimit
)

// takes reports whether a step asks for memory that may not be there.
func takes(op profile.Op) bool {
	switch op {
	case profile.Touch, profile.Shmem, profile.Mlock, profile.HugePages, profile.HugeTLB, profile.Leak, profile.Sawtooth:
		return true
	}
	return false
}

// standBack lets everybody else run first while this thread takes memory, until
// back is called.
//
// A task that hits the limit of a memory cgroup scans for victims over and over
// while the one it chose exits. From the moment the victim's last thread has
// begun to exit until its first pages are given back, that scan does not see it
// any more (css_task_iter_advance() passes over dying processes) and takes
// another, innocent one. How long that is depends on who gets the processor.
// At SCHED_IDLE the one who takes memory all but never gets it before the
// victim is gone.
func standBack() (back func(), err error) {
	if err := setPolicy(schedIdle); err != nil {
		return nil, fail("sched_setscheduler SCHED_IDLE", err)
	}
	// without the privilege to return, which a user's own limits may deny, the
	// thread stays where it is
	return func() { _ = setPolicy(schedOther) }, nil
}

// setPolicy sets the calling thread's policy and leaves its nice value alone.
func setPolicy(policy uintptr) error {
	var priority int32
	_, _, errno := unix.RawSyscall(unix.SYS_SCHED_SETSCHEDULER, 0, policy, uintptr(unsafe.Pointer(&priority)))
	if errno != 0 {
		return errno
	}
	return nil
}

// allowReturn lets a process that gives up its privileges leave SCHED_IDLE.
func allowReturn() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NICE, &limit); err != nil {
		return fail("getrlimit RLIMIT_NICE", err)
	}
	if limit.Cur >= niceCeiling {
		return nil
	}
	limit.Cur = niceCeiling
	limit.Max = max(limit.Max, niceCeiling)
	if err := unix.Setrlimit(unix.RLIMIT_NICE, &limit); err != nil && err != unix.EPERM {
		return fail("setrlimit RLIMIT_NICE", err)
	}
	return nil
}

// bindToFirstCPU leaves the calling thread, and what it executes, one
// processor.
func bindToFirstCPU() error {
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return fail("sched_getaffinity", err)
	}
	for i, word := range may {
		if word == 0 {
			continue
		}
		var one unix.CPUSet
		one.Set(i*bits.UintSize + bits.TrailingZeros64(uint64(word)))
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			return fail("sched_setaffinity", err)
		}
		return nil
	}
	return nil
}
