package census

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/probe"
	"github.com/oomlab/oomlab/harness/rank"
)

// fixture writes the files of a machine.
func fixture(t *testing.T, files map[string]string) probe.Root {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return probe.Root(root)
}

// machine has what is the same in all fixtures: a process of 100 resident pages, one
// of which the exact counter knows more, and a kernel thread.
func machine(release, mounts, own string) map[string]string {
	status := func(name string, pid int, more string) string {
		return fmt.Sprintf("Name:\t%s\nState:\tS (sleeping)\nTgid:\t%d\nPid:\t%d\nPPid:\t1\nUid:\t0\t0\t0\t0\n%s", name, pid,
			pid, more)
	}
	stat := func(name string, pid int, rss int) string {
		return fmt.Sprintf("%d (%s) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 77 1000000 %d 0\n", pid, name, rss)
	}
	return map[string]string{
		"proc/sys/kernel/osrelease": release, "proc/sys/vm/swappiness": "60", "proc/sys/vm/panic_on_oom": "0",
		"proc/sys/vm/oom_kill_allocating_task": "0",
		"proc/meminfo": "MemTotal: 1000000 kB\nMemFree: 500000 kB\nMemAvailable: 600000 kB\nSwapTotal: 1000 kB\n" +
			"SwapFree: 900 kB\n",
		"proc/zoneinfo":       "Node 0, zone   Normal\n  pages free     1\n        min      1\n        present  250000\n        managed  250000\n",
		"proc/self/mountinfo": mounts, "proc/self/cgroup": own,
		"proc/40/status": status("a b", 40, "VmRSS:\t404 kB\nRssAnon:\t400 kB\nVmPTE:\t44 kB\nVmSwap:\t8 kB\n"+
			"Mems_allowed_list:\t0\n"),
		"proc/40/stat": stat("a b", 40, 100), "proc/40/oom_score_adj": "-7\n", "proc/40/oom_score": "660\n",
		"proc/2/status": status("kthreadd", 2, ""), "proc/2/stat": stat("kthreadd", 2, 0),
		"proc/2/oom_score_adj": "0\n",
	}
}

// TestReadBothVersions: limits, usage and members of both hierarchies.
func TestReadBothVersions(t *testing.T) {
	v2 := machine("6.12.0", "20 1 0:2 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/\n")
	v2["sys/fs/cgroup/cgroup.controllers"] = "cpu memory\n"
	v2["sys/fs/cgroup/cgroup.procs"] = "2\n"
	for name, text := range map[string]string{"memory.max": "67108864\n", "memory.current": "4096\n",
		"memory.swap.max": "max\n", "memory.oom.group": "1\n", "cgroup.procs": "40\n0\n"} {
		v2["sys/fs/cgroup/a b/"+name] = text
	}
	v1 := machine("7.1.0", "20 1 0:2 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", "4:memory:/\n0::/\n")
	v1["sys/fs/cgroup/memory/cgroup.procs"] = "2\n"
	for name, text := range map[string]string{"memory.limit_in_bytes": "67108864\n", "memory.usage_in_bytes": "4096\n",
		"memory.memsw.limit_in_bytes": "67112960\n", "memory.swappiness": "0\n", "cgroup.procs": "40\n",
		"memory.oom_control": "oom_kill_disable 1\nunder_oom 0\noom_kill 0\n"} {
		v1["sys/fs/cgroup/memory/a b/"+name] = text
	}
	for name, text := range map[string]string{"memory.limit_in_bytes": "9223372036854771712\n", "cgroup.procs": ""} {
		v1["sys/fs/cgroup/memory/open/"+name] = text
	}
	for _, tt := range []struct {
		files                   map[string]string
		version, cgroups        int
		rss                     kernel.Pages
		group, disabled, noSwap bool
	}{
		{v2, 2, 2, 100, true, false, false},
		{v1, 1, 3, 101, false, true, true}, // 7.1 reads the exact counter
	} {
		c, err := Open(fixture(t, tt.files))
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.Read(t.Context())
		if err != nil || s.Unread != 0 {
			t.Fatalf("v%d: %v, %d unread", tt.version, err, s.Unread)
		}
		if s.Machine.CgroupVersion != tt.version || len(s.Cgroups) != tt.cgroups || len(s.Processes) != 1 {
			t.Fatalf("v%d: version %d, cgroups %+v, processes %+v", tt.version, s.Machine.CgroupVersion, s.Cgroups, s.Processes)
		}
		p := s.Processes[0]
		if p.PID != 40 || p.Comm != "a b" || p.Cgroup != "/a b" || p.RSS != tt.rss || p.Swap != 2 ||
			p.PgTables != 44<<10 || p.Adj != -7 || p.Start != 77 || p.Mems != "0" {
			t.Errorf("v%d: %+v", tt.version, p)
		}
		g := s.Cgroups[slices.IndexFunc(s.Cgroups, func(c rank.Cgroup) bool { return c.Path == "/a b" })]
		if g.Max == nil || *g.Max != 64<<20 || g.Usage != 4096 || g.Group != tt.group ||
			g.KillDisabled != tt.disabled || (g.Swappiness != nil && *g.Swappiness == 0) != tt.noSwap {
			t.Errorf("v%d: %+v", tt.version, g)
		}
		for _, other := range s.Cgroups {
			if other.Path != "/a b" && other.Max != nil {
				t.Errorf("v%d: %s has the limit %d; it has none", tt.version, other.Path, *other.Max)
			}
		}
		rows := []rank.Row{{PID: 40}, {PID: 41}}
		if c.Score(rows); rows[0].Kernel == nil || *rows[0].Kernel != 660 || rows[1].Kernel != nil {
			t.Errorf("v%d: scores %v", tt.version, rows)
		}
	}
}

