package predict

import (
	"math"
	"slices"

	"github.com/oomlab/oomlab/harness/kernel"
)

// Prediction is what will happen, as far as it can be known beforehand.
type Prediction struct {
	// Killed are the processes that the OOM killer takes, in the order of the
	// kernel's reports, on the most likely course. A process that is started
	// again and killed again is there twice. Empty, not nil: nothing is killed.
	Killed []string `json:"killed"`
	// Constraint, OOMMemcg and Trigger are those of the first kill. Trigger
	// holds every process that may be the one; [Elsewhere] among them means a
	// task that is not the scenario's.
	Constraint string   `json:"constraint,omitempty"`
	OOMMemcg   string   `json:"oom_memcg,omitempty"`
	Trigger    []string `json:"trigger,omitempty"`
	// Scores are the candidates' points in pages at the first kill, the middle
	// of Ranges.
	Scores     map[string]int64 `json:"scores,omitempty"`
	Ranges     map[string]Range `json:"ranges,omitempty"`
	TotalPages kernel.Pages     `json:"total_pages,omitempty"`
	// Steps are the kills of the most likely course, one entry per invocation
	// of the OOM killer.
	Steps []Step `json:"steps,omitempty"`
	// Firsts are the first kills of all courses, where they differ in more than
	// what comes after them; the likeliest first.
	Firsts []Step `json:"firsts,omitempty"`

	// Unsure says why the order of kills depends on timing; empty: it does not.
	Unsure string `json:"unsure,omitempty"`
	// Orders are the possible sequences of kills, the most likely first. More
	// than maxOrders are cut, which Open says.
	Orders [][]string `json:"orders"`
	Open   bool       `json:"open,omitempty"`
	// AtLeast and AtMost bound how many kills there are where Open; no AtMost: they
	// may go on for as long as the run does.
	AtLeast int `json:"at_least,omitempty"`
	AtMost  int `json:"at_most,omitempty"`
	// Alike are processes that differ by their names only. Where there are any,
	// Killed, Steps and Orders have the label of such a set for each of them.
	Alike []Equal `json:"alike,omitempty"`
	// Parts are what happens in groups of processes that are independent of
	// each other, one for each group: kills of different groups come in any order.
	Parts []Prediction `json:"parts,omitempty"`
	// Possible is every process that is killed on some course.
	Possible []string `json:"possible,omitempty"`

	// Fails are the processes that the kernel refuses memory on the most likely course.
	// MayFail are those that it does on some course and not on all,
	// Doomed those who are either refused memory or killed, whichever comes first.
	Fails   map[string]Refused `json:"fails,omitempty"`
	MayFail []string           `json:"may_fail,omitempty"`
	Doomed  []string           `json:"doomed,omitempty"`

	// Reads are what /proc says of the processes that the plan asks for.
	Reads map[string]Read `json:"reads,omitempty"`

	// Units are what systemd will say of units, by property, where that is known.
	Units map[string]map[string]string `json:"units,omitempty"`
	// Containers are what engines will show of containers.
	Containers map[string]Shown `json:"containers,omitempty"`

	Throttled []string        `json:"throttled,omitempty"`
	Ends      map[string]Ends `json:"ends"`
	Panic     string          `json:"panic,omitempty"`
	// NoVictim: on some course the OOM killer finds nobody it may kill.
	NoVictim bool `json:"no_victim,omitempty"`
	// Kube is what a cluster makes of it; nil where there is none.
	Kube *Kube `json:"kube,omitempty"`
}

// Ranked says whether the first victim is the candidate with the most points: first, or
// other. Empty: nobody is killed, or the bounds of the scores or the course leave it open.
func (p Prediction) Ranked() string {
	if p.Open || len(p.Steps) == 0 || len(p.Firsts) > 1 || len(p.Alike) > 0 || len(p.Parts) > 0 ||
		len(p.Steps[0].Victims) == 0 {
		return ""
	}
	step := p.Steps[0]
	own, ok := step.Ranges[step.Victims[0]]
	if !ok {
		return ""
	}
	first := "first"
	for name, r := range step.Ranges {
		switch {
		case name == step.Victims[0]:
		case r.Lo > own.Hi:
			return "other"
		case r.Hi >= own.Lo:
			first = ""
		}
	}
	return first
}

