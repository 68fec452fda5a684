package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/lab"
	"github.com/oomlab/oomlab/harness/probe"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target/vm/cache"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
)

// checkup is what doctor finds.
type checkup struct {
	Machine kernel.Machine `json:"machine"`
	EBPF    evidence.Tier  `json:"ebpf"`
	Local   finding        `json:"local"` // can anything run here
	VM      finding        `json:"vm"`    // can anything run in a VM
	// What a VM needs.
	QEMU        finding          `json:"qemu"`
	Accelerator finding          `json:"accelerator"`
	Kernels     []kernels.Kernel `json:"kernels"` // cached
	Disk        finding          `json:"disk"`
}

// finding is a three-valued answer and the way out.
type finding struct {
	kernel.Answer
	Hint string `json:"hint,omitempty"`
}

func found(is, why, hint string) finding { return finding{kernel.Answer{Is: is, Why: why}, hint} }

// hints say how a machine gets an ability that it lacks.
var hints = map[kernel.Ability]string{
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
	kernel.AbilityKprobes:     "grant CAP_PERFMON; a kernel without CONFIG_KPROBES shows victims only; --target vm shows all",
	kernel.AbilityFreeze:      "use --target vm",
}

func (a *app) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "say what this machine can run, and what it lacks",
		Long: `Say what this machine can run, and what it lacks. Every ability is answered yes,
no or unsure, the last two with the reason and a hint. What can only be learnt
by doing is done in a cgroup that is removed again.

The exit status is 4 if nothing at all can run.`,
		Args: wants(0, 0, ""),
	}
	format := output(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.examine(cmd.Context())
		if err != nil {
			return err
		}
		if format.value == "json" {
			err = json.NewEncoder(a.out).Encode(c)
		} else {
			err = c.print(a)
		}
		if err != nil {
			return err
		}
		if c.Local.Is == "no" && c.VM.Is == "no" {
			return status(exitSkip)
		}
		return nil
	}
	return cmd
}

func (a *app) examine(ctx context.Context) (checkup, error) {
	var c checkup
	if err := c.here(ctx); err != nil {
		return c, err
	}
	if err := c.machines(ctx, a); err != nil {
		return c, err
	}
	return c, nil
}

// here looks at this machine as the target local. What it cannot learn by
// doing it reads.
func (c *checkup) here(ctx context.Context) error {
	why := func(err error) error {
		m, probeErr := probe.Machine(ctx, "/", probe.Options{})
		if probeErr != nil {
			return errors.Join(err, probeErr)
		}
		c.Machine, c.Local = m, found("no", err.Error(), "")
		return nil
	}
	l, err := lab.Open(lab.Options{Target: scenario.Local})
	if err != nil {
		return why(err)
	}
	defer l.Close()
	hello, err := l.Here(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return why(err)
	}
	c.Machine, c.EBPF, c.Local = hello.Machine, hello.Tier, found("yes", "", "")
	for _, needed := range []kernel.Ability{kernel.AbilityRoot, kernel.AbilityMemcg} {
		if answer := c.Machine.Abilities[needed]; !answer.Yes() {
			c.Local = found("no", fmt.Sprintf("needs %s: %s", needed, answer.Why), hints[needed])
		}
	}
	return nil
}

const qemu = "qemu-system-x86_64"

// machines looks at what VMs need.
func (c *checkup) machines(ctx context.Context, a *app) error {
	root, err := cache.Root()
	if err != nil {
		return err
	}
	version, err := qemuVersion(ctx)
	if err != nil {
		c.QEMU = found("no", err.Error(), "install the package qemu-system-x86")
	} else {
		c.QEMU = found("yes", version, "")
	}
	c.Accelerator = accelerator(root)
	c.Disk = disk(root)
	if c.Kernels, err = kernels.List(a.kernelOptions()); err != nil {
		return err
	}
	switch {
	case c.QEMU.Is != "yes":
		c.VM = found("no", "there is no QEMU", c.QEMU.Hint)
	case len(c.Kernels) == 0:
		c.VM = found("unsure", "no kernel is cached", "oomlab kernels fetch 6.12 gets one; oomlab run does it by itself")
	default:
		c.VM = found("yes", "", "")
	}
	return nil
}

