package explain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
)

// Scored is the size of the domain at which scores are shown and ordered: the
// true one, or else one for which the kernel's choice follows, or else the
// least that is possible.
func (e *Explanation) Scored() kernel.Pages {
	switch {
	case e.TotalPages != nil:
		return *e.TotalPages
	case e.Follows != nil:
		return e.Follows.Min
	}
	return e.TotalRange.Min
}

// judge lets the model choose and compares.
func (e *Explanation) judge() {
	r, p := e.report, &e.replay
	switch {
	case r.AllocatingTask:
		e.allocating()
	case r.PanicText != "" && !r.NoKillable:
		// check_panic_on_oom() comes before the choice
	case p.blind != "":
		e.Disagreement = p.blind
	case len(p.rows) == 0:
		if r.NoKillable && r.Complete {
			e.agree(true)
		}
	case p.chosenPID != nil && p.chosen < 0:
		e.Disagreement = fmt.Sprintf("pid %d, whom the kernel chose, is not in the table", *p.chosenPID)
		if i, ok := e.certain(); ok && i >= 0 {
			e.ReplayedVictimPID = &p.rows[i].PID
		}
	case p.chosen >= 0:
		e.compare()
		e.otherRoot()
		e.withoutParts()
	default:
		e.nobody()
	}
}

// otherRoot tries what was not assumed of root, where the model differs and the
// report does not prove the assumption.
func (e *Explanation) otherRoot() {
	p := &e.replay
	if *e.Agrees || p.root.why == "" || p.root.proved {
		return
	}
	assumed, kept := p.root.rule, *e
	for _, rule := range []rootRule{rootNothing, p.root.byVersion} {
		if rule == assumed {
			continue
		}
		p.setRoot(rule)
		e.Disagreement, e.Follows = "", nil
		if e.compare(); *e.Agrees {
			p.root.why = "the choice follows if uid 0 lacks CAP_SYS_ADMIN, as in containers"
			if rule != rootNothing {
				p.root.why = "the choice follows if uid 0 has CAP_SYS_ADMIN"
			}
			return
		}
	}
	p.setRoot(assumed)
	e.Disagreement, e.Follows, e.ReplayedVictimPID = kept.Disagreement, kept.Follows, kept.ReplayedVictimPID
}

// withoutParts takes a disagreement back that rests on scores with a part missing.
func (e *Explanation) withoutParts() {
	p := &e.replay
	if *e.Agrees {
		return
	}
	switch {
	case p.lacks != nil:
		e.Disagreement = "the table has no column for " + strings.Join(p.lacks, " and ") + ", which scores count"
	case p.made != nil && p.atLeast:
		e.Disagreement = fmt.Sprintf("the row of %s is missing, and its kill line does not say how much of it was "+
			"in swap",
			process(p.rows[*p.made].Name, p.rows[*p.made].PID))
	default:
		return
	}
	e.Agrees, e.ReplayedVictimPID = nil, nil
}

func (e *Explanation) agree(yes bool) { e.Agrees = &yes }

// certain is whom the model chooses whatever size of the domain is possible;
// -1 is nobody.
func (e *Explanation) certain() (int, bool) {
	i := e.replay.choose(e.Scored())
	if e.TotalPages != nil || i < 0 {
		return i, true
	}
	w, ok := e.replay.wins(i, e.TotalRange)
	return i, ok && e.TotalRange.same(w)
}

func (r Range) same(o Range) bool {
	return r.Min == o.Min && (r.Max == nil) == (o.Max == nil) && (r.Max == nil || *r.Max == *o.Max)
}

// allocating is oom_kill_allocating_task: whoever asked is killed, unless it
// may not be, and then the choice is as ever.
func (e *Explanation) allocating() {
	r := e.report
	switch {
	case e.Victim == nil:
	case r.Trigger.PID != nil && e.Victim.ChosenPID != nil && *r.Trigger.PID == *e.Victim.ChosenPID,
		r.Trigger.Comm != "" && slices.Contains([]string{e.Victim.Comm, e.Victim.ChosenComm, r.ContextComm},
			r.Trigger.Comm):
		e.ReplayedVictimPID = &e.Victim.PID
		if e.Victim.SacrificeChild {
			e.ReplayedVictimPID = e.Victim.ChosenPID
		}
		e.agree(true)
	case r.Trigger.Comm != "":
		e.Disagreement = fmt.Sprintf("vm.oom_kill_allocating_task is set, but %s asked and %s died", r.Trigger.Comm,
			e.Victim.Comm)
		e.agree(false)
	}
}