// Refused is how a process ends that the kernel refuses memory.
type Refused struct {
	Errno string `json:"errno"`
	// Held is what it was told to hold by then and held, in pages, on any course.
	Held Range `json:"held"`
}

// Equal is a set of equal processes.
type Equal struct {
	Label string   `json:"label"`
	Names []string `json:"names"`
	Again bool     `json:"again,omitempty"` // they are started again, and may be killed more than once
}

// Admits reports whether the prediction allows for these kills, in this order.
func (p Prediction) Admits(kills []string) bool {
	if len(p.Parts) > 0 {
		n := 0
		for _, part := range p.Parts {
			own := part.own(kills)
			if n += len(own); !part.Admits(own) {
				return false
			}
		}
		return n == len(kills)
	}
	if p.repeats(kills) {
		return false
	}
	named := p.Labelled(kills)
	if slices.ContainsFunc(p.Orders, func(o []string) bool { return slices.Equal(o, named) }) {
		return true
	}
	return p.Open && len(kills) >= p.AtLeast && (p.AtMost == 0 || len(kills) <= p.AtMost) &&
		!slices.ContainsFunc(kills, func(name string) bool { return !slices.Contains(p.Possible, name) })
}

// own are the kills of processes that the prediction is about.
func (p Prediction) own(kills []string) []string {
	out := []string{}
	for _, name := range kills {
		if _, ok := p.Ends[name]; ok {
			out = append(out, name)
		}
	}
	return out
}

// About is the part of the prediction that a process belongs to.
func (p Prediction) About(process string) Prediction {
	for _, part := range p.Parts {
		if _, ok := part.Ends[process]; ok {
			return part
		}
	}
	return p
}

// Labelled names equal processes as Orders does.
func (p Prediction) Labelled(names []string) []string {
	out := slices.Clone(names)
	for _, e := range p.Alike {
		for i, name := range names {
			if slices.Contains(e.Names, name) {
				out[i] = e.Label
			}
		}
	}
	return out
}

// Unlabelled names the processes of an order: the members of a set of equal ones in
// turn, where Orders has the set's label.
func (p Prediction) Unlabelled(order []string) []string {
	out := slices.Clone(order)
	for _, e := range p.Alike {
		next := 0
		for i, name := range order {
			if name == e.Label {
				out[i] = e.Names[next%len(e.Names)]
				next++
			}
		}
	}
	return out
}

// repeats reports whether one of the equal processes is killed twice though it is
// not started again.
func (p Prediction) repeats(kills []string) bool {
	for _, e := range p.Alike {
		seen := map[string]bool{}
		for _, name := range kills {
			if !e.Again && slices.Contains(e.Names, name) && seen[name] {
				return true
			}
			seen[name] = true
		}
	}
	return false
}

// maxOrders bounds Prediction.Orders.
const maxOrders = 64

// Elsewhere stands in Trigger for any task outside the scenario: the agent, a
// kernel thread, another program of the machine.
const Elsewhere = "*"

// Step is one invocation of the OOM killer that killed.
type Step struct {
	Constraint string           `json:"constraint"`
	OOMMemcg   string           `json:"oom_memcg,omitempty"` // path below the run's base
	Trigger    []string         `json:"trigger"`
	Victims    []string         `json:"victims"`         // the chosen one, then the rest of its group in scan order
	Group      string           `json:"group,omitempty"` // the cgroup whose memory.oom.group was honoured
	TotalPages kernel.Pages     `json:"total_pages"`
	Ranges     map[string]Range `json:"ranges"`

	dir string // the domain, as the world calls it
}