// TestReadForSparesFiles: of a process that a ranking cannot show, only the score is
// read. One whose score says nothing, or whose cgroup is not known, is read in full.
func TestReadForSparesFiles(t *testing.T) {
	files := machine("6.12.0", "20 1 0:2 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/\n")
	files["sys/fs/cgroup/cgroup.controllers"], files["sys/fs/cgroup/cgroup.procs"] = "cpu memory\n", "41\n42\n"
	files["sys/fs/cgroup/web/memory.max"], files["sys/fs/cgroup/web/memory.current"] = "67108864\n", "4096\n"
	files["sys/fs/cgroup/web/memory.oom.group"], files["sys/fs/cgroup/web/cgroup.procs"] = "0\n", "40\n"
	files["sys/fs/cgroup/web/memory.swap.max"] = "max\n"
	for pid, score := range map[string]string{"41": "5\n", "42": "0\n", "43": "5\n"} {
		for _, name := range []string{"status", "stat", "oom_score_adj"} {
			files["proc/"+pid+"/"+name] = files["proc/40/"+name]
		}
		files["proc/"+pid+"/oom_score"], files["proc/"+pid+"/cgroup"] = score, "0::/\n"
	}
	c, err := Open(fixture(t, files))
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.ReadFor(t.Context(), rank.Options{Cgroup: "/web", Top: 5})
	if err != nil {
		t.Fatal(err)
	}
	var read []int
	for _, p := range s.Processes {
		read = append(read, p.PID)
	}
	slices.Sort(read)
	brief := []rank.Brief{{PID: 41, Cgroup: "/", Score: 5}}
	if !slices.Equal(read, []int{40, 42, 43}) || !slices.Equal(s.Briefs, brief) {
		t.Errorf("read in full: %v; not: %+v", read, s.Briefs)
	}
}

