package verdict

import (
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
)

func init() {
	addWitness(20, func(Input) witness {
		return &kmsgWitness{records: map[evidence.Source][]*evidence.LogRecord{}, exiting: map[int]int{}}
	})
}

func (a *account) kmsg() *kmsgWitness { return witnessOf[*kmsgWitness](a) }

func (*kmsgWitness) source() evidence.Source { return evidence.Kmsg }

func (w *kmsgWitness) hear(e evidence.Event) {
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
	for i := range w.reports {
		r := &w.reports[i]
		for _, k := range r.Kills {
			if k.AlreadyExiting {
				w.exiting[k.PID]++
			}
			if k.Announced || k.AlreadyExiting {
				continue
			}
			kill := logKill{pid: k.PID, comm: k.Comm, atNS: nanoseconds(k.At)}
			if r.Constraint != "" || r.Trigger.Comm != "" {
				kill.report = r
			}
			w.kills = append(w.kills, kill)
		}
	}
}

// nanoseconds reads the log's own time, "6115.303887".
func nanoseconds(at string) int64 {
	seconds, err := strconv.ParseFloat(strings.TrimSpace(at), 64)
	if err != nil {
		return 0
	}
	return int64(seconds * 1e9)
}

// names reports whether a line names one of the pids.
func (w *kmsgWitness) names(pids ...int) bool {
	return slices.ContainsFunc(w.kills, func(k logKill) bool { return slices.Contains(pids, k.pid) })
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
	if tier >= 2 {
		w.decisions(a, found)
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
			member := kernel.InCgroup(l.plan.Cgroup, path) && l.plan.OOMScoreAdj != predict.AdjMin && bornBefore(l, r)
			if member && l.exit == nil && l.alive {
				found.add(GroupPartlyKilled, "memory.oom.group of %s was honoured, and %s lives", path, l)
			}
		}
	}
}

// bornBefore reports whether a process existed when a group was killed: one
// that was started again afterwards is no survivor.
func bornBefore(l *life, r oomlog.Report) bool {
	for _, k := range r.Kills {
		if at := nanoseconds(k.At); at > 0 {
			return l.born < at
		}
	}
	return true
}

// decisions holds the log's reports against eBPF's decisions, one by one.
// The log may lack reports (it is rate-limited), eBPF may not.
func (w *kmsgWitness) decisions(a *account, found *findings) {
	byVictim := map[int]*decision{}
	for _, d := range a.bpf().decisions {
		if d.chosen != nil {
			byVictim[d.chosen.TGID] = d
			byVictim[d.chosen.PID] = d
		}
	}
	for i := range w.reports {
		r := &w.reports[i]
		if r.ContextPID == nil {
			continue
		}
		d := byVictim[*r.ContextPID]
		if d == nil {
			found.add(VictimDiffers, "the log says that pid %d (%s) was chosen; eBPF saw no such choice",
				*r.ContextPID, r.ContextComm)
			continue
		}
		if d.control != nil && r.Constraint != "" && constraints[r.Constraint] != d.control.Constraint {
			found.add(ConstraintDiffers, "the log says %s, eBPF %s, for pid %d",
				r.Constraint, d.control.Constraint, *r.ContextPID)
		}
		printed := a.cgroups.printed(r.OOMMemcg)
		if d.control != nil && r.OOMMemcg != "" && d.control.Memcg != "" && printed != d.control.Memcg {
			found.add(ConstraintDiffers, "the log says that the limit of %s was hit, eBPF %s", printed, d.control.Memcg)
		}
		if r.Trigger.PID != nil && *r.Trigger.PID != d.current.PID && *r.Trigger.PID != d.current.TGID {
			found.add(TriggerDiffers, "the log says that pid %d (%s) invoked the OOM killer, eBPF %d (%s)",
				*r.Trigger.PID, r.Trigger.Comm, d.current.PID, d.current.Comm)
		}
		w.table(a, r, d, found)
	}
}

// table holds the log's task table against eBPF's scoreboard: the same
// tasks in the same order, each with the same score to the page. The table is
// printed after the scores were computed, and meanwhile others may run: a
// process that has not done its steps may have grown, and one that was killed
// may have shrunk or gone.
func (w *kmsgWitness) table(a *account, r *oomlog.Report, d *decision, found *findings) {
	if len(d.rows) == 0 || len(r.Tasks) == 0 || !r.Complete {
		return
	}
	table := r.Candidates(a.pageSize())
	place := 0
	for _, o := range d.rows {
		if o.Task == nil || o.Points == nil || *o.Points == predict.Never {
			continue
		}
		i := slices.IndexFunc(table, func(c kernel.Candidate) bool {
			return c.PID == o.Task.PID || c.PID == o.Task.TGID
		})
		grows, dies := a.moving(o.Task.TGID, d.atNS)
		if i < 0 {
			if !dies && !grows {
				found.add(TableDiffers, "eBPF saw pid %d (%s) scored; the log's table has no such row",
					o.Task.PID, o.Task.Comm)
			}
			continue
		}
		if i < place {
			found.add(TableDiffers, "pid %d (%s) comes earlier in the log's table than it was scored",
				o.Task.PID, o.Task.Comm)
		}
		place = i
		c := table[i]
		points := predict.Points(predict.Task{RSS: c.RSS, Swap: c.Swap, PgTables: c.PgTables, Adj: c.Adj},
			d.total(o), predict.Rules{PageSize: a.pageSize()})
		if points > *o.Points && !grows || points < *o.Points && !dies {
			found.add(TableDiffers, "pid %d (%s) has %d points by the log's table, %d by eBPF",
				c.PID, o.Task.Comm, points, *o.Points)
		}
	}
}

// moving reports whether a process may take or give back memory by itself at
// some moment: until it has done its steps, and once it was killed.
func (a *account) moving(tgid int, atNS int64) (grows, dies bool) {
	l := a.life(tgid)
	if l == nil || l.plan.IsCommand() || l.plan.Endless() {
		return true, true // nobody knows what it does
	}
	k := a.kill(tgid)
	return !l.ready || l.readyNS > atNS, k != nil && a.agent().begin+k.AtMS*1_000_000 < atNS
}
