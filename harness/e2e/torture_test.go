//go:build e2e

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/target/kube/image"
	"github.com/oomlab/oomlab/scenarios"
)

var (
	tortureFlag = flag.Duration("oomlab.torture", time.Minute, "how long the torture goes on")
	seedFlag    = flag.Uint64("oomlab.seed", 0, "seed of the torture; 0: another one each time")
	tormentFlag = flag.String("oomlab.torment", "", "only torments whose name contains this")
)

// The torture does to runs what machines and people do to them, at random
// moments. Three things hold whatever happens: no run passes that must not, no
// run fails or is skipped for it (broken is the word for evidence that is not
// there), and nothing is left that `oomlab clean` does not remove, so that the
// next run passes.
var _ = Describe("torture", Serial, Label("torture"), func() {
	It("never a wrong verdict, nothing left, and the next run passes", func(ctx SpecContext) {
		seed := *seedFlag
		if seed == 0 {
			seed = rand.Uint64N(1e9)
		}
		fmt.Printf("torture: seed %d, for %s\n", seed, *tortureFlag)
		t := newTorture(ctx, seed)
		var some []torment
		for _, m := range torments {
			switch {
			case !strings.Contains(m.name, *tormentFlag):
			case m.clusters && t.pods == nil:
				fmt.Printf("torture: without %q: there is no node image on this machine\n", m.name)
			case m.kind && !t.kind:
				fmt.Printf("torture: without %q: there is no disk with kind on this machine\n", m.name)
			default:
				some = append(some, m)
			}
		}
		Expect(some).NotTo(BeEmpty(), "no torment for this machine is called "+*tormentFlag)
		count := map[string]int{}
		for end := time.Now().Add(*tortureFlag); time.Now().Before(end) && ctx.Err() == nil; t.round++ {
			// each of them in turn, so that a short torture meets them all
			m := some[t.round%len(some)]
			count[m.name]++
			t.about = fmt.Sprintf("seed %d, round %d, %s", seed, t.round, m.name)
			m.do(ctx, t)
			t.heals(ctx)
		}
		fmt.Printf("torture: %d rounds without a finding: %v\n", t.round, count)
	}, SpecTimeout(24*time.Hour))
})

type torment struct {
	name     string
	do       func(ctx context.Context, t *torture)
	clusters bool // needs a node image
	kind     bool // needs a disk with kind, and make test-kind to have been run
}

var torments = []torment{
	{name: "signal to oomlab", do: signalOomlab},
	{name: "QEMU is killed", do: func(ctx context.Context, t *torture) { t.disturb(ctx, qemuOf, unix.SIGKILL) }},
	{name: "QEMU is stopped", do: stopQEMU},
	{name: "QEMU is starved", do: starveQEMU},
	{name: "disk full below the runs", do: func(ctx context.Context, t *torture) { t.full(ctx, t.runs) }},
	{name: "disk full below the cache", do: func(ctx context.Context, t *torture) { t.full(ctx, t.cache) }},
	{name: "cache is read-only", do: func(ctx context.Context, t *torture) { t.readOnly(ctx, t.cache) }},
	{name: "runs are read-only", do: func(ctx context.Context, t *torture) { t.readOnly(ctx, t.runs) }},
	{name: "clock is set back in the guest", do: setClock},
	{name: "five at a time on one cache", do: fiveAtATime},
	{name: "a file of the cache is damaged", do: damageCache},
	{name: "a cluster is disturbed", do: disturbCluster, clusters: true},
	{name: "a cluster of kind's is disturbed", do: disturbKind, kind: true},
}

// torture is what the torments share: a cache and run directories of its own,
// a scenario that must pass and the same with a claim that must fail.
type torture struct {
	*rand.Rand
	cache, runs string
	kept        string // the snapshots of this machine, where those of kind's clusters are
	pair
	pods         *pair // the same on a cluster; nil: this machine has no node image
	kind         bool  // this machine has a disk with kind
	local        bool  // this machine can run the pair as well
	round        int
	about        string
	listsAtStart []string
}

// pair is a scenario that must pass, and the same with a claim that must fail.
type pair struct {
	honest, lie string // files
	takes       time.Duration
}

