// Package vm runs plans in guests of QEMU: any kernel, from the same clean state
// every time, without risk for the host and without root.
//
// A guest is a kernel and an initramfs that holds the agent as PID 1, the
// stressor, a few modules and the programs that a scenario names. It boots once.
// When its agent has said Hello it is stopped and kept as a snapshot; from then
// on every plan gets a fresh copy of it in well under a second.
package vm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
	"github.com/oomlab/oomlab/harness/target/vm/initramfs"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
)

// Options describe a machine.
type Options struct {
	Kernel kernels.Kernel
	Memory kernel.Bytes // whole MiB; 0: 512Mi
	// Nodes are the sizes of the NUMA nodes, whole MiB that add up to Memory; none: there is
	// one node. The first one has the CPUs.
	Nodes []kernel.Bytes
	CPUs  int // 0: 1
	// Cpusets mounts cgroup v1's cpuset hierarchy. With v2 they are there to be enabled.
	Cpusets       bool
	CgroupVersion int          // 1 or 2; 0: 2
	SwapDisk      kernel.Bytes // size of a disk for swap; 0: none
	// FilesDisk is the size of a disk with an empty file system, where stressors have
	// their files, not together with Disk; 0: none, and they are in a tmpfs.
	FilesDisk kernel.Bytes
	// DiskWrite is how many bytes a second that disk takes; 0: as many as it can.
	DiskWrite kernel.Bytes
	// Programs are the host's programs and directories that the guest needs for
	// commands of the user's own, see initramfs.Programs.
	Programs []string
	// Agent and Stressor are the binaries, built for the guest and static.
	Agent, Stressor []byte

	// Disk is a raw image of the guest's first disk, and DiskSum its checksum in
	// the cache. Every guest gets a copy that nobody else writes to.
	Disk, DiskSum string
	// Port is a TCP port of the guest that loopback leads to, see Guest.Address.
	Port int
	// Counted makes the guest's clock count its instructions, each as 1 ns, though it
	// has several processors: nothing in it notices how slow the emulation is. It is
	// one thread of this machine then.
	Counted bool
	// Link is the MAC address of a network card that leads to another guest, see
	// VM.Plug; empty: there is none.
	Link string
	// Files are in the guest beside the agent and the stressor, Modules are
	// loaded there, Words are on the kernel's command line.
	Files   []initramfs.File
	Modules []string
	Words   []string
	// BootWait is how long the guest may take until its agent says Hello; 0: as
	// long as a bare one needs.
	BootWait time.Duration
	// News are the lines of the console that Log is told while the guest boots; it may be nil.
	News *regexp.Regexp

	// QEMU is the program; empty: that of the kernel's architecture, in PATH.
	QEMU string
	// Accel is KVM or TCG; empty: KVM if a trial boot shows that it works.
	Accel string
	// CacheDir is where snapshots are kept; empty: cache.Root.
	CacheDir string
	// CacheLimit bounds the snapshots together; 0: 12Gi.
	CacheLimit kernel.Bytes
	// RunDir is where the console is written; empty: a temporary directory that
	// Close deletes.
	RunDir string
	// Log is told what takes time; it may be nil.
	Log func(string)
}

const (
	defaultMemory = 512 * kernel.MiB
	leastMemory   = 96 * kernel.MiB // below it Debian's kernels do not reach PID 1
	// A guest's snapshot takes about 80Mi, and one of a cluster's node, which is
	// kept with the others, 1.2Gi.
	defaultCacheLimit = 12 * kernel.GiB
)

// bootWait is how long a guest may take from the start of QEMU to its Hello, or longer on a
// machine that does not let it run, see bootsOn.
var bootWait = map[string]time.Duration{
	KVM: 20 * time.Second,
	TCG: 3 * time.Minute, // 6 to 10 s on an idle machine
}

// agentPath and stressorPath are where the agent, being init, expects things.
const (
	agentPath    = "/init"
	stressorPath = "/oomlab/stressor"
	modulesDir   = "/oomlab/modules"
)

