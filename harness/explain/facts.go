package explain

import (
	"fmt"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
	"github.com/oomlab/oomlab/harness/plaintext"
)

// Fact is a line of what an explanation says in words. Without a label it belongs to
// the one before. Facts are fit for a reader: names of the log are escaped.
type Fact struct{ Label, Text string }

type facts []Fact

func (f *facts) add(label, text string) {
	if text != "" {
		*f = append(*f, Fact{label, text})
	}
}

// Title names a report; n counts from 1.
func (e *Explanation) Title(n int) string {
	title := fmt.Sprintf("OOM %d", n)
	if e.At != "" {
		title += "  " + printable(e.At)
	}
	if e.Host != "" {
		title += "  " + printable(e.Host)
	}
	return title
}

// Brief is a report in a row of a list.
type Brief struct{ At, Victim, Model, Where string }

// Brief is for lists of reports.
func (e *Explanation) Brief() Brief {
	at := printable(e.At)
	if e.At == "" {
		at = "no time"
	}
	where := "unknown"
	switch {
	case e.report.Sysrq:
		where = "sysrq"
	case e.OOMMemcg != "":
		where = e.OOMMemcg
	case e.Global != nil && *e.Global:
		where = "machine"
	case e.Global != nil:
		where = "cgroup"
	}
	victim := map[string]string{Nobody: "nobody", Exiting: "nobody", Unknown: "not shown"}[e.Outcome]
	if e.Victim != nil {
		victim = fmt.Sprintf("%s (%d)", printable(e.Victim.Comm), e.Victim.PID)
	} else if e.Outcome == WasOnly {
		victim = fmt.Sprintf("chosen: %s (%d)", printable(e.Chosen.Comm), e.Chosen.PID)
	}
	if len(e.Kills) > 1 {
		victim += fmt.Sprintf(" +%d", len(e.Kills)-1)
	}
	model := "?"
	if e.Agrees != nil {
		model = map[bool]string{true: "agrees", false: "DIFFERS"}[*e.Agrees]
	}
	return Brief{at, victim, model, printable(where)}
}

// HeadFacts are what the log says: who, where, on which kernel.
func (e *Explanation) HeadFacts() (out facts) {
	killed := "nobody"
	switch {
	case e.Outcome == Unknown:
		killed = "not shown by this log"
	case e.Outcome == Exiting:
		killed = "nobody; " + process(e.Chosen.Comm, e.Chosen.PID) + " was exiting already"
	case e.Outcome == WasOnly:
		killed = fmt.Sprintf("%s was chosen (%s); its kill is not shown", process(e.Chosen.Comm, e.Chosen.PID),
			e.Chosen.From)
	}
	if v := e.Victim; v != nil {
		killed = process(v.Comm, v.PID)
		if size := sizes(*v); size != "" {
			killed += ": " + size
		}
		if len(e.Kills) > 1 {
			killed += fmt.Sprintf("; and %d more", len(e.Kills)-1)
		}
	}
	out.add("killed", killed)
	out.add("trigger", trigger(e.Trigger))
	scope := e.Constraint
	if e.OOMMemcg != "" {
		scope = strings.TrimSpace(scope + " " + printable(e.OOMMemcg))
	}
	switch {
	case scope != "" || e.Global == nil:
	case *e.Global:
		scope = "the machine"
	default:
		scope = "a cgroup; the log does not show which"
	}
	out.add("limit", scope)
	if e.TaskMemcg != "" && e.TaskMemcg != e.OOMMemcg {
		out.add("victim's", "cgroup "+printable(e.TaskMemcg))
	}
	out.add("pod", e.Kubernetes.String())
	if e.Kubernetes == nil || e.Kubernetes.PodUID == "" {
		out.add("owner", printableOwner(e.Owner))
		if limit := printableOwner(e.LimitOwner); limit != "" && limit != printableOwner(e.Owner) {
			out.add("limit's", "owner "+limit)
		}
	}
	kern := printable(e.KernelRelease)
	if e.KernelRelease == "" {
		kern = "release not printed"
	}
	if e.KernelFormat != "" {
		kern += "; log of the layout " + e.KernelFormat
	}
	out.add("kernel", kern)
	return out
}

// Ranked reports whether the table could be understood, so that its rows have scores.
func (e *Explanation) Ranked() bool { return len(e.Ranking) > 0 && e.replay.blind == "" }

