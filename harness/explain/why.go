package explain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/predict"
)

func (e *Explanation) kb(kb uint64) string {
	return (kernel.Bytes(min(kb, 1<<52)) * kernel.KiB).Human()
}

func (e *Explanation) bytes(p kernel.Pages) string { return p.Bytes(e.PageSize).Human() }

// process names one for a reader: comm (pid 12).
func process(comm string, pid int) string {
	return fmt.Sprintf("%s (pid %d)", printable(comm), pid)
}

// printable is a name from a log, fit for a reader.
func printable(s string) string {
	if s == "" {
		return "a process without a name"
	}
	return plaintext.Escape(s)
}

func (e *Explanation) why() string {
	s := []string{e.event()}
	if free := e.freeButNoUse(); free != "" {
		s = append(s, free)
	}
	s = append(s, e.choice()...)
	if r := e.report; r.Trigger.Comm == "" && e.Victim != nil && len(r.Tasks) == 0 && r.ContextPID == nil {
		s = append(s, "Nothing but the kill is in the log: more than ten reports in five seconds are swallowed by the "+
			"kernel's rate limit, or the log was cut.")
	}
	if e.GroupPath != "" {
		s = append(s, fmt.Sprintf("memory.oom.group is set for %s, so its processes die together; the log names %d.",
			printable(e.GroupPath), len(e.Kills)))
	}
	if p, ok := e.Memory.biggest(); ok {
		back := "which a kill need not give back"
		if p.Name == pageTables {
			back = "which goes only with the processes"
		}
		s = append(s, fmt.Sprintf("%s of %s was %s (%s), %s.", e.bytes(p.Pages), e.bytes(*e.Memory.Size), p.Name,
			p.Note,
			back))
	}
	matters := func(k Ranked) bool { return k.UID == 0 && k.Killed || k.RootBonus != 0 }
	if e.RootNote != "" && slices.ContainsFunc(e.Ranking, matters) {
		s = append(s, capital(e.RootNote)+".")
	}
	if e.Disagreement != "" {
		s = append(s, capital(e.Disagreement)+".")
	}
	return plaintext.Escape(strings.Join(s, " "))
}

