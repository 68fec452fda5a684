package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oomlab/oomlab/stressor/profile"
)

const mib = 1 << 20

func TestHoldsWhatItWasToldToThePage(t *testing.T) {
	named := filepath.Join(t.TempDir(), "named")
	if err := os.WriteFile(named, make([]byte, 3*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	inMemory := filepath.Join(t.TempDir(), "file")
	page := pageSize
	tests := []struct {
		name  string
		steps []profile.Step
		held  int64
		// field of /proc/PID/status that the memory is counted in, if it is
		// part of the resident set
		field string
	}{
		{"touch nothing", []profile.Step{{Op: profile.Touch}}, 0, ""},
		{"touch a byte more than 8 MiB", []profile.Step{{Op: profile.Touch, Bytes: 8*mib + 1}}, 8*mib + page,
			"RssAnon"},
		{"touch more than one mapping", []profile.Step{{Op: profile.Touch, Bytes: 65 * mib}}, 65 * mib, "RssAnon"},
		{"touch at a rate", []profile.Step{{Op: profile.Touch, Bytes: 3*mib + page, Rate: 100 * mib}}, 3*mib + page,
			"RssAnon"},
		{"mlock", []profile.Step{{Op: profile.Mlock, Bytes: 2 * mib}}, 2 * mib, "VmLck"},
		{"shmem", []profile.Step{{Op: profile.Shmem, Bytes: 5 * mib}}, 5 * mib, "RssShmem"},
		{"hugepages, not a whole number of them", []profile.Step{{Op: profile.HugePages, Bytes: 5 * mib}}, 5 * mib,
			"RssAnon"},
		{"temporary file", []profile.Step{{Op: profile.File, Bytes: 3 * mib}}, 3 * mib, ""},
		{"the first half of a named file", []profile.Step{{Op: profile.File, Bytes: mib + mib/2, Path: named}}, mib +
			mib/2, ""},
		{"all of a named file", []profile.Step{{Op: profile.File, Path: named}}, 3 * mib, ""},
		{"write", []profile.Step{{Op: profile.Write, Bytes: 2 * mib}}, 2 * mib, ""},
		{"tmpfs", []profile.Step{{Op: profile.Tmpfs, Bytes: 2 * mib, Path: inMemory}}, 2 * mib, ""},
		{
			"free takes the last first, across steps",
			[]profile.Step{
				{Op: profile.Touch, Bytes: 6 * mib},
				{Op: profile.Shmem, Bytes: mib},
				{Op: profile.Write, Bytes: mib},
				{Op: profile.Free, Bytes: 4*mib - 1},
			},
			4 * mib, "RssAnon",
		},
		{
			"take again after free",
			[]profile.Step{
				{Op: profile.Touch, Bytes: 6 * mib}, {Op: profile.Free, Bytes: 6 * mib}, {Op: profile.Touch,
					Bytes: mib},
			},
			mib, "RssAnon",
		},
		{
			"free a part of a file",
			[]profile.Step{{Op: profile.File, Bytes: 3 * mib}, {Op: profile.Free, Bytes: mib}},
			2 * mib, "",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := startSteps(t, append(tt.steps, profile.Step{Op: profile.Hold})...)
			r := s.ready(len(tt.steps))
			if r.Held != tt.held || r.Resident != tt.held {
				t.Errorf("held %d, resident %d, want both %d", r.Held, r.Resident, tt.held)
			}
			if r.Overhead < 1*mib || r.Overhead > maxOverhead {
				t.Errorf("overhead %d is not between 1Mi and 3Mi", r.Overhead)
			}
			if tt.field == "" {
				return
			}
			// The counters lag by some pages per CPU, and include Go's heap or,
			// from a tmpfs, the binary.
			if got := statusKB(t, s.pid, tt.field)<<10 - tt.held; got < -mib || got > maxOverhead {
				t.Errorf("%s is %d bytes beside the %d that are held", tt.field, got, tt.held)
			}
		})
	}
}

// maxOverhead is what a stressor may cost beside what it was told to hold. Most is Go's
// runtime: 2.5Mi where the kernel shares no page of zeros, so that what is only read costs pages.
const maxOverhead = 3 * mib

func TestCostsLittle(t *testing.T) {
	s := startSteps(t, profile.Step{Op: profile.Touch}, profile.Step{Op: profile.Hold})
	s.ready(1)
	for _, field := range []string{"VmRSS", "RssAnon", "RssFile", "RssShmem", "VmPTE", "Threads"} {
		t.Logf("%s: %s", field, status(t, s.pid, field))
	}
	if rss := statusKB(t, s.pid, "VmRSS") << 10; rss > maxOverhead {
		t.Errorf("VmRSS is %d bytes with nothing held, want at most %d", rss, maxOverhead)
	}
}

func TestLinksLittle(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go command")
	}
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	for _, heavy := range []string{"fmt", "encoding/json", "net"} {
		if slices.Contains(deps, heavy) {
			t.Errorf("the stressor links %s, whose pages count as its resident set", heavy)
		}
	}
	for _, dep := range deps {
		first, _, _ := strings.Cut(dep, "/")
		if strings.Contains(first, ".") && dep != "golang.org/x/sys/unix" &&
			!strings.HasPrefix(dep, "github.com/oomlab/oomlab/stressor") {
			t.Errorf("the stressor imports %s; the standard library, x/sys/unix and its profile are all it may", dep)
		}
	}
}