// VM is a target.Target. It is not safe for concurrent use; open several.
type VM struct {
	o         Options
	version   string // what qemu --version says
	initrd    []byte
	initrdSum string
	kernelSum string

	runDir   string
	ownDir   bool // runDir is ours to delete
	accel    trial
	snapshot *snapshot
	consoles map[string]string
	link     *os.File // this guest's end of a cable; nil: it has no link

	// see the constants; tests shorten them
	slack, beginWait time.Duration
	onStart          func(*process) // told of every guest that was started; may be nil
}

var _ target.Target = (*VM)(nil)

// Open gets everything ready that needs no QEMU to run: the first Hello or Do
// boots the guest, unless a snapshot of just this one is in the cache.
func Open(ctx context.Context, o Options) (*VM, error) {
	if o.Memory == 0 {
		o.Memory = defaultMemory
	}
	if o.CPUs == 0 {
		o.CPUs = 1
	}
	if o.CgroupVersion == 0 {
		o.CgroupVersion = 2
	}
	if o.CacheLimit == 0 {
		o.CacheLimit = defaultCacheLimit
	}
	if o.QEMU == "" {
		o.QEMU = boardOf(o.Kernel).qemu
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	if err := check(o); err != nil {
		return nil, err
	}
	if o.CacheDir == "" {
		root, err := cache.Root()
		if err != nil {
			return nil, err
		}
		o.CacheDir = root
	}
	v := &VM{o: o, runDir: o.RunDir, consoles: map[string]string{}, slack: slack, beginWait: defaultBeginWait}
	var err error
	if v.version, err = qemuVersion(ctx, o.QEMU, boardOf(o.Kernel).pkg); err != nil {
		return nil, err
	}
	if err := kernels.CheckImage(o.Kernel.Image); err != nil {
		return nil, err
	}
	if v.kernelSum, err = hashFile(o.Kernel.Image); err != nil {
		return nil, err
	}
	if v.initrd, err = buildInitrd(o); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(v.initrd)
	v.initrdSum = hex.EncodeToString(sum[:])
	if v.runDir == "" {
		if v.runDir, err = os.MkdirTemp("", runDirPrefix); err != nil {
			return nil, err
		}
		v.ownDir = true
	} else if err := os.MkdirAll(v.runDir, 0o755); err != nil {
		return nil, err
	}
	return v, nil
}

func check(o Options) error {
	switch {
	case o.Memory%kernel.MiB != 0 || o.Memory < leastMemory:
		return fmt.Errorf("vm: memory of %s: a guest needs a whole number of MiB, and at least %s", o.Memory,
			leastMemory)
	case o.SwapDisk%kernel.MiB != 0 || o.SwapDisk < 0:
		return fmt.Errorf("vm: swap disk of %s: write a whole number of MiB", o.SwapDisk)
	case len(o.Nodes) > 0 && sum(o.Nodes) != o.Memory:
		return fmt.Errorf("vm: the nodes have %s together, and the guest %s", sum(o.Nodes), o.Memory)
	case o.FilesDisk%kernel.MiB != 0 || o.FilesDisk < 0 || o.FilesDisk > 0 && o.Disk != "":
		return fmt.Errorf("vm: a disk of %s for files: write a whole number of MiB, and no other disk", o.FilesDisk)
	case o.CPUs < 1 || o.CPUs > 64:
		return fmt.Errorf("vm: %d CPUs: a guest has 1 to 64", o.CPUs)
	case o.CgroupVersion != 1 && o.CgroupVersion != 2:
		return fmt.Errorf("vm: cgroup version %d: there are 1 and 2", o.CgroupVersion)
	case o.Accel != "" && o.Accel != KVM && o.Accel != TCG:
		return fmt.Errorf("vm: accelerator %q: there are %s and %s", o.Accel, KVM, TCG)
	case len(o.Agent) == 0 || len(o.Stressor) == 0:
		return errors.New("vm: no agent or no stressor to put into the guest; build oomlab with make, which embeds " +
			"them")
	}
	return nil
}

func sum(sizes []kernel.Bytes) (all kernel.Bytes) {
	for _, size := range sizes {
		all += size
	}
	return all
}

// qemuVersion is what identifies the emulator: a snapshot fits only the QEMU
// that made it.
func qemuVersion(ctx context.Context, qemu, pkg string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, qemu, "--version").Output()
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return "", &target.Missing{What: "QEMU (" + qemu + ")", Hint: "install the package " + pkg + ", or use " +
			"--target local"}
	}
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", qemu, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line, nil
}