func capital(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	// names of processes and sysctls stay as they are
	first, _, _ := strings.Cut(s, " ")
	if strings.ContainsAny(first, "._0123456789") || !slices.Contains([]string{"the", "no", "root", "kernels"}, first) {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// event says what ran out, and who asked.
func (e *Explanation) event() string {
	r := e.report
	who := ""
	if r.Trigger.Comm != "" {
		who = printable(r.Trigger.Comm)
		if r.Trigger.PID != nil {
			who = process(r.Trigger.Comm, *r.Trigger.PID)
		}
	}
	asked := ""
	if who != "" {
		asked = fmt.Sprintf(" when %s asked for memory", who)
	}
	if piece := e.piece(); who != "" && piece > 0 {
		asked = fmt.Sprintf(" when %s asked for %s in one piece", who, piece.Human())
	}
	switch {
	case r.Sysrq:
		return "Somebody asked for a kill with sysrq-f; memory need not have been short."
	case r.Global == nil && e.PanicOnOOM != nil:
		return fmt.Sprintf("Memory ran out%s; the log does not show whether that of a cgroup or of the machine.", asked)
	case r.Global == nil && who == "":
		return "The log does not show what ran out of memory."
	case r.Global == nil:
		return fmt.Sprintf("Memory ran out%s; the log does not show whether that of a cgroup or of the machine.", asked)
	case !*r.Global:
		name := "A memory cgroup"
		if r.OOMMemcg != "" {
			name = "The memory cgroup " + printable(r.OOMMemcg)
		}
		limit := "its limit"
		if m := e.Memory; m != nil && m.Size != nil {
			limit += " of " + e.bytes(*m.Size)
		}
		if e.LimitOwner != nil && e.LimitOwner.Kind != "slice" {
			name = "The " + printable(e.LimitOwner.String())
		}
		if pod := e.pod(); pod != "" {
			name = pod
		}
		if u := r.Memcg; e.LimitHit == "memory+swap" && u.Memory != nil {
			limit = fmt.Sprintf("its limit of memory and swap together of %s", e.kb(u.MemorySwap.LimitKB))
			if !u.Memory.Unlimited() {
				limit += fmt.Sprintf(" (memory alone: %s of %s)", e.kb(u.Memory.UsageKB), e.kb(u.Memory.LimitKB))
			}
		}
		if e.LimitNote != "" {
			return fmt.Sprintf("%s ran out of memory%s. %s", name, asked, e.LimitNote)
		}
		return fmt.Sprintf("%s reached %s%s.", name, limit, asked)
	}
	what := "The machine"
	switch r.Constraint {
	case "CONSTRAINT_CPUSET":
		what = fmt.Sprintf("The memory nodes %s, all that a cpuset allows,", printable(r.MemsAllowed))
	case "CONSTRAINT_MEMORY_POLICY":
		what = fmt.Sprintf("The memory nodes %s, all that a memory policy allows,", printable(r.NodeMask))
	}
	size := ""
	if m := e.Memory; m != nil && m.Size != nil && r.Constraint != "CONSTRAINT_CPUSET" &&
		r.Constraint != "CONSTRAINT_MEMORY_POLICY" {
		size = e.bytes(*m.Size)
		switch {
		case m.TotalSwap != nil && *m.TotalSwap > 0 && m.FreeSwap != nil:
			size += fmt.Sprintf(" and %s of swap, %s of it free", e.bytes(*m.TotalSwap), e.bytes(*m.FreeSwap))
		case m.TotalSwap != nil && *m.TotalSwap == 0:
			size += ", no swap"
		}
		size = " (" + size + ")"
	}
	return fmt.Sprintf("%s%s ran out of memory%s.", what, size, asked)
}

// piece is how much was asked for in one piece, if that is more than a page.
func (e *Explanation) piece() kernel.Bytes {
	if order := e.Trigger.Order; order != nil && *order > 0 && *order < 20 {
		return e.PageSize << *order
	}
	return 0
}

// pod is the cgroup in the words of Kubernetes; empty: it is none of its.
func (e *Explanation) pod() string {
	k := e.Kubernetes
	if k == nil {
		return ""
	}
	switch k.Limit {
	case "container":
		if k.PodUID == "" {
			return fmt.Sprintf("The container %.12s", k.ContainerID)
		}
		return fmt.Sprintf("The container %.12s of the %s pod %s", k.ContainerID, k.QoS, k.PodUID)
	case "pod":
		return fmt.Sprintf("The %s pod %s, all of its containers together,", k.QoS, k.PodUID)
	case "qos":
		return fmt.Sprintf("The %s pods of the node, all of them together,", k.QoS)
	case "kubepods":
		return "The pods of the node, all of them together,"
	case "node":
		return fmt.Sprintf("The node %.12s, which is a container,", k.Node)
	}
	return ""
}

// choice says why this one.
func (e *Explanation) choice() []string {
	r, p := e.report, &e.replay
	switch {
	case r.AllocatingTask && e.Victim != nil && e.Victim.SacrificeChild && e.Victim.ChosenPID != nil:
		asked := process(e.Victim.ChosenComm, *e.Victim.ChosenPID)
		return []string{fmt.Sprintf("vm.oom_kill_allocating_task is set, so %s was chosen because it asked, "+
			"whatever its "+
			"score, and its child %s died in its place, as kernels up to 5.0 do.", asked, process(e.Victim.Comm,
			e.Victim.PID))}
	case r.AllocatingTask && e.Victim != nil:
		return []string{fmt.Sprintf("vm.oom_kill_allocating_task is set, so %s was killed because it asked, "+
			"whatever its "+
			"score.", process(e.Victim.Comm, e.Victim.PID))}
	case r.PanicText != "":
		s := []string{"The kernel panicked: " + printable(r.PanicText) + "."}
		if e.PanicOnOOM != nil {
			s[0] = fmt.Sprintf("The kernel panicked before it chose anybody, because vm.panic_on_oom is %d: %s.",
				*e.PanicOnOOM,
				printable(r.PanicText))
		}
		if r.NoKillable {
			s = append([]string{"The kernel found no process that it may kill."}, s...)
		}
		return s
	case r.NoKillable:
		return []string{"The kernel found no process that it may kill."}
	case e.Outcome == Exiting:
		return []string{fmt.Sprintf("%s was chosen and was exiting already, so nobody was killed.",
			process(e.Chosen.Comm, e.Chosen.PID))}
	case p.chosenPID == nil:
		return []string{"The log does not show who was killed."}
	}
	var s []string
	chosen := e.victimName()
	if e.Outcome == WasOnly {
		s = append(s, fmt.Sprintf("%s was chosen (%s); the log does not show the kill.", chosen, e.Chosen.From))
		if p.chosen < 0 || p.blind != "" {
			return s
		}
	}
	if e.Victim != nil && e.Victim.SacrificeChild {
		s = append(s, fmt.Sprintf("%s was chosen, and its child %s died in its place, as kernels up to 5.0 do.", chosen,
			process(e.Victim.Comm, e.Victim.PID)))
	}
	switch {
	case p.blind != "":
		return append(s, fmt.Sprintf("%s was killed.", chosen))
	case p.origin != nil:
		return append(s, fmt.Sprintf("%s was killed before all others, whatever its score: the kernel marks a task "+
			"that "+
			"empties swap or undoes KSM as the origin of the shortage (OOM_FLAG_ORIGIN).", chosen))
	}
	if p.chosen < 0 {
		if len(p.rows) == 0 {
			return append(s, fmt.Sprintf("%s was killed; without the task table there are no scores to compare.",
				chosen))
		}
		return append(s, fmt.Sprintf("%s was killed, and is not in the task table.", chosen))
	}
	if e.Agrees != nil && !*e.Agrees {
		return append(s, fmt.Sprintf("%s was chosen, though by the rules it would not have been.", chosen))
	}
	return append(s, e.reason(chosen)...)
}

func (e *Explanation) victimName() string {
	r, p := e.report, &e.replay
	if p.chosen >= 0 {
		return process(p.rows[p.chosen].Name, p.rows[p.chosen].PID)
	}
	for _, k := range r.Kills {
		if k.ChosenPID != nil && *k.ChosenPID == *p.chosenPID {
			return process(k.ChosenComm, *k.ChosenPID)
		}
		if k.PID == *p.chosenPID {
			return process(k.Comm, k.PID)
		}
	}
	return process(r.ContextComm, *p.chosenPID)
}

// reason compares the chosen one with the next, and with who would have been
// chosen by size alone.
func (e *Explanation) reason(chosen string) []string {
	p := &e.replay
	at, v := e.Scored(), p.chosen
	able := 0
	for _, why := range p.never {
		if why == "" {
			able++
		}
	}
	points, _ := p.points(v, at)
	about := ""
	if e.TotalPages == nil && p.tasks[v].Adj > 0 {
		about = "at least "
	} else if e.TotalPages == nil && p.tasks[v].Adj < 0 {
		about = "at most "
	}
	if able == 1 {
		s := []string{fmt.Sprintf("%s was the only process that could be killed.", chosen)}
		if e.rowsLost() {
			s[0] = fmt.Sprintf("%s is the only process that could be killed of those that the log still shows.", chosen)
		}
		if big := p.biggestHolder(); big != v && p.never[big] == exempt {
			s = append(s, fmt.Sprintf("%s holds more, %s, but its oom_score_adj of -1000 exempts it.",
				process(p.rows[big].Name, p.rows[big].PID), e.bytes(kernel.Pages(p.size(big)))))
		}
		return s
	}
	score := fmt.Sprintf("%d pages held", p.size(v))
	if adj := p.tasks[v].Adj; adj != 0 {
		score += fmt.Sprintf(" %+d for oom_score_adj %d", int64(adj)*inThousands(at), adj)
	}
	if bonus := p.size(v) - p.holds(v) + (int64(p.tasks[v].Adj)-p.adj(v))*inThousands(at); bonus != 0 {
		score += fmt.Sprintf(" %+d for CAP_SYS_ADMIN", -bonus)
	}
	among := "that could be killed"
	if e.rowsLost() {
		among = "that the log still shows and that could be killed"
	}
	s := []string{fmt.Sprintf("Of the %d processes %s %s had the highest score, %s%d points (%s).", able, among,
		chosen, about,
		points, score)}
	if p.made != nil && *p.made == v {
		s[0] = fmt.Sprintf("The row of %s is missing; by its kill line it had %s%d points (%s), more than the %d "+
			"others that "+
			"the log shows.", chosen, map[bool]string{true: "at least ", false: about}[p.atLeast], points, score,
			able-1)
	}
	if next := e.runnerUp(at); next >= 0 {
		s = append(s, e.against(next, at))
	}
	return s
}

// rowsLost reports whether the table is not whole, so that others may have been in it.
func (e *Explanation) rowsLost() bool {
	return len(e.Capped) > 0 || slices.ContainsFunc(e.Missing, func(m string) bool {
		return slices.Contains([]string{oomlog.MissingRow, oomlog.MissingVictimRow, oomlog.MissingTableHead,
			oomlog.MissingOwner, oomlog.MissingLost}, m)
	})
}

// runnerUp is who would have been chosen without the chosen one, or -1.
func (e *Explanation) runnerUp(at kernel.Pages) int {
	p := &e.replay
	kept := p.tasks[p.chosen].Skip
	p.tasks[p.chosen].Skip = true
	next := p.choose(at)
	p.tasks[p.chosen].Skip = kept
	return next
}

func (e *Explanation) against(next int, at kernel.Pages) string {
	p := &e.replay
	v := p.chosen
	mine, _ := p.points(v, at)
	other, _ := p.points(next, at)
	name := process(p.rows[next].Name, p.rows[next].PID)
	if mine == other {
		which := "last"
		if p.rules.FirstOfEqual {
			which = "first"
		}
		return fmt.Sprintf("%s has exactly as many; of equals the kernel takes the one that it looks at %s.", name,
			which)
	}
	big := p.biggestHolder()
	if big != v && p.size(big) > p.size(v) {
		adj := p.tasks[big].Adj
		switch {
		case adj == predict.AdjMin:
			return fmt.Sprintf("%s holds more, %s, but its oom_score_adj of -1000 exempts it; the next that could "+
				"be killed "+
				"is %s with %d.",
				process(p.rows[big].Name, p.rows[big].PID), e.bytes(kernel.Pages(p.size(big))), name, other)
		case p.never[big] != "":
			return fmt.Sprintf("The next is %s with %d.", name, other)
		}
		return fmt.Sprintf("Not size but oom_score_adj decided: %s holds more, %s, but has oom_score_adj %d, and one "+
			"point of it is worth %s here.",
			process(p.rows[big].Name, p.rows[big].PID), e.bytes(kernel.Pages(p.size(big))), adj, e.bytes(at/1000))
	}
	return fmt.Sprintf("It held %s; the next is %s with %d points.", e.bytes(kernel.Pages(p.size(v))), name, other)
}

// biggestHolder is the process that holds most, whether it may be killed or not.
func (p *replay) biggestHolder() int {
	best := -1
	for i := range p.tasks {
		if best < 0 || p.size(i) > p.size(best) {
			best = i
		}
	}
	return best
}
