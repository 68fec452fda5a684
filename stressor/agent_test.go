package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// stressorBinary is the stressor as it is shipped. OOMLAB_STRESSOR names one
// that is built already, for machines without Go, such as a VM.
var stressorBinary = os.Getenv("OOMLAB_STRESSOR")

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	// Orphans come to us, as they come to the agent.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	if stressorBinary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "oomlab-stressor")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	// A user that a test becomes has to reach it.
	if err := os.Chmod(dir, 0o755); err != nil {
		panic(err)
	}
	stressorBinary = filepath.Join(dir, "oomlab-stressor")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", stressorBinary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		panic(err)
	}
	return m.Run()
}

// patience is how long a test waits for anything.
const patience = 20 * time.Second

// stressor is one that a test started, and drives as the agent does.
type stressor struct {
	t       *testing.T
	cmd     *exec.Cmd
	control *os.File // nil once closed
	reports *bufio.Reader
	pid     int
}

// start runs the launcher and tells it nothing yet.
func start(t *testing.T, argv ...string) *stressor {
	t.Helper()
	if len(argv) == 0 {
		argv = []string{stressorBinary, "launch"}
	}
	controlR, controlW := pipe(t)
	reportR, reportW := pipe(t)
	if err := reportR.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.ExtraFiles = []*os.File{controlR, reportW}
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), "OOMLAB_TMP="+t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	controlR.Close()
	reportW.Close()
	s := &stressor{t: t, cmd: cmd, control: controlW, reports: bufio.NewReader(reportR), pid: cmd.Process.Pid}
	t.Cleanup(func() {
		s.hangUp()
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	return s
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// tell writes a line as the agent does.
func (s *stressor) tell(what interface{ Line() string }) {
	s.t.Helper()
	if _, err := s.control.WriteString(what.Line() + "\n"); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stressor) hangUp() {
	if s.control != nil {
		s.control.Close()
		s.control = nil
	}
}

// next is the next report. Its event has to be the one that is awaited.
func (s *stressor) next(event string) profile.Report {
	s.t.Helper()
	r := s.any()
	if r.Event != event {
		s.t.Fatalf("awaited a report %q, got %+v", event, r)
	}
	return r
}

func (s *stressor) any() profile.Report {
	s.t.Helper()
	line, err := s.reports.ReadString('\n')
	if err != nil {
		s.t.Fatalf("waiting for a report: %v", err)
	}
	var r profile.Report
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		s.t.Fatalf("report %q: %v", line, err)
	}
	return r
}

// end is how a process ended: "exit 72", "SIGKILL".
func (s *stressor) end() string {
	s.t.Helper()
	kill := time.AfterFunc(patience, func() { s.cmd.Process.Signal(syscall.SIGABRT) })
	defer kill.Stop()
	err := s.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return ending(s.cmd.ProcessState.Sys().(syscall.WaitStatus))
}

func ending(status syscall.WaitStatus) string {
	if status.Signaled() {
		return unix.SignalName(status.Signal())
	}
	return "exit " + strconv.Itoa(status.ExitStatus())
}

// endOf waits for an orphan that was re-parented to the test.
func endOf(t *testing.T, pid int) string {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		t.Fatalf("process %d is gone and was not re-parented", pid)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for deadline := time.Now().Add(patience); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
		if err == unix.EINTR && time.Now().Before(deadline) {
			continue
		}
		if n != 1 {
			t.Fatalf("waiting for the end of process %d: %v", pid, err)
		}
		break
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		t.Fatal(err)
	}
	return ending(status)
}

// startSteps starts a stressor with these steps and returns when it has started.
func startSteps(t *testing.T, steps ...profile.Step) *stressor {
	t.Helper()
	return startProfile(t, profile.Launch{DeadlineMS: 60_000}, profile.Profile{Name: "big", Steps: steps})
}

func startProfile(t *testing.T, l profile.Launch, p profile.Profile) *stressor {
	t.Helper()
	s := start(t)
	s.tell(l)
	s.tell(p)
	if r := s.next(profile.Started); r.PID != s.pid || r.Name != p.Name {
		t.Fatalf("started: %+v, want process %d called %q", r, s.pid, p.Name)
	}
	return s
}

// ready passes over the steps.
func (s *stressor) ready(steps int) profile.Report {
	s.t.Helper()
	for range steps {
		s.next(profile.Stepped)
	}
	return s.next(profile.Ready)
}

// status is a field of /proc/PID/status.
func status(t *testing.T, pid int, field string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("/proc/%d/status has no %s", pid, field)
	return ""
}

func statusKB(t *testing.T, pid int, field string) int64 {
	t.Helper()
	kb, err := strconv.ParseInt(strings.TrimSuffix(status(t, pid, field), " kB"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb
}
