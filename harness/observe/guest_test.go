package observe

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/alone"
	"github.com/oomlab/oomlab/harness/selfboot"
)

func init() {
	// A process without a leader ends its main thread; this is it.
	runtime.LockOSThread()
}

// The test binary is three programs: the tests; as PID 1 of a virtual machine
// the same tests on another kernel (TestKernels boots it); and a process that
// takes memory.
func TestMain(m *testing.M) {
	if told := os.Getenv("OOMLAB_TEST_HOLD"); told != "" {
		if told, contains := strings.CutPrefix(told, "contains "); contains {
			container(told)
		}
		told, leaderless := strings.CutPrefix(told, "leaderless ")
		cgroup, n, _ := strings.Cut(told, " ")
		pages, err := strconv.Atoi(n)
		if err == nil {
			err = os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte("0"), 0)
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		// A dead leader stays where it is. Had it died before the move, the
		// kernel would find no process to kill in the cgroup.
		if leaderless {
			go hold(pages)
			unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
		}
		hold(pages)
	}
	os.Exit(selfboot.Main(m))
}

// container starts a process in a pid namespace below its own, waits for it and ends.
func container(told string) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "OOMLAB_TEST_HOLD="+told)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		fmt.Println(err)
	}
	os.Exit(0)
}

// hold touches pages one by one, says so, and waits to be killed. Zero pages
// is as many as there are.
func hold(pages int) {
	size := os.Getpagesize()
	const chunk = 256
	for held := 0; pages == 0 || held < pages; held += chunk {
		n := chunk
		if pages != 0 {
			n = min(chunk, pages-held)
		}
		mem, err := unix.Mmap(-1, 0, n*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		_ = unix.Madvise(mem, unix.MADV_NOHUGEPAGE) // EINVAL: there are none
		for i := range n {
			mem[i*size] = 1
		}
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin) // the test's end closes it
	os.Exit(0)
}

// memcg makes a memory cgroup with a limit below the test's own cgroup, v1 or
// v2, and removes it at the end.
func memcg(t *testing.T, limit int) (dir string, version int) {
	t.Helper()
	alone.OnMachine(t)
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
			base, file, version = "/sys/fs/cgroup/memory"+f[2], "memory.limit_in_bytes", 1
			break
		}
		if f[0] == "0" {
			base, file, version = "/sys/fs/cgroup"+f[2], "memory.max", 2
		}
	}
	dir, err = os.MkdirTemp(base, "oomlab-observe-")
	if err != nil {
		t.Skipf("needs a memory cgroup to make cgroups in: %v", err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Errorf("cgroup left behind: %v", err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(limit)), 0); err != nil {
		t.Skipf("needs the memory controller in %s: %v", base, err)
	}
	if version == 2 {
		_ = os.WriteFile(filepath.Join(dir, "memory.swap.max"), []byte("0"), 0) // absent without swap accounting
	}
	return dir, version
}

// cgroupID is the inode number of a cgroup's directory, which is its kernfs id.
func cgroupID(t *testing.T, dir string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// held is a process that takes memory.
type held struct {
	pid  int
	cmd  *exec.Cmd
	line chan string
	end  chan syscall.WaitStatus
}

// start starts a process that takes pages in cgroup dir, 0 forever.
func start(t *testing.T, dir string, pages int) *held {
	t.Helper()
	return startAs(t, fmt.Sprintf("%s %d", dir, pages))
}

func startAs(t *testing.T, told string) *held {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"OOMLAB_TEST_HOLD=" + told, "GOGC=off", "GOMAXPROCS=2"}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h := &held{pid: cmd.Process.Pid, cmd: cmd, line: make(chan string, 1), end: make(chan syscall.WaitStatus, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		text, _ := bufio.NewReader(out).ReadString('\n')
		h.line <- strings.TrimSpace(text)
		_ = cmd.Wait() // how it ended is in ProcessState
		h.end <- cmd.ProcessState.Sys().(syscall.WaitStatus)
	}()
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Process.Kill() // it may be gone
		<-done
	})
	return h
}

const patience = 60 * time.Second // an emulated machine is slow

// ready waits until the process holds what it was told to.
func (h *held) ready(t *testing.T) {
	t.Helper()
	select {
	case line := <-h.line:
		if line != "ready" {
			t.Fatalf("process %d said %q, not that it is ready", h.pid, line)
		}
	case <-time.After(patience):
		t.Fatalf("process %d was not ready after %v", h.pid, patience)
	}
}

// killed waits for the process to end and wants it to be by SIGKILL.
func (h *held) killed(t *testing.T) {
	t.Helper()
	select {
	case status := <-h.end:
		if status.Signal() != syscall.SIGKILL {
			t.Fatalf("process %d ended with %#x, not by SIGKILL", h.pid, status)
		}
	case <-time.After(patience):
		t.Fatalf("process %d was not killed after %v", h.pid, patience)
	}
}