// TestEveryStepIsCarriedOut: a row of the table without code would fail the run.
func TestEveryStepIsCarriedOut(t *testing.T) {
	for _, row := range profile.Steps {
		ends := row.Last && !row.Endless // which the profile does
		if carriedOut := action(row.Op) != nil; carriedOut == ends {
			t.Errorf("%s: carried out: %v, ends the profile: %v", row.Op, carriedOut, ends)
		}
	}
}

func TestHugePagesAreHugeAndGoIsNot(t *testing.T) {
	const path = "/sys/kernel/mm/transparent_hugepage/enabled"
	if enabled, err := os.ReadFile(path); err != nil || strings.Contains(string(enabled), "[never]") {
		t.Skip("needs transparent huge pages; " + path + " says never")
	}
	s := startSteps(t, profile.Step{Op: profile.HugePages, Bytes: 5 * mib},
		profile.Step{Op: profile.Touch, Bytes: 4 * mib})
	r := s.ready(2)
	if r.Overhead > maxOverhead {
		t.Errorf("overhead %d is above 3Mi: is Go's heap huge?", r.Overhead)
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(s.pid) + "/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "AnonHugePages:")
	kb, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	// Two whole huge pages fit into 5Mi; memory may be too fragmented for one.
	if kb != "4096" && kb != "2048" {
		t.Errorf("AnonHugePages: %s kB of 5Mi, want 4096", kb)
	}
}

func TestIsNeverFasterThanItsRate(t *testing.T) {
	s := start(t)
	s.tell(profile.Launch{DeadlineMS: 60_000})
	s.tell(profile.Profile{Name: "slow", Steps: []profile.Step{{Op: profile.Touch, Bytes: 4 * mib, Rate: 16 * mib}}})
	began := s.next(profile.Started).MonoNS
	took := time.Duration(s.next(profile.Stepped).MonoNS - began)
	if took < 250*time.Millisecond {
		t.Errorf("4Mi at 16Mi/s took %v, want at least 250ms", took)
	}
}

func TestName(t *testing.T) {
	tests := []struct{ name, comm, want string }{
		{"big", "", "big"},
		{"worker/1", "", "worker/1"},
		{"a-name-of-twenty-one", "", "a-name-of-twent"},
		{"prod/api", "java", "java"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := startProfile(t, profile.Launch{Comm: tt.comm, DeadlineMS: 60_000}, profile.Profile{Name: tt.name})
			s.ready(0)
			if got := status(t, s.pid, "Name"); got != tt.want {
				t.Errorf("comm is %q, want %q", got, tt.want)
			}
		})
	}
}

