package verdict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
)

func init() {
	addClaim(claimKind{place: 210, whole: true, judge: func(a *account, _ scenario.Expect) []Claim {
		return a.predictedKills(a.in.Prediction)
	}})
	addClaim(claimKind{place: 220, whole: true, judge: func(a *account, _ scenario.Expect) []Claim {
		return []Claim{a.collateral()}
	}})
}

// predictedKills: what was predicted came true.
func (a *account) predictedKills(p predict.Prediction) []Claim {
	out := []Claim{a.unlessEvicted(a.predictedVictims(p))}
	if len(a.kills) == 0 || len(p.Killed) == 0 {
		return out
	}
	k := a.kills[0]
	p = a.taken(p)
	constraint := claim("prediction.constraint", limitOf(p.Constraint, p.OOMMemcg), limitOf(k.Constraint, k.OOMMemcg),
		p.Constraint == k.Constraint && p.OOMMemcg == k.OOMMemcg, evidence.BPF, evidence.Kmsg)
	if why := a.kmsg().unseen(a, k); why != "" && (p.Constraint == "memcg") == (k.Constraint == "memcg") {
		constraint = cannotTell(constraint.Name, constraint.Expected, why)
	}
	if expected := p.Ranked(); expected != "" && k.Ranked != nil {
		observed, ok := a.ranked(expected)
		ranked := claim("prediction.ranked", expected, observed, ok, evidence.Agent, evidence.BPF)
		if k.Ranked.Open != "" && !ok {
			ranked = cannotTell(ranked.Name, ranked.Expected, k.Ranked.Open)
		}
		out = append(out, ranked)
	}
	return append(out, constraint,
		claim("prediction.trigger", strings.Join(p.Trigger, " or "), k.Trigger.String(),
			a.mayTrigger(p, k), evidence.BPF, evidence.Kmsg),
		a.unlessEvicted(a.predictedScores(p)))
}

// triggeredBy is the trigger of a kill as a prediction calls it.
func triggeredBy(k Kill) string {
	if k.Trigger.Process == "" {
		return predict.Elsewhere
	}
	return k.Trigger.Process
}

func limitOf(constraint, memcg string) string {
	if memcg != "" {
		return constraint + " " + memcg
	}
	return orNone(constraint)
}

func (a *account) predictedVictims(p predict.Prediction) Claim {
	got := a.victims()
	return claim("prediction.killed", kills(p), list(got), p.Admits(a.attributed(p)), a.killSources()...)
}

// mayTrigger reports whether the prediction has whoever triggered a kill, or the program
// that has started it.
func (a *account) mayTrigger(p predict.Prediction, k Kill) bool {
	if slices.Contains(p.Trigger, triggeredBy(k)) {
		return true
	}
	q, ok := a.in.Plan.DescendantOf(k.Trigger.Process)
	return ok && slices.Contains(p.Trigger, predict.Elsewhere) && slices.Contains(p.Trigger, q.Name)
}

// attributed are the victims as a prediction calls them: what a program of the user's own
// has started by the name of the program, unless the prediction has its own.
func (a *account) attributed(p predict.Prediction) []string {
	got := a.victims()
	for i, k := range a.kills {
		if q, ok := a.in.Plan.DescendantOf(k.Victim.Process); ok && !slices.Contains(p.Possible, got[i]) &&
			slices.Contains(p.Possible, q.Name) {
			got[i] = q.Name
			continue
		}
		for _, name := range a.startedBy(k.Victim) {
			if slices.Contains(p.Possible, name) {
				got[i] = name
			}
		}
	}
	return got
}

// kills says which kills a prediction admits.
func kills(p predict.Prediction) string {
	switch {
	case len(p.Parts) > 0:
		return fmt.Sprintf("about %d kills in %d independent groups of processes, in any order", len(p.Killed),
			len(p.Parts))
	case p.Open && p.AtMost > 0:
		return fmt.Sprintf("%d to %d of %s", p.AtLeast, p.AtMost, list(p.Possible))
	case p.Open && p.AtLeast > 0:
		return fmt.Sprintf("%d or more of %s", p.AtLeast, list(p.Possible))
	case p.Open:
		return "some of " + list(p.Possible)
	case len(p.Orders) > 1 || p.Unsure != "" && len(p.Alike) == 0:
		return fmt.Sprintf("%s, or one of %d other orders", list(victimsOf(p)), len(p.Orders)-1)
	}
	return list(victimsOf(p))
}

