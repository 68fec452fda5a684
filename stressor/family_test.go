package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/oomlab/oomlab/stressor/profile"
)

// startFamily starts a parent that forks one child called "child".
func startFamily(t *testing.T, child profile.Profile, after ...profile.Step) (parent *stressor, pid int) {
	t.Helper()
	parent = startProfile(t, profile.Launch{Ignore: []string{"SIGUSR1"}, DeadlineMS: 60_000}, profile.Profile{
		Name: "parent",
		Steps: append([]profile.Step{{Op: profile.Touch, Bytes: 4 * mib}, {Op: profile.Fork, Name: "child"}},
			after...),
		Children: map[string]profile.Profile{"child": child},
	})
	parent.next(profile.Stepped)
	forked := parent.next(profile.Forked)
	if forked.Name != "child" || forked.PID == 0 || forked.PID == parent.pid {
		t.Fatalf("forked: %+v", forked)
	}
	if r := parent.next(profile.Started); r.Name != "child" || r.PID != forked.PID {
		t.Fatalf("started: %+v, want child as process %d", r, forked.PID)
	}
	return parent, forked.PID
}

// until passes over reports to the first with this event and name. What a
// parent and its child say has no order between them.
func (s *stressor) until(event, name string) profile.Report {
	s.t.Helper()
	for {
		r := s.any()
		if r.Event == event && r.Name == name {
			return r
		}
		if r.Event == profile.Error {
			s.t.Fatalf("waiting for %q of %s: %s", event, name, r.Error)
		}
	}
}

