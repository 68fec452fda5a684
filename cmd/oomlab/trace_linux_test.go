//go:build !notlinux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/alone"
	"github.com/oomlab/oomlab/harness/trace"
)

// smallCgroup makes a memory cgroup of 16 MiB below the test's own.
func smallCgroup(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	base, file := "", ""
	for line := range strings.Lines(string(own)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if f[1] == "memory" {
			base, file = "/sys/fs/cgroup/memory"+f[2], "memory.limit_in_bytes"
			break
		}
		if f[0] == "0" {
			base, file = "/sys/fs/cgroup"+f[2], "memory.max"
		}
	}
	dir, err := os.MkdirTemp(base, "oomlab trace-") // a space is allowed
	if err != nil {
		t.Skipf("needs a memory cgroup to make cgroups in: %v", err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Errorf("cgroup left behind: %v", err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(16<<20)), 0); err != nil {
		t.Skipf("needs the memory controller in %s: %v", base, err)
	}
	return dir
}

// cgroupPath is the path of a cgroup's directory as /proc/PID/cgroup has it.
func cgroupPath(dir string) string {
	return strings.TrimPrefix(strings.TrimPrefix(dir, "/sys/fs/cgroup"), "/memory")
}

// killOne has the kernel kill a process in the cgroup, and returns its pid.
func killOne(t *testing.T, dir string) int {
	t.Helper()
	alone.OnMachine(t)
	cmd := exec.Command("sh", "-c", `echo 0 > "$0/cgroup.procs" && exec tail /dev/zero`, dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	err := cmd.Wait()
	if status := cmd.ProcessState.Sys().(interface{ Signal() unix.Signal }); status.Signal() != unix.SIGKILL {
		t.Fatalf("%v; it was to be killed", err)
	}
	return cmd.Process.Pid
}

// tracer is oomlab trace as a process of its own.
type tracer struct {
	cmd    *exec.Cmd
	stderr *said
	ended  chan error
}

// said is what a process wrote so far.
type said struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *said) add(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.WriteString(line)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// startTrace returns when it watches.
func startTrace(t *testing.T, out *os.File, args ...string) *tracer {
	t.Helper()
	return watching(t, exec.Command("oomlab", append([]string{"trace"}, args...)...), out)
}

// watching starts a command, and returns when it watches.
func watching(t *testing.T, cmd *exec.Cmd, out *os.File) *tracer {
	t.Helper()
	alone.OnMachine(t)
	r := &tracer{cmd: cmd, stderr: &said{}, ended: make(chan error, 1)}
	r.cmd.Stdout = out
	errs, err := r.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	ready := make(chan bool, 1)
	go func() {
		lines := bufio.NewReader(errs)
		for {
			line, err := lines.ReadString('\n')
			r.stderr.add(line)
			if strings.Contains(line, "watching") {
				ready <- true
			}
			if err != nil {
				break
			}
		}
		close(ready)
		r.ended <- r.cmd.Wait()
	}()
	if !<-ready {
		if <-r.ended; r.cmd.ProcessState.ExitCode() == exitSkip {
			t.Skipf("kills cannot be seen here: %s", r.stderr)
		}
		t.Fatalf("oomlab trace: %s", r.stderr)
	}
	return r
}

// end waits for it.
func (r *tracer) end(t *testing.T, want int) {
	t.Helper()
	select {
	case <-r.ended:
	case <-time.After(time.Minute):
		t.Fatalf("it does not end: %s", r.stderr)
	}
	if got := r.cmd.ProcessState.ExitCode(); got != want {
		t.Errorf("exit status %d, want %d: %s", got, want, r.stderr)
	}
}

func kills(t *testing.T, text []byte) []trace.Kill {
	t.Helper()
	var out []trace.Kill
	d := json.NewDecoder(bytes.NewReader(text))
	for {
		var k trace.Kill
		err := d.Decode(&k)
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		out = append(out, k)
	}
}

// TestTraceSeesEachKill by eBPF and by the kernel log alone: who, where, and once.
func TestTraceSeesEachKill(t *testing.T) {
	for _, args := range [][]string{{"--tier", "3"}, {"--tier", "log"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			dir := smallCgroup(t)
			file, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			own := cgroupPath(dir)
			r := startTrace(t, file, append(args, "-o", "json", "--count", "3", "--cgroup", own)...)
			var pids []int
			for range 3 {
				pids = append(pids, killOne(t, dir))
			}
			r.end(t, exitPass)
			text, err := os.ReadFile(file.Name())
			if err != nil {
				t.Fatal(err)
			}
			var got []int
			for _, k := range kills(t, text) {
				got = append(got, k.Victim.PID)
				if k.Victim.Comm != "tail" || k.Constraint != "memcg" || k.Limit == nil || k.Limit.Cgroup != own ||
					k.Victim.Cgroup != own || k.Victim.RSS == nil || *k.Victim.RSS < 8<<20 {
					t.Errorf("%+v, limit %+v", k.Victim, k.Limit)
				}
			}
			if !slices.Equal(got, pids) {
				t.Errorf("told of %v; killed were %v", got, pids)
			}
			if !strings.Contains(r.stderr.String(), "oomlab: 3 kills") { // others may die elsewhere

				t.Errorf("it says %s", r.stderr)
			}
		})
	}
}

// TestTraceEnds cleanly for each reason there is.
func TestTraceEnds(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	t.Run("duration", func(t *testing.T) {
		startTrace(t, nil, "--duration", "1ms").end(t, exitPass)
	})
	for _, s := range []unix.Signal{unix.SIGINT, unix.SIGTERM} {
		t.Run(s.String(), func(t *testing.T) {
			r := startTrace(t, nil)
			if err := r.cmd.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			r.end(t, exitPass)
			if !strings.Contains(r.stderr.String(), "kills") {
				t.Errorf("it does not say how many it saw: %s", r.stderr)
			}
		})
	}
	t.Run("closed stdout", func(t *testing.T) {
		near, far, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r := startTrace(t, far)
		far.Close()
		near.Close()
		killOne(t, smallCgroup(t))
		r.end(t, exitPass)
	})
	t.Run("full disk", func(t *testing.T) {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Skipf("needs /dev/full: %v", err)
		}
		defer full.Close()
		r := startTrace(t, full, "-o", "json")
		killOne(t, smallCgroup(t))
		r.end(t, exitBroken)
		if !strings.Contains(r.stderr.String(), "no space left on device") {
			t.Errorf("it says %s", r.stderr)
		}
	})
}

