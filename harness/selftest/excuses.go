package selftest

import (
	"cmp"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/verdict"
)

// excuse is a kind of mutation that nothing else in a run directory can contradict.
type excuse struct {
	records string // source and kind of events, or a file, separated by commas; empty: any
	fields  string // their fields, separated by commas; "-": the record as a whole; * stands for any text
	ops     string // separated by commas; empty: every one
	// text is what the changed record of the kernel log was.
	text *regexp.Regexp
	when func(Mutation, verdict.Input) bool // only such mutations, or runs; nil: all
	// reason says why nothing contradicts it.
	reason string
}

// excuses are all excuses. A test holds that each row, with each of its fields, is
// needed, and that no other mutation passes.
var excuses = []excuse{
	{
		records: verdict.ScenarioFile + ", " + verdict.SamplesFile, fields: "-", ops: "truncate",
		reason: "a claim or a sample that is not there any more is not contradicted; the manifest tells that the file " +
			"was cut",
	},
	{
		fields: "at_ns, -", ops: "off by one, swap, move, everywhere", when: near,
		reason: "an event is between those that it depends on; no other clock tells when to some seconds",
	},
	{
		records: "agent alive, agent proc_read, agent ready", fields: "status*",
		when: func(m Mutation, _ verdict.Input) bool { return m.Field == "status.threads" || m.Op == opSwap },
		reason: "the runtime of a program starts threads when it needs some, and what else a process has beside what " +
			"its steps took nobody else tells, within bounds",
	},
	{
		records: "agent alive, agent proc_read, agent ready", fields: "status.rss_file", ops: "zero",
		reason: "the kernel takes back pages of files",
	},
	{
		records: "agent alive", fields: "status.rss_anon", ops: "zero",
		when: func(_ Mutation, in verdict.Input) bool {
			return in.Machine.SwapTotal > 0 || in.Plan.Swap != nil
		},
		reason: "all that a program has can be swapped out",
	},
	{
		records: "agent alive", fields: "status.rss_shmem", ops: "zero",
		when: func(m Mutation, in verdict.Input) bool {
			return in.Machine.SwapTotal > 0 || in.Plan.Swap != nil || in.Plan.On != nil || ofProgram(m, in)
		},
		reason: "what a program shares can be swapped out, or is in files on a node, and what one of the user's own " +
			"shares nobody else tells",
	},
	{
		records: "agent alive", fields: "status.rss_anon", ops: "zero",
		when: func(m Mutation, _ verdict.Input) bool {
			had, err := strconv.Atoi(m.Was)
			return err == nil && had < 1<<20
		},
		reason: "a program that was told to take nothing has next to nothing",
	},
	{
		records: "agent alive", fields: "status.rss_anon", ops: "zero",
		when:   func(m Mutation, in verdict.Input) bool { return !rests(in, m.Event) },
		reason: "of a process that is not done with its steps nobody tells how much it had at the end",
	},
	{
		records: "agent alive, agent proc_read, agent ready", fields: "status.rss_shmem", ops: "zero",
		when:   ofCommand,
		reason: "what a program of the user's own shares nobody else tells",
	},
	{
		records: "stressor step", when: ofCommand, fields: "-, text, at_ns",
		reason: "what a program of the user's own prints nobody else knows",
	},
	{
		records: "stressor step", fields: "-, pid", ops: "duplicate, swap", when: again,
		reason: "the log of a container that was started again has the steps of all its lives",
	},
	{
		records: "counters reading", fields: "counter.values.oom, counter.values.max", ops: "off by one, zero, swap",
		when: func(_ Mutation, in verdict.Input) bool {
			return len(in.Plan.Lasting()) < len(in.Plan.Cgroups)
		},
		reason: "of a cgroup that is made again with its unit nobody reads what it adds to those above",
	},
	{
		records: "agent ranked", fields: "-", ops: "drop",
		reason: "a ranking that is due while the machine is busy is not made",
	},
	{
		records: "agent ranked", fields: "ranking.from_ns, ranking.to_ns", ops: "off by one, everywhere", when: near,
		reason: "a ranking begins after the one before it; no other clock tells when to the nanosecond",
	},
	{
		records: "stressor ready, stressor step", fields: "-", ops: "drop",
		when: func(m Mutation, in verdict.Input) bool {
			return !alive(in, m.Event.PID) || !rests(in,
				later(m.Event))
		},
		reason: "a process that ended, or was not done, may not have got so far",
	},
	{
		records: "stressor ready", fields: "-", ops: "drop all",
		when: func(_ Mutation, in verdict.Input) bool {
			return !slices.ContainsFunc(in.Events, func(e evidence.Event) bool {
				return e.Kind == evidence.Ready && alive(in, e.PID)
			})
		},
		reason: "of processes that all ended none may have got so far",
	},
	{
		records: "stressor ready", fields: "held, held.overhead", ops: "swap",
		reason: "what a stressor has beside its memory it measures itself, and nobody else does",
	},
	{
		records: "wait exited", fields: "exit.max_rss", ops: "drop",
		reason: "the agent does not tell of one that had less than itself, and how much that is is not recorded",
	},
	{
		records: "wait exited", fields: "exit, exit.max_rss", ops: "swap",
		reason: "the most that a process ever had is between what it held and what its steps take; nobody else measures it",
	},
	{
		records: "wait exited", fields: "exit.by", ops: "swap",
		reason: "a process whose parent has ended is waited for by the agent",
	},
	{
		records: "counters reading",
		fields: "counter.values.pgmajfault, counter.values.pgscan_direct, counter.values.pgsteal_direct, " +
			"counter.values.pswpin, counter.values.pswpout, counter.values.workingset_refault_anon, " +
			"counter.values.workingset_refault_file",
		reason: "statistics of the whole machine, within bounds: the OOM killer does not read them, and nobody else counts",
	},
	{
		records: "counters reading", fields: "counter.values.failcnt, counter.values.high", ops: "off by one, swap",
		reason: "nobody else counts how often a charge failed, or was above memory.high",
	},
	{
		records: "counters reading", ops: "everywhere",
		fields: "counter.values.max, counter.values.high, counter.values.oom",
		reason: "how often a charge failed, and how often the OOM killer was called for it without a decision, " +
			"only counters above and below tell",
	},
	{
		records: "plan.json, prediction.json", fields: "*",
		when: func(_ Mutation, in verdict.Input) bool { return in.Meta.Model != predict.Model },
		reason: "an earlier model, which is not there any more, planned and predicted the run: today's comes to other " +
			"amounts",
	},
	{
		records: "run.json", fields: "command, command.[], target_because, seed, started, timeline",
		reason: "how, when and why somebody asked for the run nobody else tells",
	},
	{
		records: "run.json", fields: "machine.abilities, machine.abilities.*",
		reason: "an ability that the run does not need",
	},
	{
		records: "run.json",
		fields:  "m*, node.*", // machine, manifest, measured, model
		reason:  "plan, prediction and scores of the run do not depend on it: made again they come out the same",
	},
	{
		records: "run.json", fields: "tier.hooks.*",
		reason: "a hook that has told nothing in this run, or another word for how it is attached",
	},
	{
		records: "run.json", fields: "timings_ms.*, duration_ms, timings_ms",
		reason: "nobody else tells to the millisecond how long the parts took",
	},
	{
		records: "api container_status, api node_condition, api node_event, api pod_event, api pod_status", fields: "-",
		ops:    "drop",
		reason: "the API server passes on the last of several changes that come at once",
	},
	{
		records: "api pod_status, api node_condition", fields: "pod.node, condition.reason",
		ops: "swap, drop", when: ofOthers,
		reason: "what somebody else's cluster tells on the way: the last one is compared",
	},
	{
		records: "api node_event, api pod_event",
		fields: "happened.message, happened.reason, happened.type, happened.uid, happened.count, happened.first_at, " +
			"happened.last_at, happened.container, happened, process",
		reason: "what Events say for people, and how often, nobody else tells: SystemOOM and evictions are compared",
	},
	{
		records: "api container_status",
		fields:  "container.*",
		reason:  "of a container that was evicted or began again the last status counts: it is compared",
	},
	{
		records: "api node_condition", fields: "-, condition.*", ops: "swap, duplicate",
		reason: "an earlier state may come back, or be told late, and of which node it is a condition does not say",
	},
	{
		records: "kubelet kubelet_line", fields: "-, text", ops: "drop, misspell, off by one, swap, everywhere",
		reason: "what a kubelet writes of its work for people: OOMs and evictions are compared",
	},
	{
		records: "api pod_event, kubelet kubelet_line", fields: "-", ops: "drop all", when: ofOthers,
		reason: "on a cluster of somebody else Events may be refused, and the kubelet's log may be terse",
	},
	{
		records: "api pod_event, api node_event", fields: "happened.from", when: ofOthers,
		reason: "on a cluster of somebody else others make Events as well",
	},
	{
		records: "bpf oom_badness", fields: "oom.task.ns_tgid",
		when:   func(m Mutation, in verdict.Input) bool { return !planned(in, m.Event.OOM.Task.NSTGID) },
		reason: "which pid a stranger has in the namespace of a node nobody else tells",
	},
	{
		records: "wait exited", fields: "exit, exit.code", ops: "off by one, swap, zero",
		when: func(m Mutation, in verdict.Input) bool {
			_, ok := in.Plan.DescendantOf(m.Event.Process)
			return ok && m.Event.Exit != nil && m.Event.Exit.Signal == 0
		},
		reason: "with what code a process ends that a program has started nobody else tells",
	},
	{
		records: "runtime task_exit, runtime task_oom", fields: "-, text, exit.code",
		reason: "eBPF and the API server tell of the end, and of kills in the same container: the runtime may miss some",
	},
	{
		records: "sampler sample", fields: "-", ops: "drop",
		reason: "a sample that is due while the machine is busy is not taken",
	},
	{
		records: "sampler sample", fields: "-", ops: "drop all",
		when:   func(_ Mutation, in verdict.Input) bool { return !in.Meta.Timeline },
		reason: "a run may take no samples, as those of chaos; the manifest tells that the file was cut",
	},
	{
		records: "sampler sample", fields: "sample.load1, sample.psi_some, sample.psi_full",
		reason: "averages that nobody else computes, within bounds",
	},
	{
		records: "sampler sample", fields: "sample, sample.*", ops: "swap",
		reason: "what a process holds on the way from one step to the next nobody else tells, within bounds",
	},
	{
		records: "sampler sample", fields: "sample.cgroups.*", ops: "zero",
		reason: "what is charged for processes that begin, are killed or are swapped out nobody else tells",
	},
	{
		records: "sampler sample", fields: "sample.processes*, sample.swap_free", ops: "zero, drop",
		when: func(m Mutation, in verdict.Input) bool {
			return in.Machine.SwapTotal > 0 || in.Plan.Swap != nil || ending(m, in)
		},
		reason: "what is swapped out at a moment nobody else tells, and a process that is about to end may have nothing " +
			"left, or be left out",
	},
	{
		fields: "at_ns, -", ops: "swap, move",
		when: func(m Mutation, in verdict.Input) bool {
			return in.Plan.On != nil && oneOf("agent, api, counters, kubelet, runtime, stressor",
				string(m.Event.Source))
		},
		reason: "what happens on a node is told when its agent looks, or when the API server passes it on",
	},
	{
		records: "agent container_cgroup", fields: "cgroup.oom_score_adj", ops: "drop",
		when: func(m Mutation, in verdict.Input) bool {
			return !alive(in, m.Event.Cgroup.PID)
		},
		reason: "a process may have ended before its oom_score_adj was read",
	},
	{
		records: "agent container_cgroup", fields: "cgroup.pid", ops: "off by one, everywhere",
		when: func(m Mutation, _ verdict.Input) bool {
			return strings.HasSuffix(m.Event.Process, "/"+kubelet.Sandbox)
		},
		reason: "who is in a pod's own container, which only waits, nobody else tells",
	},
	{
		records: "stressor step", fields: "-", ops: "drop, drop all",
		when:   func(_ Mutation, in verdict.Input) bool { return in.Meta.Model == 0 },
		reason: "not every earlier recording keeps steps, and this may be the only one",
	},
	{
		records: "agent container_cgroup", fields: "cgroup.oom_group", ops: "swap, off by one",
		when: func(m Mutation, _ verdict.Input) bool {
			return strings.HasSuffix(m.Event.Process, "/"+kubelet.Sandbox)
		},
		reason: "the plan does not say what is set for a pod's own container, in which nobody is killed",
	},
	{
		records: "counters reading", fields: "counter.values, counter.values.*", ops: "swap, zero, off by one, drop",
		when:   func(m Mutation, _ verdict.Input) bool { return m.Event.Counter.Gone },
		reason: "more may have been counted after the last look at a cgroup that is gone",
	},
	{
		records: "counters reading", fields: "counter.values, counter.values.*", ops: "swap, off by one",
		when: func(m Mutation, in verdict.Input) bool {
			return in.Plan.On != nil && !strings.HasPrefix(m.Field, "counter.values.oom_")
		},
		reason: "nobody else counts how often the cgroups of a node reached a limit",
	},
	{
		records: "bpf oom_badness", fields: "oom.task.mm.batched.shmem", ops: "everywhere",
		when:   func(m Mutation, in verdict.Input) bool { return !rests(in, m.Event) },
		reason: "how much a process has mapped that is not done with its steps nobody else tells to the page",
	},
	{
		records: bpfRecords, fields: "oom.decision, oom.task.start_ns, oom.task.cgroup_id, oom.control.memcg_id",
		ops:    "everywhere",
		reason: "numbers that tell which records of eBPF belong together, and nothing else does",
	},
	{
		records: bpfRecords, fields: "oom.current.tgid", ops: "everywhere",
		when:   func(m Mutation, in verdict.Input) bool { return !planned(in, m.Event.OOM.Current.TGID) },
		reason: "of which process a thread is that is none of the scenario's nobody else tells",
	},
	{
		records: "agent spawned, agent alive, agent ready, agent proc_read, agent descendants",
		fields:  "pid", ops: "everywhere",
		when: func(m Mutation, in verdict.Input) bool {
			return !slices.ContainsFunc(in.Events, func(e evidence.Event) bool {
				return e.PID == m.Event.PID && e.Source != evidence.Agent
			})
		},
		reason: "of a process that was not ready and lived nobody else tells the pid",
	},
	{
		records: "bpf oom_kill_process, bpf mark_victim", fields: "oom.task.pid", ops: "off by one",
		when:   ofProgram,
		reason: "any thread of a program of the user's own may be the one that is found with the memory",
	},
	{
		records: "agent forked, agent named", fields: "program.args, program.args.[]",
		reason: "what command line a process has nobody else tells",
	},
	{
		records: "agent forked, agent named", fields: "program.comm",
		when: func(m Mutation, in verdict.Input) bool {
			return m.Is == "" || !namedOnce(m, in)
		},
		reason: "what a process is called that the OOM killer did not look at nobody else tells, nor a name that was " +
			"not read or is told again",
	},
	{
		records: "agent forked, agent named", fields: "program, program.parent", ops: "swap, everywhere, off by one",
		when: func(m Mutation, in verdict.Input) bool {
			return !namedOnce(m, in) || slices.ContainsFunc(m.Input.Events, func(e evidence.Event) bool {
				return e.PID == m.Event.PID && e.N == m.Event.N && e.Program != nil &&
					e.Program.Comm == m.Event.Program.Comm
			})
		},
		reason: "who has started a process, and how it was called, nobody else tells where both had others of the " +
			"program's and the OOM killer saw no such name",
	},
	{
		records: "bpf oom_badness", fields: "oom.task.cgroup_id", ops: "off by one",
		reason: "of a cgroup that is named once nobody else tells the number",
	},
	{
		records: "bpf oom_badness", fields: "oom.task.start_ns", ops: "off by one, swap",
		reason: "of a task that is scored once nobody else tells when it began, but for bounds",
	},
	{
		records: "bpf sched_process_exit",
		fields: "oom.task.mm, oom.task.mm.batched, oom.task.mm.batched.file, oom.task.mm.batched.anon, " +
			"oom.task.mm.batched.swap, oom.task.mm.batched.shmem, oom.task.mm.exact, oom.task.mm.exact.file, " +
			"oom.task.mm.exact.anon, oom.task.mm.exact.swap, oom.task.mm.exact.shmem, oom.task.mm.pgtables_bytes, " +
			"oom.task.mm.oom_skip, oom.task.mm.gone, oom.task.mm.total_vm",
		reason: "the memory of a process that ends is being torn down: what is left of it is any number",
	},
	{
		records: "bpf sched_process_exit",
		fields:  "oom.current.pid, oom.current.comm, oom.task.pid, oom.task.comm",
		reason:  "any thread of a victim may be its last, and no other witness knows them",
	},
	{
		records: "bpf mark_victim",
		fields: "oom.task.mm.batched.file, oom.task.mm.batched.anon, oom.task.mm.batched.shmem, " +
			"oom.task.mm.pgtables_bytes",
		when: func(_ Mutation, in verdict.Input) bool { return in.Machine.CPUs > 1 },
		reason: "SIGKILL is sent before the victim is marked: on another processor it may be giving back its memory " +
			"by then",
	},
	{
		records: "bpf oom_badness", fields: "oom.task.mm.oom_skip",
		when: func(m Mutation, in verdict.Input) bool {
			return in.Machine.CPUs > 1 && m.Event.OOM.Points == nil
		},
		reason: "the oom_reaper may set MMF_OOM_SKIP on another processor after the probe has looked",
	},
	{
		records: "bpf scans_given_up",
		fields: "-, oom.seq, oom.current, oom.current.pid, oom.current.tgid, oom.current.ns_tgid, " +
			"oom.current.comm, oom.control.gfp, oom.control.order, oom.control.chosen_points",
		reason: "one scan stands for several that came to nothing; the log does not tell of any, " +
			"and what is told last leaves no gap",
	},
	{
		records: "bpf scans_given_up", fields: "oom.control", ops: "swap",
		reason: "what a scan had scored before it met the earlier victim nobody else tells",
	},
	{
		records: bpfRecords,
		fields:  "oom.task.mm.exact.file, oom.task.mm.exact.anon, oom.task.mm.exact.swap, oom.task.mm.exact.shmem",
		when:    func(_ Mutation, in verdict.Input) bool { return in.Machine.Badness == kernel.ReadsCPUBatched },
		reason:  "oom_badness() does not read what the CPUs keep back of a counter here, and nobody else prints it",
	},
	{
		records: bpfRecords, fields: "oom.task.mm.exact", ops: "swap",
		when:   func(_ Mutation, in verdict.Input) bool { return in.Machine.Badness == kernel.ReadsCPUBatched },
		reason: "what the CPUs keep back in one life of a process they may keep back in another, and nobody else prints it",
	},
	{
		records: bpfRecords,
		fields: "oom.task.mm.batched.file, oom.task.mm.batched.anon, oom.task.mm.batched.swap, " +
			"oom.task.mm.batched.shmem",
		when:   func(_ Mutation, in verdict.Input) bool { return in.Machine.Badness == kernel.ReadsExact },
		reason: "oom_badness() reads the exact counters here, and nobody else prints the batched ones",
	},
	{
		records: bpfRecords, ops: "off by one, drop, swap, everywhere",
		fields: "oom.task.mm.batched.file, oom.task.mm.batched.swap, oom.task.mm.batched.shmem, " +
			"oom.task.mm.exact.swap",
		when: func(m Mutation, _ verdict.Input) bool { return zeroOrLess(m.Was) && zeroOrLess(m.Is) },
		reason: "a batched counter may be a little below zero, and counts as zero then; before 6.2 the exact one is " +
			"the same",
	},
	{
		records: "bpf oom_badness",
		fields: "oom.task.mm.batched.file, oom.task.mm.batched.anon, oom.task.mm.batched.shmem, " +
			"oom.task.mm.exact.file, oom.task.mm.exact.anon, oom.task.mm.exact.shmem, oom.task.mm.pgtables_bytes, " +
			"oom.task.mm.total_vm, oom.task.mm",
		when: func(m Mutation, in verdict.Input) bool {
			return !planned(in, m.Event.PID) || m.Event.OOM.Points == nil ||
				m.Event.OOM.Task.Adj == kernel.OOMScoreAdjMin
		},
		reason: "what a stranger holds changes before the table is printed, and one that is refused has no score",
	},
	{
		records: "bpf oom_badness", fields: "oom.task.mm, oom.task.mm.total_vm, oom.task.mm.gone",
		when: func(m Mutation, in verdict.Input) bool { return !rests(in, m.Event) },
		reason: "a process that is not done with its steps, or was killed, may map more or less until the table is " +
			"printed",
	},
	{
		records: "bpf oom_badness", fields: "process, oom.task.cgroup, oom.task.cgroup_id",
		when: func(m Mutation, in verdict.Input) bool { return in.Plan.On != nil },
		reason: "a node's strangers have names and cgroups of their own, and a container that began again has two " +
			"cgroups",
	},
	{
		records: "kmsg record", fields: "log.text", text: tableRow,
		when: func(m Mutation, in verdict.Input) bool {
			return in.Plan.On != nil && !planned(in, pidOf(m.Event.Log.Text))
		},
		reason: "processes of a node begin, end and change between the scan and the table",
	},
	{
		records: "kmsg record", fields: "log.text", text: regexp.MustCompile(`^\[ *\d+\] +\d+ +\d+ +⟨`),
		when: func(m Mutation, in verdict.Input) bool {
			return !slices.ContainsFunc(in.Events, func(e evidence.Event) bool {
				return e.Kind == evidence.Badness && e.OOM.Task != nil &&
					e.OOM.Task.PID == pidOf(unmarked.Replace(m.Text))
			})
		},
		reason: "the virtual size of a process that nobody scored: without a scan eBPF does not see it",
	},
	{
		records: "kmsg record", fields: "log.text", text: regexp.MustCompile(`failcnt ⟨`),
		reason: "failed charges of cgroup v2 have no counter of their own before 6.18",
	},
	{
		records: "kmsg record", fields: "log.text", text: regexp.MustCompile(`^oom_kill_process: ⟨`),
		when: func(m Mutation, in verdict.Input) bool {
			return !slices.ContainsFunc(in.Events, func(e evidence.Event) bool {
				return e.Kind == evidence.KillDecision && e.AtNS < m.Event.AtNS
			})
		},
		reason: "of how many kills before the run the kernel left out the report nobody else tells",
	},
	{
		records: "kmsg record", fields: "log.seq", ops: "off by one, everywhere",
		when: func(_ Mutation, in verdict.Input) bool {
			kmsg := 0
			for _, e := range in.Events {
				if e.Source == evidence.Kmsg && e.Kind == evidence.Record {
					kmsg++
				}
			}
			return kmsg == 1
		},
		reason: "the number of the only record of the kernel log in a run nobody else tells",
	},
	{
		records: "kmsg record, console record", fields: "log.priority",
		reason: "the level of most lines differs between versions of the kernel",
	},
	{
		records: "kmsg record, console record", fields: "log.text", text: background,
		reason: "calls, registers, hardware, zones and statistics: the OOM killer does not read them, " +
			"and nobody else prints them",
	},
	{
		records: "kmsg record", fields: "-", ops: "drop, drop all", text: background, when: outermost,
		reason: "the first and the last record of a log leave no gap, and such lines nobody else prints",
	},
	{
		records: "kmsg record, console record", fields: "log.text", text: tableRow,
		when: func(m Mutation, in verdict.Input) bool {
			return !rests(in, evidence.Event{PID: pidOf(m.Event.Log.Text), AtNS: m.Event.AtNS})
		},
		reason: "a process that is not done with its steps, or was killed, changes between the scan and the table",
	},
	{
		records: "kmsg record, console record", fields: "log.text", text: regexp.MustCompile(`oom_score_adj=-?⟨`),
		when: func(m Mutation, in verdict.Input) bool {
			comm, _, _ := strings.Cut(m.Event.Log.Text, " ")
			for _, p := range in.Plan.Processes {
				if p.Launch.Comm == comm {
					return false
				}
			}
			return true
		},
		reason: "who is none of the scenario's may have any oom_score_adj",
	},
	{
		records: "console record", fields: "-, log, log.text", text: background,
		reason: "a console has no sequence numbers, and such lines nobody else prints",
	},
	{
		records: "console record", fields: "-, log.text", text: regexp.MustCompile(`^CPU: `), when: wentDown,
		reason: "panic() prints the line once more",
	},
	{
		records: "kmsg record", fields: "-, log.seq", when: wentDown,
		reason: "of a machine that went down the console has what /dev/kmsg has, and is believed",
	},
}