// newPair writes the scenario called name and its lie to dir.
func newPair(dir, name string, inverted ...string) pair {
	base := filepath.Join(dir, filepath.Base(name))
	p := pair{honest: base + ".yaml", lie: base + "-lie.yaml"}
	source, err := scenarios.Source(name)
	Expect(err).NotTo(HaveOccurred())
	lie := strings.NewReplacer(inverted...).Replace(string(source))
	Expect(lie).NotTo(Equal(string(source)))
	Expect(os.WriteFile(p.honest, source, 0o600)).To(Succeed())
	Expect(os.WriteFile(p.lie, []byte(lie), 0o600)).To(Succeed())
	return p
}

func newTorture(ctx context.Context, seed uint64) *torture {
	dir := GinkgoT().TempDir()
	t := &torture{
		Rand: rand.New(rand.NewPCG(seed, seed)), about: "before the torture",
		cache: filepath.Join(dir, "cache"), runs: filepath.Join(dir, "runs"),
		pair: newPair(dir, "memcg/bigger-of-two-dies", "killed: [big]", "killed: [small]",
			"survives: [small]", "survives: [big]", "exit: {big: SIGKILL}", "exit: {small: SIGKILL}"),
	}
	Expect(os.Mkdir(t.runs, 0o700)).To(Succeed())
	var err error
	t.listsAtStart, err = filepath.Glob("/run/oomlab/*.json")
	Expect(err).NotTo(HaveOccurred())
	t.heals(ctx) // fetches the kernel, and makes the snapshot
	begin := time.Now()
	t.heals(ctx)
	t.takes = time.Since(begin)
	status, _ := t.run(ctx, nil, "--target", "local", t.honest)
	t.local = status == 0
	_, err = image.Open("")
	k, kindErr := image.OpenKind("")
	if t.kind = kindErr == nil; t.kind || err == nil {
		images := filepath.Dir(k.Dir)
		Expect(os.Symlink(images, filepath.Join(t.cache, filepath.Base(images)))).To(Succeed())
		t.kept = filepath.Join(filepath.Dir(images), "snapshots")
	}
	if err == nil {
		pods := newPair(dir, "kube/guaranteed-over-its-own-limit", "killed: [db/main]", "killed: [idle/main]",
			"survives: [idle]", "survives: [db]")
		t.pods = &pods
	}
	return t
}

// command is oomlab with the cache and the run directories of the torture.
func (t *torture) command(args ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), "OOMLAB_CACHE="+t.cache)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	return cmd
}

// start starts oomlab and returns what it wrote when it ends.
func start(cmd *exec.Cmd) (ended <-chan string) {
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	ExpectWithOffset(2, cmd.Start()).To(Succeed())
	c := make(chan string, 1)
	go func() {
		_ = cmd.Wait() // ProcessState has it
		c <- out.String()
	}()
	return c
}

// run runs a scenario to the end. during, if there is one, gets the process
// while it runs. -1 is the status of a run that a signal ended.
func (t *torture) run(ctx context.Context, during func(*exec.Cmd), args ...string) (status int, out string) {
	cmd := t.command(append([]string{"run", "--runs-dir", t.runs, "-o", "json"}, args...)...)
	ended := start(cmd)
	family := map[int]string{}
	if during != nil {
		during(cmd)
		family = descendants(cmd.Process.Pid)
	}
	select {
	case out = <-ended:
	case <-time.After(4 * time.Minute):
		_ = cmd.Process.Kill()
		Fail(t.about + ": oomlab did not end\n" + <-ended)
	case <-ctx.Done():
		_ = cmd.Process.Kill()
		<-ended
		Fail(t.about + ": interrupted")
	}
	Eventually(ctx, func() []string { return living(family) }).WithTimeout(20*time.Second).
		WithPolling(20*time.Millisecond).Should(BeEmpty(), t.about)
	return cmd.ProcessState.ExitCode(), out
}

// may checks what a run's verdict may be that somebody interfered with.
func (t *torture) may(file string, status int, out string) {
	allowed := []int{0, 70, 130, -1, 128 + int(unix.SIGHUP), 128 + int(unix.SIGTERM)}
	if strings.HasSuffix(file, "-lie.yaml") {
		allowed[0] = 1
	}
	ExpectWithOffset(1, allowed).To(ContainElement(status), "%s: %s\n%s", t.about, filepath.Base(file), out)
}

