package watch

import (
	"os/exec"
	"testing"
	"time"
)

// TestDepartures: that a process is gone is told after it is, and not of one that stays.
func TestDepartures(t *testing.T) {
	start := func() (*exec.Cmd, func()) {
		cmd := exec.Command("cat")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Skipf("needs cat: %v", err)
		}
		return cmd, func() {
			in.Close()
			_ = cmd.Wait() // it was killed, or its input has ended
		}
	}
	var d departures
	leaves, end := start()
	defer end()
	stays, endLater := start()
	defer endLater()
	at := monotonic()
	d.await(leaves.Process.Pid, at, time.Minute)
	d.await(leaves.Process.Pid, at, time.Minute) // another thread of it
	d.await(stays.Process.Pid, at+1, time.Minute)
	if err := leaves.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if ns, ok := d.take(at, time.Minute); !ok || ns <= 0 || ns > monotonic()-at {
		t.Errorf("gone %d ns after it was killed, %t", ns, ok)
	}
	if _, ok := d.take(at+1, time.Millisecond); ok {
		t.Error("a process that is there is said to be gone")
	}
	if _, ok := d.take(at, time.Minute); ok {
		t.Error("it is told twice")
	}
	pid := leaves.Process.Pid
	end()
	d.await(pid, at+2, time.Minute)
	if ns, ok := d.take(at+2, time.Minute); !ok || ns <= 0 {
		t.Errorf("of one that was gone before: %d ns, %t", ns, ok)
	}
}
