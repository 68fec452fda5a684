package trace

import (
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
)

// maxReport bounds the lines that are kept of one report.
const maxReport = 1 << 13

// maxKnown bounds what the log told of kills that eBPF has not told yet.
const maxKnown = 1 << 10

// logState is what the kernel log said lately.
type logState struct {
	lines []kernel.Record // since the last line that began a report
	known []logged
}

// logged is what the log says of one kill.
type logged struct {
	report oomlog.Report
	line   oomlog.KillLine
	atNS   int64
}

// forget takes out what is known of a victim.
func (l *logState) forget(pid int) *logged {
	i := slices.IndexFunc(l.known, func(k logged) bool { return k.line.PID == pid })
	if i < 0 {
		return nil
	}
	k := l.known[i]
	l.known = slices.Delete(l.known, i, i+1)
	return &k
}

// telling are words of the lines that say who was killed and what ran out; the tables
// between them are long.
var telling = []string{"oom-killer", "oom-kill:", "CPU: ", "Killed process ", "ill process ", "out of memory",
	"Out of memory", "Task in "}

// record takes a record of the kernel log.
func (a *Assembler) record(e evidence.Event) []Kill {
	r := e.Log
	if r.Facility != 0 {
		return nil // written by a program
	}
	text := r.Text
	if strings.Contains(text, " invoked oom-killer: ") {
		a.log.lines = a.log.lines[:0]
	}
	if len(a.log.lines) < maxReport && slices.ContainsFunc(telling, func(s string) bool {
		return strings.Contains(text, s)
	}) {
		a.log.lines = append(a.log.lines, kernel.Record{Priority: r.Priority, Seq: r.Seq, USec: r.USec, Text: text,
			Cont: r.Cont, Caller: r.Caller})
	}
	switch {
	case strings.Contains(text, "oom_reaper: reaped process "):
		a.reaped(e)
	case strings.Contains(text, "Killed process "):
		return a.killed(e)
	}
	return nil
}

// killed takes the line that tells of a kill.
func (a *Assembler) killed(e evidence.Event) []Kill {
	var p oomlog.Parser
	var reports []oomlog.Report
	for _, r := range a.log.lines {
		reports = append(reports, p.Feed(r)...)
	}
	reports = append(reports, p.Close()...)
	if len(reports) == 0 {
		return nil
	}
	report := reports[len(reports)-1]
	if len(report.Kills) == 0 {
		return nil
	}
	told := logged{report: report, line: report.Kills[len(report.Kills)-1], atNS: e.AtNS}
	if told.line.Duplicate {
		a.again++
	}
	if told.line.AlreadyExiting || told.line.Announced || told.line.Duplicate {
		return nil
	}
	if t := report.Trigger; t.GFPMask != nil && t.GFP != "" && len(a.flags) < maxKnown {
		a.flags[uint32(*t.GFPMask)] = t.GFP
	}
	if !a.o.BPF {
		return []Kill{a.fromLog(told)}
	}
	for _, p := range a.waiting {
		if !p.logged && (p.kill.Victim.PID == told.line.PID || p.kill.Victim.Thread == told.line.PID) {
			a.addLog(p, told)
			return nil
		}
	}
	if len(a.log.known) >= maxKnown {
		a.log.known = slices.Delete(a.log.known, 0, 1)
	}
	a.log.known = append(a.log.known, told)
	return nil
}

// reaped adds when the memory was taken.
func (a *Assembler) reaped(e evidence.Event) {
	_, rest, _ := strings.Cut(e.Log.Text, "oom_reaper: reaped process ")
	for _, p := range a.waiting {
		k := &p.kill
		if prefix := itoa(k.Victim.PID) + " ("; k.ReapedNS == nil && strings.HasPrefix(rest, prefix) {
			after := max(0, e.AtNS-k.AtNS)
			k.ReapedNS = &after
			return
		}
	}
}

