package verdict

import (
	"fmt"
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
)

// Ranked is where a victim stood in the last ranking before it was chosen: that of the
// machine or of the cgroup whose limit was hit, as the agent read it from user space.
type Ranked struct {
	Place  int    `json:"place"` // 1: first; 0: it was not in the ranking
	Of     int    `json:"of"`    // candidates
	First  string `json:"first,omitempty"`
	Equal  int    `json:"equal,omitempty"` // how many shared the first place, where more than one did
	Before int64  `json:"before_ms"`       // how long before the choice
	// Open is why another place than the first would prove nothing, and the first place
	// neither: what happened in between could have changed the order. Empty: it could not.
	Open string `json:"open,omitempty"`
}

// isFirst reports whether the victim was first, and nobody beside it.
func (r *Ranked) isFirst() bool { return r.Place == 1 && r.Equal == 0 }

// isOther reports whether somebody else was first.
func (r *Ranked) isOther() bool { return r.Of > 0 && (r.Place == 0 || r.Place > max(1, r.Equal)) }

func (r *Ranked) String() string {
	switch {
	case r.Of == 0:
		return "not ranked: " + r.Open
	case r.isFirst():
		return fmt.Sprintf("first of %d, %d ms before", r.Of, r.Before)
	case !r.isOther():
		return fmt.Sprintf("one of %d equal, %d ms before", r.Equal, r.Before)
	case r.Place == 0:
		return fmt.Sprintf("%s was first, and the victim not among them, %d ms before", r.First, r.Before)
	}
	return fmt.Sprintf("%s was first, the victim number %d of %d, %d ms before", r.First, r.Place, r.Of, r.Before)
}

// rankedOf is where the victim of a kill stood. Nil: nobody was to rank, nothing was
// ranked by then, or the victim was not chosen itself but died with its group.
func (a *account) rankedOf(k Kill) *Ranked {
	if !a.in.Plan.Ranks {
		return nil
	}
	d, at := a.choiceOf(k)
	if at == 0 {
		return nil
	}
	ranking := a.agent().rankingBefore(at)
	if ranking == nil {
		return nil
	}
	out := &Ranked{Before: (at - ranking.ToNS) / 1e6}
	i := slices.IndexFunc(ranking.Domains, func(r evidence.RankedDomain) bool {
		return r.Cgroup == k.OOMMemcg && k.Constraint == constraintOf(r)
	})
	switch {
	case k.Constraint != "memcg" && k.Constraint != "none":
		out.Open = "the kill was for want of memory on some nodes"
		return out
	case i < 0:
		out.Open = "the cgroup had no limit then"
		return out
	}
	of := ranking.Domains[i]
	of.Rows = slices.DeleteFunc(slices.Clone(of.Rows), func(r evidence.RankedRow) bool {
		marked := a.marked(a.pids.kernel(r.PID))
		return marked != 0 && marked < at // killed since
	})
	if len(of.Rows) == 0 {
		out.Open = "none of those who were ranked is left"
		return out
	}
	out.Of, out.First = len(of.Rows), a.rowName(of.Rows[0])
	out.Place = 1 + slices.IndexFunc(of.Rows, func(r evidence.RankedRow) bool {
		return a.pids.kernel(r.PID) == k.Victim.PID
	})
	equal := 0
	for equal < len(of.Rows) && of.Rows[equal].Points == of.Rows[0].Points {
		equal++
	}
	if equal > 1 {
		out.Equal = equal
		out.Open = fmt.Sprintf("%d were equal", equal)
	}
	if why := a.moved(of, d); why != "" {
		out.Open = why
	}
	return out
}

// choiceOf is the decision that chose the victim of a kill, where eBPF saw it, and when
// it began; 0: the victim was not chosen.
func (a *account) choiceOf(k Kill) (d *decision, atNS int64) {
	for _, d := range a.bpf().decisions {
		if d.chosen != nil && d.chosen.TGID == k.Victim.PID {
			return d, d.events[0].AtNS
		}
		if d.killed(k.Victim.PID) {
			return nil, 0
		}
	}
	if k.Group != "" {
		return nil, 0
	}
	if at := a.marked(k.Victim.PID); at != 0 {
		return nil, at
	}
	if l := a.life(k.Victim.PID); l != nil {
		return nil, l.diedNS
	}
	return nil, 0
}