// either is the honest scenario or the lie.
func (t *torture) either() string { return t.of(t.pair) }

func (t *torture) of(p pair) string {
	if t.IntN(2) == 0 {
		return p.lie
	}
	return p.honest
}

// moment lets a run go on until a random moment. The moment is what varies;
// nothing is waited for.
func (t *torture) moment() { t.momentOf(t.takes) }

func (t *torture) momentOf(takes time.Duration) {
	<-time.After(time.Duration(t.Float64() * 1.2 * float64(takes)))
}

// heals cleans up, looks for what is left, and runs the honest scenario.
func (t *torture) heals(ctx context.Context) {
	out, err := t.command("clean").CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), "%s: clean: %s", t.about, out)
	Expect(leftCgroups(t.runs)).To(BeEmpty(), t.about)
	lists, err := filepath.Glob("/run/oomlab/*.json")
	Expect(err).NotTo(HaveOccurred())
	for _, list := range lists {
		Expect(t.listsAtStart).To(ContainElement(list), t.about)
	}
	left, err := filepath.Glob(filepath.Join(t.cache, "*", ".new-*"))
	Expect(err).NotTo(HaveOccurred())
	Expect(left).To(BeEmpty(), t.about)
	Expect(os.RemoveAll(t.runs)).To(Succeed())
	Expect(os.Mkdir(t.runs, 0o700)).To(Succeed())
	status, said := t.run(ctx, nil, "--target", "vm", t.honest)
	Expect(status).To(BeZero(), "%s: the next run does not pass\n%s", t.about, said)
}

// signals that people and machines send. SIGSTOP is followed by SIGCONT.
var signals = []unix.Signal{
	unix.SIGKILL, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGABRT, unix.SIGUSR1, unix.SIGUSR2,
	unix.SIGPIPE, unix.SIGALRM, unix.SIGSEGV, unix.SIGSTOP,
}

func signalOomlab(ctx context.Context, t *torture) {
	target := "vm"
	if t.local && t.IntN(2) == 0 {
		target = "local"
	}
	file, sig := t.either(), signals[t.IntN(len(signals))]
	t.about += fmt.Sprintf(", %s on target %s", unix.SignalName(sig), target)
	status, out := t.run(ctx, func(cmd *exec.Cmd) {
		t.moment()
		family := descendants(cmd.Process.Pid)
		_ = cmd.Process.Signal(sig) // it may have ended
		if sig == unix.SIGSTOP {
			t.moment()
			_ = cmd.Process.Signal(unix.SIGCONT)
		}
		if sig == unix.SIGKILL {
			Eventually(ctx, func() []string { return living(family) }).WithTimeout(20*time.Second).
				WithPolling(20*time.Millisecond).Should(BeEmpty(), t.about)
		}
	}, "--target", target, file)
	if sig == unix.SIGABRT || sig == unix.SIGQUIT || sig == unix.SIGSEGV {
		return // the Go runtime ends the process with status 2
	}
	t.may(file, status, out)
}

// qemuOf finds the emulator among the descendants of oomlab.
func qemuOf(oomlab int) int {
	for pid := range descendants(oomlab) {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if strings.HasPrefix(string(comm), "qemu-system") {
			return pid
		}
	}
	return 0
}

// disturb sends a signal to what find finds, at a random moment of a run.
func (t *torture) disturb(ctx context.Context, find func(int) int, sig unix.Signal) {
	file := t.either()
	status, out := t.run(ctx, func(cmd *exec.Cmd) {
		t.moment()
		if pid := find(cmd.Process.Pid); pid != 0 {
			_ = unix.Kill(pid, sig)
		}
	}, "--target", "vm", file)
	t.may(file, status, out)
}

func stopQEMU(ctx context.Context, t *torture) {
	file := t.either()
	status, out := t.run(ctx, func(cmd *exec.Cmd) {
		t.moment()
		if pid := qemuOf(cmd.Process.Pid); pid != 0 {
			_ = unix.Kill(pid, unix.SIGSTOP)
			t.moment()
			_ = unix.Kill(pid, unix.SIGCONT)
		}
	}, "--target", "vm", file)
	t.may(file, status, out)
}

