package selftest

import (
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
)

func init() { lies[evidence.Agent] = (*liar).agent }

func (l *liar) agent() {
	l.tell("the record has no end", without(kind(evidence.End)))
	l.tell("a survivor was never ready", without(func(r evidence.Event) bool {
		return r.Kind == evidence.Ready && slices.ContainsFunc(l.in.Events, func(a evidence.Event) bool {
			return a.Kind == evidence.Alive && a.PID == r.PID
		})
	}))
	l.tell("a step failed", atEnd(evidence.Event{Source: evidence.Agent, Kind: evidence.Failure, Text: "selftest"}))
	failed := func(e evidence.Event) bool { return e.Kind == evidence.Failed && e.Call != nil }
	l.tell("who was refused memory does not say so", without(failed))
	l.tell("refused memory for another reason", first(failed, func(e *evidence.Event) { e.Call.Errno = "EINVAL" }))
	l.tell("refused memory at another step", first(failed, func(e *evidence.Event) { e.Call.Step++ }))
	l.tell("a survivor was refused memory", first(kind(evidence.Alive), func(e *evidence.Event) {
		e.Source, e.Kind, e.Status = evidence.Stressor, evidence.Failed, nil
		e.Call = &evidence.FailedCall{Errno: "ENOMEM"}
	}))
	read := func(e evidence.Event) bool { return e.Kind == evidence.ProcRead && e.Proc != nil }
	l.tell("a process was not read", without(read))
	l.tell("a process was read twice", twice(read))
	l.tell("another oom_score in /proc", first(read, func(e *evidence.Event) { e.Proc.OOMScore++ }))
	l.tell("another oom_score_adj in /proc", first(read, func(e *evidence.Event) { e.Proc.OOMScoreAdj++ }))
	l.tell("another oom_adj in /proc", first(read, func(e *evidence.Event) { e.Proc.OOMAdj++ }))
	started := kind(evidence.Descendants)
	l.tell("a program started others with another pid", first(started, func(e *evidence.Event) { e.PID++ }))
	l.tell("a program started nobody", first(started, func(e *evidence.Event) { e.N = 0 }))
	for _, p := range l.in.Plan.Processes {
		if !p.IsCommand() {
			l.tell("a stressor started others", first(started, func(e *evidence.Event) { e.Process = p.Name }))
			break
		}
	}
	l.descendants()
	stopping := kind(evidence.Stopping)
	l.tell("nobody was stopped", without(stopping))
	l.tell("one was stopped twice", twice(stopping))
	l.tell("another one was stopped", first(stopping, func(e *evidence.Event) { e.Process += "x" }))
	l.tell("one was stopped before it began", first(stopping, func(e *evidence.Event) { e.AtNS = 1 }))
	l.tell("nobody was ranked", none(kind(evidence.Ranked)))
	l.tell("another one is first in the ranking", last(func(e evidence.Event) bool {
		return e.Ranking != nil && slices.ContainsFunc(e.Ranking.Domains, severalRows)
	}, func(e *evidence.Event) {
		for _, d := range e.Ranking.Domains {
			if severalRows(d) {
				d.Rows[0].PID, d.Rows[1].PID = d.Rows[1].PID, d.Rows[0].PID
			}
		}
	}))
	facts := func(e evidence.Event) bool {
		return e.Kind == evidence.ContainerCgroup && e.Cgroup != nil && e.Cgroup.OOMScoreAdj != nil
	}
	l.tell("another oom_score_adj", first(facts, func(e *evidence.Event) { *e.Cgroup.OOMScoreAdj-- }))
	// What is no container's, such as a sandbox, is set to whatever the runtime likes.
	planned := func(and func(*evidence.CgroupFacts) bool) wanted {
		return func(e evidence.Event) bool {
			if !facts(e) || !and(e.Cgroup) {
				return false
			}
			_, ok := l.in.Plan.Cgroup(e.Cgroup.Plan)
			return ok
		}
	}
	l.tell("another memory.max", first(planned(func(f *evidence.CgroupFacts) bool { return f.Max != nil }),
		func(e *evidence.Event) { *e.Cgroup.Max *= 2 }))
	if on := l.in.Plan.On; on != nil && on.SwapCapacity > 0 {
		l.tell("no memory.swap.max", first(planned(func(f *evidence.CgroupFacts) bool { return f.SwapMax != nil }),
			func(e *evidence.Event) { e.Cgroup.SwapMax = nil }))
	}
	l.tell("limits that were not read of a cgroup that stayed", first(func(e evidence.Event) bool {
		return e.Kind == evidence.ContainerCgroup && e.Cgroup != nil && e.Cgroup.Plan == kubelet.Root
	}, func(e *evidence.Event) {
		e.Cgroup.Unread, e.Cgroup.Max, e.Cgroup.SwapMax, e.Cgroup.OOMGroup = true, nil, nil, nil
	}))
	l.tell("another memory.oom.group", first(planned(func(f *evidence.CgroupFacts) bool { return f.OOMGroup != nil }),
		func(e *evidence.Event) { *e.Cgroup.OOMGroup = !*e.Cgroup.OOMGroup }))
}

// descendants lies of what programs have started.
func (l *liar) descendants() {
	forked := func(e evidence.Event) bool { return e.Kind == evidence.Forked && e.Program != nil }
	l.tell("a descendant was not told", without(forked))
	l.tell("a descendant was told twice", twice(forked))
	l.tell("a descendant of another process", first(forked, func(e *evidence.Event) { e.Program.Parent++ }))
	l.tell("a descendant by another number", first(forked, func(e *evidence.Event) { e.Process += "0" }))
	l.tell("a descendant's end was told by its parent", first(func(e evidence.Event) bool {
		return e.Exit != nil && e.Exit.By == evidence.ByProcessEvents
	}, func(e *evidence.Event) { e.Exit.By = string(evidence.Agent) }))
}

func severalRows(d evidence.RankedDomain) bool { return len(d.Rows) > 1 }