// guestModules are loaded by the agent in this order, dependencies first. zram
// needs its default compressor, which older kernels have in modules too.
func guestModules(o Options) []string {
	names := []string{"lzo", "lzo_rle", "zram"}
	if o.SwapDisk > 0 {
		names = append(names, "virtio_pci", "virtio_blk")
	}
	if o.FilesDisk > 0 {
		// what ext4 asks for by name, not as a dependency; newer kernels have it built in
		names = append(append(names, "crc32c_generic"), filesModules...)
	}
	return append(names, o.Modules...)
}

func buildInitrd(o Options) ([]byte, error) {
	files := append(initramfs.Base(),
		initramfs.Regular(agentPath, o.Agent, true),
		initramfs.Regular(stressorPath, o.Stressor, true))
	files = append(files, o.Files...)
	modules, missing, err := o.Kernel.Modules(guestModules(o)...)
	if err != nil {
		return nil, err
	}
	if o.Kernel.ModulesDir == "" {
		missing = nil // whether they are built in shows when the guest runs
	}
	for _, name := range missing {
		if slices.Contains(o.Modules, name) {
			return nil, &target.Missing{
				What: "the module " + name + ", which kernel " + o.Kernel.Release + " comes without",
				Hint: "use a kernel of Debian's",
			}
		}
		if slices.Contains(filesModules, name) {
			return nil, &target.Missing{
				What: "the module " + name + " for a disk, which kernel " + o.Kernel.Release + " comes without",
				Hint: "use a kernel that has its modules, or a scenario without swap on a disk and without files",
			}
		}
	}
	for i, m := range modules {
		name := fmt.Sprintf("%s/%02d-%s.ko", modulesDir, i, m.Name)
		files = append(files, initramfs.Regular(name, m.Data, false))
	}
	programs, err := initramfs.Programs(o.Programs, o.Kernel.Arch)
	if err != nil {
		return nil, &target.Missing{
			What: fmt.Sprintf("its programs in the VM, which gets them from this machine (%v)", err),
			Hint: "install what is missing here, or write needs: {userland: debian, packages: [...]}",
		}
	}
	var b bytes.Buffer
	// No compression: QEMU puts the archive into the guest's memory as it is,
	// and an emulated processor would take longer to unpack it than to copy it.
	if err := initramfs.Write(&b, append(files, programs...)); err != nil {
		return nil, err
	}
	// While it is unpacked it is in memory twice.
	if need := kernel.Bytes(2 * b.Len()); need > o.Memory*3/4 {
		return nil, fmt.Errorf("vm: the programs and their libraries take %s, too much for a guest with %s; give "+
			"it more memory or name fewer programs",
			kernel.Bytes(b.Len()).Human(), o.Memory)
	}
	return b.Bytes(), nil
}

// config is the machine; files are named by whoever starts it.
func (v *VM) config(accel string) config {
	c := config{
		QEMU: v.o.QEMU, Board: boardOf(v.o.Kernel), Accel: accel, Memory: v.o.Memory, Nodes: v.o.Nodes, CPUs: v.o.CPUs,
		Kernel: v.o.Kernel.Image, Cmdline: cmdline(v.o),
		Console:   filepath.Join(v.runDir, "console.txt"),
		GuestPort: v.o.Port, Disk: v.o.Disk, Link: v.o.Link, Counted: v.o.Counted,
	}
	if v.o.FilesDisk > 0 {
		c.Disk, c.DiskWrite = diskFile, v.o.DiskWrite
	}
	if v.o.SwapDisk > 0 {
		c.Swap = v.swapFile()
	}
	return c
}