// sleeper is a process that waits for its standard input to end.
func sleeper(t testing.TB) int {
	t.Helper()
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("needs cat: %v", err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait() // it was asked to end
	})
	if _, err := in.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadByte(); err != nil { // it runs, and no longer grows
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// TestTheKernelAgrees: the model's oom_score of a process at rest is the kernel's, for
// several adjustments.
func TestTheKernelAgrees(t *testing.T) {
	c, err := Open("/")
	if err != nil {
		t.Skipf("needs /proc: %v", err)
	}
	pid := sleeper(t)
	for _, adj := range []int{0, 1, 500, 999, 1000} {
		file := fmt.Sprintf("/proc/%d/oom_score_adj", pid)
		if err := os.WriteFile(file, []byte(strconv.Itoa(adj)), 0); err != nil {
			t.Fatal(err)
		}
		s, err := c.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		one, err := rank.Explain(s, pid, rank.Options{})
		if err != nil {
			t.Fatal(err)
		}
		rows := []rank.Row{one.Row}
		c.Score(rows)
		if rows[0].Kernel == nil || *rows[0].Kernel != rows[0].OOMScore || rows[0].Adj != adj {
			t.Errorf("oom_score_adj %d: the kernel says %v, the model %d", adj, rows[0].Kernel, rows[0].OOMScore)
		}
		old, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_adj", pid))
		if err != nil {
			t.Fatal(err)
		}
		if got := strconv.Itoa(rank.OldAdj(adj)); got != strings.TrimSpace(string(old)) {
			t.Errorf("oom_score_adj %d is oom_adj %s to the kernel, %s to us", adj, old, got)
		}
	}
}

// TestOldAdjOfTheKernel writes oom_adj and compares what the kernel makes of it. To
// lower it takes CAP_SYS_RESOURCE; without, only what raises it is tried.
func TestOldAdjOfTheKernel(t *testing.T) {
	pid := sleeper(t)
	tried := 0
	for old := -17; old <= 15; old++ {
		err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_adj", pid), []byte(strconv.Itoa(old)), 0)
		if old < 0 && errors.Is(err, os.ErrPermission) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := probe.Root("/").OOMScoreAdj(pid)
		if err != nil {
			t.Fatal(err)
		}
		tried++
		if want, ok := rank.NewAdj(old); !ok || got != want {
			t.Errorf("oom_adj %d sets oom_score_adj %d; want %d", old, got, want)
		}
	}
	if tried < 16 {
		t.Errorf("only %d values were tried", tried)
	}
}

// BenchmarkRead reads and ranks 5000 processes in 500 memory cgroups of this machine.
func BenchmarkRead(b *testing.B) {
	c, err := Open("/")
	if err != nil || os.Geteuid() != 0 || c.mount.Version == 0 {
		b.Skipf("needs root and a memory controller: %v", err)
	}
	limit := map[int]string{1: "memory.limit_in_bytes", 2: "memory.max"}[c.mount.Version]
	base, err := os.MkdirTemp(c.root.Path(c.mount.Root, c.mount.Self), "oomlab-census-")
	if err != nil {
		b.Skipf("needs a cgroup to make others in: %v", err)
	}
	b.Cleanup(func() { os.Remove(base) })
	if c.mount.Version == 2 {
		if err := os.WriteFile(filepath.Join(base, "cgroup.subtree_control"), []byte("+memory"), 0); err != nil {
			b.Skipf("needs the memory controller: %v", err)
		}
	}
	for i := range 500 {
		dir := filepath.Join(base, fmt.Sprintf("unit-%d.service", i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { os.Remove(dir) })
		if err := os.WriteFile(filepath.Join(dir, limit), []byte("1073741824"), 0); err != nil {
			b.Fatal(err)
		}
		crowd(b, dir, 10)
	}
	s, err := c.Read(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d processes in %d cgroups", len(s.Processes), len(s.Cgroups))
	for _, run := range []struct {
		name    string
		options rank.Options
	}{{"first", rank.Options{Top: 5, Domains: 10}}, {"all", rank.Options{}}} {
		b.Run(run.name, func(b *testing.B) {
			before := cpuTime(b)
			for b.Loop() {
				s, err := c.ReadFor(b.Context(), run.options)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := rank.Rank(s, run.options); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuTime(b)-before)/1e6/float64(b.N), "cpu-ms/op")
		})
	}
}

// cpuTime is what this process has used, in nanoseconds: on a machine that does other
// things too it says more than the clock.
func cpuTime(b *testing.B) int64 {
	b.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return r.Utime.Nano() + r.Stime.Nano()
}

// crowd starts n small processes in a cgroup: a shell, and what it forks. They end
// with its input.
func crowd(b *testing.B, dir string, n int) {
	b.Helper()
	script := fmt.Sprintf(`echo 0 > '%s/cgroup.procs'; exec 3<&0; i=1; while [ $i -lt %d ]; do (read x <&3) & i=$((i+1)); done
echo up; read x <&3; wait`, dir, n)
	cmd := exec.Command("sh", "-c", script)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		done := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // read fails at the end of the input, which is its exit status
		done.Stop()
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil && err != io.EOF {
		b.Fatal(err)
	}
}
