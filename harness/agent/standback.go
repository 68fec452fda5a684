package agent

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// schedIdle is SCHED_IDLE of include/uapi/linux/sched.h.
const schedIdle = 5

// standBack gives the calling goroutine a thread of its own that runs when
// nobody else wants to. Whoever lowers a limit kills in a loop until the usage
// fits (memory_max_write() in mm/memcontrol.c), and if a victim does not get
// the processor to leave, the next one is taken for it. Where that cannot be
// set, actions are done at normal priority.
//
// The thread takes no signals: memory_max_write() stops at one, with more usage
// left than the limit allows, and each victim's end is a SIGCHLD for some thread
// of the agent's.
func standBack() {
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	var all unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, &all, nil) // the only errors are wrong arguments
	var priority int32
	_, _, _ = unix.RawSyscall(unix.SYS_SCHED_SETSCHEDULER, 0, schedIdle, uintptr(unsafe.Pointer(&priority)))
}
