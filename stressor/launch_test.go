package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/stressor/profile"
)

// TestLaunchesAProgram looks at what a program of the user's own sees.
func TestLaunchesAProgram(t *testing.T) {
	dir := t.TempDir()
	s := start(t)
	s.tell(profile.Launch{
		Argv: []string{"sh", "-c", "cd \"$0\"\n" +
			`readlink /proc/$$/fd/3 /proc/$$/fd/4 >fds; grep SigIgn /proc/self/status >sigign; echo "$OOMLAB_TMP" >env; nice >nice; exit 9`, dir},
		Nice:       5,
		Ignore:     []string{"SIGTERM", "SIGUSR1"},
		DeadlineMS: 60_000,
	})
	if got := s.end(); got != "exit 9" {
		t.Fatalf("%s, want exit 9", got)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	if got := read("fds"); got != "" {
		t.Errorf("the program has descriptors 3 and 4: %q", got)
	}
	if got := read("env"); got == "" {
		t.Error("the program lacks the launcher's environment")
	}
	if got := read("nice"); got != "5" {
		t.Errorf("nice is %s, want 5", got)
	}
	mask, err := strconv.ParseUint(strings.TrimSpace(strings.TrimPrefix(read("sigign"), "SigIgn:")), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	const want = 1<<(15-1) | 1<<(10-1) // SIGTERM, SIGUSR1
	if mask&want != want {
		t.Errorf("ignored signals %#x, want %#x among them", mask, want)
	}
}

func TestStressorKeepsWhatTheLauncherSet(t *testing.T) {
	adj := 300
	l := profile.Launch{Nice: 3, Ignore: []string{"SIGTERM"}, OOMScoreAdj: &adj, DeadlineMS: 60_000}
	if os.Getuid() == 0 {
		l.UID = 65534
	}
	s := startProfile(t, l, profile.Profile{Name: "kept", Steps: []profile.Step{{Op: profile.Touch, Bytes: mib}}})
	if r := s.ready(1); r.Resident != mib {
		t.Errorf("resident %d, want %d", r.Resident, mib)
	}
	if l.UID != 0 {
		for _, field := range []string{"Uid", "Gid"} {
			if got := status(t, s.pid, field); got != "65534\t65534\t65534\t65534" {
				t.Errorf("%s: %q, want 65534 everywhere", field, got)
			}
		}
		if got := status(t, s.pid, "Groups"); got != "" {
			t.Errorf("groups %q, want none", got)
		}
	}
	mask, err := strconv.ParseUint(status(t, s.pid, "SigIgn"), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	if mask&(1<<14) == 0 {
		t.Errorf("ignored signals %#x, want SIGTERM among them", mask)
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(s.pid) + "/oom_score_adj")
	if err != nil || strings.TrimSpace(string(text)) != "300" {
		t.Errorf("oom_score_adj %q, %v; want 300", text, err)
	}
	if got := status(t, s.pid, "THP_enabled"); got != "0" {
		t.Errorf("THP_enabled: %s, want 0", got)
	}
}

// Who cannot leave SCHED_IDLE when it has got its memory stays the last to leave,
// too: an innocent process is killed in its place.
func TestHoldsWithPriority(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root gives privileges up")
	}
	for _, nice := range []int{0, 12, -16} {
		l := profile.Launch{Nice: nice, UID: 65534, DeadlineMS: 60_000}
		s := startProfile(t, l, profile.Profile{Name: "holder", Steps: []profile.Step{{Op: profile.Touch, Bytes: mib}}})
		s.ready(1)
		policy, _, errno := unix.RawSyscall(unix.SYS_SCHED_GETSCHEDULER, uintptr(s.pid), 0, 0)
		if errno != 0 {
			t.Fatal(errno)
		}
		if policy == schedIdle {
			t.Errorf("nice %d: holds its memory at SCHED_IDLE", nice)
		}
	}
}

func TestByHand(t *testing.T) {
	tests := []struct {
		args string
		exit int
		want string
	}{
		{"", 64, "usage: oomlab-stressor"},
		{"touch=1Mi exit=3", 3, "step 1 is done, holding 1Mi"},
		{"touch=1.5Mi,rate=100Mi/s free=512Ki exit=0", 0, "step 2 is done, holding 1Mi"},
		{"touch=4k touch=1 exit=0", 0, "step 2 is done, holding 8Ki"},
		{"deadline=2s touch=2Mi hold", 75, "ready, holding 2Mi, resident 2Mi"},
		{"touch=1MB", 64, `touch=1MB: "1MB" is not an amount of memory; write bytes or 64Mi`},
		{"touch=1Mi,speed=1", 64, "speed=1 does not go with touch"},
		{"grow=1Mi", 64, `no step is called "grow"`},
		{"leak,rate=1Mi/s deadline=1s", 75, "the deadline passed at step 1"},
		{"name=big threads=2 touch=1Mi deadline=1s", 75, "ready, holding 1Mi"},
		{"fork=a", 64, "fork=a: is for scenarios alone"},
		{"fork=a hold child=a hold", 64, "fork=a: is for scenarios alone"},
		{"--help", 0, "\n  touch=<size>      takes anonymous memory in small pages (rate, content)\n"},
		{"hold=1", 64, "hold=1: takes no amount"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			cmd := exec.Command(stressorBinary, strings.Fields(tt.args)...)
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState == nil {
				t.Fatal(err)
			}
			if got := cmd.ProcessState.ExitCode(); got != tt.exit {
				t.Errorf("exit %d, want %d", got, tt.exit)
			}
			if !strings.Contains(string(out), tt.want) {
				t.Errorf("it said\n%swant %q", out, tt.want)
			}
		})
	}
}

func BenchmarkTouch(b *testing.B) {
	for _, bench := range []struct {
		name string
		fill func(p *pattern, page []byte)
	}{
		{"as it is, a whole page", func(p *pattern, page []byte) { p.fill(page, "") }},
		{"one byte a page, what the fault alone costs", func(_ *pattern, page []byte) { page[0] = 1 }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			const size = 64 * mib
			b.SetBytes(size)
			p := newPattern()
			for b.Loop() {
				var m memory
				r, err := m.grow(profile.Touch, size)
				if err != nil {
					b.Fatal(err)
				}
				for ; r.held < size; r.held += pageSize {
					bench.fill(p, r.mem[r.held:r.held+pageSize])
				}
				if err := m.free(size); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
