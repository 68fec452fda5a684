package observe

import (
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/kernel"
)

// clockMark is what [LogAhead] writes, and the pid: others may do so at the same time.
const clockMark = "oomlab[%d]: reads this log's clock"

// LogAhead says by how much the clock of the kernel log is ahead of CLOCK_MONOTONIC. It
// writes a line to the log and reads it back. The two begin together and are then counted
// apart (local_clock() and ktime_get()): where a machine loses timer interrupts until it has
// found its clock source, as an emulated one with several processors does, they differ by
// seconds for as long as it is up.
func LogAhead(path string) (time.Duration, error) {
	ahead, _, err := logAhead(path)
	return ahead, err
}

// logAhead is LogAhead, and how long writing the line took: it is off by less than that.
func logAhead(path string) (best, took time.Duration, err error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, 0, fmt.Errorf("kernel log %s: %w", path, err)
	}
	log := os.NewFile(uintptr(fd), path)
	defer log.Close()
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		return 0, 0, fmt.Errorf("kernel log %s: seek to its end: %w", path, err)
	}
	took = math.MaxInt64
	for range 3 { // this process may stand still between two of these calls
		ahead, within, err := readClock(fd)
		if err != nil {
			return 0, 0, fmt.Errorf("kernel log %s: %w", path, err)
		}
		if within < took {
			best, took = ahead, within
		}
	}
	return best, took, nil
}

// readClock is LogAhead once, and how long writing the line took.
func readClock(fd int) (ahead, within time.Duration, err error) {
	mark := fmt.Sprintf(clockMark, os.Getpid())
	before := monotonic()
	if _, err := unix.Write(fd, []byte(mark+"\n")); err != nil {
		return 0, 0, os.NewSyscallError("write", err)
	}
	after := monotonic()
	buf := make([]byte, 8<<10)
	for range 1 << 10 { // others write as well
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EPIPE) { // records were overwritten
			continue
		}
		if err != nil {
			return 0, 0, fmt.Errorf("its own line did not come: %w", err)
		}
		if r, err := kernel.ParseKmsgRecord(buf[:n]); err == nil && r.Text == mark {
			return time.Duration(r.USec*1000 - (before+after)/2), time.Duration(after - before), nil
		}
	}
	return 0, 0, errors.New("its own line did not come")
}