// starveQEMU lets it run for a twentieth of the time.
func starveQEMU(ctx context.Context, t *torture) {
	file := t.either()
	status, out := t.run(ctx, func(cmd *exec.Cmd) {
		pid := 0
		turns := time.NewTicker(5 * time.Millisecond)
		defer turns.Stop()
		for i := range int(4 * t.takes / (5 * time.Millisecond)) {
			<-turns.C
			switch {
			case pid == 0:
				pid = qemuOf(cmd.Process.Pid)
			case i%20 == 0:
				if unix.Kill(pid, unix.SIGCONT) != nil {
					return
				}
			default:
				_ = unix.Kill(pid, unix.SIGSTOP)
			}
		}
		if pid != 0 {
			_ = unix.Kill(pid, unix.SIGCONT)
		}
	}, "--target", "vm", file)
	t.may(file, status, out)
}

// mounted runs oomlab in a mount namespace of its own, after a mount; what
// follows runs there afterwards.
func (t *torture) mounted(mount string, args ...string) (status int, out string) {
	cmd := t.command()
	cmd.Path, cmd.Args = "/usr/bin/unshare", append([]string{"unshare", "--mount", "--propagation", "private",
		"timeout", "-s", "INT", "-k", "30", "200", "sh", "-c", mount + ` && shift && exec "$@"`, "sh", "", binary},
		args...)
	out = <-start(cmd)
	return cmd.ProcessState.ExitCode(), out
}

// full gives dir a file system that has room for a random amount.
func (t *torture) full(_ context.Context, dir string) {
	size := t.IntN(4096) << t.IntN(18) // bytes, up to 512Mi; 0 is no limit for tmpfs
	mount := fmt.Sprintf("mount -t tmpfs -o size=%d tmpfs %s", max(size, 1), dir)
	if dir == t.cache {
		kept := filepath.Join(filepath.Dir(dir), "kernels")
		mount = fmt.Sprintf("mkdir -p %s && mount --bind %s/kernels %s && %s && mkdir %s/kernels && mount --bind "+
			"%s %s/kernels",
			kept, dir, kept, mount, dir, kept, dir)
	}
	file := t.either()
	t.about += fmt.Sprintf(", room for %d bytes, %s", size, filepath.Base(file))
	status, out := t.mounted(mount, "run", "--runs-dir", t.runs, "--target", "vm", file)
	if status != 64 { // no room for anything is seen before the run
		t.may(file, status, out)
	}
}

func (t *torture) readOnly(_ context.Context, dir string) {
	file := t.either()
	status, out := t.mounted(fmt.Sprintf("mount --bind %s %s && mount -o remount,bind,ro %s", dir, dir, dir),
		"run", "--runs-dir", t.runs, "--target", "vm", file)
	switch want := map[string]int{t.honest: 0, t.lie: 1}[file]; {
	case dir == t.cache:
		Expect(status).To(Equal(want), "%s: %s", t.about, out)
	default:
		Expect(status).To(Or(Equal(64), Equal(70)), "%s: %s", t.about, out)
		Expect(out).To(ContainSubstring("read-only file system"), t.about)
	}
}

// setClock adds a process that sets the clock of the guest back, or far ahead.
func setClock(ctx context.Context, t *torture) {
	source, err := os.ReadFile(t.honest)
	Expect(err).NotTo(HaveOccurred())
	when := []string{"2001-01-01", "2037-01-01"}[t.IntN(2)]
	again := strings.Replace(string(source), "processes:\n",
		"processes:\n  clock: {cgroup: /lab, command: [date, -s, "+when+"]}\n", 1)
	again = strings.Replace(again, "after: big", "after: [big, clock]", 1)
	file := filepath.Join(filepath.Dir(t.honest), "clock.yaml")
	Expect(os.WriteFile(file, []byte(again), 0o600)).To(Succeed())
	t.about += ", to " + when
	status, out := t.run(ctx, nil, "--target", "vm", file)
	Expect(status).To(BeZero(), "%s\n%s", t.about, out)
}