// TestFullDiskLeavesWholeLines: a file holds whole lines when its disk is full.
func TestFullDiskLeavesWholeLines(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("oomlab", dir, "tmpfs", 0, "size=16k"); err != nil {
		t.Skipf("needs to mount a file system: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, 0) })
	file, err := os.OpenFile(filepath.Join(dir, "kills"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p := &killPrinter{a: &app{out: file, err: io.Discard}, f: traceFlags{output: &choice{value: "json"}}}
	n := 0
	for ; n < 1000 && err == nil; n++ {
		err = p.Kill(trace.Kill{By: trace.ByKernel, Victim: trace.Process{PID: n, Comm: strings.Repeat("x", 300)}})
	}
	if err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Fatalf("%d kills in 16 KiB: %v", n, err)
	}
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	if got := kills(t, text); len(got) != n-1 || len(got) < 5 {
		t.Errorf("%d whole lines of %d kills", len(got), n-1)
	}
}

// TestTraceListens: metrics are there while it runs, and an address that cannot be had
// is a mistake.
func TestTraceListens(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := smallCgroup(t)
	r := startTrace(t, nil, "--listen", "127.0.0.1:0", "--cgroup", cgroupPath(dir))
	_, rest, _ := strings.Cut(r.stderr.String(), "metrics at ")
	address, _, _ := strings.Cut(rest, "\n")
	killOne(t, dir)
	deadline, again := time.After(30*time.Second), time.NewTicker(20*time.Millisecond)
	defer again.Stop()
	for text := ""; !strings.Contains(text, `oomlab_kills_total{by="kernel",comm="tail"`); {
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("%q has no kill: %s", address, text)
		}
		response, err := http.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		text = string(body)
	}
	if err := r.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.end(t, exitPass)
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"trace", "--listen", "nonsense"}, nil, &out, &errs); code != exitUsage {
		t.Errorf("exit status %d for an address that is none: %s", code, &errs)
	}
}