// Ends is how a process's last life ends. Alive with all else zero: it holds.
type Ends struct {
	Alive  bool `json:"alive,omitempty"`
	Signal int  `json:"signal,omitempty"`
	Code   int  `json:"code"`
	// Errno is why a step failed with which it ended: ENOMEM.
	Errno string `json:"errno,omitempty"`
	Sure  bool   `json:"sure"` // on every course
}

// Range is an amount of pages that is known within bounds, both included.
type Range struct {
	Lo kernel.Pages `json:"lo"`
	Hi kernel.Pages `json:"hi"`
}

// Mid is the middle of the range.
func (r Range) Mid() kernel.Pages { return r.Lo + (r.Hi-r.Lo)/2 }

func exactly(p kernel.Pages) Range              { return Range{p, p} }
func (r Range) plus(s Range) Range              { return Range{r.Lo + s.Lo, r.Hi + s.Hi} }
func (r Range) minus(s Range) Range             { return Range{r.Lo - s.Hi, r.Hi - s.Lo} }
func (r Range) shift(p kernel.Pages) Range      { return Range{r.Lo + p, r.Hi + p} }
func (r Range) widen(lo, hi kernel.Pages) Range { return Range{r.Lo - lo, r.Hi + hi} }
func (r Range) floor(p kernel.Pages) Range      { return Range{max(r.Lo, p), max(r.Hi, p)} }
func (r Range) ceil(p kernel.Pages) Range       { return Range{min(r.Lo, p), min(r.Hi, p)} }

// unknown is how far apart the bounds of an amount may be before it counts as
// one that is hardly known, in pages.
const unknown = 128

// together adds amounts that are uncertain each for reasons of its own. They do
// not all err to the same side at once: the bounds of the sum are as far apart
// as the root of the sum of squares says. An amount that is hardly known, such
// as what a process holds that has only begun, counts in full.
func together(parts ...Range) Range {
	var sum Range
	var squares, rest float64
	for _, r := range parts {
		sum = sum.plus(r)
		if width := float64(r.Hi - r.Lo); width > unknown {
			rest += width
		} else {
			squares += width * width
		}
	}
	width := kernel.Pages(math.Ceil(rest + math.Sqrt(squares)))
	lo := sum.Lo + (sum.Hi-sum.Lo-width)/2
	return Range{lo, lo + width}
}

// took is what a process's steps have taken.
func (p *proc) took() Range { return p.anon.plus(p.shm).plus(p.file).shift(p.cache.Hi + p.huge) }

// failing notes whom the kernel refuses memory, on the likeliest course and on all. Same
// are the processes that one cannot be told from.
func (p *Prediction) failing(best *world, finals []*world, same func(i int) []int) {
	for i := range best.procs {
		q := &best.procs[i]
		name := q.p.Name
		if q.ends.Errno != "" {
			if p.Fails == nil {
				p.Fails = map[string]Refused{}
			}
			p.Fails[name] = Refused{q.ends.Errno, q.took()}
		}
		fails, doomed, all := 0, 0, 0
		for _, w := range finals {
			for _, k := range same(i) {
				all++
				switch end := &w.procs[k]; {
				case end.ends.Errno != "":
					fails++
					doomed++
					if one, ok := p.Fails[name]; ok {
						held := end.took()
						one.Held = Range{min(one.Held.Lo, held.Lo), max(one.Held.Hi, held.Hi)}
						p.Fails[name] = one
					}
				case end.phase == killed:
					doomed++
				}
			}
		}
		// of courses that are not followed to their end nobody knows
		unknown := p.Open && best.strict() && !q.p.IsCommand() && !q.sharer
		if unknown || fails > 0 && fails < all {
			p.MayFail = append(p.MayFail, name)
		}
		if !p.Open && fails > 0 && fails < all && doomed == all {
			p.Doomed = append(p.Doomed, name)
		}
	}
}