// compare holds the model's choice against the kernel's.
func (e *Explanation) compare() {
	p := &e.replay
	if e.TotalPages != nil {
		i := p.choose(*e.TotalPages)
		e.agree(i == p.chosen)
		if i >= 0 {
			e.ReplayedVictimPID = &p.rows[i].PID
		}
		if w, ok := p.wins(p.chosen, Range{}); ok {
			e.Follows = &w
		}
		if i != p.chosen {
			e.Disagreement = e.disagreement(i)
		}
		return
	}
	w, ok := p.wins(p.chosen, e.TotalRange)
	e.agree(ok)
	if ok {
		e.Follows = &w
		e.ReplayedVictimPID = &p.rows[p.chosen].PID
		return
	}
	i := p.choose(e.TotalRange.Min)
	if i >= 0 {
		e.ReplayedVictimPID = &p.rows[i].PID
	}
	e.Disagreement = e.disagreement(i)
}

// nobody is a report in which the kernel is not seen to choose.
func (e *Explanation) nobody() {
	p := &e.replay
	i, sure := e.certain()
	if sure && i >= 0 {
		e.ReplayedVictimPID = &p.rows[i].PID
	}
	if !e.report.NoKillable {
		return // the log ends before
	}
	e.agree(i < 0)
	if i >= 0 {
		e.Disagreement = e.disagreement(i)
	}
}

// disagreement says why the kernel may have passed over the model's choice i,
// by what the log shows.
func (e *Explanation) disagreement(i int) string {
	r, p := e.report, &e.replay
	at := e.Scored()
	if i < 0 {
		return "no process of the table may be killed by the rules, and yet one was: its oom_score_adj or its state " +
			"changed between the choice and the table"
	}
	row := p.rows[i]
	best, _ := p.points(i, at)
	if between58And59(r.KernelRelease) && p.unsigned(at) == p.chosen {
		what := "a negative score became the highest"
		if p.chosen < 0 {
			what = "only a negative score could be chosen, and there is none"
		}
		return fmt.Sprintf("the choice is the one of a kernel that compares signed scores as unsigned numbers, so "+
			"that "+
			"%s: a mistake in linux-next of July 2020, on the way to the signed scores of 5.9. Released kernels "+
			"choose %s "+
			"(pid %d), with %d points", what, row.Name, row.PID, best)
	}
	if p.chosen < 0 {
		return fmt.Sprintf("%s (pid %d) could have been killed, with %d points. The kernel passes over processes "+
			"that it "+
			"has killed and reaped before (MMF_OOM_SKIP); these kills would stand before the part of the log that "+
			"is here",
			row.Name, row.PID, best)
	}
	victim := p.rows[p.chosen]
	if why := p.never[p.chosen]; why != "" {
		return fmt.Sprintf("%s (pid %d) may never be chosen (%s), and yet was: that changed between the choice and "+
			"the table",
			victim.Name, victim.PID, why)
	}
	got, _ := p.points(p.chosen, at)
	between := fmt.Sprintf("%s (pid %d) has %d points, %s (pid %d), whom the kernel chose, %d", row.Name, row.PID, best,
		victim.Name, victim.PID, got)
	switch {
	case slices.Contains(r.Missing, oomlog.MissingOwner):
		return between + ". Two reports are interleaved in this log, and rows of the table may be of the other one"
	case best-got <= near(best):
		return between +
			". The table is printed after the choice, and meanwhile counters move; scores this close say " +
			"nothing about which was higher then"
	case r.Trigger.Order != nil && *r.Trigger.Order == -1:
		return between + ". For sysrq-f a process that is being killed already counts as any other, which the " +
			"table does " +
			"not show"
	}
	return between + ". The kernel passes over a process that was killed and reaped before (MMF_OOM_SKIP) or is " +
		"between vfork and exec; the table shows neither, and no earlier report in this log kills it"
}

// between58And59 are the development kernels in which scores became signed.
func between58And59(release string) bool {
	v, err := kernel.ParseVersion(release)
	return err == nil && (v.Series() == "5.8" || v.Series() == "5.9") && strings.Contains(release, "-rc")
}

// near is how far a score may move between the choice and the end of the table.
func near(points int64) int64 { return max(1024, points/50) }
