package clustertest

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
)

func (p *player) bpf(k evidence.Kind, o evidence.OOM) {
	p.seq++
	o.Seq, o.Decision = p.seq, p.kills
	e := evidence.Event{Source: evidence.BPF, Kind: k, OOM: &o}
	if o.Task != nil {
		e.PID = o.Task.TGID
		for name, pid := range p.pids {
			if pid == e.PID {
				e.Process = name
			}
		}
	}
	p.say(e)
}

// log has the kernel print a line with a level.
func (p *player) log(level int, format string, args ...any) {
	p.record++
	p.say(evidence.Event{Source: evidence.Kmsg, Kind: evidence.Record, Log: &evidence.LogRecord{
		Priority: level, Seq: p.record, USec: (p.at + 10_000_000) / 1000, Text: fmt.Sprintf(format, args...),
	}})
}

// task is a process with just the memory that gives it its score.
func (p *player) task(name string, points kernel.Pages, total kernel.Pages) evidence.Task {
	q, _ := p.in.Plan.Process(name)
	c := p.container(name)
	held := max(0, points-kernel.Pages(q.OOMScoreAdj)*(total/1000))
	counts := evidence.Counts{Anon: held}
	cgroup := p.real(q.Cgroup, p.lives[c.Process])
	return evidence.Task{
		TaskID:  evidence.TaskID{PID: p.pids[name], TGID: p.pids[name], Comm: comm(name)},
		StartNS: uint64(p.pids[name]), Adj: q.OOMScoreAdj, Cgroup: cgroup, CgroupID: p.number(cgroup),
		MM: &evidence.MM{Batched: counts, Exact: counts, TotalVM: held},
	}
}

func comm(name string) string { return name[:min(15, len(name))] }

// number is the kernel's number of a cgroup.
func (p *player) number(cgroup string) uint64 {
	if p.numbers[cgroup] == 0 {
		p.numbers[cgroup] = uint64(len(p.numbers) + 1)
	}
	return p.numbers[cgroup]
}

var logConstraint = map[string]string{"none": "CONSTRAINT_NONE", "memcg": "CONSTRAINT_MEMCG"}

// step plays one invocation of the OOM killer, and what comes of it.
func (p *player) step(s predict.Step) {
	p.kills++
	trigger := evidence.TaskID{PID: 2, TGID: 2, Comm: "kswapd0"}
	if s.Trigger[0] != predict.Elsewhere {
		pid := p.pids[s.Trigger[0]]
		trigger = evidence.TaskID{PID: pid, TGID: pid, Comm: comm(s.Trigger[0])}
	}
	var tasks []evidence.Task
	for _, name := range slices.Sorted(maps.Keys(s.Ranges)) {
		if p.pids[name] != 0 {
			tasks = append(tasks, p.task(name, s.Ranges[name].Mid(), s.TotalPages))
		}
	}
	control := evidence.OOMControl{GFP: 0xcc0}
	message := "Out of memory"
	if s.OOMMemcg != "" {
		message = "Memory cgroup out of memory"
		control.Memcg = p.real(s.OOMMemcg, 0)
		control.MemcgID = p.number(control.Memcg)
		p.ooms[control.Memcg]++
	}
	p.hook(evidence.OutOfMemory, trigger, control, evidence.OOM{})
	control.Constraint, control.TotalPages, control.ChosenPoints = s.Constraint, s.TotalPages, math.MinInt64
	total := int64(s.TotalPages)
	for _, t := range tasks {
		points := predict.Points(predict.Task{RSS: t.MM.Batched.Anon, Adj: t.Adj}, s.TotalPages, predict.Rules{})
		p.hook(evidence.Badness, trigger, control, evidence.OOM{Task: &t, Points: &points, TotalPages: &total})
		control.ChosenPoints = max(control.ChosenPoints, points)
	}
	victim := tasks[slices.IndexFunc(tasks, func(t evidence.Task) bool { return t.TGID == p.pids[s.Victims[0]] })]
	p.hook(evidence.KillDecision, trigger, control, evidence.OOM{Task: &victim, Message: message})
	p.report(s, trigger, control, tasks, victim)
	for i, name := range s.Victims {
		t := p.task(name, s.Ranges[name].Mid(), s.TotalPages)
		p.hook(evidence.Kill, trigger, control, evidence.OOM{Task: &t, Message: message})
		p.hook(evidence.MarkVictim, trigger, control, evidence.OOM{Task: &t})
		p.log(3, "%s: Killed process %d (%s) total-vm:%dkB, anon-rss:%dkB, file-rss:0kB,"+
			" shmem-rss:0kB, UID:0 pgtables:0kB oom_score_adj:%d",
			message, t.PID, t.Comm, t.MM.TotalVM*4, t.MM.Batched.Anon*4, t.Adj)
		if q, _ := p.in.Plan.Process(name); i == 0 && p.group(q.Cgroup) {
			p.log(3, "Tasks in %s are going to be killed due to memory.oom.group set", victim.Cgroup)
		}
		p.count(t.Cgroup)
	}
	done := true
	p.hook(evidence.OOMReturn, trigger, control, evidence.OOM{Result: &done})
	for _, name := range s.Victims {
		code := 9
		t := p.task(name, s.Ranges[name].Mid(), s.TotalPages)
		p.bpf(evidence.TaskExit, evidence.OOM{Current: t.TaskID, Task: &t, ExitCode: &code})
		p.out[len(p.out)-1].OOM.Decision = 0 // it ends on its own
		p.oom[p.container(name).Process] = true
	}
	if s.Constraint == "none" {
		p.kubelet(`oom_watcher_linux.go:84] "Got sys oom event" event={"Pid":%d,"ProcessName":%q,"ContainerName":"/"}`,
			victim.PID, victim.Comm)
		p.event("", kubelet.SystemOOM, fmt.Sprint("oom-", p.kills),
			fmt.Sprintf("System OOM encountered, victim process: %s, pid: %d", victim.Comm, victim.PID))
	}
	p.aftermath(s.Victims)
}