// ofCommand reports whether a record is of a program of the user's own.
func ofCommand(m Mutation, in verdict.Input) bool {
	p, ok := in.Plan.Process(m.Event.Process)
	return ok && p.IsCommand()
}

// again reports whether a record is of a container that was started again.
func again(m Mutation, in verdict.Input) bool {
	lives := 0
	for _, e := range in.Events {
		if e.Kind == evidence.Spawned && e.Process == m.Event.Process {
			lives++
		}
	}
	return in.Plan.On != nil && lives > 1
}

// ofOthers reports whether a run is on a cluster that is not oomlab's own.
func ofOthers(_ Mutation, in verdict.Input) bool { return in.Plan.On != nil && !in.Plan.On.Ours }

// alive reports whether a process was alive at the end.
func alive(in verdict.Input, pid int) bool {
	return slices.ContainsFunc(in.Events, func(e evidence.Event) bool {
		return e.Kind == evidence.Alive &&
			e.PID == pid
	})
}

// later is an event of the same process, after all others.
func later(e evidence.Event) evidence.Event {
	e.AtNS = math.MaxInt64
	return e
}

// ending reports whether a process ended within two seconds of an event.
func ending(m Mutation, in verdict.Input) bool {
	return slices.ContainsFunc(in.Events, func(e evidence.Event) bool {
		after := e.AtNS - m.Event.AtNS
		return (e.Kind == evidence.Exited || e.Kind == evidence.TaskEnded) && after > 0 && after < 2_000_000_000
	})
}