// TotalFacts are how scores are made up, and the size of the domain.
func (e *Explanation) TotalFacts() (out facts) {
	if e.replay.blind != "" {
		out.add("table", fmt.Sprintf("has %d processes; %s", len(e.Ranking), e.replay.blind))
		return out
	}
	out.add("ranking", fmt.Sprintf("in pages of %s; score = rss + swap + page tables + adj, which is oom_score_adj * "+
		"(total / 1000)", e.PageSize))
	total := e.TotalFrom
	switch {
	case e.TotalPages != nil:
		total = fmt.Sprintf("%d pages (%s): %d for each oom_score_adj", *e.TotalPages, e.TotalFrom,
			inThousands(*e.TotalPages))
	case e.TotalRange.Min > 0 || e.TotalRange.Max != nil:
		total = fmt.Sprintf("%s pages: %s", e.span(e.TotalRange, true, 0), e.TotalFrom)
	}
	out.add("total", total)
	return out
}

// ModelFacts are whether the model agrees, and what is said twice.
func (e *Explanation) ModelFacts() (out facts) {
	text := "cannot say: the log does not have what that takes"
	if len(e.Missing) > 0 {
		text = "cannot say: missing " + strings.Join(e.Missing, ", ")
	}
	switch {
	case e.Agrees != nil && *e.Agrees && e.report.AllocatingTask:
		text = "agrees: whoever asks is killed"
	case e.Agrees != nil && *e.Agrees && e.replay.origin != nil:
		text = "agrees: a task with OOM_FLAG_ORIGIN is chosen before all scores"
	case e.Agrees != nil && *e.Agrees && e.ReplayedVictimPID == nil:
		text = "agrees: nobody could be chosen"
	case e.Agrees != nil && *e.Agrees:
		text = fmt.Sprintf("agrees: it chooses pid %d from this table too", *e.ReplayedVictimPID)
		if e.TotalPages == nil && e.Follows != nil && !e.Follows.same(e.TotalRange) {
			text += fmt.Sprintf(", if the domain has %s pages", e.span(*e.Follows, true, 0))
		} else if e.TotalPages == nil {
			text += ", whatever the total"
		}
	case e.Agrees != nil && e.ReplayedVictimPID != nil:
		text = fmt.Sprintf("DIFFERS: it chooses pid %d from this table", *e.ReplayedVictimPID)
	case e.Agrees != nil:
		text = "DIFFERS"
	case e.report.PanicText != "":
		text = "nobody is chosen in a panic"
	case e.Disagreement != "":
		text = "cannot say: " + e.Disagreement
	}
	out.add("model", text)
	if e.RootNote != "" && e.replay.root.byVersion != rootNothing {
		out.add("", e.RootNote)
	}
	for _, t := range e.Twice {
		if t.Differ {
			out.add("twice", fmt.Sprintf("%s: %d%s in the row, %d%s in the kill line; the %s is believed: %s", t.What,
				t.Row,
				t.Unit, t.Line, t.Unit, t.Believed, t.Note))
		}
	}
	return out
}

// MemoryFacts are where the memory was.
func (e *Explanation) MemoryFacts() (out facts) {
	m := e.Memory
	if m == nil {
		return nil
	}
	size := func(n kernel.Pages) string { return n.Bytes(e.PageSize).Human() }
	var s []string
	if m.Usage != nil && m.Size != nil {
		s = append(s, fmt.Sprintf("%s of %s in use", size(*m.Usage), size(*m.Size)))
	}
	if m.Anon != nil {
		s = append(s, size(*m.Anon)+" anonymous")
	}
	if m.PageTables != nil {
		s = append(s, size(*m.PageTables)+" page tables of processes")
	}
	if m.SwapUsed != nil && *m.SwapUsed > 0 {
		s = append(s, size(*m.SwapUsed)+" in swap")
	}
	if m.Resident > 0 || m.Swapped > 0 {
		s = append(s, fmt.Sprintf("the table's processes hold %s, what they share counted in each, and %s in swap",
			size(m.Resident), size(m.Swapped)))
	}
	out.add("memory", strings.Join(s, "; "))
	return out
}

// Uses are all memory of no process, with what closes the sum.
func (m *Memory) Uses() []Part {
	all := m.Elsewhere
	if m.Unaccounted != nil {
		all = append(all[:len(all):len(all)], Part{Name: unaccounted, Pages: *m.Unaccounted, Note: uses[unaccounted]})
	}
	return all
}