// fiveAtATime lets five processes make one snapshot, or use it.
func fiveAtATime(_ context.Context, t *torture) {
	if t.IntN(2) == 0 {
		Expect(os.RemoveAll(filepath.Join(t.cache, "snapshots"))).To(Succeed())
	}
	var all sync.WaitGroup
	status, out := make([]int, 5), make([]string, 5)
	for i := range status {
		cmd := t.command("run", "--runs-dir", t.runs, "--target", "vm", t.honest)
		ended := start(cmd)
		all.Go(func() {
			out[i] = <-ended
			status[i] = cmd.ProcessState.ExitCode()
		})
	}
	all.Wait()
	Expect(status).To(HaveEach(0), "%s\n%s", t.about, strings.Join(out, "\n"))
}

// disturbCluster does to a run with pods what is done to runs without: a signal to
// oomlab, or to the emulator of its node.
func disturbCluster(ctx context.Context, t *torture) {
	pass := func() {
		status, out := t.run(ctx, nil, t.pods.honest)
		Expect(status).To(BeZero(), "%s: a run on a cluster does not pass\n%s", t.about, out)
	}
	if t.pods.takes == 0 {
		pass() // makes the snapshots
		begin := time.Now()
		pass()
		t.pods.takes = time.Since(begin)
	}
	file := t.of(*t.pods)
	sig := []unix.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGINT, unix.SIGSTOP}[t.IntN(4)]
	node := t.IntN(2) == 0
	t.about += fmt.Sprintf(", %s, to the node: %t, %s", unix.SignalName(sig), node, filepath.Base(file))
	status, out := t.run(ctx, func(cmd *exec.Cmd) {
		t.momentOf(t.pods.takes)
		pid := cmd.Process.Pid
		if node {
			pid = qemuOf(pid)
		}
		if pid == 0 {
			return
		}
		_ = unix.Kill(pid, sig) // it may have ended
		if sig == unix.SIGSTOP {
			t.momentOf(t.pods.takes / 2)
			_ = unix.Kill(pid, unix.SIGCONT)
		}
	}, file)
	t.may(file, status, out)
	pass()
}

// damageCache damages one file of the cache, in one way.
func damageCache(ctx context.Context, t *torture) {
	var files []string
	err := filepath.WalkDir(t.cache, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	Expect(err).NotTo(HaveOccurred())
	slices.Sort(files)
	victim := files[t.IntN(len(files))]
	how := t.IntN(len(damages))
	rel, _ := filepath.Rel(t.cache, victim)
	t.about += fmt.Sprintf(", %s %s", rel, damages[how].name)
	Expect(damages[how].do(t, victim)).To(Succeed(), t.about)
	file := t.either()
	status, out := t.run(ctx, nil, "--target", "vm", file)
	Expect(status).To(Equal(map[string]int{t.honest: 0, t.lie: 1}[file]), "%s\n%s", t.about, out)
}

var damages = []struct {
	name string
	do   func(t *torture, file string) error
}{
	{"is gone", func(_ *torture, file string) error { return os.Remove(file) }},
	{"is empty", func(_ *torture, file string) error { return os.Truncate(file, 0) }},
	{"is truncated", func(t *torture, file string) error {
		info, err := os.Stat(file)
		if err != nil || info.Size() == 0 {
			return err
		}
		return os.Truncate(file, t.Int64N(info.Size()))
	}},
	{"has another byte", func(t *torture, file string) error {
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err == nil && info.Size() > 0 {
			b, at := make([]byte, 1), t.Int64N(info.Size())
			if _, err = f.ReadAt(b, at); err == nil {
				b[0] ^= 1 << t.IntN(8)
				_, err = f.WriteAt(b, at)
			}
		}
		return errors.Join(err, f.Close())
	}},
	{"is garbage", func(t *torture, file string) error {
		b := make([]byte, 100)
		for i := range b {
			b[i] = byte(t.IntN(256))
		}
		return os.WriteFile(file, b, 0o600)
	}},
	{"is a directory", func(_ *torture, file string) error {
		return errors.Join(os.Remove(file), os.Mkdir(file, 0o700))
	}},
}