// victimsOf are the likeliest victims. Where equal processes have one label, it
// stands once for several in a row.
func victimsOf(p predict.Prediction) []string {
	names := p.Killed
	if len(p.Alike) == 0 {
		return names
	}
	var out []string
	for i := 0; i < len(names); {
		n := 1
		for i+n < len(names) && names[i+n] == names[i] {
			n++
		}
		if n > 1 {
			out = append(out, fmt.Sprintf("%d of %s", n, names[i]))
		} else {
			out = append(out, names[i])
		}
		i += n
	}
	return out
}

// taken is the prediction with the first kill of the course that events took,
// where the prediction left several open.
func (a *account) taken(p predict.Prediction) predict.Prediction {
	k := a.kills[0]
	p = p.About(k.Victim.Process)
	victim := p.Labelled([]string{k.Victim.Process})[0]
	best := -1
	for _, s := range p.Firsts {
		likeness := 0
		for _, same := range []bool{
			s.Constraint == k.Constraint && s.OOMMemcg == k.OOMMemcg, len(s.Victims) > 0 && s.Victims[0] == victim,
			k.TotalPages != nil && s.TotalPages == *k.TotalPages, a.withinBounds(s.Ranges) == "",
			slices.Contains(s.Trigger, triggeredBy(k)),
		} {
			if same {
				likeness++
			}
		}
		if likeness > best {
			best = likeness
			p.Constraint, p.OOMMemcg, p.Trigger = s.Constraint, s.OOMMemcg, s.Trigger
			p.Ranges, p.TotalPages = s.Ranges, s.TotalPages
		}
	}
	return p
}

// withinBounds says whose score at the first kill is out of its bounds; empty:
// nobody's.
func (a *account) withinBounds(ranges map[string]predict.Range) string {
	boards := a.scoreboards()
	if len(boards) == 0 {
		return ""
	}
	for _, row := range boards[0] {
		bounds, ok := ranges[row.Process]
		if row.Process == "" || !ok || row.Points == nil {
			continue
		}
		if points := kernel.Pages(*row.Points); points < bounds.Lo || points > bounds.Hi {
			return fmt.Sprintf("%s has %d points, predicted %d to %d", row.Process, points, bounds.Lo, bounds.Hi)
		}
	}
	return ""
}

// predictedScores holds the kernel's own scores at the first kill against the
// predicted bounds.
func (a *account) predictedScores(p predict.Prediction) Claim {
	const expected = "within the predicted bounds"
	boards := a.scoreboards()
	if len(boards) == 0 {
		return cannotTell("prediction.scores", expected, a.blind())
	}
	n := 0
	for _, row := range boards[0] {
		if _, ok := p.Ranges[row.Process]; ok && row.Process != "" && row.Points != nil {
			n++
		}
	}
	if wrong := a.withinBounds(p.Ranges); wrong != "" {
		return claim("prediction.scores", expected, wrong, false, evidence.BPF)
	}
	return claim("prediction.scores", expected, fmt.Sprintf("%d of %d are", n, n), true, evidence.BPF)
}

// blind says why there is no scoreboard.
func (a *account) blind() string {
	return fmt.Sprintf("eBPF reached tier %d of 3 here; the kernel's scores cannot be seen", a.bpf().tier())
}

// collateral: nobody but the scenario's own processes was killed on the whole
// machine.
func (a *account) collateral() Claim {
	var strangers []string
	for _, k := range a.kills {
		if k.Victim.Process == "" && len(a.startedBy(k.Victim)) == 0 {
			v := k.Victim
			strangers = append(strangers, fmt.Sprintf("%s[%d] in %s", v.Comm, v.PID, orNone(v.Cgroup)))
		}
	}
	const expected = "nobody else on the machine"
	return claim("collateral", expected, list(strangers), len(strangers) == 0, evidence.BPF, evidence.Kmsg)
}