// outermost reports whether a record is the first or the last of the kernel log.
func outermost(m Mutation, in verdict.Input) bool {
	of := func(e evidence.Event) bool {
		return e.Source == evidence.Kmsg && e.Kind == evidence.Record && e.Log != nil
	}
	first := slices.IndexFunc(in.Events, of)
	last := first
	for i, e := range in.Events {
		if of(e) {
			last = i
		}
	}
	return m.Event.Log.Seq == in.Events[first].Log.Seq || m.Event.Log.Seq == in.Events[last].Log.Seq
}

// planned reports whether a pid is that of a process of the scenario.
func planned(in verdict.Input, pid int) bool {
	return slices.ContainsFunc(in.Events, func(e evidence.Event) bool {
		return (e.Kind == evidence.Spawned || e.Kind == evidence.Forked) && e.PID == pid
	})
}

// rests reports whether a process has done its steps by an event, and was not marked.
func rests(in verdict.Input, at evidence.Event) bool {
	before := func(kind evidence.Kind) bool {
		return slices.ContainsFunc(in.Events, func(e evidence.Event) bool {
			return e.Kind == kind && e.PID == at.PID && e.AtNS < at.AtNS
		})
	}
	return before(evidence.Ready) && !before(evidence.MarkVictim)
}

var tableRow = regexp.MustCompile(`^\[ *(\d+)\] `)