// hook plays one that is passed in a decision.
func (p *player) hook(k evidence.Kind, current evidence.TaskID, control evidence.OOMControl, o evidence.OOM) {
	o.Current, o.Control = current, &control
	p.bpf(k, o)
}

// report is what dump_header() prints, with as much of the memory as is compared.
func (p *player) report(s predict.Step, trigger evidence.TaskID, control evidence.OOMControl,
	tasks []evidence.Task, victim evidence.Task) {
	m := p.in.Machine
	adj := 0
	if q, ok := p.in.Plan.Process(s.Trigger[0]); ok {
		adj = q.OOMScoreAdj
	}
	p.log(4, "%s invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=%d", trigger.Comm, adj)
	p.log(4, "CPU: 0 UID: 0 PID: %d Comm: %s Not tainted %s #1  Paper", trigger.PID, trigger.Comm, m.Release)
	where := "global_oom"
	if c, ok := p.in.Plan.Cgroup(s.OOMMemcg); ok && c.Max != nil {
		where = "oom_memcg=" + control.Memcg
		limit, swap := *c.Max/kernel.KiB, kernel.Bytes(9007199254740988)
		if c.SwapMax != nil {
			swap = *c.SwapMax / kernel.KiB
		}
		p.log(6, "memory: usage %dkB, limit %dkB, failcnt 1", limit, limit)
		p.log(6, "swap: usage 0kB, limit %dkB, failcnt 0", swap)
		p.log(6, "Memory cgroup stats for %s:", control.Memcg)
		p.log(6, "anon %d", limit*kernel.KiB)
	} else {
		p.log(4, "Mem-Info:")
		p.log(4, "active_anon:0 inactive_anon:0 isolated_anon:0")
		p.log(4, "Total swap = %dkB", m.SwapTotal/kernel.KiB)
		p.log(4, "%d pages RAM", m.MemTotal/m.PageSize+1000)
		p.log(4, "1000 pages reserved")
	}
	p.log(6, "Tasks state (memory values in pages):")
	p.log(6, "[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes"+
		" swapents oom_score_adj name")
	for _, t := range tasks {
		p.log(6, "[%7d]     0 %5d %8d %8d %8d        0         0        0        0         %5d %s",
			t.PID, t.TGID, t.MM.TotalVM, t.MM.Batched.Anon, t.MM.Batched.Anon, t.Adj, t.Comm)
	}
	p.log(6, "oom-kill:constraint=%s,nodemask=(null),cpuset=x,mems_allowed=0,%s,task_memcg=%s,task=%s,pid=%d,uid=0",
		logConstraint[s.Constraint], where, victim.Cgroup, victim.Comm, victim.PID)
}

// group reports whether memory.oom.group is set in a cgroup.
func (p *player) group(path string) bool {
	return slices.ContainsFunc(p.in.Plan.Cgroups, func(c plan.Cgroup) bool { return c.Path == path && c.OOMGroup })
}