func (v *VM) swapFile() string { return filepath.Join(v.runDir, "swap.img") }

// Name implements target.Target.
func (v *VM) Name() scenario.Target { return scenario.VM }

// Accel says which accelerator the guest runs with, and why; both are empty
// before the first Hello or Do.
func (v *VM) Accel() (accel, why string) { return v.accel.Accel, v.accel.Why }

// Hello says what the guest is. It is part of the snapshot: when that is in the
// cache, nothing is booted.
func (v *VM) Hello(ctx context.Context) (wire.Hello, error) {
	if err := v.ready(ctx); err != nil {
		return wire.Hello{}, err
	}
	hello, err := v.snapshot.hello()
	hello.Machine.Emulated = v.accel.Accel == TCG
	return hello, err
}

// ready makes sure that there is a snapshot.
func (v *VM) ready(ctx context.Context) error {
	if v.snapshot != nil {
		return nil
	}
	t, tried := v.accelerator()
	if !tried {
		var s *snapshot
		var err error
		if s, t, err = v.tryKVM(ctx); err != nil {
			return err
		}
		v.snapshot = s
	}
	v.accel = t
	if v.snapshot != nil {
		return nil
	}
	var err error
	v.snapshot, err = v.ensure(ctx, t.Accel)
	return err
}

// ensure gives the snapshot for an accelerator, from the cache or by booting.
func (v *VM) ensure(ctx context.Context, accel string) (*snapshot, error) {
	key := v.identity(accel)
	parent := filepath.Join(v.o.CacheDir, "snapshots")
	dir := filepath.Join(parent, key)
	s, damage := loadSnapshot(dir)
	if damage == nil {
		return s, nil
	}
	// One lock for many keys, so that the locks do not pile up.
	unlock, err := cache.Lock(ctx, filepath.Join(parent, ".lock-"+key[:2]))
	if err != nil {
		return nil, fmt.Errorf("%w; cannot rebuild it: %w", damage, err)
	}
	defer unlock()
	if s, damage = loadSnapshot(dir); damage == nil {
		return s, nil // somebody else made it while we waited
	}
	if !errors.Is(damage, fs.ErrNotExist) {
		v.o.Log(fmt.Sprintf("the snapshot of %s is damaged and is rebuilt: %v", v.o.Kernel.Release, damage))
	}
	v.o.Log(fmt.Sprintf("booting %s once, to keep it as a snapshot (%s)", v.o.Kernel.Release, accel))
	err = cache.Publish(dir, func(tmp string) error { return v.make(ctx, tmp, key, accel) })
	if err != nil {
		return nil, fmt.Errorf("vm: boot %s: %w", v.o.Kernel.Release, err)
	}
	prune(parent, v.o.CacheLimit, dir)
	return loadSnapshot(dir)
}

// Do implements target.Target. Every call gets a fresh guest.
//
// A plan without DeadlineMS may take a minute.
func (v *VM) Do(ctx context.Context, req wire.Request, sink func(evidence.Event)) error {
	if v.o.SwapDisk > 0 {
		defer os.Remove(v.swapFile()) // takes room, and nobody can use it again
	}
	guest, err := v.Start(ctx)
	if err != nil {
		return err
	}
	s := &Session{v: v, guest: guest, last: req.ID - 1}
	err = s.Do(ctx, req, sink)
	return errors.Join(err, s.guest.Close()) // which may be another one by now
}