// TestTraceSnapshotAndExec: both get the kill, and the command does not inherit the
// protection.
func TestTraceSnapshotAndExec(t *testing.T) {
	dir, snaps := smallCgroup(t), filepath.Join(t.TempDir(), "snaps")
	r := startTrace(t, nil, "--count", "1", "--cgroup", cgroupPath(dir), "--snapshot="+snaps, "--exec",
		`echo "ran for $OOM_VICTIM_COMM $OOM_VICTIM_PID with $(cat /proc/self/oom_score_adj), $(wc -l)"`)
	pid := killOne(t, dir)
	r.end(t, exitPass)
	if want := fmt.Sprintf("ran for tail %d with 0, 1\n", pid); !strings.Contains(r.stderr.String(), want) {
		t.Errorf("%s\nwant %s", r.stderr, want)
	}
	found, err := filepath.Glob(filepath.Join(snaps, "*-"+strconv.Itoa(pid), "meminfo"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%d snapshots: %v", len(found), err)
	}
	text, err := os.ReadFile(found[0])
	if err != nil || !strings.HasPrefix(string(text), "# read ") || !strings.Contains(string(text), "\nMemTotal:") {
		t.Errorf("%v: %s", err, text)
	}
}

// TestTraceNeedsThreeCapabilities: a user with CAP_BPF, CAP_PERFMON and CAP_SYSLOG sees
// the kill by eBPF; one with none is told what is missing, and how to grant it.
func TestTraceNeedsThreeCapabilities(t *testing.T) {
	dir := smallCgroup(t)
	probe := startTrace(t, nil, "--duration", "1ms") // skips where even root sees nothing
	probe.end(t, exitPass)
	program := publicCopy(t)
	const nobody = 65534
	as := func(caps ...uintptr) *exec.Cmd {
		cmd := exec.Command(program, "trace", "-o", "json", "--count", "1", "--duration", "30s",
			"--cgroup", cgroupPath(dir))
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody},
			AmbientCaps: caps}
		return cmd
	}
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	r := watching(t, as(39, 38, 34), out)
	pid := killOne(t, dir)
	r.end(t, exitPass)
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	if got := kills(t, text); len(got) != 1 || got[0].Victim.PID != pid || got[0].Source != trace.FromBPF ||
		got[0].Victim.Cgroup != cgroupPath(dir) || got[0].Constraint != "memcg" {
		t.Errorf("%s; want the kill of %d, by eBPF", text, pid)
	}
	if strings.Contains(r.stderr.String(), "missing CAP") {
		t.Errorf("it misses a capability: %s", r.stderr)
	}

	none := as()
	said, err := none.CombinedOutput()
	if restricted, _ := os.ReadFile("/proc/sys/kernel/dmesg_restrict"); strings.TrimSpace(string(restricted)) == "0" {
		t.Skipf("anybody may read the kernel log here, so that something is seen: %s", said)
	}
	if none.ProcessState.ExitCode() != exitSkip {
		t.Errorf("without capabilities: %v: %s", err, said)
	}
	for _, want := range []string{"missing CAP_BPF, ", "missing CAP_PERFMON, ", "missing CAP_SYSLOG, ",
		"hint: sudo setcap cap_bpf,cap_perfmon,cap_syslog+ep " + program, "hint: sudo systemd-run "} {
		if !strings.Contains(string(said), want) {
			t.Errorf("it does not say %q: %s", want, said)
		}
	}
}

// publicCopy is a copy of oomlab that any user may run.
func publicCopy(t *testing.T) string {
	t.Helper()
	self, err := exec.LookPath("oomlab")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "oomlab")
	err = errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755), os.WriteFile(file, data, 0o755))
	if err != nil {
		t.Fatal(err)
	}
	return file
}
