package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/target"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
	"github.com/oomlab/oomlab/harness/target/vm/cache/cachetest"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
)

// guest is the binary of testdata/guest.
var guest = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "oomlab-guest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "guest")
	cmd := exec.Command("go", "build", "-o", name, "./testdata/guest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	return os.ReadFile(name)
})

// sharedCache holds the snapshots of this run of the tests: each guest boots once.
var sharedCache string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "oomlab-vm-test-")
	if err != nil {
		panic(err)
	}
	sharedCache = dir // TestQEMUDiesWithUs has another one in its second role
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// options are those of a guest that can be booted here; without QEMU or a cached
// kernel there is nothing to test.
func options(t testing.TB, series string) Options {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a guest; not with -short")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("needs qemu-system-x86_64, from the package qemu-system-x86")
	}
	agent, err := guest()
	if err != nil {
		t.Fatal(err)
	}
	cached, err := kernels.List(kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := len(cached) - 1; i >= 0; i-- {
		if k := cached[i]; k.Arch == runtime.GOARCH && (series == "" || k.Version.Series() == series) {
			return Options{Kernel: k, Agent: agent, Stressor: []byte("no stressor"), Accel: TCG, CacheDir: sharedCache,
				RunDir: t.TempDir(), Log: func(s string) { t.Log(s) }}
		}
	}
	t.Skipf("needs a kernel in the cache: oomlab kernels fetch %s", series)
	panic("unreachable")
}