// moved says what could have changed the order between a ranking and a decision; empty:
// the candidates are the same, and the first was ahead of each other by more than the two
// have gained or lost since.
func (a *account) moved(of evidence.RankedDomain, d *decision) string {
	if d == nil || len(d.rows) == 0 {
		return "the candidates at the kill were not seen"
	}
	if !d.byScore() {
		return "the kernel compared nobody"
	}
	drift := map[int]int64{}
	for _, o := range d.rows {
		points := finite(o.Points)
		if o.Task == nil || points == nil {
			continue
		}
		i := slices.IndexFunc(of.Rows, func(r evidence.RankedRow) bool { return a.pids.kernel(r.PID) == o.Task.TGID })
		switch {
		case i < 0:
			return fmt.Sprintf("pid %d had come since", o.Task.TGID)
		case of.Rows[i].Adj != o.Task.Adj:
			return fmt.Sprintf("the oom_score_adj of pid %d had changed since", o.Task.TGID)
		case of.TotalPages != d.total(o):
			return "the limit had changed since"
		}
		// The adjustment is the same, so that what differs is what the process holds.
		drift[of.Rows[i].PID] = max(*points-of.Rows[i].Points, of.Rows[i].Points-*points)
	}
	first := of.Rows[0]
	for _, r := range of.Rows {
		since, there := drift[r.PID]
		if !there {
			return fmt.Sprintf("pid %d had gone since", r.PID)
		}
		if ahead := first.Points - r.Points; r.PID != first.PID && ahead <= since+drift[first.PID] {
			return fmt.Sprintf("%s was %d pages ahead of %s, and the two had changed by %d since", a.rowName(first),
				ahead, a.rowName(r), since+drift[first.PID])
		}
	}
	return ""
}

// rowName is the process of a row, or its number.
func (a *account) rowName(r evidence.RankedRow) string {
	if name := a.name(a.pids.kernel(r.PID)); name != "" {
		return name
	}
	return fmt.Sprintf("pid %d", r.PID)
}

// What is found of rankings.
const (
	NotRanked      Kind = "not-ranked"      // the plan asks for rankings, and there is none before the first kill
	RankingDiffers Kind = "ranking-differs" // a ranking contradicts itself, or what others tell
)

// rankingBefore is the last ranking that was made by then; nil: none.
func (w *agentWitness) rankingBefore(atNS int64) *evidence.Ranking {
	for i := len(w.rankings) - 1; i >= 0; i-- {
		if r := w.rankings[i].Ranking; r != nil && r.ToNS <= atNS {
			return r
		}
	}
	return nil
}