// SavedFacts are what would have let the victim live.
func (e *Explanation) SavedFacts() (out facts) {
	s := e.Saved
	if s == nil {
		return nil
	}
	if l := s.Limit; l != nil && l.Counter == "machine" {
		out.add("saved by", fmt.Sprintf("%s more: %s", l.More.Human(), l.RestsOn))
	} else if l != nil {
		out.add("saved by", fmt.Sprintf("a %s limit of %s (%d bytes, %s more): %s", l.Counter, l.Limit.Human(), l.Limit,
			l.More.Human(), l.RestsOn))
	}
	if a := s.Adj; a != nil {
		then := "and nobody could be killed then"
		if a.InsteadPID != nil {
			then = "and " + process(a.InsteadComm, *a.InsteadPID) + " would have died"
		}
		out.add("saved by", fmt.Sprintf("oom_score_adj %d (%+d), %s: by %s", a.Adj, a.Change, then, a.RestsOn))
	}
	return out
}

// NoteFacts are what is missing, and further remarks.
func (e *Explanation) NoteFacts() (out facts) {
	if len(e.Missing) > 0 {
		out.add("missing", strings.Join(e.Missing, ", "))
	}
	if e.Suppressed != nil {
		out.add("note", fmt.Sprintf("%d reports before this one were swallowed by the rate limit", *e.Suppressed))
	}
	if len(e.Capped) > 0 {
		out.add("note", "longer than what is looked at: "+strings.Join(e.Capped, ", "))
	}
	return out
}

// Facts are the question and the answer.
func (w *WhatIf) Facts() (out facts) {
	out.add("what if", printable(strings.Join(w.Changes, ", ")))
	out.add("", w.Text)
	for _, problem := range w.Errors {
		out.add("", printable(problem))
	}
	return out
}

// AdjText is what the adjustment adds, and the adjustment.
func (k Ranked) AdjText() string {
	adj := "?"
	if k.AdjPoints != nil {
		adj = fmt.Sprintf("%+d", *k.AdjPoints)
		if *k.AdjPoints == 0 {
			adj = "0"
		}
	}
	if k.Adj != 0 {
		adj += fmt.Sprintf(" (%d)", k.Adj)
	}
	return adj
}

// ScoreText is the score, or its bounds.
func (k Ranked) ScoreText() string {
	score := "never"
	switch {
	case k.Origin:
		score = "first: OOM_FLAG_ORIGIN"
	case k.Points != nil:
		score = fmt.Sprint(*k.Points)
	case k.PointsMin != nil && k.PointsMax != nil:
		score = fmt.Sprintf("%d..%d", *k.PointsMin, *k.PointsMax)
	case k.PointsMin != nil:
		score = fmt.Sprintf("%d or more", *k.PointsMin)
	case k.PointsMax != nil:
		score = fmt.Sprintf("%d or less", *k.PointsMax)
	}
	if k.RootBonus != 0 {
		score += fmt.Sprintf(" (root -%d)", k.RootBonus)
	}
	if k.FromKillLine {
		score += " (kill line)"
	}
	return score
}

func printableOwner(o *Owner) string { return plaintext.Escape(o.String()) }

func sizes(k oomlog.KillLine) string {
	var parts []string
	add := func(kb *uint64, what string) {
		if kb != nil {
			parts = append(parts, (kernel.Bytes(min(*kb, 1<<52))*kernel.KiB).Human()+" "+what)
		}
	}
	add(k.AnonRSSKB, "anon")
	add(k.FileRSSKB, "file")
	add(k.ShmemRSSKB, "shmem")
	add(k.PgTablesKB, "page tables")
	if k.Adj != nil {
		parts = append(parts, fmt.Sprintf("oom_score_adj %d", *k.Adj))
	}
	return strings.Join(parts, ", ")
}

func trigger(t oomlog.Trigger) string {
	if t.Comm == "" {
		return ""
	}
	s := printable(t.Comm)
	if t.PID != nil {
		s = process(t.Comm, *t.PID)
	}
	if t.GFP != "" {
		s += ", " + printable(t.GFP)
	}
	if t.Order != nil {
		s += fmt.Sprintf(", order %d", *t.Order)
	}
	if t.Adj != nil {
		s += fmt.Sprintf(", oom_score_adj %d", *t.Adj)
	}
	return s
}

// String is the pod and container in words; empty for none.
func (k *Kubernetes) String() string {
	if k == nil {
		return ""
	}
	var s []string
	add := func(what, value string) {
		if value != "" {
			s = append(s, strings.TrimSpace(what+" "+value))
		}
	}
	add("", k.QoS)
	add("pod", k.PodUID)
	add(strings.TrimSpace(k.Runtime+" container"), k.ContainerID)
	add("in the node container", k.Node)
	add("limit of", map[string]string{"container": "the container", "pod": "the pod", "qos": "the QoS class",
		"kubepods": "all pods", "node": "the node", "machine": "the machine"}[k.Limit])
	return strings.Join(s, ", ")
}