// addLog adds to a kill what only the kernel log tells.
func (a *Assembler) addLog(p *pending, l logged) {
	p.logged = true
	k := &p.kill
	r := l.report
	if k.GFPFlags == "" {
		k.GFPFlags = r.Trigger.GFP
	}
	if k.Constraint == "" {
		a.limitOf(k, r)
	}
	if k.Order == nil {
		k.Order = r.Trigger.Order
	}
	if k.GFP == nil && r.Trigger.GFPMask != nil {
		mask := uint32(*r.Trigger.GFPMask)
		k.GFP = &mask
	}
	if k.Victim.RSS == nil {
		v := processOf(l.line, r)
		v.PID, v.Thread = k.Victim.PID, k.Victim.Thread
		k.Victim = v
	}
	if p.status || !a.o.Status {
		k.Asked = asked(*k)
	}
}

// limitOf says what ran out, by the log. When its rate limit drops the rest, the line
// of the kill still says whether it was a cgroup.
func (a *Assembler) limitOf(k *Kill, r oomlog.Report) {
	if r.Constraint == "" {
		switch {
		case r.Global == nil:
		case *r.Global: // or NUMA nodes of it
			k.Limit = &Limit{Kind: "machine"}
		default:
			k.Constraint, k.Limit = "memcg", &Limit{Kind: "cgroup"}
		}
		return
	}
	k.Constraint = strings.ToLower(strings.TrimPrefix(r.Constraint, "CONSTRAINT_"))
	if k.Constraint == "memory_policy" {
		k.Constraint = "mempolicy"
	}
	k.Limit = &Limit{Cgroup: r.OOMMemcg}
	var p Process
	p.Own(r.OOMMemcg)
	k.Limit.Owner = p.Owner
	k.Limit.Kind = limitKind(k.Constraint, p.Owner)
}

// fromLog is a kill that nobody but the log tells of.
func (a *Assembler) fromLog(l logged) Kill {
	r := l.report
	k := Kill{AtNS: l.atNS, PageSize: a.o.PageSize, By: ByKernel, Source: FromLog, Victim: processOf(l.line, r),
		GFPFlags: r.Trigger.GFP, Order: r.Trigger.Order, Group: len(r.Kills) > 1}
	if r.Trigger.Comm != "" || r.Trigger.PID != nil {
		k.Trigger = &Process{Comm: r.Trigger.Comm, Adj: r.Trigger.Adj}
		if r.Trigger.PID != nil {
			k.Trigger.PID = *r.Trigger.PID
		}
	}
	if r.Trigger.GFPMask != nil {
		mask := uint32(*r.Trigger.GFPMask)
		k.GFP = &mask
	}
	a.limitOf(&k, r)
	k.Asked = asked(k)
	if r.Sysrq {
		k.Asked = AskedSysrq
	}
	return k
}

// processOf is the victim as the log has it.
func processOf(l oomlog.KillLine, r oomlog.Report) Process {
	out := Process{PID: l.PID, Comm: l.Comm, Adj: l.Adj}
	kb := func(n *uint64) *kernel.Bytes {
		if n == nil || *n > 1<<52 {
			return nil
		}
		b := kernel.Bytes(*n) * kernel.KiB
		return &b
	}
	if l.UID != nil {
		uid := int(*l.UID)
		out.UID = &uid
	}
	out.Anon, out.File, out.Shmem = kb(l.AnonRSSKB), kb(l.FileRSSKB), kb(l.ShmemRSSKB)
	out.PgTables, out.TotalVM = kb(l.PgTablesKB), kb(l.TotalVMKB)
	if out.Anon != nil && out.File != nil {
		rss := *out.Anon + *out.File
		if out.Shmem != nil {
			rss += *out.Shmem
		}
		out.RSS = &rss
	}
	// The summary names the chosen one's cgroup; members of a group may be in others.
	if r.TaskMemcg != "" && len(r.Kills) == 1 {
		out.Own(r.TaskMemcg)
	}
	return out
}
