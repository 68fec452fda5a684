package verdict

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/predict"
)

// MachineDiffers: what run.json says of the machine or of the run contradicts itself, or
// what others have told.
const MachineDiffers Kind = "machine-differs"

// hookForm is how a hook is said to be attached, or why it is not.
var hookForm = regexp.MustCompile(`^(kprobe|kretprobe|raw tracepoint|tracepoint|per-CPU sums$|` +
	`the same as the batched ones: |attached: .|not attached: .|no\b|paper$)`)

// hookOf are the hooks without which there are no events of a kind.
var hookOf = map[evidence.Kind]string{
	evidence.OutOfMemory: "out_of_memory", evidence.OOMReturn: "out_of_memory return",
	evidence.KillDecision: "oom_kill_process", evidence.Kill: "__oom_kill_process",
	evidence.MarkVictim: "mark_victim", evidence.TaskExit: "sched_process_exit",
}

// machine holds run.json against itself, the plan, and the witnesses.
func (a *account) machine(found *findings) {
	m := a.in.Machine
	bad := func(format string, args ...any) { found.add(MachineDiffers, "run.json: "+format, args...) }
	if m.PageSize <= 0 || m.PageSize&(m.PageSize-1) != 0 || m.CPUs < 1 || m.Nodes < 1 || m.WatermarkMin < 0 {
		bad("a machine of %d processors and %d nodes with pages of %d bytes, watermark %d", m.CPUs, m.Nodes, m.PageSize,
			m.WatermarkMin)
	}
	for _, of := range [][2]kernel.Bytes{
		{m.MemFree, m.MemTotal}, {m.MemAvailable, m.MemTotal}, {m.SwapFree, m.SwapTotal},
	} {
		if of[0] < 0 || of[0] > of[1] || of[0]%kernel.KiB != 0 || of[1]%kernel.KiB != 0 {
			bad("%d bytes are free of %d", of[0], of[1])
		}
	}
	if lists := m.FreePCP.Bytes(m.PageSize); lists < 0 || m.MemFree+lists > m.MemTotal {
		bad("%d bytes are free, and %d on lists of the processors, of %d", m.MemFree, lists, m.MemTotal)
	}
	a.numa(bad)
	if !slices.Contains([]string{"", "always", "madvise", "never"}, m.THP) ||
		!slices.Contains([]string{"x86_64", "aarch64"}, m.Arch) ||
		!slices.Contains([]kernel.BadnessReads{"", kernel.ReadsExact, kernel.ReadsCPUBatched,
			kernel.ReadsThreadBatched},
			m.Badness) || m.Boot != "" && !uuid.MatchString(m.Boot) {
		bad("huge pages %q, %q, counters %q, boot %q: one of these there is not", m.THP, m.Arch, m.Badness, m.Boot)
	}
	for _, d := range a.bpf().decisions {
		all := a.in.sysctl("vm.panic_on_oom")
		if d.control != nil && d.control.Constraint == "none" && all != "" && all != "0" && a.over() &&
			len(a.in.Plan.During) == 0 && d.control.Order != -1 {
			bad("vm.panic_on_oom is %s, and the machine survived decision %d", all, d.number)
		}
	}
	for _, r := range a.kmsg().reports {
		if a.in.sysctl("vm.oom_dump_tasks") == "0" && len(r.Tasks) > 0 && len(a.in.Plan.During) == 0 {
			bad("vm.oom_dump_tasks is 0, and the report of %s has a table", r.At)
		}
	}
	if m.Version == "" || m.Release == "" {
		bad("it does not say which kernel runs")
	}
	if a.in.Plan.CgroupVersion != m.Cgroup.Version {
		bad("cgroup v%d, and the plan is for v%d", m.Cgroup.Version, a.in.Plan.CgroupVersion)
	}
	if name := a.in.Meta.Manifest; name != "" && name != ManifestFile {
		bad("its manifest is called %q", name)
	}
	if len(a.in.Meta.Skip) > 0 {
		bad("nothing was started, it says: %s", a.in.Meta.Skip[0])
	}
	a.abilities(bad)
	a.hooks(found)
	a.durations(bad)
}

