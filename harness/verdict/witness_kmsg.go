package verdict

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
	"github.com/oomlab/oomlab/harness/predict"
)

// kmsgWitness is the kernel log: /dev/kmsg or, of a machine that went down before
// its agent could read that, the console.
type kmsgWitness struct {
	bystander
	ahead   int64            // by how many ns the log's clock is ahead of CLOCK_MONOTONIC
	heard   []evidence.Event // all records of /dev/kmsg
	console []evidence.Event // and of the console, with how the machine went down
	lost    bool             // some of them were lost, which is found anyway
	empty   bool             // one of them has no text, number and time
	records map[evidence.Source][]*evidence.LogRecord
	reports []oomlog.Report
	kills   []logKill // "Killed process" lines, repetitions included
	// exiting counts the lines "is already exiting. Skip killing the task", by
	// pid: attempts that found nothing left to kill.
	exiting map[int]int
	panic   string
}

// logKill is one "Killed process" line.
type logKill struct {
	pid    int // as printed: of a thread with the memory
	tgid   int
	comm   string
	atNS   int64
	report *oomlog.Report // nil: the rate limit swallowed the rest of it
	memcg  bool           // the line says that a memory cgroup was out of memory
}

// What the kernel log contradicts.
const (
	LogWithoutBPF     Kind = "log-without-bpf"     // "Killed process" names a pid that eBPF did not see
	LogRepeated       Kind = "log-repeated"        // one pid has more "Killed process" lines than the kernel prints
	VictimDiffers     Kind = "victim-differs"      // log and eBPF name different victims for one decision
	TriggerDiffers    Kind = "trigger-differs"     // log and eBPF name different triggers
	ConstraintDiffers Kind = "constraint-differs"  // log and eBPF name different constraints
	GroupPartlyKilled Kind = "group-partly-killed" // memory.oom.group was honoured, and a member lives
	TableDiffers      Kind = "table-differs"       // the log's task table and eBPF's scoreboard are not the same
	LogIncomplete     Kind = "log-incomplete"      // a record, a report or a part of one is missing from the log
	LogDiffers        Kind = "log-differs"         // log and eBPF, or the machine, differ in another detail of a report
	KernelTrouble     Kind = "kernel-trouble"      // a panic, BUG, WARNING or lockup in a run that ended normally
)

func init() {
	addWitness(20, func(in Input) witness {
		return &kmsgWitness{ahead: in.Machine.LogAheadNS, exiting: map[int]int{},
			records: map[evidence.Source][]*evidence.LogRecord{}}
	})
}

func (a *account) kmsg() *kmsgWitness { return witnessOf[*kmsgWitness](a) }

func (*kmsgWitness) source() evidence.Source { return evidence.Kmsg }

func (w *kmsgWitness) hear(e evidence.Event) {
	w.empty = w.empty || e.Kind == evidence.Record && e.Log == nil
	if e.Source == evidence.Kmsg && e.Kind == evidence.Record && e.Log != nil {
		w.heard = append(w.heard, e)
	}
	if e.Source == evidence.Console {
		w.console = append(w.console, e)
	}
	w.lost = w.lost || e.Source == evidence.Kmsg && e.Kind == evidence.Lost
	if e.Kind == evidence.Record && e.Log != nil && e.Log.Facility == 0 {
		w.records[e.Source] = append(w.records[e.Source], e.Log)
	}
}

func (w *kmsgWitness) read(a *account) {
	from := evidence.Kmsg
	if a.agent().down != "" {
		from = evidence.Console
	}
	var p oomlog.Parser
	for _, r := range w.records[from] {
		w.reports = append(w.reports, p.Feed(kernel.Record{
			Priority: r.Priority, Seq: r.Seq, USec: r.USec, Cont: r.Cont, Text: r.Text,
		})...)
		if _, text, ok := strings.Cut(r.Text, "Kernel panic - not syncing: "); ok && w.panic == "" {
			w.panic, _, _ = strings.Cut(text, "\n")
		}
	}
	w.reports = append(w.reports, p.Close()...)
	a.cgroups.find(a.in.Events, w.reports)
	for i := range w.reports {
		r := &w.reports[i]
		for _, k := range r.Kills {
			if k.AlreadyExiting {
				w.exiting[k.PID]++
			}
			if k.Announced || k.AlreadyExiting {
				continue
			}
			kill := logKill{pid: k.PID, comm: k.Comm, atNS: w.clock(k.At), memcg: r.Global != nil && !*r.Global}
			if r.Constraint != "" || r.Trigger.Comm != "" {
				kill.report = r
			}
			w.kills = append(w.kills, kill)
		}
	}
}

