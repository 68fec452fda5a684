package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/oomlab/oomlab/harness/kernel"
)

// ErrUnfinished is wrapped by an error that is no answer: what was tried did
// not come to an end.
var ErrUnfinished = errors.New("unfinished")

// Options are what cannot be read and was found out by doing.
type Options struct {
	// Cgroup is what a freshly made memory cgroup offers; nil when none could
	// be made, and CgroupErr says why. Where it wraps ErrUnfinished, another
	// attempt may show something else.
	Cgroup    *Cgroup
	CgroupErr error
	// NegativeAdj: what happened when a child's oom_score_adj was lowered; nil:
	// not tried, then the capabilities tell.
	NegativeAdj *kernel.Answer
	// Tier is how far eBPF got (see evidence.Tier), Hooks how each hook fared.
	Tier  int
	Hooks map[string]string
	// HostOOM: this machine may run out of memory as a whole.
	HostOOM bool
	// Badness and Stressor were measured by the caller; empty: unknown, and
	// Badness is then concluded from what can be read.
	Badness  kernel.BadnessReads
	Stressor kernel.Footprint
}

// sysctls that change what the OOM killer does, or when it is invoked.
var sysctls = []string{
	"kernel.panic", "kernel.panic_on_oops", "kernel.randomize_va_space", "kernel.sysrq",
	"vm.admin_reserve_kbytes", "vm.min_free_kbytes", "vm.oom_dump_tasks", "vm.oom_kill_allocating_task",
	"vm.overcommit_kbytes", "vm.overcommit_memory", "vm.overcommit_ratio", "vm.panic_on_oom", "vm.swappiness",
	"vm.user_reserve_kbytes", "vm.watermark_scale_factor",
}

// Machine reads a machine. A file that every machine has and that cannot be
// read is an error; what is optional is left out, and abilities say what that
// costs. A machine without a memory controller has Cgroup.Version 0.
func Machine(ctx context.Context, r Root, o Options) (kernel.Machine, error) {
	m := kernel.Machine{PageSize: kernel.Bytes(os.Getpagesize()), Sysctls: map[string]string{}}
	var errs []error
	text := func(path string) string {
		v, err := r.Text(path)
		errs = append(errs, err)
		return v
	}
	m.Release = text("/proc/sys/kernel/osrelease")
	m.Version = text("/proc/sys/kernel/version")
	m.Arch = r.arch()
	m.Boot, _ = r.Text("/proc/sys/kernel/random/boot_id") // absent from recordings
	m.Namespaces = r.Namespaces()
	cpus, err := countList(text("/sys/devices/system/cpu/online"))
	errs = append(errs, err)
	m.CPUs = cpus
	if err := r.Memory(&m); err != nil {
		errs = append(errs, err)
	}
	if errors.Join(errs...) != nil {
		return m, fmt.Errorf("probe: %w", errors.Join(errs...))
	}
	for _, key := range sysctls {
		if v, err := r.Sysctl(key); err == nil { // not every kernel has all
			m.Sysctls[key] = v
		}
	}
	m.THP = chosen(r, "/sys/kernel/mm/transparent_hugepage/enabled")
	m.Preempt = r.preempt(m.Version)
	var mountErr error
	m.Cgroup, mountErr = r.CgroupMount()
	if o.CgroupErr == nil {
		o.CgroupErr = mountErr
	}
	files := r.CgroupFiles(m.Cgroup.Root + "/" + m.Cgroup.Self)
	if o.Cgroup != nil {
		files = *o.Cgroup
	}
	files.apply(&m.Cgroup)
	m.Stressor, m.Badness = o.Stressor, o.Badness
	if m.Badness == "" {
		if m.Badness, err = r.ConcludeBadness(m.Release); err != nil {
			return m, fmt.Errorf("probe: %w", err)
		}
	}
	if m.Others, err = r.Others(ctx, m); err != nil {
		return m, fmt.Errorf("probe: %w", err)
	}
	m.OOMHandler = o.Hooks[kernel.OOMHandlerHook]
	m.Abilities = r.abilities(m, files, o)
	return m, nil
}

// initial are the numbers of the initial namespaces: include/linux/proc_ns.h, and
// include/uapi/linux/nsfs.h since 6.18.
var initial = []struct {
	name   string
	number uint64
}{{kernel.PIDNamespace, 0xEFFFFFFC}, {kernel.CgroupNamespace, 0xEFFFFFFB}}

