package main

import (
	"bufio"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestForms: what articles have their readers type, and what it comes to.
func TestForms(t *testing.T) {
	tests := []struct{ line, want string }{
		{"stressor --vm 4 --vm-bytes 9.5G --vm-keep --timeout 60s", "stress-ng: 4 workers with 2432Mi each, 9728Mi in " +
			"all, oom_score_adj 1000; who is killed is replaced; for 60.00s: touch=2550136832 hold"},
		{"stressor stress --vm 1 --vm-bytes 200M --vm-hang 0", "stress: 1 worker with 200Mi each, 200Mi in all: " +
			"touch=209715200 hold"},
		{"/usr/bin/stress -m 2 --vm-bytes=1g -t 5m", "stress: 2 workers with 1Gi each, 2Gi in all, given back and taken " +
			"again; for 300.00s: sawtooth=1073741824"},
		{"stressor stress-ng --vm 1", "stress-ng: 1 worker with 256Mi each, 256Mi in all, given back and taken again, " +
			"oom_score_adj 1000; who is killed is replaced: sawtooth=268435456"},
		{"stressor --vm 2 --vm-bytes 64M --oomable --no-oom-adjust --vm-keep", "stress-ng: 2 workers with 32Mi each, " +
			"64Mi in all: touch=33554432 hold"},
		{"stressor bigmem 1000M", "bigmem: 1 worker with 1000Mi each, 1000Mi in all: touch=1048576000 hold"},
		{"bigmem 1GiB", "bigmem: 1 worker with 1Gi each, 1Gi in all: touch=1073741824 hold"},
		{"stressor touch=1Mi hold", "no form"},
		{"stressor bigmem", "how much memory?"},
		{"stressor bigmem 0M", `0M: "0M" is not a size; write 200M, 9.5G or 80%`},
		{"stressor bigmem 10Q", `10Q: "10Q" is not a size; write 200M, 9.5G or 80%`},
		{"stressor bigmem 99999999T", "99999999T: 99999999T is more memory than a machine can have"},
		{"stressor --vm-bytes 1G", "--vm: how many workers?"},
		{"stressor --vm", "--vm: what?"},
		{"stressor --vm 0", "--vm: 0 is not a number of workers from 1 to 4096"},
		{"stressor --vm x", "--vm: x is not a number of workers from 1 to 4096"},
		{"stressor stress --vm 1 --vm-hang 5", "--vm-hang: write 0: only holding for ever is done here"},
		{"stressor --vm 1 --timeout soon", `--timeout: "soon" is not a time; write 60s or 5m`},
		{"stressor --vm 1 --vm-keep=yes", "--vm-keep takes no value"},
		{"stressor --cpu 4", "--cpu: is not understood; stress-ng may be told --vm, --vm-bytes, --vm-keep, --vm-hang 0, " +
			"--timeout, --dry-run, --progress and -o json here"},
	}
	for _, tt := range tests {
		words := strings.Fields(tt.line)
		got := "no form"
		if f, rest, ok := formOf(words[0], words[1:]); ok {
			c, err := parseCrowd(f, rest)
			got = c.plan() + ": " + strings.Join(c.words(), " ")
			if err != nil {
				got = err.Error()
			}
		}
		if got != tt.want {
			t.Errorf("%s\n got %s\nwant %s", tt.line, got, tt.want)
		}
	}
	half, err := amount("50%")
	if err != nil || half < 1<<20 {
		t.Errorf("half of what is available is %d, %v", half, err)
	}
}

// workerOf is a child of a crowd that has become a stressor at work.
func workerOf(t *testing.T, parent int) int {
	t.Helper()
	for {
		text, err := exec.Command("pgrep", "-P", strconv.Itoa(parent)).Output()
		if err == nil {
			pid, err := strconv.Atoi(strings.Fields(string(text))[0])
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
}

// TestKilledWorkers: stress-ng starts a worker again, and stress ends with it.
func TestKilledWorkers(t *testing.T) {
	run := func(args ...string) (*exec.Cmd, *bufio.Reader) {
		cmd := exec.Command(stressorBinary, args...)
		pipe, err := cmd.StderrPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		lines := bufio.NewReader(pipe)
		if line, err := lines.ReadString('\n'); err != nil {
			t.Fatalf("%q, %v", line, err)
		}
		return cmd, lines
	}
	cmd, lines := run("--vm", "1", "--vm-bytes", "4M", "--vm-keep")
	for range 2 {
		pid := workerOf(t, cmd.Process.Pid)
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		line, err := lines.ReadString('\n')
		want := fmt.Sprintf("stress-ng: worker 1, pid %d, was killed, perhaps by the OOM killer; starting it again\n",
			pid)
		if err != nil || line != want {
			t.Fatalf("%q, %v; want %q", line, err, want)
		}
	}
	cmd, lines = run("stress", "--vm", "1", "--vm-bytes", "4M", "--vm-keep")
	pid := workerOf(t, cmd.Process.Pid)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	line, err := lines.ReadString('\n')
	if want := fmt.Sprintf("stress: worker 1, pid %d, got signal 9\n", pid); err != nil || line != want {
		t.Errorf("%q, %v; want %q", line, err, want)
	}
	if line, err = lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "stress: failed run completed in ") {
		t.Errorf("%q, %v", line, err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("%v; want status 1", err)
	}
}

// TestCrowdAsJSON: a crowd whose time is up says how it went.
func TestCrowdAsJSON(t *testing.T) {
	out, err := exec.Command(stressorBinary, "--vm", "2", "--vm-bytes", "8M", "--timeout", "0.2s", "-o",
		"json").Output()
	const want = `{"program":"stress-ng","workers":2,"bytes_each":4194304,"killed":0,"restarts":0,"seconds":`
	if err != nil || !strings.HasPrefix(string(out), want) || !strings.HasSuffix(string(out), `,"failed":""}`+"\n") {
		t.Errorf("%s, %v; want %s...", out, err, want)
	}
}
