package probe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/kernel"
)

// answers, in the three ways a question about a machine can be answered.
func yes(why string) kernel.Answer    { return kernel.Answer{Is: "yes", Why: why} }
func no(why string) kernel.Answer     { return kernel.Answer{Is: "no", Why: why} }
func unsure(why string) kernel.Answer { return kernel.Answer{Is: "unsure", Why: why} }

func (r Root) abilities(m kernel.Machine, c Cgroup, o Options) map[kernel.Ability]kernel.Answer {
	a := map[kernel.Ability]kernel.Answer{
		kernel.AbilityRoot:     r.root(),
		kernel.AbilityMemcg:    yes(""),
		kernel.AbilityOOMGroup: cgroupFile(m, c.Group, "memory.oom.group", "since 4.19"),
		kernel.AbilityMemoryHigh: cgroupFile(m, c.High, "memory.high",
			"is it not enabled in the parent's cgroup.subtree_control?"),
		kernel.AbilitySwap:        r.swap(m),
		kernel.AbilityNegativeAdj: r.negativeAdj(),
		kernel.AbilityKmsg:        r.opens("/dev/kmsg", os.O_RDONLY|unix.O_NONBLOCK),
		kernel.AbilitySysrq:       r.opens("/proc/sysrq-trigger", os.O_WRONLY),
		kernel.AbilityHostOOM:     no("this machine is not to run out of memory as a whole"),
		kernel.AbilityBTF:         r.opens("/sys/kernel/btf/vmlinux", os.O_RDONLY),
		kernel.AbilityTracepoints: tier(o, 1),
		kernel.AbilityKprobes:     tier(o, 3),
		kernel.AbilityFreeze:      r.freeze(m, c),

		kernel.AbilityProcessEvents: unsure("it was not tried"),
	}
	if errors.Is(o.CgroupErr, ErrUnfinished) {
		a[kernel.AbilityMemcg] = unsure(o.CgroupErr.Error())
	} else if o.CgroupErr != nil {
		a[kernel.AbilityMemcg] = no(o.CgroupErr.Error())
	} else if o.Cgroup == nil {
		a[kernel.AbilityMemcg] = unsure("no cgroup was made to try it")
	}
	if o.NegativeAdj != nil {
		a[kernel.AbilityNegativeAdj] = *o.NegativeAdj
	}
	if o.HostOOM {
		a[kernel.AbilityHostOOM] = yes("")
	}
	return a
}

func cgroupFile(m kernel.Machine, there bool, file, hint string) kernel.Answer {
	switch {
	case there:
		return yes("")
	case m.Cgroup.Version == 1:
		return no("cgroup v1 has no " + file)
	case m.Cgroup.Version == 2 && m.Cgroup.Self == "/":
		return unsure("the root cgroup does not show whether its children have " + file)
	}
	return no("there is no " + file + "; " + hint)
}

// Capabilities by their numbers in include/uapi/linux/capability.h.
const (
	capDACOverride = 1
	capKill        = 5
	capSysAdmin    = 21
	capSysResource = 24
)

// effective reads the caller's effective capabilities. They are bits of
// /proc/self/status that no parser of package kernel needs otherwise.
func (r Root) effective() (uint64, error) {
	text, err := r.Text("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		}
	}
	return 0, fmt.Errorf("%s has no CapEff line", r.Path("/proc/self/status"))
}

// mappedUsers reports whether the caller is in a user namespace of its own,
// where capabilities say little: the kernel asks for them in the initial one.
func (r Root) mappedUsers() bool {
	text, err := r.Text("/proc/self/uid_map")
	return err == nil && !slices.Equal(strings.Fields(text), []string{"0", "0", "4294967295"})
}

func (r Root) root() kernel.Answer {
	caps, err := r.effective()
	if err != nil {
		return unsure(err.Error())
	}
	if r.mappedUsers() {
		return no("root in a user namespace only")
	}
	var lacks []string
	for _, c := range []struct {
		bit  int
		name string
	}{{capDACOverride, "CAP_DAC_OVERRIDE"}, {capKill, "CAP_KILL"}, {capSysAdmin, "CAP_SYS_ADMIN"}} {
		if caps&(1<<c.bit) == 0 {
			lacks = append(lacks, c.name)
		}
	}
	if len(lacks) > 0 {
		return no("not root: lacks " + strings.Join(lacks, ", "))
	}
	return yes("")
}

func (r Root) negativeAdj() kernel.Answer {
	caps, err := r.effective()
	switch {
	case err != nil:
		return unsure(err.Error())
	case caps&(1<<capSysResource) == 0:
		return no("lacks CAP_SYS_RESOURCE")
	case r.mappedUsers():
		return no("CAP_SYS_RESOURCE in a user namespace only")
	}
	return yes("")
}

func (r Root) swap(m kernel.Machine) kernel.Answer {
	if m.SwapTotal > 0 {
		return yes(m.SwapTotal.Human() + " is on")
	}
	if !r.Has("/proc/swaps") {
		return no("this kernel has no swap")
	}
	if device, ok := r.BootParameter("oomlab.swap"); ok {
		if !r.Has(device) {
			return no("there is no " + device + ": the kernel has no virtio_pci or no virtio_blk")
		}
		return yes(device + " can be switched on")
	}
	if r.Has("/sys/block/zram0") {
		return yes("zram can be switched on")
	}
	return unsure("none is on; whether a swap file can be made depends on the file system")
}

// opens answers by opening the file and nothing else.
func (r Root) opens(path string, flags int) kernel.Answer {
	f, err := os.OpenFile(r.Path(path), flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return no(err.Error())
	}
	f.Close()
	return yes("")
}

func (r Root) freeze(m kernel.Machine, c Cgroup) kernel.Answer {
	switch {
	case c.Freeze:
		return yes("cgroup.freeze")
	case m.Cgroup.Version == 1:
		dir, err := r.HierarchyV1("freezer")
		if err != nil {
			return no(err.Error())
		}
		if info, err := os.Stat(filepath.Clean(dir)); err != nil || !info.IsDir() {
			return unsure("the freezer's " + dir + " cannot be looked at")
		}
		return yes("cgroup v1 freezer")
	}
	return cgroupFile(m, false, "cgroup.freeze", "since 5.2")
}

// tier answers whether eBPF got as far as needed, and if not, which hooks
// failed and why.
func tier(o Options, needed int) kernel.Answer {
	if o.Hooks == nil {
		return unsure("eBPF was not tried")
	}
	if o.Tier >= needed {
		return yes(fmt.Sprintf("tier %d", o.Tier))
	}
	var why []string
	for hook, how := range o.Hooks {
		if reason, failed := strings.CutPrefix(how, "no: "); failed || o.Tier == 0 {
			first, _, _ := strings.Cut(reason, "\n")
			why = append(why, hook+": "+first)
		}
	}
	slices.Sort(why)
	return no(fmt.Sprintf("tier %d; %s", o.Tier, strings.Join(why, "; ")))
}
