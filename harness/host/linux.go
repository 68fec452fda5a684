//go:build linux && !notlinux

package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Linux reports whether this is a Linux.
const Linux = true

// Flags of os.OpenFile: a FIFO does not block the caller; a symbolic link is an error.
const (
	NonBlock = unix.O_NONBLOCK
	NoFollow = unix.O_NOFOLLOW
)

// Lock takes an exclusive flock(2), waiting for it. It belongs to the open file.
func Lock(f *os.File) error { return flock(f, unix.LOCK_EX) }

// TryLock is Lock without waiting; false: somebody else has it.
func TryLock(f *os.File) (bool, error) {
	err := flock(f, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// SeekData moves to the next data of a file at or behind at; io.EOF: only a hole
// follows.
func SeekData(f *os.File, at int64) (int64, error) {
	to, err := f.Seek(at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return 0, io.EOF
	}
	return to, err
}

// SeekHole moves to the next hole of a file, which may be its end.
func SeekHole(f *os.File, at int64) (int64, error) { return f.Seek(at, unix.SEEK_HOLE) }

// Free is how many bytes this user may still write to the disk that a directory is on.
func Free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// ProcessorTime is what a process has had so far; 0 for one that has ended.
func ProcessorTime(pid int) time.Duration {
	var t unix.Timespec
	// its clock by its pid, CPUCLOCK_SCHED of include/linux/posix-timers.h
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// Allocated is the room that a file takes on the disk: less than its length if it has
// holes.
func Allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}

// Mine reports whether a file belongs to this user.
func Mine(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return !ok || int(st.Uid) == os.Getuid()
}

// Memory is an anonymous file in memory.
func Memory(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Streams and Datagrams are two connected sockets.
func Streams(name string) ([2]*os.File, error) { return pair(name, unix.SOCK_STREAM) }

// Datagrams do not block.
func Datagrams(name string) ([2]*os.File, error) {
	return pair(name, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK)
}

func pair(name string, kind int) (files [2]*os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return files, fmt.Errorf("socketpair: %w", err)
	}
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), name)
	}
	return files, nil
}

// Rights are files as a message of a Unix socket passes them on.
func Rights(files []*os.File) []byte {
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	return unix.UnixRights(fds...)
}

// DiesWithUs is for a child that SIGKILL ends when the thread that started it ends, and
// that no Ctrl-C reaches.
func DiesWithUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// Contained is DiesWithUs in a pid and a mount namespace of its own: with the child ends
// whatever it has started and mounted.
func Contained() *syscall.SysProcAttr {
	attr := DiesWithUs()
	attr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWNS
	return attr
}

// OutlivesUs is for a child that stays when this process and its terminal are gone.
func OutlivesUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