// pidOf is the pid in a row of the log's table.
func pidOf(row string) int {
	pid := 0
	if m := tableRow.FindStringSubmatch(row); m != nil {
		pid, _ = strconv.Atoi(m[1])
	}
	return pid
}

// near reports whether a time was changed by at most ten seconds.
func near(m Mutation, _ verdict.Input) bool {
	was, err := strconv.ParseInt(m.Was, 10, 64)
	is, err2 := strconv.ParseInt(m.Is, 10, 64)
	return err == nil && err2 == nil && max(was-is, is-was) <= 10_000_000_000
}

func zeroOrLess(number string) bool {
	return number == "" || number == "0" || strings.HasPrefix(number, "-")
}

func wentDown(_ Mutation, in verdict.Input) bool {
	return slices.ContainsFunc(in.Events, func(e evidence.Event) bool { return e.Kind == evidence.Down })
}

// background are lines of a report that tell what the OOM killer does not read: calls
// and registers, the machine, its zones, and statistics.
var background = regexp.MustCompile(strings.Join([]string{
	`^ ?(\? )?[\w.]+\+0x`, `^ ?</?(TASK|IRQ)>`, `^(Call Trace|Code|R[A-Z0-9]{2}|ORIG_RAX|Hardware name|Workqueue): ?`,
	`^[a-z]+[a-z0-9_]* \d+(\n|$)`, `^Memory cgroup min protection `, `^(Mem-Info|Tasks state.*):$`,
	`^CPU: ([^⟨]* Comm: \S+ [^⟨]*)?⟨`, `^sysrq: `, `^sched: `, `^ ?sec_pagetables:`, `^hrtimer: `, `^ACPI `,
	`^evm: `,
	`^Node \d+ `, `^lowmem_reserve`, `^\S+: page allocation failure: `,
	`^ ?(active_anon|active_file|unevictable|slab_\w+|mapped|free|kernel_misc\w*):`,
	`^\S+ \(\d+\): /proc/\d+/oom_adj is deprecated`,
	`^\d+ (total pagecache pages|pages )`, `^(Swap cache stats:|Free swap  =)`, `^Kernel Offset: `, `^oom_reaper: `,
}, "|"))