// fresh starts a guest from the snapshot. A snapshot that cannot be restored is
// deleted and rebuilt once. A QEMU that exits before it reads the snapshot is started
// again: another process may have taken its port.
func (v *VM) fresh(ctx context.Context) (*process, error) {
	if err := v.ready(ctx); err != nil {
		return nil, err
	}
	p, err := v.start(ctx)
	var ended *endedError
	if errors.As(err, &ended) && ctx.Err() == nil {
		p, err = v.start(ctx)
	}
	if err == nil || ctx.Err() != nil || errors.As(err, &ended) {
		return p, err
	}
	v.o.Log(fmt.Sprintf("the snapshot of %s cannot be restored and is rebuilt: %v", v.o.Kernel.Release, err))
	if err := errors.Join(v.snapshot.entry.Remove(), v.drop()); err != nil {
		return nil, err
	}
	if err := v.ready(ctx); err != nil {
		return nil, err
	}
	p, err = v.start(ctx)
	if err != nil {
		return nil, fmt.Errorf("vm: restore %s: %w", v.o.Kernel.Release, err)
	}
	return p, nil
}

// restores is how often a copy of the snapshot is tried before the snapshot is
// given up, and answerWait how long one may take to answer.
const (
	restores   = 3
	answerWait = 30 * time.Second
)

// start restores a copy of the snapshot that answers. One emulated guest in some
// hundred whose time is counted in instructions never runs on after it was
// restored; nothing has been asked of it yet, and another copy does.
func (v *VM) start(ctx context.Context) (*process, error) {
	var silent error
	for range restores {
		if err := v.makeSwap(v.swapFile()); err != nil {
			return nil, err
		}
		p, err := v.restore(ctx, v.snapshot)
		if err != nil {
			return nil, err
		}
		if silent = firstAnswer(p); silent == nil {
			return p, nil
		}
		if err := errors.Join(p.kill(), ctx.Err()); err != nil {
			return nil, err
		}
		v.o.Log(fmt.Sprintf("a copy of %s does not answer, and another is made: %v", v.o.Kernel.Release, silent))
	}
	return nil, silent
}

// firstAnswer sets a guest's clock and reads its answer, and not a byte more.
func firstAnswer(p *process) error {
	const id = -1
	line, err := json.Marshal(wire.Request{ID: id, WallNS: time.Now().UnixNano(), Clock: true})
	if err != nil {
		return err
	}
	if err := p.channel.SetDeadline(time.Now().Add(answerWait)); err != nil {
		return err
	}
	if _, err := p.channel.Write(append(line, '\n')); err != nil {
		return err
	}
	var answer []byte
	for one := make([]byte, 1); one[0] != '\n'; {
		if _, err := p.channel.Read(one); err != nil {
			return fmt.Errorf("waiting for its first answer: %w", err)
		}
		answer = append(answer, one[0])
	}
	var m wire.Message
	if err := json.Unmarshal(bytes.Trim(answer, "\x00\r\n "), &m); err != nil || m.ID != id || !m.Done {
		return fmt.Errorf("its first answer is %.200q", answer)
	}
	return p.channel.SetDeadline(time.Time{})
}

// makeSwap makes an empty disk of the wanted size, which takes no room until the
// guest writes to it.
func (v *VM) makeSwap(name string) error {
	if v.o.SwapDisk == 0 {
		return nil
	}
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		return cache.Hint(err)
	}
	return os.Truncate(name, int64(v.o.SwapDisk))
}

// Artifacts implements target.Target: the console of the last Do, and that of
// the boot if there was one.
func (v *VM) Artifacts() map[string]string { return v.consoles }

// drop closes the snapshot. The next guest loads it from the cache again.
func (v *VM) drop() error {
	s := v.snapshot
	if s == nil {
		return nil
	}
	v.snapshot = nil
	return s.entry.Close()
}

// Close implements target.Target.
func (v *VM) Close() error {
	err := v.drop()
	if v.ownDir {
		err = errors.Join(err, os.RemoveAll(v.runDir))
	}
	return err
}
