package observe

import (
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/evidence"
)

// TestGuestStatus: who was killed and who asked are told as they were at the kill,
// though the process and its cgroup may be gone; and who sends a signal is named.
func TestGuestStatus(t *testing.T) {
	for name, opt := range map[string]BPFOptions{
		"all": {Status: true, Signals: true, Stack: true}, "tier 1": {Status: true, Signals: true, MaxTier: 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, opt)
			dir, version := memcg(t, 64<<20)
			var seen record
			if err := b.Start(seen.sink); err != nil {
				t.Fatal(err)
			}
			small := start(t, dir, 2049)
			small.ready(t)
			big := start(t, dir, 0)
			big.killed(t)
			if err := unix.Kill(small.pid, unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			<-small.end
			drain(t, b)
			b.Stop()
			if n := len(seen.of(evidence.Lost)); n != 0 {
				t.Errorf("%d events say that some were lost", n)
			}
			path := strings.TrimPrefix(dir, map[int]string{1: "/sys/fs/cgroup/memory", 2: "/sys/fs/cgroup"}[version])
			checkStatus(t, &seen, opt, big.pid, path, b.Tier().Tier)
			checkSignal(t, &seen, small.pid, path)
		})
	}
}

func checkStatus(t *testing.T, seen *record, opt BPFOptions, pid int, path string, tier int) {
	t.Helper()
	all := seen.of(evidence.VictimStatus, pid)
	if len(all) != 1 {
		mark := seen.of(evidence.MarkVictim, pid)
		if len(mark) == 1 && mark[0].OOM.Task.StartNS == 0 {
			t.Logf("this kernel's mark_victim tells only the thread; there is no status at this tier")
			return
		}
		t.Fatalf("%d statuses of pid %d; want 1", len(all), pid)
	}
	k := all[0].Killed
	if k.Signal != 9 || k.Victim.TGID != pid || k.Victim.Comm != "exe" || k.Victim.UID != 0 || k.Victim.StartNS == 0 {
		t.Errorf("victim %+v", k.Victim)
	}
	if k.Victim.Cgroup != path || k.Victim.PathCut {
		t.Errorf("victim in %q, cut %v; want %q", k.Victim.Cgroup, k.Victim.PathCut, path)
	}
	if k.Victim.Parent.TGID != os.Getpid() || k.Victim.Threads < 1 || k.Victim.MM == nil {
		t.Errorf("parent %+v, %d threads, %+v; want parent %d, threads, and its memory", k.Victim.Parent, k.Victim.Threads,
			k.Victim.MM, os.Getpid())
	}
	if k.Trigger.TGID == 0 || k.Trigger.Cgroup != path {
		t.Errorf("trigger %+v; want one in %s", k.Trigger, path)
	}
	if k.Trigger.TGID == pid && !slices.Equal(k.Victim.Args, []string{"/proc/self/exe"}) {
		t.Errorf("command line %q", k.Victim.Args)
	}
	if want := map[bool]string{true: path}[tier >= 2]; k.Domain != want {
		t.Errorf("domain %q; want %q", k.Domain, want)
	}
	if opt.Stack && len(k.Stack) < 3 || !opt.Stack && len(k.Stack) != 0 {
		t.Errorf("a stack of %d addresses", len(k.Stack))
	}
}

func checkSignal(t *testing.T, seen *record, pid int, path string) {
	t.Helper()
	signals := seen.of(evidence.Signalled, pid)
	if len(signals) != 1 {
		t.Fatalf("%d signals to pid %d; want 1: %+v", len(signals), pid, signals)
	}
	k := signals[0].Killed
	if k.Signal != 15 || k.Code != 0 || k.Result != 0 || k.Victim.Cgroup != path || k.Trigger.TGID != os.Getpid() ||
		k.Trigger.Comm == "" {
		t.Errorf("%+v", k)
	}
	for _, e := range seen.of(evidence.Signalled) {
		if e.Killed.Trigger.TGID != os.Getpid() && e.PID == pid {
			t.Errorf("the OOM killer's own signal is told: %+v", e.Killed)
		}
	}
}