// ranks: there are rankings if, and only if, they were asked for; each adds up, and is of
// what was there.
func (w *agentWitness) ranks(a *account, found *findings) {
	if !w.in.Plan.Ranks {
		if len(w.rankings) > 0 {
			found.add(RankingDiffers, "there are %d rankings, and none was asked for", len(w.rankings))
		}
		return
	}
	if len(w.rankings) == 0 {
		found.add(NotRanked, "no ranking was recorded")
	}
	for _, k := range a.kills {
		if _, at := a.choiceOf(k); at != 0 && len(w.rankings) > 0 && w.rankingBefore(at) == nil {
			found.add(NotRanked, "no ranking was recorded before %s was killed", k.Victim)
		}
	}
	last := w.begin - lateNS // the first one is made when the run begins
	for _, e := range w.rankings {
		r := e.Ranking
		if r == nil {
			found.add(RankingDiffers, "a ranking at %d ns has nothing in it", e.AtNS)
			continue
		}
		if r.FromNS < last || r.ToNS < r.FromNS || e.AtNS < r.ToNS || e.AtNS > r.ToNS+lateNS {
			found.add(TimeDiffers, "a ranking was read from %d to %d ns, after one that was read by %d, and told at %d",
				r.FromNS, r.ToNS, last, e.AtNS)
		}
		last = r.ToNS
		seen := map[string]bool{}
		for _, d := range r.Domains {
			if seen[d.Cgroup] {
				found.add(RankingDiffers, "the ranking at %d ns has %q twice", e.AtNS, d.Cgroup)
			}
			seen[d.Cgroup] = true
			w.ranksDomain(a, e, d, found)
		}
		for _, c := range w.in.Plan.Cgroups {
			if c.Max != nil && !seen[c.Path] {
				found.add(RankingDiffers, "the ranking at %d ns does not have %s, which has a limit", e.AtNS, c.Path)
			}
		}
		if !seen[""] {
			found.add(RankingDiffers, "the ranking at %d ns does not have the machine", e.AtNS)
			continue
		}
		w.ranksAlike(a, e, found)
	}
}

// ranksAlike: a process holds the same in each domain that it is in, which are all that
// there are above it, and the size of a domain that nothing changes stays.
func (w *agentWitness) ranksAlike(a *account, e evidence.Event, found *findings) {
	bad := func(format string, args ...any) {
		found.add(RankingDiffers, "the ranking at %d ns has "+format, append([]any{e.AtNS}, args...)...)
	}
	rows := map[string]map[int]evidence.RankedRow{}
	for _, d := range e.Ranking.Domains {
		rows[d.Cgroup] = map[int]evidence.RankedRow{}
		for _, r := range d.Rows {
			rows[d.Cgroup][r.PID] = r
		}
		if first := w.rankings[0].Ranking; first != nil && !a.limitMoves() && !a.swapMoves() {
			i := slices.IndexFunc(first.Domains, func(o evidence.RankedDomain) bool { return o.Cgroup == d.Cgroup })
			if i < 0 || first.Domains[i].TotalPages != d.TotalPages {
				bad("%s with %d pages, and the first one had not", orMachine(d.Cgroup), d.TotalPages)
			}
		}
	}
	for cgroup, own := range rows {
		for pid, r := range own {
			if all, ok := rows[""][pid]; !ok || all.Holds != r.Holds || all.Adj != r.Adj {
				bad("pid %d with %d pages in %s, and %d in the machine", pid, r.Holds, cgroup, all.Holds)
			}
		}
	}
	for pid := range rows[""] {
		i := slices.IndexFunc(a.lives, func(l *life) bool {
			return l.pid == pid && l.born < e.Ranking.FromNS // by then it is in its cgroup
		})
		for cgroup, own := range rows {
			_, ok := own[pid]
			if !ok && i >= 0 && cgroup != "" && kernel.InCgroup(a.lives[i].plan.Cgroup, cgroup) {
				bad("%s in the machine, and not in %s", a.lives[i], cgroup)
			}
		}
	}
}