func TestChildIsKilledAndParentExits1(t *testing.T) {
	adj := 400
	parent, pid := startFamily(t,
		profile.Profile{OOMScoreAdj: &adj, Steps: []profile.Step{{Op: profile.Touch, Bytes: 2 * mib}}},
		profile.Step{Op: profile.Wait, Name: "child"}, profile.Step{Op: profile.Exit, Code: 1})
	if r := parent.until(profile.Ready, "child"); r.PID != pid || r.Resident != 2*mib {
		t.Errorf("ready: %+v, want process %d with 2Mi", r, pid)
	}
	if got := status(t, pid, "Name"); got != "child" {
		t.Errorf("comm %q, want child", got)
	}
	if got := status(t, pid, "PPid"); got != strconv.Itoa(parent.pid) {
		t.Errorf("parent %s, want %d", got, parent.pid)
	}
	if got, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/oom_score_adj"); err != nil ||
		strings.TrimSpace(string(got)) != "400" {
		t.Errorf("oom_score_adj %q, %v; want 400", got, err)
	}
	mask, err := strconv.ParseUint(status(t, pid, "SigIgn"), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	const want = 1 << (10 - 1) // its parent's SIGUSR1
	if mask&want != want {
		t.Errorf("ignored signals %#x, want %#x among them", mask, want)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if r := parent.until(profile.Exited, "child"); r.PID != pid || r.Signal != 9 || r.Code != 0 {
		t.Errorf("exited: %+v, want signal 9", r)
	}
	if got := parent.end(); got != "exit 1" {
		t.Errorf("parent: %s, want exit 1", got)
	}
}

func TestChildEndsWhileParentHolds(t *testing.T) {
	parent, pid := startFamily(t, profile.Profile{Steps: []profile.Step{
		{Op: profile.Sleep, DurationMS: 50}, {Op: profile.Exit, Code: 5},
	}}, profile.Step{Op: profile.Hold})
	if r := parent.until(profile.Exited, "child"); r.PID != pid || r.Code != 5 || r.Signal != 0 {
		t.Errorf("exited: %+v, want code 5", r)
	}
	if _, err := parent.control.WriteString("end\n"); err != nil {
		t.Fatal(err)
	}
	if got := parent.end(); got != "exit 0" {
		t.Errorf("parent: %s, want exit 0", got)
	}
}

func TestGrandchild(t *testing.T) {
	parent, _ := startFamily(t, profile.Profile{
		Steps: []profile.Step{{Op: profile.Fork, Name: "grandchild"}, {Op: profile.Wait, Name: "grandchild"},
			{Op: profile.Exit, Code: 2}},
		Children: map[string]profile.Profile{"grandchild": {Steps: []profile.Step{{Op: profile.Exit, Code: 3}}}},
	})
	if r := parent.until(profile.Exited, "grandchild"); r.Code != 3 {
		t.Errorf("grandchild exited: %+v, want code 3", r)
	}
	if r := parent.until(profile.Exited, "child"); r.Code != 2 {
		t.Errorf("child exited: %+v, want code 2", r)
	}
}

func TestChildThatCannotStartFailsTheFork(t *testing.T) {
	s := startProfile(t, profile.Launch{DeadlineMS: 60_000}, profile.Profile{
		Name:     "parent",
		Steps:    []profile.Step{{Op: profile.Fork, Name: "child"}},
		Children: map[string]profile.Profile{"child": {CgroupProcs: "/nonesuch/cgroup.procs"}},
	})
	s.next(profile.Forked)
	if r := s.next(profile.Error); r.Name != "launch" ||
		!strings.Contains(r.Error, "writing 0 to /nonesuch/cgroup.procs: no such file") {
		t.Errorf("the child's error: %+v", r)
	}
	s.next(profile.Exited)
	if r := s.next(profile.Error); r.Name != "parent" || r.Error != "step 1 (fork): child ended with exit status "+
		"71 before it had started" {
		t.Errorf("the parent's error: %+v", r)
	}
	if got := s.end(); got != "exit 71" {
		t.Errorf("%s, want exit 71", got)
	}
}

func TestChildDiesWithItsParent(t *testing.T) {
	parent, pid := startFamily(t, profile.Profile{}, profile.Step{Op: profile.Hold})
	parent.until(profile.Ready, "child")
	if err := parent.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	parent.end()
	// The end of its control file may reach it before the death signal.
	if got := endOf(t, pid); got != "SIGKILL" && got != "exit 72" {
		t.Errorf("%s, want SIGKILL or exit 72", got)
	}
}

func TestSharedMemory(t *testing.T) {
	shared := profile.Profile{SharesMemory: true, Steps: []profile.Step{{Op: profile.Hold}}}
	maps := func(pid int) string {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/maps")
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	t.Run("is one address space in two processes", func(t *testing.T) {
		parent, pid := startFamily(t, shared, profile.Step{Op: profile.Touch, Bytes: 8 * mib},
			profile.Step{Op: profile.Hold})
		parent.until(profile.Ready, "child")
		parent.until(profile.Ready, "parent")
		if maps(pid) != maps(parent.pid) {
			t.Error("parent and child have different mappings")
		}
		if got := statusKB(t, pid, "VmRSS") << 10; got < 12*mib {
			t.Errorf("the child's resident set is %d, want the 12Mi that its parent holds", got)
		}
		if got := status(t, pid, "Tgid"); got != strconv.Itoa(pid) {
			t.Errorf("thread group %s, want a process of its own", got)
		}
		if got := status(t, pid, "Name"); got != "child" {
			t.Errorf("comm %q, want child", got)
		}
		if got := status(t, pid, "SigCgt"); strings.Trim(got, "0") != "" {
			t.Errorf("caught signals %s: a handler would run Go code in the child", got)
		}
	})
	t.Run("a signal ends the child alone", func(t *testing.T) {
		parent, pid := startFamily(t, shared, profile.Step{Op: profile.Hold})
		parent.until(profile.Ready, "parent")
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if r := parent.until(profile.Exited, "child"); r.Signal != 15 {
			t.Errorf("exited: %+v, want signal 15", r)
		}
		if _, err := parent.control.WriteString("end\n"); err != nil {
			t.Fatal(err)
		}
		if got := parent.end(); got != "exit 0" {
			t.Errorf("parent: %s, want exit 0", got)
		}
	})
	t.Run("the parent's end is the child's", func(t *testing.T) {
		parent, pid := startFamily(t, shared, profile.Step{Op: profile.Hold})
		parent.until(profile.Ready, "parent")
		if err := parent.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		parent.end()
		if got := endOf(t, pid); got != "SIGKILL" {
			t.Errorf("%s, want SIGKILL", got)
		}
	})
}
