package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// TestReceivesItsDescriptors through the socket of one that has not started it.
func TestReceivesItsDescriptors(t *testing.T) {
	call := filepath.Join(t.TempDir(), "call")
	calls, err := net.ListenUnix("unix", &net.UnixAddr{Name: call, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer calls.Close()
	calls.SetDeadline(time.Now().Add(time.Minute))
	cmd := exec.Command(stressorBinary, "unit", call)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err := calls.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	var ours, theirs []*os.File
	for i := range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 { // what it reads
			r, w = w, r
		}
		ours, theirs = append(ours, r), append(theirs, w)
	}
	var rights []int
	for _, f := range theirs {
		rights = append(rights, int(f.Fd()))
	}
	if _, _, err := conn.WriteMsgUnix([]byte{0}, unix.UnixRights(rights...), nil); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	for _, f := range theirs {
		f.Close()
	}
	l := profile.Launch{Argv: []string{"sh", "-c", "echo out; echo err >&2; exit 5"}, DeadlineMS: 60_000}
	if _, err := ours[0].WriteString(l.Line() + "\n"); err != nil {
		t.Fatal(err)
	}
	output := new(strings.Builder)
	buf := make([]byte, 64)
	ours[2].SetReadDeadline(time.Now().Add(time.Minute))
	for n, err := ours[2].Read(buf); err == nil; n, err = ours[2].Read(buf) {
		output.Write(buf[:n])
	}
	if got := output.String(); got != "out\nerr\n" {
		t.Errorf("it wrote %q", got)
	}
	if cmd.Wait(); cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("it ended with %v, want exit status 5", cmd.ProcessState)
	}
}

func TestNobodyToCall(t *testing.T) {
	out, err := exec.Command(stressorBinary, "unit", filepath.Join(t.TempDir(), "none")).CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != profile.ExitOrphaned ||
		!strings.Contains(string(out), "no such file or directory") {
		t.Errorf("%v, %q", err, out)
	}
}
