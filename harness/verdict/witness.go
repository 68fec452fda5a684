package verdict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
)

// checkWitnesses holds every witness against every other. What it finds are
// disagreements, which make a verdict broken, not claims that fail.
func (j *joined) checkWitnesses() {
	if j.down != "" {
		return // a machine that went down has one witness left: its console
	}
	if !j.ended {
		j.disagree(NoEnd, "the record stops before the run ended")
		return
	}
	if j.tier() < 1 {
		j.disagree(NoWitness, "no eBPF program was attached%s", j.unattached())
	}
	j.checkRecords()
	j.checkExits()
	j.checkGroups()
	j.checkDecisions()
	j.checkCounters()
	j.checkReady()
	j.checkCluster()
}

// unattached is why there is no eBPF program, as its loader said.
func (j *joined) unattached() string {
	for _, hook := range []string{"eBPF", "mark_victim"} {
		if why := j.in.Tier.Hooks[hook]; why != "" {
			first, _, _ := strings.Cut(why, "\n")
			return ": " + strings.TrimPrefix(first, "no: ")
		}
	}
	return ""
}

// checkRecords: eBPF and the log must tell of the same kills, as often as the
// kernel does.
func (j *joined) checkRecords() {
	for _, k := range j.kills {
		who := fmt.Sprintf("pid %d (%s)", k.Victim.PID, k.Victim.Comm)
		bpf, log := slices.Contains(k.Sources, evidence.BPF), k.Logged > 0
		switch {
		case log && !bpf && j.tier() >= 1: // else it could not
			j.disagree(LogWithoutBPF, "the log names %s, eBPF does not", who)
		case bpf && !log:
			j.disagree(BPFWithoutLog, "eBPF saw %s killed, the log does not name it", who)
		}
		attempts, lines := j.attempts(k.Victim.PID), k.Logged+j.log.exiting[k.Victim.PID]
		if j.tier() >= 2 && bpf && log && attempts != lines {
			j.disagree(LogRepeated, "%s has %d lines in the log for %d attempts that eBPF saw", who, lines, attempts)
		}
		if k.Logged > 2 || k.Logged == 2 && !j.ofGroup(k) {
			j.disagree(LogRepeated, "%s has %d lines in the log", who, k.Logged)
		}
	}
	marks := map[int]int{}
	for _, e := range j.marks {
		if e.OOM.Task != nil {
			marks[e.OOM.Task.PID]++
		}
	}
	for pid, n := range marks {
		if n > 1 {
			j.disagree(BPFRepeated, "pid %d was marked as a victim %d times", pid, n)
		}
	}
	for _, k := range j.kills {
		marked := slices.ContainsFunc(j.marks, func(e evidence.Event) bool {
			return e.OOM.Task != nil && e.OOM.Task.TGID == k.Victim.PID
		})
		if slices.Contains(k.Sources, evidence.BPF) && !marked {
			j.disagree(BPFIncomplete, "pid %d (%s) was killed and never marked as a victim", k.Victim.PID, k.Victim.Comm)
		}
	}
}

// attempts counts calls of __oom_kill_process() for a process. Each prints a
// line, if only that the process is already exiting.
func (j *joined) attempts(tgid int) int {
	n := 0
	for _, d := range j.decisions {
		for _, o := range d.kills {
			if o.Task.TGID == tgid {
				n++
			}
		}
	}
	return n
}

// ofGroup reports whether the kill was part of a group's. oom_kill_process()
// kills the chosen victim first and once more with its group, and a member whose
// leader is quick to die is met again under another of its threads.
func (j *joined) ofGroup(k Kill) bool {
	for i := range j.log.kills {
		l := &j.log.kills[i]
		if l.tgid == k.Victim.PID && l.report != nil && l.report.GroupPath != "" {
			return true
		}
	}
	for _, d := range j.decisions {
		if len(d.kills) > 1 && slices.ContainsFunc(d.kills, func(o *evidence.OOM) bool { return o.Task.TGID == k.Victim.PID }) {
			return true
		}
	}
	return false
}