// ranksDomain: the scores of a domain add up and are in order, and its candidates are
// those of the plan that were there.
func (w *agentWitness) ranksDomain(a *account, e evidence.Event, d evidence.RankedDomain, found *findings) {
	bad := func(format string, args ...any) {
		found.add(RankingDiffers, "the ranking of %s at %d ns: "+format, append([]any{orMachine(d.Cgroup), e.AtNS},
			args...)...)
	}
	if _, ok := w.in.Plan.Cgroup(d.Cgroup); !ok && d.Cgroup != "" {
		bad("there is no such cgroup")
	}
	for _, b := range a.bpf().decisions {
		ctl := b.settledControl()
		if b.control != nil && ctl.Memcg == d.Cgroup && ctl.Constraint == constraintOf(d) &&
			ctl.TotalPages != d.TotalPages && !a.limitMoves() && !a.swapMoves() {
			bad("it has %d pages, and by the kernel %d", d.TotalPages, ctl.TotalPages)
		}
	}
	if all := a.machineTotal(e.Ranking.FromNS); d.Cgroup == "" && d.TotalPages != all && !a.swapMoves() {
		bad("it has %d pages, and RAM and swap are %d", d.TotalPages, all)
	}
	rows := map[int]bool{}
	for i, r := range d.Rows {
		want := predict.Points(predict.Task{RSS: r.Holds, Adj: r.Adj}, d.TotalPages, a.rules())
		if r.Points != want {
			bad("pid %d has %d points; %d pages at %d are %d", r.PID, r.Points, r.Holds, r.Adj, want)
		}
		if i > 0 && r.Points > d.Rows[i-1].Points {
			bad("pid %d with %d points comes after %d", r.PID, r.Points, d.Rows[i-1].Points)
		}
		if rows[r.PID] {
			bad("pid %d is there twice", r.PID)
		}
		rows[r.PID] = true
		w.ranksLife(a, e, d, r, bad)
	}
	for _, l := range a.lives {
		stays := l.ready && l.readyNS < e.Ranking.FromNS && a.until(l) > e.AtNS
		candidate := w.adjStays(l) && l.plan.OOMScoreAdj != predict.AdjMin &&
			kernel.InCgroup(l.plan.Cgroup, d.Cgroup)
		if stays && candidate && !rows[l.pid] {
			bad("%s is not in it", l)
		}
	}
}

// ranksLife holds a row against the life of a process of the plan.
func (w *agentWitness) ranksLife(a *account, e evidence.Event, d evidence.RankedDomain, r evidence.RankedRow,
	bad func(string, ...any)) {
	i := slices.IndexFunc(a.lives, func(l *life) bool { return l.pid == r.PID })
	if i < 0 {
		if d.Cgroup != "" && !w.forks() {
			bad("pid %d is nobody's of the plan", r.PID)
		}
		return
	}
	l := a.lives[i]
	if !kernel.InCgroup(l.plan.Cgroup, d.Cgroup) {
		bad("%s is not in that cgroup", l)
	}
	if l.born > e.AtNS && l.plan.Parent == "" || l.exit != nil && l.diedNS != 0 && l.diedNS < e.Ranking.FromNS {
		bad("%s was not there then", l)
	}
	if w.adjStays(l) && l.readyNS != 0 && l.readyNS < e.Ranking.FromNS && r.Adj != l.plan.OOMScoreAdj {
		bad("the oom_score_adj of %s is %d; by the plan %d", l, r.Adj, l.plan.OOMScoreAdj)
	}
	most, ok := a.capacity(l)
	if ok && l.plan.Parent == "" && len(l.plan.Profile.Children) == 0 && r.Holds > most.Pages(a.pageSize()) {
		bad("%s holds %d pages; its steps take %s at most", l, r.Holds, most)
	}
}

// forks reports whether there may be processes that nobody has announced yet: children,
// and whatever a program of the user's own starts.
func (w *agentWitness) forks() bool {
	return slices.ContainsFunc(w.in.Plan.Processes, func(p plan.Process) bool {
		return p.IsCommand() || p.Parent != ""
	})
}

// adjStays reports whether nothing changes a process's oom_score_adj while it runs.
func (w *agentWitness) adjStays(l *life) bool { return len(adjsOf(w.in.Plan, l)) == 1 }

// until is when a process begins to lose its memory.
func (a *account) until(l *life) int64 { return witnessOf[*samplerWitness](a).until(a, l) }

// swapMoves reports whether swap is switched off while the processes run.
func (a *account) swapMoves() bool {
	for _, d := range a.in.Plan.During {
		if d.Swapoff {
			return true
		}
	}
	return false
}

// constraintOf is the kernel's word for the limit of a domain.
func constraintOf(d evidence.RankedDomain) string {
	if d.Cgroup == "" {
		return "none"
	}
	return "memcg"
}

func orMachine(cgroup string) string {
	if cgroup == "" {
		return "the machine"
	}
	return cgroup
}
