package agent

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// What is read of a child after start is the child's own, not what it shared with the
// agent until it executed. Without awaitExec this fails in a guest of one processor on
// Linux 6.12 and 7.3, where it was seen; on most machines syscall.StartProcess suffices.
func TestStartedChildHasItsOwnMemory(t *testing.T) {
	own, err := os.ReadFile("/proc/self/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := newSpawner()
	defer s.close()
	for range 20 {
		c, err := s.start([]string{self, "-test.run=^$"}, os.Environ())
		if err != nil {
			t.Fatal(err)
		}
		now, err := os.ReadFile("/proc/" + strconv.Itoa(c.pid) + "/cmdline")
		unix.Kill(c.pid, unix.SIGKILL)
		collect(unix.P_PID, c.pid)
		unix.Close(c.pidfd)
		c.close()
		if err != nil {
			t.Fatal(err)
		}
		if string(now) == string(own) {
			t.Fatalf("pid %d is told to be %q and still is %q", c.pid, self, now)
		}
	}
}