// numa: the nodes make up the machine.
func (a *account) numa(bad func(string, ...any)) {
	m := a.in.Machine
	if len(m.NUMA) == 0 {
		return
	}
	var managed, least kernel.Pages
	for i, n := range m.NUMA {
		if n.Free < 0 || n.Free > n.Managed || n.Managed > n.Present || n.Min < 0 ||
			i > 0 && n.Node <= m.NUMA[i-1].Node {
			bad("node %d has %d pages free of %d, %d of them managed, watermark %d", n.Node, n.Free, n.Present,
				n.Managed, n.Min)
		}
		managed, least = managed+n.Managed, least+n.Min
	}
	if len(m.NUMA) != m.Nodes || managed.Bytes(m.PageSize) != m.MemTotal || least > m.WatermarkMin {
		bad("%d nodes with %d pages and watermarks of %d, and the machine has %d nodes with %d bytes and %d", len(m.NUMA),
			managed, least, m.Nodes, m.MemTotal, m.WatermarkMin)
	}
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// abilities are answers, and what they say of the observers is what those reached.
func (a *account) abilities(bad func(string, ...any)) {
	tier := a.bpf().tier()
	for name, answer := range a.in.Machine.Abilities {
		least := map[kernel.Ability]int{kernel.AbilityTracepoints: 1, kernel.AbilityKprobes: 3}[name]
		switch {
		case !slices.Contains([]string{"yes", "no", "unsure"}, answer.Is):
			bad("%s is %q, which is no answer", name, answer.Is)
		case least > 0 && answer.Is != "unsure" && answer.Yes() != (tier >= least),
			least > 0 && answer.Yes() && answer.Why != fmt.Sprintf("tier %d", tier):
			bad("%s: %s, %q; eBPF reached tier %d", name, answer.Is, answer.Why, tier)
		case name == kernel.AbilityKmsg && answer.Is == "no" && len(a.kmsg().heard) > 0,
			name == kernel.AbilityMemcg && answer.Is == "no" && len(a.in.Plan.Cgroups) > 0 && a.in.Plan.On == nil:
			bad("%s: no, and it was used", name)
		}
	}
}

// hooks: what is told was told by a hook that is attached.
func (a *account) hooks(found *findings) {
	for hook, how := range a.in.Tier.Hooks {
		if hook != "eBPF" && !hookForm.MatchString(how) { // which has the words of an error
			found.add(BPFDiffers, "hook %s is attached as %q", hook, how)
		}
	}
	for _, e := range a.bpf().events {
		hook := hookOf[e.Kind]
		if e.Kind == evidence.Badness {
			hook = "oom_badness return"
			if e.OOM.Points == nil {
				hook = "oom_evaluate_task"
			}
		}
		if hook != "" && !a.bpf().attached(hook) {
			found.add(BPFIncomplete, "an event of %s, and hook %s is %q", e.Kind, hook, a.in.Tier.Hooks[hook])
		}
	}
}

// durations: the parts of a run make up all of it, and the target's clock runs as long. A
// guest's clock is another: it goes on while its host is suspended.
func (a *account) durations(bad func(string, ...any)) {
	meta := a.in.Meta
	if meta.Error != "" || !a.agent().ended {
		return
	}
	sum := int64(0)
	for part, ms := range meta.Timings {
		if ms < 0 {
			bad("the %s took %d ms", part, ms)
		}
		if part != "total" {
			sum += ms
		}
	}
	if total := meta.Timings["total"]; total != meta.DurationMS || sum > total {
		bad("the run took %d ms, by its timings %d, and by their parts %d", meta.DurationMS, total, sum)
	}
	for _, part := range []string{"machine", "plan", "run"} {
		if _, ok := meta.Timings[part]; !ok && meta.Model == predict.Model {
			bad("nobody knows how long %q took", part)
		}
	}
	lasted := (a.agent().end - a.agent().begin) / 1_000_000
	ran := meta.Timings["run"]
	ahead := ran / 10
	if meta.Target != "local" {
		ahead = ran
	}
	if meta.Model == predict.Model && lasted > ran+ahead+1000 {
		bad("the run took %d ms, and %d on its machine", ran, lasted)
	}
}