func open(t testing.TB, o Options) *VM {
	t.Helper()
	v, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// do carries out a plan of the test guest and returns the events.
func do(t testing.TB, v *VM, scenario string) ([]evidence.Event, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var events []evidence.Event
	req := wire.Request{ID: 7, Plan: plan.Plan{Scenario: scenario, DeadlineMS: 20_000}}
	err := v.Do(ctx, req, func(e evidence.Event) { events = append(events, e) })
	return events, err
}

func TestEveryPlanGetsAFreshGuest(t *testing.T) {
	v := open(t, options(t, ""))
	hello, err := v.Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hello.Machine.Release, v.o.Kernel.Release; got != want {
		t.Errorf("the guest runs %s, want %s", got, want)
	}
	for range 2 {
		events, err := do(t, v, "tick")
		if err != nil || len(events) != 1 {
			t.Fatalf("%d events, %v", len(events), err)
		}
		if n := events[0].N; n != 1 {
			t.Errorf("the guest has ticked %d times; a fresh one has once", n)
		}
	}
	if console := v.Artifacts()["console.txt"]; console == "" || !exists(console) {
		t.Errorf("the console %q is not there", console)
	}
}

func TestHowAGuestEnds(t *testing.T) {
	v := open(t, options(t, ""))
	for _, test := range []struct {
		scenario string
		want     string // of the error; empty: none
		how      string // of a Down
		events   int    // from the agent
	}{
		{scenario: "echo 3", events: 3},
		{scenario: "panic", want: "sysrq triggered crash", how: "panic", events: 1},
		{scenario: "off", want: "switched itself off", how: "exited"},
		{scenario: "lossy", want: "sent 1 events and 0 arrived"},
		{scenario: "wrong-id", want: "answers request 8, and 7 was asked"},
		{scenario: "garbage", want: "is no message"},
		{scenario: "nonsense", want: "agent: no such scenario: nonsense"},
	} {
		t.Run(test.scenario, func(t *testing.T) {
			events, err := do(t, v, test.scenario)
			if test.want == "" && err != nil || test.want != "" &&
				(err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			var down *target.Down
			if errors.As(err, &down) != (test.how != "") || down != nil && down.How != test.how {
				t.Errorf("error %#v, want a Down by %q", err, test.how)
			}
			agent, panicked := 0, false
			for _, e := range events {
				switch e.Source {
				case evidence.Agent:
					agent++
				case evidence.Console:
					panicked = panicked || strings.HasPrefix(e.Log.Text, panicText) && e.Log.Priority == 0 && e.AtNS > 0
				}
			}
			if agent != test.events {
				t.Errorf("%d events, want %d", agent, test.events)
			}
			if panicked != (test.how == "panic") {
				t.Errorf("a console record of a panic: %v", panicked)
			}
		})
	}
}

// TestTheConsoleTellsOfAnOOMPanic: nobody else lives to tell.
func TestTheConsoleTellsOfAnOOMPanic(t *testing.T) {
	o := options(t, "6.12")
	o.Memory = 128 * kernel.MiB
	v := open(t, o)
	events, err := do(t, v, "exhaust")
	var down *target.Down
	if !errors.As(err, &down) || down.How != "panic" || !strings.Contains(down.Message, "panic_on_oom is enabled") {
		t.Fatalf("error %v, want a panic because of panic_on_oom", err)
	}
	var table bool
	for _, e := range events {
		table = table || e.Source == evidence.Console && strings.Contains(e.Log.Text, "oom_score_adj name")
	}
	if !table {
		t.Errorf("%d events without the kernel's task table", len(events))
	}
	if golden.Record() {
		console, err := os.ReadFile(v.Artifacts()["console.txt"])
		if err != nil {
			t.Fatal(err)
		}
		golden.Write(t, "testdata/console-panic.txt", console)
	}
}

// TestASilentGuestIsAHang and that the next plan is not affected.
func TestASilentGuestIsAHang(t *testing.T) {
	v := open(t, options(t, ""))
	if _, err := v.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.slack = 200 * time.Millisecond
	req := wire.Request{ID: 1, Plan: plan.Plan{Scenario: "hang", DeadlineMS: 300}}
	err := v.Do(t.Context(), req, func(evidence.Event) {})
	var down *target.Down
	if !errors.As(err, &down) || down.How != "hang" || !strings.Contains(down.Message, "the agent had sent 0 events") {
		t.Errorf("error %v, want a Down by hang", err)
	}
	v.slack = slack
	if _, err := do(t, v, "echo 1"); err != nil {
		t.Errorf("after a hang: %v", err)
	}
}

func TestCancelEndsTheGuestAtOnce(t *testing.T) {
	v := open(t, options(t, ""))
	if _, err := v.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	because := errors.New("the user pressed Ctrl-C")
	started := make(chan struct{})
	go func() {
		<-started
		cancel(because)
	}()
	begin := time.Now()
	// The guest says one thing and then goes on for minutes.
	req := wire.Request{ID: 1, Plan: plan.Plan{Scenario: "echo 1000000", DeadlineMS: 600_000}}
	var once sync.Once
	err := v.Do(ctx, req, func(evidence.Event) { once.Do(func() { close(started) }) })
	if !errors.Is(err, because) {
		t.Errorf("error %v, want %v", err, because)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
}

// children are the QEMU processes of this test binary.
func children(t *testing.T) []string {
	t.Helper()
	var out []string
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range stats {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // it ended meanwhile
		}
		_, rest, _ := strings.Cut(string(data), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) &&
			strings.Contains(string(data), "(qemu-") {
			out = append(out, string(data))
		}
	}
	return out
}

func TestAKilledQEMUIsTold(t *testing.T) {
	v := open(t, options(t, ""))
	if _, err := v.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.onStart = func(p *process) {
		if err := p.cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
	}
	_, err := do(t, v, "hang")
	var down *target.Down
	if !errors.As(err, &down) || down.How != "killed" || !strings.Contains(down.Message, "signal: killed") {
		t.Errorf("error %v, want a Down by killed", err)
	}
}

// TestQEMUDiesWithUs kills a process that runs a guest the hard way. That process
// is this test again, told so by its environment.
func TestQEMUDiesWithUs(t *testing.T) {
	const role = "OOMLAB_TEST_RUNS_A_GUEST"
	if dir := os.Getenv(role); dir != "" {
		sharedCache = dir
		v := open(t, options(t, ""))
		v.onStart = func(p *process) { fmt.Printf("QEMU %d\n", p.cmd.Process.Pid) }
		do(t, v, "hang")
		return
	}
	v := open(t, options(t, ""))
	if _, err := v.Hello(t.Context()); err != nil { // so that the other one need not boot
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), role+"="+sharedCache)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for sc := bufio.NewScanner(out); pid == 0 && sc.Scan(); {
		fmt.Sscanf(sc.Text(), "QEMU %d", &pid)
	}
	if pid == 0 {
		t.Fatalf("no guest was started: %v", cmd.Wait())
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // says that it was killed
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 5000)
	if err != nil || n != 1 {
		t.Errorf("QEMU (pid %d) lives 5 s after its parent was killed (%v)", pid, err)
	}
}

func TestLongLinesArriveWhole(t *testing.T) {
	v := open(t, options(t, ""))
	for _, padding := range []int{100, 5_000, 70_000, 300_000} {
		req := wire.Request{ID: 1, Plan: plan.Plan{Scenario: "size", Base: strings.Repeat("y", padding),
			DeadlineMS: 60_000}}
		line, err := json.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		var got uint64
		begin := time.Now()
		if err := v.Do(t.Context(), req, func(e evidence.Event) { got = e.N }); err != nil {
			t.Errorf("a request of %d bytes: %v", len(line), err)
			continue
		}
		if want := uint64(len(line) + 1); got != want {
			t.Errorf("the guest got %d bytes, want %d", got, want)
		}
		t.Logf("a request of %d bytes was carried out after %v", len(line), time.Since(begin).Round(time.Millisecond))
	}
}

func TestASwapDiskIsThere(t *testing.T) {
	for _, series := range []string{"5.10", ""} { // virtio is in modules, and built in
		o := options(t, series)
		o.SwapDisk = 64 * kernel.MiB
		v := open(t, o)
		for range 2 {
			events, err := do(t, v, "swap")
			if err != nil {
				t.Fatalf("%s: %v", o.Kernel.Release, err)
			}
			if len(events) != 1 || events[0].N != 64<<20 {
				t.Errorf("%s: %+v, want a disk of %d bytes", o.Kernel.Release, events, 64<<20)
			}
		}
		if exists(filepath.Join(v.runDir, "swap.img")) {
			t.Error("the swap disk was left behind")
		}
	}
}

func TestProgramsRunInTheGuest(t *testing.T) {
	o := options(t, "")
	for _, name := range []string{"/bin/uname", "/usr/bin/env"} { // dynamically linked
		if !exists(name) {
			t.Skipf("needs %s", name)
		}
		o.Programs = append(o.Programs, name)
	}
	v := open(t, o)
	events, err := do(t, v, "programs /bin/uname /usr/bin/env")
	if err != nil || len(events) != 2 {
		t.Fatalf("%d events, %v", len(events), err)
	}
	if events[0].Text != "Linux\n" {
		t.Errorf("uname printed %q", events[0].Text)
	}
	if !strings.Contains(events[1].Text, "TERM=linux") { // the kernel gives it to init
		t.Errorf("env printed %q", events[1].Text)
	}
}

// TestADamagedSnapshotIsMadeAnew whatever was damaged, and says so once. No guest
// is started from it.
func TestADamagedSnapshotIsMadeAnew(t *testing.T) {
	o := options(t, "")
	o.CacheDir = filepath.Join(t.TempDir(), "cache")
	var log []string
	o.Log = func(s string) { log = append(log, s) }
	first := open(t, o)
	if _, err := first.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	cachetest.Private(t, o.CacheDir)
	dir := first.snapshot.entry.Dir()
	for _, test := range []struct {
		name string
		size int64  // what it is truncated to; -1: not
		text string // what is written over its beginning
		want string
	}{
		{ramOf(0), 64 << 20, "", "ram is damaged: size is 67108864 bytes"},
		{ramOf(0), -1, "rubbish", "ram is damaged: checksum mismatch"},
		{"kernel", -1, "rubbish", "kernel is damaged: checksum mismatch"},
		{"initrd", 0, "", "initrd is damaged: size is 0 bytes"},
		{metaFile, -1, "rubbish", "meta.json is damaged: checksum mismatch"},
		{"state", 1000, "", "state is damaged: size is 1000 bytes"},
	} {
		file := filepath.Join(dir, test.name)
		if err := errors.Join(os.Rename(file, file+".whole"), copyFile(file, file+".whole")); err != nil {
			t.Fatal(err)
		}
		if test.size >= 0 {
			if err := os.Truncate(file, test.size); err != nil {
				t.Fatal(err)
			}
		}
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(test.text); err != nil {
			t.Fatal(err)
		}
		f.Close()
		whole := filepath.Join(t.TempDir(), "whole")
		if err := os.Rename(file+".whole", whole); err != nil {
			t.Fatal(err)
		}
		if _, err := loadSnapshot(dir); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		if test.name == "state" {
			break // and stays so
		}
		if err := os.Rename(whole, file); err != nil {
			t.Fatal(err)
		}
	}
	log = nil
	v := open(t, o)
	v.onStart = func(*process) {
		if _, err := loadSnapshot(dir); err != nil {
			t.Errorf("a guest was started from a damaged snapshot: %v", err)
		}
	}
	if _, err := do(t, v, "echo 1"); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(log, "\n")
	if strings.Count(text, "is rebuilt") != 1 || !strings.Contains(text, "state is damaged") ||
		strings.Count(text, "booting") != 1 {
		t.Errorf("the log says %q, want one boot because the state is damaged", text)
	}
}

// TestASnapshotThatCannotBeRestored though it is what was written is made anew.
func TestASnapshotThatCannotBeRestored(t *testing.T) {
	o := options(t, "")
	o.CacheDir = t.TempDir()
	var log []string
	o.Log = func(s string) { log = append(log, s) }
	v := open(t, o)
	if _, err := v.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := v.snapshot.entry.Dir()
	if err := os.WriteFile(filepath.Join(dir, "state"), []byte("not a state"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cache.Seal(dir); err != nil { // as if it had been made so
		t.Fatal(err)
	}
	log = nil
	if _, err := do(t, open(t, o), "echo 1"); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(log, "\n")
	if !strings.Contains(text, "cannot be restored and is rebuilt") || strings.Count(text, "booting") != 1 {
		t.Errorf("the log says %q, want one boot after a broken snapshot", text)
	}
}

// TestAReadOnlyCache is enough for guests that it has snapshots of, and the hint
// says what to do about others. Being root, this test looks at a mount.
func TestAReadOnlyCache(t *testing.T) {
	o := options(t, "")
	o.CacheDir = t.TempDir()
	if len(os.Getenv("OOMLAB_TEST_ROLE")) > 0 {
		o.CacheDir = os.Getenv("OOMLAB_TEST_ROLE")
		if err := readOnlyMount(o.CacheDir); err != nil {
			t.Fatal(err)
		}
		for _, accel := range []string{TCG, ""} {
			o.Accel = accel
			v := open(t, o)
			if events, err := do(t, v, "echo 3"); err != nil || len(events) != 3 {
				t.Errorf("%q: %d events, %v", accel, len(events), err)
			}
			if got, why := v.Accel(); got != TCG {
				t.Errorf("%q: chose %s: %s", accel, got, why)
			}
		}
		o.Memory, o.Accel = 640*kernel.MiB, TCG
		_, err := do(t, open(t, o), "echo 3")
		if err == nil || !strings.Contains(err.Error(), "set OOMLAB_CACHE to a directory that can be written") {
			t.Errorf("without a snapshot: %v", err)
		}
		return
	}
	v := open(t, o)
	if _, err := v.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "OOMLAB_TEST_ROLE="+o.CacheDir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skip("needs the right to mount")
	}
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// readOnlyMount makes a directory read-only for this process.
func readOnlyMount(dir string) error {
	return errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount(dir, dir, "", unix.MS_BIND, ""),
		unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
}

func TestGuestsSideBySideShareOneSnapshot(t *testing.T) {
	o := options(t, "")
	o.CacheDir = t.TempDir()
	var boots atomic.Int32
	o.Log = func(s string) {
		if strings.HasPrefix(s, "booting") {
			boots.Add(1)
		}
	}
	var wg sync.WaitGroup
	for range 2 {
		o := o
		o.RunDir = t.TempDir()
		v := open(t, o)
		wg.Go(func() {
			for range 3 {
				if events, err := do(t, v, "echo 100"); err != nil || len(events) != 100 {
					t.Errorf("%d events, %v", len(events), err)
				}
			}
		})
	}
	wg.Wait()
	if n := boots.Load(); n != 1 {
		t.Errorf("%d boots, want 1", n)
	}
}

func TestABootThatFailsLeavesNoSnapshot(t *testing.T) {
	o := options(t, "")
	o.CacheDir = t.TempDir()
	o.Agent = []byte("#!/nowhere\n")
	v := open(t, o)
	_, err := v.Hello(t.Context())
	var down *target.Down
	if !errors.As(err, &down) || down.How != "panic" || !strings.Contains(down.Message, "No working init found") {
		t.Errorf("error %v, want a panic without init", err)
	}
	left, err := filepath.Glob(filepath.Join(o.CacheDir, "snapshots", "[^.]*"))
	if err != nil || len(left) > 0 {
		t.Errorf("snapshots left: %v, %v", left, err)
	}
}

// TestKVMIsTriedOnce opens /dev/kvm, which may hang for ever. QEMU is then left
// to the kernel, so this runs only when asked for.
func TestKVMIsTriedOnce(t *testing.T) {
	if os.Getenv("OOMLAB_TEST_KVM") == "" {
		t.Skip("set OOMLAB_TEST_KVM=1 to boot a guest with KVM, or to find out that it cannot be done")
	}
	o := options(t, "")
	o.Accel, o.CacheDir = "", t.TempDir()
	if dir := os.Getenv("OOMLAB_TEST_KVM_CACHE"); dir != "" {
		o.CacheDir = dir
	}
	var trials []string
	o.Log = func(s string) {
		t.Log(s)
		if strings.HasPrefix(s, "trying whether KVM works") {
			trials = append(trials, s)
		}
	}
	var accel string
	for range 2 {
		v := open(t, o)
		if events, err := do(t, v, "echo 3"); err != nil || len(events) != 3 {
			t.Fatalf("%d events, %v", len(events), err)
		}
		accel, _ = v.Accel()
	}
	if len(trials) > 1 || accel != KVM && accel != TCG {
		t.Errorf("accelerator %q after %d trials", accel, len(trials))
	}
}

func TestPruneKeepsWhatWasUsedLast(t *testing.T) {
	parent := t.TempDir()
	for i, name := range []string{"a", "b", "c", "d"} {
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "ram"), make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		used := filepath.Join(dir, "meta.json")
		if err := os.WriteFile(used, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-10) * time.Minute)
		if err := os.Chtimes(used, at, at); err != nil {
			t.Fatal(err)
		}
	}
	// Room for two of a bit more than 1Mi; a is the oldest, and in use.
	prune(parent, 5*kernel.MiB/2, filepath.Join(parent, "a"))
	var left []string
	for _, name := range []string{"a", "b", "c", "d"} {
		if exists(filepath.Join(parent, name)) {
			left = append(left, name)
		}
	}
	if got := strings.Join(left, " "); got != "a d" {
		t.Errorf("left %q, want the one in use and the one used last", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	good := Options{Agent: []byte("a"), Stressor: []byte("s")}
	for _, test := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Memory = 64 * kernel.MiB }, "memory of 64Mi: a guest needs"},
		{func(o *Options) { o.Memory = 512*kernel.MiB + 1 }, "a whole number of MiB"},
		{func(o *Options) { o.SwapDisk = 1 }, "swap disk of 1"},
		{func(o *Options) { o.CPUs = -1 }, "-1 CPUs"},
		{func(o *Options) { o.CgroupVersion = 3 }, "cgroup version 3"},
		{func(o *Options) { o.Accel = "xen" }, `accelerator "xen"`},
		{func(o *Options) { o.Agent = nil }, "no agent"},
		{func(o *Options) { o.QEMU = "/no/such/qemu" }, "install the package qemu-system-x86"},
	} {
		o := good
		test.change(&o)
		_, err := Open(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v, want %q", err, test.want)
		}
		if missing := o.QEMU != ""; errors.Is(err, target.ErrUnsupported) != missing {
			t.Errorf("%v: unsupported %v, want %v", err, !missing, missing)
		}
	}
}