// checkExits: who was killed must have died of it, and who died of SIGKILL
// must have been killed by somebody we know.
func (j *joined) checkExits() {
	for _, k := range j.kills {
		l := byPID(j.lives, k.Victim.PID)
		if l == nil {
			continue // not ours; the collateral claim fails for it
		}
		who := fmt.Sprintf("%s (pid %d)", l.process, l.pid)
		switch {
		case l.exit == nil && l.alive:
			j.disagree(RecordWithoutExit, "the kernel recorded that %s was killed; it was alive at the end", who)
		case l.exit == nil:
			j.disagree(RecordWithoutExit, "the kernel recorded that %s was killed; nobody saw it end", who)
		case l.exit.Signal != sigkill:
			j.disagree(RecordWithoutExit, "the kernel recorded that %s was killed; it ended with %s", who, status(*l.exit))
		}
	}
	for _, l := range j.lives {
		who := fmt.Sprintf("%s (pid %d)", l.process, l.pid)
		switch {
		case l.ends > 1 || l.tasks > 1:
			j.disagree(ExitDiffers, "%s ended %d times", who, max(l.ends, l.tasks))
		case l.exit == nil:
			if !l.alive {
				j.disagree(RecordWithoutExit, "nobody saw %s end, and it was not alive at the end", who)
			}
			continue
		case l.alive:
			j.disagree(DeadButAlive, "%s had ended with %s and was alive at the end", who, status(*l.exit))
		}
		if k := l.kernelExit; k != nil && (*k&0x7f != l.exit.Signal || *k>>8&0xff != l.exit.Code) {
			j.disagree(ExitDiffers, "%s ended with %s; eBPF read the status %#x", who, status(*l.exit), *k)
		}
		killed := slices.ContainsFunc(j.kills, func(k Kill) bool { return k.Victim.PID == l.pid })
		if l.exit.Signal == sigkill && !killed && !j.killedOtherwise(l) {
			j.disagree(KillWithoutRecord, "%s died of SIGKILL; neither the log nor eBPF names it, and the plan does not explain it", who)
		}
	}
}

// killedOtherwise reports whether the plan itself explains a SIGKILL: a
// during: signal, a parent that died (PR_SET_PDEATHSIG), or memory shared with
// a victim, which the kernel kills without a word.
func (j *joined) killedOtherwise(l *life) bool {
	if l.zapped || j.endedByKubelet(l) {
		return true
	}
	for _, d := range j.in.Plan.During {
		if d.Signal[l.process] == sigkill {
			return true
		}
	}
	for _, k := range j.kills {
		if l.plan.Parent != "" && k.Victim.Process == l.plan.Parent {
			return true
		}
		if v, ok := j.in.Plan.Process(k.Victim.Process); ok && sharesMemory(j.in.Plan, l.plan, v) {
			return true
		}
	}
	parent := byName(j.lives, l.plan.Parent)
	return parent != nil && parent.exit != nil
}

func byName(all []*life, process string) *life {
	for i := len(all) - 1; process != "" && i >= 0; i-- {
		if all[i].process == process {
			return all[i]
		}
	}
	return nil
}

// sharesMemory reports whether one of the two was forked by the other with
// CLONE_VM.
func sharesMemory(p plan.Plan, a, b plan.Process) bool {
	shares := func(child, parent plan.Process) bool {
		return child.Parent == parent.Name && parent.Profile.Children[child.Name].SharesMemory
	}
	return shares(a, b) || shares(b, a)
}