// clock reads the log's own time, "6115.303887", and makes it one of CLOCK_MONOTONIC.
func (w *kmsgWitness) clock(at string) int64 {
	seconds, err := strconv.ParseFloat(strings.TrimSpace(at), 64)
	if err != nil {
		return 0
	}
	return int64(seconds*1e9) - w.ahead
}

// names reports whether a line names one of the pids.
func (w *kmsgWitness) names(pids ...int) bool {
	return slices.ContainsFunc(w.kills, func(k logKill) bool { return slices.Contains(pids, k.pid) })
}

// reaped reports whether the oom_reaper took the memory of a process.
func (w *kmsgWitness) reaped(pid int) bool {
	line := fmt.Sprintf("oom_reaper: reaped process %d (", pid)
	return slices.ContainsFunc(w.heard, func(e evidence.Event) bool { return strings.HasPrefix(e.Log.Text, line) })
}

func (w *kmsgWitness) join(a *account) {
	for i := range w.kills {
		l := &w.kills[i]
		l.tgid = l.pid
		if tgid, ok := a.bpf().processes[l.pid]; ok {
			l.tgid = tgid
		}
		k := a.killed(Kill{Victim: Victim{Process: a.name(l.tgid), PID: l.tgid, Comm: l.comm}, AtMS: a.ms(l.atNS)})
		k.Logged++
		k.from(evidence.Kmsg)
		if l.report != nil {
			w.fill(a, k, l.report)
		} else if l.memcg && k.Constraint == "" {
			k.Constraint = constraints["CONSTRAINT_MEMCG"]
		}
	}
	for _, e := range a.bpf().marks {
		if e.OOM.Task == nil {
			continue
		}
		// below tier 2 the mark has the counters, and the log the domain's size
		if k := a.kill(e.OOM.Task.TGID); k != nil && k.Replayed == nil && k.TotalPages != nil {
			k.Replayed = a.replay(e.OOM.Task, *k.TotalPages)
		}
	}
}

// unseen says why it is not known which limit a kill was about; empty: it is known. Below
// tier 2 only the report's summary says it, and of what the rate limit swallowed nothing
// but the line of the kill is left.
func (w *kmsgWitness) unseen(a *account, k Kill) string {
	if k.OOMMemcg != "" || a.bpf().tier() >= 2 {
		return ""
	}
	for _, l := range w.kills {
		if l.tgid == k.Victim.PID && l.report == nil && (l.memcg || k.Constraint == "") {
			return fmt.Sprintf("eBPF reached tier %d of 3 here; the kernel's rate limit left no more of the report "+
				"than the line of the kill", a.bpf().tier())
		}
	}
	return ""
}

// constraints maps the log's word to the scenario file's.
var constraints = map[string]string{
	"CONSTRAINT_NONE": "none", "CONSTRAINT_CPUSET": "cpuset",
	"CONSTRAINT_MEMORY_POLICY": "mempolicy", "CONSTRAINT_MEMCG": "memcg",
}

// fill completes a kill with what only the log says, which is all there is
// below tier 2.
func (w *kmsgWitness) fill(a *account, k *Kill, r *oomlog.Report) {
	if k.Constraint == "" {
		k.Constraint = constraints[r.Constraint]
	}
	if k.OOMMemcg == "" && r.OOMMemcg != "" {
		k.OOMMemcg = a.cgroups.printed(r.OOMMemcg)
	}
	if k.TotalPages == nil {
		total := a.logTotal(*r)
		k.TotalPages = &total
	}
	if k.Trigger.Comm == "" {
		k.Trigger.Comm = r.Trigger.Comm
		if r.Trigger.PID != nil {
			k.Trigger.PID = *r.Trigger.PID
			k.Trigger.Process = a.name(k.Trigger.PID)
		}
	}
}