const bpfRecords = "bpf out_of_memory, bpf out_of_memory_return, bpf oom_badness, bpf oom_kill_process, " +
	"bpf __oom_kill_process, bpf mark_victim, bpf sched_process_exit, bpf scans_given_up"

func (e excuse) covers(m Mutation, in verdict.Input) bool {
	return (e.records == "" || oneOf(e.records, m.source())) && likeOne(e.fields, cmp.Or(m.Field, "-")) &&
		(e.ops == "" || oneOf(e.ops, m.Op)) &&
		(e.text == nil || e.text.MatchString(m.Text) ||
			e.text.MatchString(unmarked.Replace(m.Text))) && (e.when == nil || e.when(m, in))
}

var unmarked = strings.NewReplacer("⟨", "", "⟩", "")

// likeOne is oneOf of a list in which * stands for any text.
func likeOne(list, word string) bool {
	return slices.ContainsFunc(strings.Split(list, ", "), func(pattern string) bool {
		head, tail, any := strings.Cut(pattern, "*")
		return pattern == word || any && strings.HasPrefix(word, head) && strings.HasSuffix(word[len(head):], tail)
	})
}

func oneOf(list, word string) bool { return slices.Contains(strings.Split(list, ", "), word) }

// excused is the reason why a mutation may pass; empty: it may not.
func excused(m Mutation, in verdict.Input) string {
	for _, e := range excuses {
		if e.covers(m, in) {
			return e.reason
		}
	}
	return ""
}

// namedOnce reports whether the OOM killer saw a process under the name that a record has,
// and no other record has it.
func namedOnce(m Mutation, in verdict.Input) bool {
	if m.Event.Program == nil {
		return true
	}
	name := m.Event.Program.Comm
	seen := slices.ContainsFunc(in.Events, func(e evidence.Event) bool {
		return e.Source == evidence.BPF && e.OOM != nil && e.OOM.Task != nil && e.OOM.Task.TGID == m.Event.PID &&
			e.OOM.Task.Comm == name
	})
	return seen && !slices.ContainsFunc(in.Events, func(e evidence.Event) bool {
		return e.PID == m.Event.PID && e.Program != nil && e.N != m.Event.N && e.Program.Comm == name
	})
}

// ofProgram reports whether a record is of a program of the user's own, or of what that has
// started.
func ofProgram(m Mutation, in verdict.Input) bool {
	q, started := in.Plan.DescendantOf(m.Event.Process)
	return ofCommand(m, in) || started && q.IsCommand()
}