func status(e evidence.ExitStatus) string {
	if e.Signal != 0 {
		return kernel.SignalName(e.Signal)
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// checkGroups: a group that the kernel says it kills must die whole, but for
// those it exempts.
func (j *joined) checkGroups() {
	for _, r := range j.log.reports {
		if r.GroupPath == "" {
			continue
		}
		path := j.below(r.GroupPath)
		for _, l := range j.lives {
			if l.exit == nil && l.alive && l.plan.OOMScoreAdj != predict.AdjMin && inside(l.plan.Cgroup, path) && j.bornBefore(l, r) {
				j.disagree(GroupPartlyKilled, "memory.oom.group of %s was honoured, and %s (pid %d) lives", path, l.process, l.pid)
			}
		}
	}
}

// bornBefore reports whether a process existed when a group was killed: one
// that was started again afterwards is no survivor.
func (j *joined) bornBefore(l *life, r oomlog.Report) bool {
	for _, k := range r.Kills {
		if at := nanoseconds(k.At); at > 0 {
			return l.born < at
		}
	}
	return true
}

// checkDecisions holds the log's reports against eBPF's decisions, one by one.
// The log may lack reports (it is rate-limited), eBPF may not.
func (j *joined) checkDecisions() {
	if j.tier() < 2 {
		return
	}
	byVictim := map[int]*decision{}
	for _, d := range j.decisions {
		if d.chosen != nil {
			byVictim[d.chosen.TGID] = d
			byVictim[d.chosen.PID] = d
		}
	}
	for i := range j.log.reports {
		r := &j.log.reports[i]
		if r.ContextPID == nil {
			continue
		}
		d := byVictim[*r.ContextPID]
		if d == nil {
			j.disagree(VictimDiffers, "the log says that pid %d (%s) was chosen; eBPF saw no such choice", *r.ContextPID, r.ContextComm)
			continue
		}
		if d.control != nil && r.Constraint != "" && constraints[r.Constraint] != d.control.Constraint {
			j.disagree(ConstraintDiffers, "the log says %s, eBPF %s, for pid %d", r.Constraint, d.control.Constraint, *r.ContextPID)
		}
		if d.control != nil && r.OOMMemcg != "" && d.control.Memcg != "" && j.below(r.OOMMemcg) != d.control.Memcg {
			j.disagree(ConstraintDiffers, "the log says that the limit of %s was hit, eBPF %s", j.below(r.OOMMemcg), d.control.Memcg)
		}
		if r.Trigger.PID != nil && *r.Trigger.PID != d.current.PID && *r.Trigger.PID != d.current.TGID {
			j.disagree(TriggerDiffers, "the log says that pid %d (%s) invoked the OOM killer, eBPF %d (%s)",
				*r.Trigger.PID, r.Trigger.Comm, d.current.PID, d.current.Comm)
		}
		j.checkTable(r, d)
	}
}

// checkTable holds the log's task table against eBPF's scoreboard: the same
// tasks in the same order, each with the same score to the page. The table is
// printed after the scores were computed, and meanwhile others may run: a
// process that has not done its steps may have grown, and one that was killed
// may have shrunk or gone.
func (j *joined) checkTable(r *oomlog.Report, d *decision) {
	if len(d.rows) == 0 || len(r.Tasks) == 0 || !r.Complete {
		return
	}
	table := r.Candidates(j.pageSize())
	place := 0
	for _, o := range d.rows {
		if o.Task == nil || o.Points == nil || *o.Points == predict.Never {
			continue
		}
		i := slices.IndexFunc(table, func(c kernel.Candidate) bool { return c.PID == o.Task.PID || c.PID == o.Task.TGID })
		grows, dies := j.moving(o.Task.TGID, d.atNS)
		if i < 0 {
			if !dies && !grows {
				j.disagree(TableDiffers, "eBPF saw pid %d (%s) scored; the log's table has no such row", o.Task.PID, o.Task.Comm)
			}
			continue
		}
		if i < place {
			j.disagree(TableDiffers, "pid %d (%s) comes earlier in the log's table than it was scored", o.Task.PID, o.Task.Comm)
		}
		place = i
		c := table[i]
		points := predict.Points(predict.Task{RSS: c.RSS, Swap: c.Swap, PgTables: c.PgTables, Adj: c.Adj}, rowTotal(o, d), predict.Rules{PageSize: j.pageSize()})
		if points > *o.Points && !grows || points < *o.Points && !dies {
			j.disagree(TableDiffers, "pid %d (%s) has %d points by the log's table, %d by eBPF", c.PID, o.Task.Comm, points, *o.Points)
		}
	}
}

// moving reports whether a process may take or give back memory by itself at
// some moment: until it has done its steps, and once it was killed.
func (j *joined) moving(tgid int, atNS int64) (grows, dies bool) {
	l := byPID(j.lives, tgid)
	if l == nil || l.plan.IsCommand() || l.plan.Endless() {
		return true, true // nobody knows what it does
	}
	grows = !l.ready || l.readyNS > atNS
	for _, k := range j.kills {
		dies = dies || k.Victim.PID == tgid && j.begin+k.AtMS*1_000_000 < atNS
	}
	return grows, dies
}

// checkReady: a process that neither ended nor finished its steps leaves open
// what it would have done, unless the scenario is about just that.
func (j *joined) checkReady() {
	if j.endText == "interrupted" {
		j.disagree(NoEnd, "the run was interrupted")
		return
	}
	for _, l := range j.lives {
		if l.exit != nil || l.ready || slices.Contains(j.in.Plan.Throttled, l.process) || l.plan.Respawn < 0 || l.plan.Endless() ||
			j.cluster != nil && l.plan.IsCommand() {
			continue
		}
		j.disagree(NeverReady, "%s (pid %d) had not finished its steps after %d ms", l.process, l.pid, j.in.Plan.WithinMS)
	}
}
