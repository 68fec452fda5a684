package explain

import (
	"fmt"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/predict"
)

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
	return plain(s)
}

// plain keeps what a log holds from reaching a terminal as it is.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
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
	if e.GroupPath != "" && len(e.Kills) > 1 {
		s = append(s, fmt.Sprintf("memory.oom.group is set for %s, so its processes die together; the log names %d.",
			printable(e.GroupPath), len(e.Kills)))
	}
	if p, ok := e.Memory.biggest(); ok {
		s = append(s, fmt.Sprintf("%s of %s was %s (%s), which a kill need not give back.", e.bytes(p.Pages),
			e.bytes(*e.Memory.Size), p.Name, p.Note))
	}
	if e.Disagreement != "" {
		s = append(s, capital(e.Disagreement)+".")
	}
	return plain(strings.Join(s, " "))
}

func capital(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	// names of processes and sysctls stay as they are
	first, _, _ := strings.Cut(s, " ")
	if strings.ContainsAny(first, "._0123456789") || !strings.HasPrefix(s, "the ") && !strings.HasPrefix(s, "no ") {
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
		if pod := e.pod(); pod != "" {
			name = pod
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

// freeButNoUse says why a machine that had free memory ran out of it: what was
// asked for in one piece is not there in one piece, or what is free lies in other
// zones than those that it may come from.
func (e *Explanation) freeButNoUse() string {
	r, m := e.report, e.Memory
	if r.Mem == nil || r.Sysrq || e.Global == nil || !*e.Global || m == nil || m.Size == nil {
		return ""
	}
	free, ok := r.Mem.Pages["free"]
	if free = clampPages(free); !ok || free < *m.Size/20 {
		return ""
	}
	if mask := e.Trigger.GFPMask; mask != nil && *mask == 0 {
		return fmt.Sprintf("%s were free: gfp_mask 0 is a page fault that failed (pagefault_out_of_memory()), for "+
			"whatever reason.", e.bytes(free))
	}
	if piece := e.piece(); piece > 0 {
		return fmt.Sprintf("%s were free, but not in pieces of %s: memory was fragmented.", e.bytes(free), piece.Human())
	}
	var short []string
	for _, z := range r.Mem.Zones {
		if z.Free != nil && z.Min != nil && *z.Free < *z.Min {
			short = append(short, fmt.Sprintf("%s of node %d", printable(z.Name), z.Node))
		}
	}
	if len(short) == 0 {
		return fmt.Sprintf("%s were free by then; the log does not show why they were of no use.", e.bytes(free))
	}
	return fmt.Sprintf("%s were free, but zone %s had less than its min watermark; what was free lay in zones that "+
		"this request could not use, or is kept back.",
		e.bytes(free), strings.Join(short[:min(3, len(short))], ", "))
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
	case r.AllocatingTask && e.Victim != nil:
		return []string{fmt.Sprintf("vm.oom_kill_allocating_task is set, so %s was killed because it asked, whatever its "+
			"score.", process(e.Victim.Comm, e.Victim.PID))}
	case r.PanicText != "":
		s := []string{"The kernel panicked: " + printable(r.PanicText) + "."}
		if r.NoKillable {
			s = append([]string{"The kernel found no process that it may kill."}, s...)
		}
		return s
	case r.NoKillable:
		return []string{"The kernel found no process that it may kill."}
	case e.Victim == nil && len(r.Kills) > 0 && r.Kills[0].AlreadyExiting:
		k := r.Kills[0]
		return []string{fmt.Sprintf("%s was chosen and was exiting already, so nobody was killed.", process(k.Comm, k.PID))}
	case p.chosenPID == nil:
		return []string{"The log does not show who was killed."}
	}
	var s []string
	chosen := e.victimName()
	if e.Victim != nil && e.Victim.SacrificeChild {
		s = append(s, fmt.Sprintf("%s was chosen, and its child %s died in its place, as kernels up to 5.0 do.", chosen,
			process(e.Victim.Comm, e.Victim.PID)))
	}
	if p.chosen < 0 {
		if len(p.rows) == 0 {
			return append(s, fmt.Sprintf("%s was killed; without the task table there are no scores to compare.", chosen))
		}
		return append(s, fmt.Sprintf("%s was killed, and is not in the task table.", chosen))
	}
	if e.Agrees != nil && !*e.Agrees {
		return append(s, fmt.Sprintf("%s was killed, though by the rules it would not have been.", chosen))
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
		if big := p.biggestHolder(); big != v && p.never[big] == exempt {
			s = append(s, fmt.Sprintf("%s holds more, %s, but its oom_score_adj of -1000 exempts it.",
				process(p.rows[big].Name, p.rows[big].PID), e.bytes(kernel.Pages(p.holds(big)))))
		}
		return s
	}
	score := fmt.Sprintf("%d pages held", p.holds(v))
	if adj := p.tasks[v].Adj; adj != 0 {
		score += fmt.Sprintf(" %+d for oom_score_adj %d", int64(adj)*inThousands(at), adj)
	}
	s := []string{fmt.Sprintf("Of the %d processes that could be killed %s had the highest score, %s%d points (%s).", able,
		chosen, about, points, score)}
	if next := e.runnerUp(at); next >= 0 {
		s = append(s, e.against(next, at))
	}
	return s
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
		return fmt.Sprintf("%s has exactly as many; of equals the kernel takes the one that it looks at %s.", name, which)
	}
	big := p.biggestHolder()
	if big != v && p.holds(big) > p.holds(v) {
		adj := p.tasks[big].Adj
		switch {
		case adj == predict.AdjMin:
			return fmt.Sprintf("%s holds more, %s, but its oom_score_adj of -1000 exempts it; the next that could be killed "+
				"is %s with %d.",
				process(p.rows[big].Name, p.rows[big].PID), e.bytes(kernel.Pages(p.holds(big))), name, other)
		case p.never[big] != "":
			return fmt.Sprintf("The next is %s with %d.", name, other)
		}
		return fmt.Sprintf("Not size but oom_score_adj decided: %s holds more, %s, but has oom_score_adj %d, and one "+
			"point of it is worth %s here.",
			process(p.rows[big].Name, p.rows[big].PID), e.bytes(kernel.Pages(p.holds(big))), adj, e.bytes(at/1000))
	}
	return fmt.Sprintf("It held %s; the next is %s with %d points.", e.bytes(kernel.Pages(p.holds(v))), name, other)
}

// biggestHolder is the process that holds most, whether it may be killed or not.
func (p *replay) biggestHolder() int {
	best := -1
	for i := range p.tasks {
		if best < 0 || p.holds(i) > p.holds(best) {
			best = i
		}
	}
	return best
}
