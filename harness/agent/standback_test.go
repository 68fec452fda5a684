package agent

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A limit's writer that took the SIGCHLD of its first victim would leave the rest
// alive: memory_max_write() stops at a signal.
func TestWhoStandsBackTakesNoSignals(t *testing.T) {
	status := make(chan string)
	go func() {
		standBack()
		text, err := os.ReadFile("/proc/self/task/" + strconv.Itoa(unix.Gettid()) + "/status")
		if err != nil {
			t.Error(err)
		}
		status <- string(text)
	}()
	_, after, _ := strings.Cut(<-status, "SigBlk:\t")
	line, _, _ := strings.Cut(after, "\n")
	blocked, err := strconv.ParseUint(line, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []unix.Signal{unix.SIGCHLD, unix.SIGURG, unix.SIGTERM} {
		if blocked&(1<<(s-1)) == 0 {
			t.Errorf("%v is not blocked: %#x", s, blocked)
		}
	}
}
