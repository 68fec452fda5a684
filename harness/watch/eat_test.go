package watch

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// eat is the child of forkEater. zeros is /dev/zero.
//
//go:nosplit
//go:norace
func eat(procs, zeros uintptr, zero *[1]byte) {
	const size = 64 << 20
	if _, _, errno := unix.RawSyscall(unix.SYS_WRITE, procs, uintptr(unsafe.Pointer(zero)), 1); errno != 0 {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 3, 0, 0)
	}
	mem, _, errno := unix.RawSyscall6(unix.SYS_MMAP, 0, size, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
	if errno != 0 || mem == 0 {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 4, 0, 0)
	}
	for { // the kernel writes to the memory, page by page
		unix.RawSyscall(unix.SYS_READ, zeros, mem, size)
	}
}

// forkHolder forks a process that waits for a byte, moves into a cgroup, takes size
// bytes, or with 0 all there are, says so with a byte, and stays. As forkEater's, the
// child must not call the runtime.
//
//go:nosplit
//go:norace
func forkHolder(procs, zeros, start, ready, size uintptr) int {
	one := [1]byte{'0'}
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return -1
	}
	if pid != 0 {
		return int(pid)
	}
	unix.RawSyscall(unix.SYS_READ, start, uintptr(unsafe.Pointer(&one)), 1)
	one[0] = '0'
	if size == 0 {
		eat(procs, zeros, &one)
	}
	unix.RawSyscall(unix.SYS_WRITE, procs, uintptr(unsafe.Pointer(&one)), 1)
	mem, _, errno := unix.RawSyscall6(unix.SYS_MMAP, 0, size, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
	if errno != 0 {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 4, 0, 0)
	}
	unix.RawSyscall(unix.SYS_READ, zeros, mem, size)
	unix.RawSyscall(unix.SYS_WRITE, ready, uintptr(unsafe.Pointer(&one)), 1)
	for {
		unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0) // for ever
	}
}