// complete: the records are as the kernel numbers and times them, and a machine that
// went down says so once, at the end of its console.
func (w *kmsgWitness) complete(a *account, found *findings) {
	if a.in.LogProblem != "" {
		found.add(LogDiffers, "%s", a.in.LogProblem)
	}
	w.numbered(a, found)
	if a.agent().down != "" {
		w.down(a, found)
	}
}

// agree: eBPF saw what the log names, as often as the kernel prints it; the log's
// reports are eBPF's decisions; and groups that it says were killed are gone.
func (w *kmsgWitness) agree(a *account, found *findings) {
	tier := a.bpf().tier()
	for _, k := range a.kills {
		bpf, log := slices.Contains(k.Sources, evidence.BPF), k.Logged > 0
		if log && !bpf && tier >= 1 { // else it could not
			found.add(LogWithoutBPF, "the log names %s, eBPF does not", k.Victim)
		}
		attempts, lines := a.bpf().attempts(k.Victim.PID), k.Logged+w.exiting[k.Victim.PID]
		if tier >= 2 && bpf && log && attempts != lines {
			found.add(LogRepeated, "%s has %d lines in the log for %d attempts that eBPF saw",
				k.Victim, lines, attempts)
		}
		if k.Logged > 2 || k.Logged == 2 && !w.ofGroup(a, k) {
			found.add(LogRepeated, "%s has %d lines in the log", k.Victim, k.Logged)
		}
	}
	w.groups(a, found)
	w.printed(a, found)
	w.refusals(a, found)
	w.well(found)
	switch {
	case tier >= 2:
		w.decisions(a, found)
	case tier == 1:
		w.killed(a, found)
	}
}

// ofGroup reports whether the kill was part of a group's. oom_kill_process()
// kills the chosen victim first and once more with its group, and a member whose
// leader is quick to die is met again under another of its threads.
func (w *kmsgWitness) ofGroup(a *account, k Kill) bool {
	return slices.ContainsFunc(w.kills, func(l logKill) bool {
		return l.tgid == k.Victim.PID && l.report != nil && l.report.GroupPath != ""
	}) || slices.ContainsFunc(a.bpf().decisions, func(d *decision) bool {
		return len(d.kills) > 1 && d.killed(k.Victim.PID)
	})
}

// groups: a group that the kernel says it kills must die whole, without those that
// it exempts.
func (w *kmsgWitness) groups(a *account, found *findings) {
	for _, r := range w.reports {
		if r.GroupPath == "" {
			continue
		}
		path := a.cgroups.printed(r.GroupPath)
		for _, l := range a.lives {
			member := kernel.InCgroup(l.plan.Cgroup, path) && l.plan.OOMScoreAdj != predict.AdjMin &&
				w.bornBefore(l, r)
			if member && l.exit == nil && l.alive {
				found.add(GroupPartlyKilled, "memory.oom.group of %s was honoured, and %s lives", path, l)
			}
		}
	}
}

// bornBefore reports whether a process existed when a group was killed: one
// that was started again afterwards is no survivor.
func (w *kmsgWitness) bornBefore(l *life, r oomlog.Report) bool {
	for _, k := range r.Kills {
		if at := w.clock(k.At); at > 0 {
			return l.born < at
		}
	}
	return true
}

// moving reports whether a process may take or give back memory by itself at
// some moment: until it has done its steps, and once it was killed.
func (a *account) moving(tgid int, atNS int64) (grows, dies bool) {
	l := a.life(tgid)
	if l == nil || l.plan.IsCommand() || l.plan.Endless() {
		return true, true // nobody knows what it does
	}
	killed := a.marked(tgid)
	if k := a.kill(tgid); killed == 0 && k != nil {
		killed = a.agent().begin + k.AtMS*1_000_000
	}
	return !l.ready || l.readyNS > atNS, killed != 0 && killed < atNS
}
