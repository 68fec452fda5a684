//go:build !notlinux

package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/host"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/payload"
	"github.com/oomlab/oomlab/harness/probe"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target/kube"
	"github.com/oomlab/oomlab/harness/target/vm"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
)

// Checkup is what this machine can run, and what it lacks.
type Checkup struct {
	Machine kernel.Machine `json:"machine"`
	EBPF    evidence.Tier  `json:"ebpf"`
	Local   Finding        `json:"local"` // can anything run here
	VM      Finding        `json:"vm"`    // can anything run in a VM
	// What a VM needs.
	QEMU        Finding          `json:"qemu"`
	Accelerator Finding          `json:"accelerator"`
	Kernels     []kernels.Kernel `json:"kernels"` // cached
	Disk        Finding          `json:"disk"`
	// Clusters are the ways to one, for scenarios with pods.
	Clusters []kube.Way `json:"clusters"`
}

// Finding is a three-valued answer and the way out.
type Finding struct {
	kernel.Answer
	Hint string `json:"hint,omitempty"`
}

func found(is, why, hint string) Finding { return Finding{kernel.Answer{Is: is, Why: why}, hint} }

// Hints say how a machine gets an ability that it lacks.
var Hints = map[kernel.Ability]string{
	kernel.AbilityRoot:        "run oomlab as root, or use --target vm",
	kernel.AbilityMemcg:       "run it as systemd-run --scope -p Delegate=yes oomlab ..., or use --target vm",
	kernel.AbilityOOMGroup:    "use --target vm, which has cgroup v2",
	kernel.AbilityMemoryHigh:  "use --target vm, which has cgroup v2",
	kernel.AbilitySwap:        "use --target vm",
	kernel.AbilityNegativeAdj: "grant CAP_SYS_RESOURCE, or use --target vm",
	kernel.AbilityKmsg:        "grant CAP_SYSLOG, or set sysctl kernel.dmesg_restrict=0",
	kernel.AbilitySysrq:       "use --target vm",
	kernel.AbilityHostOOM:     "use --target vm; --allow-host-oom is for machines that may be lost",
	kernel.AbilityBTF:         "boot a kernel built with CONFIG_DEBUG_INFO_BTF, or use --target vm",
	kernel.AbilityTracepoints: "grant CAP_BPF and CAP_PERFMON, or use --target vm",
	kernel.AbilityKprobes: "grant CAP_PERFMON; a kernel without CONFIG_KPROBES shows victims only; " +
		"--target vm shows all",
	kernel.AbilityFreeze:        "use --target vm",
	kernel.AbilityProcessEvents: "grant CAP_NET_ADMIN outside of a container, or use --target vm",
}

// Examine looks at this machine: what can run on it, and what it lacks. log is told
// what takes time.
func Examine(ctx context.Context, log func(string)) (Checkup, error) {
	var c Checkup
	if err := c.here(ctx); err != nil {
		return c, err
	}
	if err := c.machines(ctx, log); err != nil {
		return c, err
	}
	c.Clusters = kube.Ways()
	if _, _, err := payload.Load(); err != nil {
		why, hint, _ := strings.Cut(err.Error(), "; ")
		c.Local, c.VM = found("no", why, hint), found("no", why, hint)
	}
	return c, nil
}

// here looks at this machine as the target local. What it cannot learn by
// doing it reads.
func (c *Checkup) here(ctx context.Context) error {
	why := func(err error) error {
		m, probeErr := probe.Machine(ctx, "/", probe.Options{})
		if probeErr != nil {
			return errors.Join(err, probeErr)
		}
		c.Machine, c.Local = m, found("no", err.Error(), "")
		return nil
	}
	l, err := Open(Options{Target: scenario.Local})
	if err != nil {
		return why(err)
	}
	defer l.Close()
	hello, err := l.hello(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return why(err)
	}
	c.Machine, c.EBPF, c.Local = hello.Machine, hello.Tier, found("yes", "", "")
	for _, needed := range []kernel.Ability{kernel.AbilityRoot, kernel.AbilityMemcg} {
		if answer := c.Machine.Abilities[needed]; !answer.Yes() {
			c.Local = found("no", fmt.Sprintf("needs %s: %s", needed, answer.Why), Hints[needed])
		}
	}
	return nil
}

// hello says what this machine is as the target local, and how much of it can
// be watched. The error is why nothing can run on it.
func (l *Lab) hello(ctx context.Context) (wire.Hello, error) {
	l.localMu.Lock()
	defer l.localMu.Unlock()
	t, err := l.openLocal(ctx)
	if err != nil {
		return wire.Hello{}, err
	}
	return t.Hello(ctx)
}

// machines looks at what VMs need.
func (c *Checkup) machines(ctx context.Context, log func(string)) error {
	root, err := cache.Root()
	if err != nil {
		return err
	}
	version, err := qemuVersion(ctx)
	if err != nil {
		_, pkg := vm.Emulator(runtime.GOARCH)
		c.QEMU = found("no", err.Error(), "install the package "+pkg)
	} else {
		c.QEMU = found("yes", version, "")
	}
	c.Accelerator = accelerator(root)
	c.Disk = disk(root)
	if c.Kernels, err = kernels.List(kernels.Options{Progress: log}); err != nil {
		return err
	}
	switch {
	case c.QEMU.Is != "yes":
		c.VM = found("no", "there is no QEMU", c.QEMU.Hint)
	case len(c.Kernels) == 0:
		c.VM = found("unsure", "no kernel is cached",
			"oomlab kernels fetch 6.12 gets one; oomlab run does it by itself")
	default:
		c.VM = found("yes", "", "")
	}
	return nil
}

func qemuVersion(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	qemu, _ := vm.Emulator(runtime.GOARCH)
	out, err := exec.CommandContext(ctx, qemu, "--version").Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("there is no %s in PATH", qemu)
	}
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", qemu, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line, nil
}

// accelerator says what is known of it without a trial.
func accelerator(root string) Finding {
	const slow = "VMs run, about ten times slower than with KVM"
	switch accel, why := vm.KnownAccel(root); accel {
	case vm.KVM:
		return found("yes", "kvm: "+why, "")
	case vm.TCG:
		return found("no", "tcg (software emulation): "+why, slow)
	default:
		return found("unsure", why, "")
	}
}

// room is what a few kernels and snapshots take.
const room = 4 * kernel.GiB

func disk(dir string) Finding {
	at := dir
	for {
		bytes, err := host.Free(at)
		if err == nil {
			free := kernel.Bytes(bytes)
			why := fmt.Sprintf("%s free for %s", free.Human(), dir)
			if free < room {
				return found("unsure", why,
					fmt.Sprintf("kernels and snapshots take up to %s; OOMLAB_CACHE puts them elsewhere", room))
			}
			return found("yes", why, "")
		}
		if at == filepath.Dir(at) || !errors.Is(err, fs.ErrNotExist) {
			return found("unsure", err.Error(), "")
		}
		at = filepath.Dir(at) // the cache may not be there yet
	}
}
