package main

import (
	"math/bits"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Who goes first.
//
// A task that hits the limit of a memory cgroup scans for victims over and over
// while the one it chose exits. It looks at how much room there is, and then at
// who is there. A victim that gives back its memory in between, or whose last
// thread has begun to exit and gave back nothing yet, is not seen any more
// (css_task_iter_advance() passes over dying processes), and an innocent process
// is killed in its place. Whether that happens depends on who gets the processor
// when. So a stressor that holds memory has real-time priority, and leaves in
// one go when it is killed; one that takes memory runs when nobody else wants
// to. Both share a processor, see profile.Launch.OneCPU.

// The scheduling policies of include/uapi/linux/sched.h.
const (
	schedOther = 0
	schedFIFO  = 1
	schedIdle  = 5
)

// What a process must be allowed to do so without privileges: leaving SCHED_IDLE
// takes the right to the nice value that it has (__sched_setscheduler(), can_nice()),
// which RLIMIT_NICE counts from 20 down to -20, and the lowest real-time priority.
const (
	anyNice    = 40
	fifoLowest = 1
)

// inPodEnv marks the stressors of a container. They share a machine with a
// cluster's daemons, which are never idle: standing back for those would take
// forever.
const inPodEnv = "OOMLAB_POD"

// standBack lets everybody else run first while this thread takes memory, until
// back is called; only those who hold theirs in a container, and where there
// would be no way back.
func standBack() (back func(), err error) {
	policy, name := uintptr(schedIdle), "SCHED_IDLE"
	if os.Getenv(inPodEnv) != "" || !mayLeaveIdle() {
		policy, name = schedOther, "SCHED_OTHER"
	}
	if err := setPolicy(0, policy, 0); err != nil {
		return nil, fail("sched_setscheduler "+name, err)
	}
	return func() { goFirst(0) }, nil
}

// mayLeaveIdle reports whether a thread at SCHED_IDLE could change its policy
// again: as root, or where RLIMIT_NICE allows the nice value that it has.
func mayLeaveIdle() bool {
	if os.Geteuid() == 0 {
		return true
	}
	var limit unix.Rlimit
	down, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // the system call counts from 20 down too
	return err == nil && unix.Getrlimit(unix.RLIMIT_NICE, &limit) == nil && limit.Cur >= uint64(down)
}

// goFirst gives a thread real-time priority, or ordinary priority where that is
// not allowed; 0 is the calling thread. Where neither is, it stays what it is.
func goFirst(tid int) {
	if setPolicy(tid, schedFIFO, fifoLowest) != nil {
		_ = setPolicy(tid, schedOther, 0)
	}
}

// allGoFirst does so for every thread there is. Threads that the runtime starts
// later are like the one that starts them.
func allGoFirst() error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			goFirst(tid)
		}
	}
	return nil
}

// setPolicy leaves a thread's nice value alone.
func setPolicy(tid int, policy uintptr, priority int32) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SCHED_SETSCHEDULER,
		uintptr(tid), policy, uintptr(unsafe.Pointer(&priority)))
	if errno != 0 {
		return errno
	}
	return nil
}

// allowTurns lets a process that gives up its privileges change its policy all
// the same, as far as its launcher may allow that.
func allowTurns() error {
	for _, limit := range []struct {
		resource int
		name     string
		least    uint64
	}{{unix.RLIMIT_NICE, "RLIMIT_NICE", anyNice}, {unix.RLIMIT_RTPRIO, "RLIMIT_RTPRIO", fifoLowest}} {
		var now unix.Rlimit
		if err := unix.Getrlimit(limit.resource, &now); err != nil {
			return fail("getrlimit "+limit.name, err)
		}
		if now.Cur >= limit.least {
			continue
		}
		now.Cur, now.Max = limit.least, max(now.Max, limit.least)
		if err := unix.Setrlimit(limit.resource, &now); err != nil && err != unix.EPERM {
			return fail("setrlimit "+limit.name, err)
		}
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