// TestAGuestMustFitIntoTheCache: what would end with a bus error after minutes is
// refused before anything is copied.
func TestAGuestMustFitIntoTheCache(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(disk, []byte("disk"), 0o644); err != nil {
		t.Fatal(err)
	}
	v := &VM{o: Options{Disk: disk}}
	dir := t.TempDir()
	err := v.furnish(&config{Disk: disk, Memory: 1 << 50}, dir)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "a guest of 1048576Gi with its disk needs about") ||
		!strings.Contains(err.Error(), "free some space, or set OOMLAB_CACHE") {
		t.Errorf("error %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestProgramsThatCannotBePacked are something that this machine lacks, not an error.
func TestProgramsThatCannotBePacked(t *testing.T) {
	o := options(t, "")
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	o.Programs = []string{script}
	_, err := Open(t.Context(), o)
	if !errors.Is(err, target.ErrUnsupported) || !strings.Contains(err.Error(), "interpreter of "+script) {
		t.Errorf("error %v; want what is missing", err)
	}
}

func TestProgramsMustFitIntoTheGuest(t *testing.T) {
	o := options(t, "")
	o.Memory = 128 * kernel.MiB
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "big"), make([]byte, 60<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	o.Programs = []string{dir}
	if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "too much for a guest with 128Mi") {
		t.Errorf("error %v", err)
	}
}