func qemuVersion(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
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

// accelerator says what is known without trying: opening /dev/kvm can hang, so
// only the trial boot of a VM, which has a deadline, finds out. Its result is
// in accel.json (see package vm).
func accelerator(root string) finding {
	const device = "/dev/kvm"
	if _, err := os.Lstat(device); err != nil {
		return found("no", "tcg (software emulation): there is no "+device, "VMs run, about ten times slower than with KVM")
	}
	var trial struct{ Boot, Accel, Why string }
	data, err := os.ReadFile(filepath.Join(root, "accel.json"))
	boot, bootErr := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || bootErr != nil || json.Unmarshal(data, &trial) != nil || trial.Boot != strings.TrimSpace(string(boot)) {
		return found("unsure", device+" exists; the first VM finds out whether it works", "")
	}
	if trial.Accel == "kvm" {
		return found("yes", "kvm: "+trial.Why, "")
	}
	return found("no", "tcg (software emulation): "+trial.Why, "VMs run, about ten times slower than with KVM")
}

// room is what a few kernels and snapshots take.
const room = 4 * kernel.GiB

func disk(dir string) finding {
	at := dir
	for {
		var st unix.Statfs_t
		err := unix.Statfs(at, &st)
		if err == nil {
			free := kernel.Bytes(st.Bavail) * kernel.Bytes(st.Bsize)
			why := fmt.Sprintf("%s free for %s", free.Human(), dir)
			if free < room {
				return found("unsure", why, fmt.Sprintf("kernels and snapshots take up to %s; OOMLAB_CACHE puts them elsewhere", room))
			}
			return found("yes", why, "")
		}
		if at == filepath.Dir(at) || !errors.Is(err, unix.ENOENT) {
			return found("unsure", fmt.Sprintf("statfs %s: %v", at, err), "")
		}
		at = filepath.Dir(at) // the cache may not be there yet
	}
}

func (c checkup) print(a *app) error {
	m := c.Machine
	fmt.Fprintf(a.out, "machine      %s %s, %d CPUs, %s of memory, %s of swap, cgroup v%d\n",
		m.Release, m.Arch, m.CPUs, m.MemTotal.Human(), m.SwapTotal.Human(), m.Cgroup.Version)
	c.Local.print(a, "target local", 13)
	for _, ability := range slices.Sorted(maps.Keys(m.Abilities)) {
		f := finding{Answer: m.Abilities[ability]}
		if !f.Yes() {
			f.Hint = hints[ability]
		}
		if ability == kernel.AbilityKprobes || ability == kernel.AbilityTracepoints {
			f.Why, _, _ = strings.Cut(f.Why, ";") // the rest is below, hook by hook
		}
		f.print(a, "  "+string(ability), 17)
	}
	fmt.Fprintf(a.out, "ebpf         tier %d of 3\n", c.EBPF.Tier)
	for _, hook := range slices.Sorted(maps.Keys(c.EBPF.Hooks)) {
		fmt.Fprintf(a.out, "  %-24s %s\n", hook, oneLine(c.EBPF.Hooks[hook]))
	}
	c.VM.print(a, "target vm", 13)
	c.QEMU.print(a, "  qemu", 17)
	c.Accelerator.print(a, "  kvm", 17)
	c.Disk.print(a, "  disk", 17)
	var names []string
	for _, k := range c.Kernels {
		names = append(names, k.Version.String())
	}
	if len(names) == 0 {
		names = []string{"none is cached"}
	}
	_, err := fmt.Fprintf(a.out, "  %-14s %s\n", "kernels", strings.Join(names, ", "))
	return err
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "; ") }

// print shows a finding on a line, and the way out on another.
func (f finding) print(a *app, label string, width int) {
	fmt.Fprintf(a.out, "%-*s%s\n", width, label, strings.TrimSpace(fmt.Sprintf("%-7s %s", f.Is, oneLine(f.Why))))
	if f.Hint != "" && f.Is != "yes" {
		fmt.Fprintf(a.out, "%-*s%-7s hint: %s\n", width, "", "", f.Hint)
	}
}