func TestEnds(t *testing.T) {
	page := profile.Step{Op: profile.Touch, Bytes: pageSize}
	tests := []struct {
		name  string
		steps []profile.Step
		say   string // the last word on the control file, before it is closed
		want  string
	}{
		{"told to while it holds", []profile.Step{page, {Op: profile.Hold}}, "end\n", "exit 0"},
		{"the agent is gone while it holds", []profile.Step{page, {Op: profile.Hold}}, "", "exit 72"},
		{"the agent is gone in the middle of a word", []profile.Step{page, {Op: profile.Hold}}, "en", "exit 72"},
		{"the agent is gone while it sleeps", []profile.Step{page, {Op: profile.Sleep, DurationMS: 60_000}}, "",
			"exit 72"},
		{"the agent is gone while it touches at a rate", []profile.Step{page, {Op: profile.Leak, Rate: mib}}, "",
			"exit 72"},
		{"the agent is gone while it works hard", []profile.Step{page, {Op: profile.Sawtooth, Bytes: 16 * mib}}, "",
			"exit 72"},
		{"told something else", []profile.Step{page, {Op: profile.Hold}}, "stop\n", "exit 64"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := startSteps(t, tt.steps...)
			s.next(profile.Stepped)
			if _, err := s.control.WriteString(tt.say); err != nil {
				t.Fatal(err)
			}
			s.hangUp()
			if got := s.end(); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestExitsWithItsCode(t *testing.T) {
	s := startSteps(t, profile.Step{Op: profile.Touch, Bytes: mib}, profile.Step{Op: profile.Exit, Code: 7})
	s.next(profile.Stepped)
	if got := s.end(); got != "exit 7" {
		t.Errorf("%s, want exit 7", got)
	}
}

func TestOrphanBeforeItsProfile(t *testing.T) {
	t.Run("no launch", func(t *testing.T) {
		s := start(t)
		s.hangUp()
		if got := s.end(); got != "exit 72" {
			t.Errorf("%s, want exit 72", got)
		}
	})
	t.Run("no profile", func(t *testing.T) {
		s := start(t)
		s.tell(profile.Launch{DeadlineMS: 60_000})
		s.hangUp()
		if got := s.end(); got != "exit 72" {
			t.Errorf("%s, want exit 72", got)
		}
	})
}

func TestRefuses(t *testing.T) {
	const launch = "deadline=1m\n"
	tests := []struct{ name, lines, exit, want string }{
		{"another language", "{\"deadline_ms\":1}\n", "exit 64", `launch: byte 1: a word with quotes in it`},
		{"no deadline", "\n", "exit 64", `launch: deadline: 0s is not a time`},
		{"unknown signal", "deadline=1ms ignore=TERM\n", "exit 64",
			`ignore: "TERM" is not a signal that can be ignored; write SIGTERM`},
		{"unknown setting", "deadlines=1m\n", "exit 64",
			`launch: deadlines=1m: this version of the stressor knows no such setting`},
		{"unknown step", launch + "name=a tuoch=1Mi\n", "exit 64", `profile: tuoch=1Mi: no step is called "tuoch"`},
		{"leak without a rate", launch + "name=a leak\n", "exit 64", `profile: leak: needs a rate`},
		{"step after hold", launch + "name=a hold touch=0\n", "exit 64", `profile: hold: a step comes after it`},
		{"fork of nobody", launch + "name=a fork=b\n", "exit 64", `fork=b: no child is called "b"`},
		{"free of what is not held", launch + "name=a free=1\n", "exit 71", `step 1 (free): cannot give back 4Ki of 0`},
		{"file that is too short", launch + "name=a file=9,path=/dev/null\n", "exit 71",
			`/dev/null: it has 0, not 4Ki`},
		{"file that is not there", launch + "name=a file=0,path=/nonesuch\n", "exit 71",
			`opening /nonesuch: no such file or directory`},
		{"program that is not there", "deadline=1m -- nonesuch-program\n", "exit 71",
			`launch: executing "nonesuch-program": no such file or directory`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t)
			if _, err := s.control.WriteString(tt.lines); err != nil {
				t.Fatal(err)
			}
			if tt.exit == "exit 71" && strings.Count(tt.lines, "\n") == 2 {
				s.next(profile.Started)
			}
			if r := s.next(profile.Error); !strings.Contains(r.Error, tt.want) {
				t.Errorf("error %q, want it to say %q", r.Error, tt.want)
			}
			if got := s.end(); got != tt.exit {
				t.Errorf("%s, want %s", got, tt.exit)
			}
		})
	}
}

func TestRefusedMemoryIsAnError(t *testing.T) {
	s := start(t, "/bin/sh", "-c", "ulimit -v 1500000; exec "+stressorBinary+" launch")
	s.tell(profile.Launch{DeadlineMS: 60_000})
	s.tell(profile.Profile{Name: "big", Steps: []profile.Step{{Op: profile.Touch, Bytes: 1 << 40}}})
	s.next(profile.Started)
	r := s.next(profile.Error)
	if want := "cannot allocate memory"; !strings.Contains(r.Error, want) ||
		!strings.Contains(r.Error, "mapping 64Mi beside") {
		t.Errorf("error %q, want it to name the mapping and say %q", r.Error, want)
	}
	if held := "beside " + profile.Quantity(r.Held) + " held"; r.Errno != profile.ENOMEM || r.Step != 0 ||
		r.Held%profile.LargestPiece != 0 || !strings.Contains(r.Error, held) {
		t.Errorf("errno %q of step %d with %d held; want ENOMEM and %q", r.Errno, r.Step, r.Held, held)
	}
	if got := s.end(); got != "exit 71" {
		t.Errorf("%s, want exit 71", got)
	}
}

// TestMap: what a step maps takes no memory, and more than there is address space for is
// refused.
func TestMap(t *testing.T) {
	s := startProfile(t, profile.Launch{DeadlineMS: 60_000}, profile.Profile{Name: "map",
		Steps: []profile.Step{{Op: profile.Map, Bytes: 64 << 20}, {Op: profile.Map, Bytes: 1 << 60}}})
	if r := s.next(profile.Stepped); r.Held != 0 {
		t.Errorf("%d held after a step that maps and touches nothing", r.Held)
	}
	r := s.next(profile.Error)
	if want := "step 2 (map): mapping 1048576Ti beside 0 held: cannot allocate memory"; r.Error != want ||
		r.Errno != profile.ENOMEM || r.Step != 1 {
		t.Errorf("%q, errno %q, step %d; want %q, ENOMEM, 1", r.Error, r.Errno, r.Step, want)
	}
	if got := s.end(); got != "exit 71" {
		t.Errorf("%s, want exit 71", got)
	}
}

func TestDeadline(t *testing.T) {
	t.Run("of the launch, holding", func(t *testing.T) {
		s := startProfile(t, profile.Launch{DeadlineMS: 700}, profile.Profile{Name: "late"})
		s.next(profile.Ready)
		if r := s.next(profile.Error); !strings.HasPrefix(r.Error, "the deadline passed") {
			t.Errorf("error %q", r.Error)
		}
		if got := s.end(); got != "exit 75" {
			t.Errorf("%s, want exit 75", got)
		}
	})
	t.Run("of the profile, working", func(t *testing.T) {
		s := startProfile(t, profile.Launch{DeadlineMS: 60_000}, profile.Profile{
			Name: "late", DeadlineMS: 300, Steps: []profile.Step{{Op: profile.Sawtooth, Bytes: 8 * mib}},
		})
		if r := s.next(profile.Error); r.Error != "the deadline passed at step 1" {
			t.Errorf("error %q", r.Error)
		}
		if got := s.end(); got != "exit 75" {
			t.Errorf("%s, want exit 75", got)
		}
	})
	t.Run("of a profile that never comes", func(t *testing.T) {
		s := start(t)
		s.tell(profile.Launch{DeadlineMS: 1})
		if got := s.end(); got != "SIGKILL" {
			t.Errorf("%s, want SIGKILL from the kernel's timer", got)
		}
	})
	t.Run("of one that cannot run", func(t *testing.T) {
		s := startProfile(t, profile.Launch{DeadlineMS: 500}, profile.Profile{Name: "late"})
		s.next(profile.Ready)
		if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if got := s.end(); got != "SIGKILL" {
			t.Errorf("%s, want SIGKILL from the kernel's timer", got)
		}
	})
}

// TestDiesWithItsParent keeps the control file open, so that only the death
// signal is left.
func TestDiesWithItsParent(t *testing.T) {
	s := start(t, "/bin/sh", "-c", stressorBinary+" launch & wait")
	s.tell(profile.Launch{DeadlineMS: 60_000})
	s.tell(profile.Profile{Name: "child"})
	pid := s.next(profile.Started).PID
	s.next(profile.Ready)
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.end()
	if got := endOf(t, pid); got != "SIGKILL" {
		t.Errorf("%s, want SIGKILL", got)
	}
}

func TestThreads(t *testing.T) {
	count := func(n int) int {
		s := startProfile(t, profile.Launch{DeadlineMS: 60_000}, profile.Profile{Name: "threads", Threads: n})
		s.ready(0)
		got, err := strconv.Atoi(status(t, s.pid, "Threads"))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	without, with := count(0), count(20)
	// Go starts a few of its own, now two and now four.
	if extra := with - without; extra < 18 || extra > 24 {
		t.Errorf("20 more threads made %d of %d", with, without)
	}
}

func TestLeakAndSawtooth(t *testing.T) {
	for _, step := range []profile.Step{
		{Op: profile.Leak, Rate: 64 * mib},
		{Op: profile.Sawtooth, Bytes: 12 * mib, Rate: 256 * mib},
	} {
		t.Run(string(step.Op), func(t *testing.T) {
			s := startSteps(t, step)
			tick := time.NewTicker(2 * time.Millisecond)
			defer tick.Stop()
			deadline := time.After(patience)
			var highest, falls, last int64
			for highest < 10*mib || step.Op == profile.Sawtooth && falls < 2 {
				select {
				case <-tick.C:
				case <-deadline:
					t.Fatalf("reached %d bytes and fell back %d times", highest, falls)
				}
				rss := statusKB(t, s.pid, "RssAnon") << 10
				if rss < last-4*mib {
					falls++
				}
				last, highest = rss, max(highest, rss)
			}
			if step.Op == profile.Leak && falls > 0 {
				t.Errorf("a leak gave memory back %d times", falls)
			}
			if step.Op == profile.Sawtooth && highest > 14*mib {
				t.Errorf("a sawtooth of 12Mi reached %d", highest)
			}
			if _, err := s.control.WriteString("end\n"); err != nil {
				t.Fatal(err)
			}
			if got := s.end(); got != "exit 0" {
				t.Errorf("%s, want exit 0", got)
			}
		})
	}
}

func TestSwapOut(t *testing.T) {
	swaps, err := os.ReadFile("/proc/swaps")
	if err != nil {
		t.Fatal(err)
	}
	out := profile.Step{Op: profile.SwapOut, Bytes: 5 * mib}
	s := startSteps(t, profile.Step{Op: profile.Touch, Bytes: 8 * mib}, out, out)
	s.next(profile.Stepped)
	if strings.Count(string(swaps), "\n") < 2 {
		const want = "step 2 (swapout): only 0 of 5Mi went to swap; is there swap space"
		if r := s.next(profile.Error); !strings.HasPrefix(r.Error, want) {
			t.Errorf("without swap: error %q, want %q", r.Error, want)
		}
		if got := s.end(); got != "exit 71" {
			t.Errorf("without swap: %s, want exit 71", got)
		}
		return
	}
	s.next(profile.Stepped)
	if swapped := statusKB(t, s.pid, "VmSwap") << 10; swapped < 4*mib || swapped > 8*mib {
		t.Errorf("VmSwap is %d after swapping out 5Mi", swapped)
	}
	// The second time only 3Mi are left.
	const want = "step 3 (swapout): only 3Mi of 5Mi went to swap"
	if r := s.next(profile.Error); !strings.HasPrefix(r.Error, want) {
		t.Errorf("error %q, want %q", r.Error, want)
	}
}

// TestPageTables: they are taken without a page, and given back.
func TestPageTables(t *testing.T) {
	tables := profile.Step{Op: profile.Tables, Bytes: 8 * mib}
	free := profile.Step{Op: profile.Free, Bytes: 6 * mib}
	for _, tt := range []struct {
		steps []profile.Step
		want  int64
	}{
		{[]profile.Step{tables}, 8 * mib},
		{[]profile.Step{{Op: profile.Tables, Bytes: 8 * mib, Rate: 64 * mib}}, 8 * mib},
		{[]profile.Step{tables, free}, 2 * mib},
	} {
		s := startSteps(t, tt.steps...)
		r := s.ready(len(tt.steps))
		if r.Held != tt.want || r.Resident != tt.want {
			t.Errorf("%v: held %d, resident %d, want %d", tt.steps, r.Held, r.Resident, tt.want)
		}
		// beside them the tables of the program itself, and those of the second level
		if got := statusKB(t, s.pid, "VmPTE") << 10; got < tt.want || got > tt.want+mib/2 {
			t.Errorf("%v: VmPTE is %d, want %d and at most half a MiB more", tt.steps, got, tt.want)
		}
		if got := statusKB(t, s.pid, "RssAnon") << 10; got > 4*mib {
			t.Errorf("%v: %d bytes of anonymous memory are resident", tt.steps, got)
		}
	}
}

func TestSwappedPagesAreHeld(t *testing.T) {
	swaps, err := os.ReadFile("/proc/swaps")
	if err != nil || strings.Count(string(swaps), "\n") < 2 {
		t.Skip("needs a machine with swap")
	}
	s := startSteps(t, profile.Step{Op: profile.Touch, Bytes: 8 * mib}, profile.Step{Op: profile.SwapOut,
		Bytes: 6 * mib})
	r := s.ready(2)
	if r.Held != 8*mib || r.Resident != 8*mib {
		t.Errorf("held %d, resident %d, want 8Mi", r.Held, r.Resident)
	}
}