// Namespaces are those of the first process that are not the initial ones. Who may
// not know is taken to be in the initial ones.
func (r Root) Namespaces() []string {
	var out []string
	for _, n := range initial {
		info, err := os.Stat(r.Path("/proc/1/ns", n.name))
		if err != nil {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Ino != n.number {
			out = append(out, n.name)
		}
	}
	return out
}

// Memory reads how much memory the machine has and has left into m.
func (r Root) Memory(m *kernel.Machine) error {
	info, err := r.Meminfo()
	if err != nil {
		return err
	}
	zones, err := r.Zoneinfo()
	if err != nil {
		return err
	}
	m.MemTotal, m.MemFree, m.SwapTotal, m.SwapFree = info.MemTotal, info.MemFree, info.SwapTotal, info.SwapFree
	if info.MemAvailable != nil {
		m.MemAvailable = *info.MemAvailable
	}
	if info.CommittedAS != nil {
		m.CommittedAS = *info.CommittedAS
	}
	m.WatermarkMin, m.FreePCP, m.Nodes = zones.Min, zones.FreePCP, zones.Nodes
	if m.Nodes > 1 {
		m.NUMA = zones.Memory()
	}
	m.HugePage, m.HugePages = info.Sizes["Hugepagesize"], int64(info.Counts["HugePages_Total"])
	return nil
}

// preempt is the kernel's model of preemption, with the names that
// sched_dynamic_show() in kernel/sched/debug.c gives them. Where it is not chosen
// at boot (before 5.12) or debugfs is not mounted, uname -v tells what was built:
// without the word the kernel is not preempted, and "voluntary" stands for "none"
// too.
func (r Root) preempt(version string) string {
	text, err := r.Text("/sys/kernel/debug/sched/preempt")
	if err == nil {
		_, text, _ = strings.Cut(text, "(")
		model, _, _ := strings.Cut(text, ")")
		return model
	}
	switch {
	case strings.Contains(version, "PREEMPT_DYNAMIC"):
		return ""
	case strings.Contains(version, "PREEMPT"):
		return "full"
	}
	return "voluntary"
}

// arch is the machine's architecture as uname -m says it. The kernel shows it
// below /proc since 6.1; an older one runs on what this binary was built for.
func (r Root) arch() string {
	if arch, err := r.Text("/proc/sys/kernel/arch"); err == nil {
		return arch
	}
	switch runtime.GOARCH {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return runtime.GOARCH
}

// countList counts the members of a list such as "0-3,8".
func countList(list string) (int, error) {
	ranges, ok := kernel.ParseRanges(list)
	if !ok {
		return 0, fmt.Errorf("%q is not a list of CPUs such as 0-3,8", list)
	}
	n := 0
	for _, r := range ranges {
		n += r.Last - r.First + 1
	}
	return n, nil
}

// chosen is the word in brackets of a file such as "always [madvise] never";
// empty when there is none.
func chosen(r Root, path string) string {
	text, err := r.Text(path)
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(text, "[")
	word, _, _ := strings.Cut(rest, "]")
	return word
}

// Others lists the processes that a host-wide OOM could choose, in the order
// in which the kernel visits them: oldest first (for_each_process follows the
// list of forks). Those it never chooses are left out: global init, kernel
// threads, and what has oom_score_adj -1000.
func (r Root) Others(ctx context.Context, m kernel.Machine) ([]kernel.Candidate, error) {
	entries, err := os.ReadDir(r.Path("/proc"))
	if err != nil {
		return nil, err
	}
	type aged struct {
		kernel.Candidate
		start uint64
	}
	var all []aged
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == 1 {
			continue
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		// A process that ends while it is read is not a candidate.
		stat, err1 := r.Stat(pid)
		status, err2 := r.Status(pid)
		adj, err3 := r.OOMScoreAdj(pid)
		if err1 != nil || err2 != nil || err3 != nil || status.VmRSS == nil || adj == -1000 {
			continue
		}
		c := kernel.Candidate{PID: pid, Comm: stat.Comm, RSS: stat.RSS, Adj: adj}
		if m.Badness == kernel.ReadsExact {
			c.RSS = status.VmRSS.Pages(m.PageSize)
		}
		if status.VmSwap != nil {
			c.Swap = status.VmSwap.Pages(m.PageSize)
		}
		if status.VmPTE != nil {
			c.PgTables = *status.VmPTE
		}
		all = append(all, aged{c, stat.StartTime})
	}
	slices.SortStableFunc(all, func(a, b aged) int {
		if a.start != b.start {
			if a.start < b.start {
				return -1
			}
			return 1
		}
		return a.PID - b.PID
	})
	out := make([]kernel.Candidate, len(all))
	for i, c := range all {
		out[i] = c.Candidate
	}
	return out, nil
}
