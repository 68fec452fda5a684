package watch

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/observe"
	"github.com/oomlab/oomlab/harness/probe"
	"github.com/oomlab/oomlab/harness/selfboot"
	"github.com/oomlab/oomlab/harness/trace"
)

func TestMain(m *testing.M) { os.Exit(selfboot.Main(m)) }

// TestKernels runs the TestGuest tests on other kernels. OOMLAB_TEST_STORM is how many
// kills TestGuestStorm makes there.
func TestKernels(t *testing.T) {
	images, initramfs := selfboot.Images(t), selfboot.Initramfs(t)
	for _, image := range images {
		t.Run(filepath.Base(filepath.Dir(image)), func(t *testing.T) {
			selfboot.Run(t, image, initramfs, "^TestGuest", 20*time.Minute, "OOMLAB_TEST_STORM="+strconv.Itoa(storm(t)))
		})
	}
}

// storm is how many kills are wanted.
func storm(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv("OOMLAB_TEST_STORM"), "100"))
	if err != nil || n < 1 {
		t.Fatalf("OOMLAB_TEST_STORM: %v", err)
	}
	return n
}

// witnessed is what one watch saw.
type witnessed struct {
	pids     map[int]int
	late     []time.Duration // from the kill to its delivery
	troubles []string
	told     chan int // pids, where it is not nil
}

func (w *witnessed) Kill(k trace.Kill) error {
	w.pids[k.Victim.PID]++
	w.late = append(w.late, time.Duration(monotonic()-k.AtNS))
	if w.told != nil {
		w.told <- k.Victim.PID
	}
	return nil
}

func (w *witnessed) Trouble(text string) { w.troubles = append(w.troubles, text) }

// follow opens a watch and runs it until the function that it returns is called.
func follow(t *testing.T, o Options) (*Watch, *witnessed, func()) {
	t.Helper()
	w, err := Open(t.Context(), o)
	if err != nil {
		t.Skipf("kills cannot be seen here: %v", err)
	}
	seen := &witnessed{pids: map[int]int{}}
	return w, seen, start(t, w, seen)
}

// start runs a watch until the function that it returns is called.
func start(t *testing.T, w *Watch, seen *witnessed) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.Run(ctx, seen); err != nil {
			t.Error(err)
		}
	})
	return func() {
		cancel()
		running.Wait()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestGuestStorm kills as fast as the machine can, a tenth as many cgroups as kills,
// and wants each of them told once: events, wait statuses and counters agree.
func TestGuestStorm(t *testing.T) {
	if os.Getpid() != 1 && os.Getenv("OOMLAB_TEST_STORM") == "" {
		t.Skip("needs a virtual machine, or OOMLAB_TEST_STORM: other tests here would see the kills")
	}
	n := storm(t)
	dirs, counter := stormCgroups(t, max(1, n/10))
	byBPF, seen, stop := follow(t, Options{Burst: n, MaxTier: 2})
	t.Log(strings.Join(byBPF.Header(), "\n"))
	_, logged, stopLog := follow(t, Options{NoBPF: true})
	began := time.Now()
	killed := kill(t, dirs, n)
	took := time.Since(began)
	stop()
	stopLog()
	counted, inLog, told := 0, 0, 0
	for _, dir := range dirs {
		counted += count(t, filepath.Join(dir, counter))
	}
	for _, pid := range killed {
		told += seen.pids[pid]
		inLog += logged.pids[pid]
		if seen.pids[pid] != 1 {
			t.Errorf("the kill of %d was told %d times", pid, seen.pids[pid])
		}
	}
	slices.Sort(seen.late)
	fmt.Printf("storm: %d kills in %d cgroups in %.1f s: wait statuses %d, %s %d, eBPF %d, kernel log %d; "+
		"lost %d; delivered after %s (median), %s (99 %%)\n", n, len(dirs), took.Seconds(), len(killed), counter, counted,
		told, inLog, byBPF.Lost(), at(seen.late, 50), at(seen.late, 99))
	if len(killed) != n || counted != n || told != n || byBPF.Lost() != 0 {
		t.Errorf("they do not agree; troubles: %q", seen.troubles)
	}
}

// stormCgroups makes n memory cgroups of 2 MiB, and names the file that counts kills.
func stormCgroups(t *testing.T, n int) (dirs []string, counter string) {
	t.Helper()
	mount, err := probe.Root("/").CgroupMount()
	if err != nil || os.Geteuid() != 0 {
		t.Skipf("needs root and a memory controller: %v", err)
	}
	limit := map[int]string{1: "memory.limit_in_bytes", 2: "memory.max"}[mount.Version]
	counter = map[int]string{1: evidence.FileOOMControl, 2: evidence.FileMemoryEvents}[mount.Version]
	for range n {
		dir, err := os.MkdirTemp(filepath.Join(mount.Root, mount.Self), "oomlab-storm-")
		if err != nil {
			t.Skipf("needs a cgroup to make others in: %v", err)
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Errorf("cgroup left behind: %v", err)
			}
		})
		if err := os.WriteFile(filepath.Join(dir, limit), []byte("2097152"), 0); err != nil {
			t.Skipf("needs the memory controller: %v", err)
		}
		dirs = append(dirs, dir)
	}
	return dirs, counter
}

// count is the number of kills in a cgroup's file.
func count(t *testing.T, file string) int {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	values, err := observe.ParseEvents(filepath.Base(file), f)
	if err != nil {
		t.Fatal(err)
	}
	return int(values[evidence.CounterOOMKill])
}

// at is a percentile of what is sorted.
func at(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*percent/100].Round(time.Microsecond)
}

// kill has n processes killed, a few at a time, and returns their pids.
func kill(t *testing.T, dirs []string, n int) []int {
	t.Helper()
	const atOnce = 4
	procs := make([]int, len(dirs))
	for i, dir := range dirs {
		fd, err := unix.Open(filepath.Join(dir, "cgroup.procs"), unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		procs[i] = fd
	}
	zeros, err := unix.Open("/dev/zero", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(zeros)
	var killed []int
	alive := 0
	reap := func() {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err == unix.EINTR {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		alive--
		if status.Signaled() && status.Signal() == unix.SIGKILL {
			killed = append(killed, pid)
		} else {
			t.Errorf("process %d ended with %#x", pid, status)
		}
	}
	for i := range n {
		pid := forkEater(uintptr(procs[i%len(procs)]), uintptr(zeros))
		if pid <= 0 {
			t.Fatalf("fork: %d", pid)
		}
		for alive++; alive >= atOnce; {
			reap()
		}
	}
	for alive > 0 {
		reap()
	}
	return killed
}

// forkEater forks a process that moves into a cgroup and takes memory until it is
// killed. It starts no program, which would take most of the time: the child is a copy
// of this one, with a single thread, and must not call the runtime.
//
//go:nosplit
//go:norace
func forkEater(procs, zeros uintptr) int {
	zero := [1]byte{'0'}
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return -1
	}
	if pid != 0 {
		return int(pid)
	}
	eat(procs, zeros, &zero)
	return 0
}
