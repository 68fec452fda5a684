package predict

import (
	"fmt"
	"maps"
	"slices"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/stressor/profile"
)

// Measured is what a program of the user's own held when it was rehearsed.
type Measured struct {
	Footprint kernel.Footprint `json:"footprint"`
	// Grows: it had not stopped growing when the rehearsal ended.
	Grows bool `json:"grows,omitempty"`
}

const (
	maxCourses = 512  // worlds that are followed to their end
	maxEvents  = 4096 // things that happen in one of them
	maxForks   = 12   // victims that one kill may have
)

// Outcome predicts what carrying out a plan on a machine will do. measured has
// the programs of the user's own, by the plan's name; one that is missing is
// taken to grow without bound.
//
// The time it takes is bounded, whatever the plan: courses beyond the bound are
// dropped, and the prediction says so (Open, Unsure).
func Outcome(p plan.Plan, m kernel.Machine, measured map[string]Measured) Prediction {
	return OutcomeBy(RulesOf(m), p, m, measured)
}

// OutcomeBy is Outcome by rules that are given, whatever the machine's kernel
// is. The page size is the machine's in any case.
func OutcomeBy(r Rules, p plan.Plan, m kernel.Machine, measured map[string]Measured) Prediction {
	if m.PageSize <= 0 {
		m.PageSize = kernel.DefaultPageSize
	}
	r.PageSize = m.PageSize
	w := &world{rules: r, m: &m, plan: &p, cgroups: slices.Clone(p.Cgroups), sysctls: maps.Clone(m.Sysctls),
		during: make([]bool, len(p.During)), swapOn: m.SwapFree}
	if w.sysctls == nil {
		w.sysctls = map[string]string{}
	}
	for _, s := range p.Sysctls {
		w.sysctls[s.Key] = s.Value
	}
	if p.Swap != nil {
		w.swapOn += p.Swap.Size
	}
	processes := slices.Clone(p.Processes)
	for i := range processes {
		q := &processes[i]
		base := m.Stressor
		if q.IsCommand() {
			base = imitate(q, said(*q, measured))
		}
		w.procs = append(w.procs, proc{p: q, base: base, adj: q.OOMScoreAdj, sharer: sharer(p, *q)})
	}
	x := explorer{left: maxCourses}
	x.follow(w)
	out := x.prediction()
	if p.On != nil {
		out.Kube = x.kube(&p)
	}
	return out
}

// said is what is known of a program of the user's own: what was measured or,
// in a container, what the scenario says that it holds.
func said(q plan.Process, measured map[string]Measured) map[string]Measured {
	if _, ok := measured[q.Name]; ok || q.Holds == 0 {
		return measured
	}
	pages := q.Holds.Pages(kernel.DefaultPageSize)
	return map[string]Measured{q.Name: {Footprint: kernel.Footprint{Anon: pages, PgTable: pages/perTable + 8, Threads: 1}}}
}

// sharer reports whether a process uses its parent's memory (CLONE_VM).
func sharer(p plan.Plan, q plan.Process) bool {
	parent, ok := p.Process(q.Parent)
	return ok && parent.Profile.Children[q.Name].SharesMemory
}

// imitate gives a program of the user's own the steps of a stressor that takes
// what the program was measured to hold.
func imitate(q *plan.Process, measured map[string]Measured) kernel.Footprint {
	got, ok := measured[q.Name]
	if !ok || got.Grows {
		q.Profile = profile.Profile{Name: q.Name, Steps: []profile.Step{{Op: profile.Leak, Rate: 0}}}
	} else {
		held := got.Footprint.Anon + got.Footprint.Shmem
		q.Profile = profile.Profile{Name: q.Name, Steps: []profile.Step{
			{Op: profile.Touch, Bytes: int64(held) * int64(kernel.DefaultPageSize)}, {Op: profile.Hold}}}
	}
	f := got.Footprint
	f.Anon, f.Shmem = 0, 0
	f.Charged = f.PgTable + 32
	return f
}

// explorer follows every course that events may take.
type explorer struct {
	finals  []*world
	pending []*world
	left    int
	open    bool
}

func (x *explorer) follow(w *world) {
	x.pending = append(x.pending, w)
	for len(x.pending) > 0 {
		w := x.pending[0]
		x.pending = x.pending[1:]
		x.course(w)
	}
}

// course lets one world run to its end. Where it forks, it goes on with the
// likeliest branch and leaves the others for later.
func (x *explorer) course(w *world) {
	for range maxEvents {
		if w.panic != "" || w.stuck {
			break
		}
		if w.start() || w.instant() {
			continue
		}
		next, acted := w.act()
		if !acted {
			segs := w.segments()
			if len(segs) == 0 {
				if w.pressed() {
					continue
				}
				break
			}
			next = w.grow(segs)
		}
		for _, other := range next[1:] {
			if x.left == 0 {
				x.open = true
				break
			}
			x.left--
			x.pending = append(x.pending, other)
		}
		w = next[0]
	}
	x.finals = append(x.finals, w)
}

func (w *world) killedNames() []string {
	out := []string{}
	for _, s := range w.steps {
		out = append(out, s.Victims...)
	}
	return out
}

func (x *explorer) prediction() Prediction {
	best := x.finals[0]
	p := Prediction{Killed: best.killedNames(), Steps: best.steps, Ends: map[string]Ends{}, Panic: best.panic, Open: x.open}
	if len(best.steps) > 0 {
		first := best.steps[0]
		p.Constraint, p.OOMMemcg, p.Trigger = first.Constraint, first.OOMMemcg, first.Trigger
		p.Ranges, p.TotalPages = first.Ranges, first.TotalPages
		p.Scores = map[string]int64{}
		for name, r := range first.Ranges {
			p.Scores[name] = int64(r.Mid())
		}
	}
	possible := map[string]bool{}
	p.Firsts = firsts(x.finals)
	for _, w := range x.finals {
		order := w.killedNames()
		if !slices.ContainsFunc(p.Orders, func(o []string) bool { return slices.Equal(o, order) }) {
			if len(p.Orders) < MaxOrders {
				p.Orders = append(p.Orders, order)
			} else {
				p.Open = true
			}
		}
		for _, name := range order {
			possible[name] = true
		}
		if w.doubts != "" && p.Unsure == "" {
			p.Unsure = w.doubts
		}
		if w.panic != best.panic && p.Unsure == "" {
			p.Unsure = "whether the kernel panics depends on timing"
		}
		p.NoVictim = p.NoVictim || w.stuck
	}
	p.Possible = slices.Sorted(maps.Keys(possible))
	switch {
	case p.Open:
		p.Unsure = "more courses are possible than can be followed"
	case len(p.Orders) > 1 && p.Unsure == "":
		p.Unsure = disagreement(p.Orders)
	}
	x.endings(&p)
	return p
}

// firsts are the first kills that courses have, without repetitions; none if all
// have the same.
func firsts(finals []*world) []Step {
	var out []Step
	for _, w := range finals {
		if len(w.steps) == 0 {
			continue
		}
		s := w.steps[0]
		if !slices.ContainsFunc(out, func(o Step) bool {
			return o.OOMMemcg == s.OOMMemcg && o.Victims[0] == s.Victims[0] && o.TotalPages == s.TotalPages && maps.Equal(o.Ranges, s.Ranges)
		}) {
			out = append(out, s)
		}
	}
	if len(out) < 2 || len(out) > MaxOrders {
		return nil
	}
	return out
}

func disagreement(orders [][]string) string {
	a, b := orders[0], orders[1]
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("kill %d takes %s or %s, whichever ranks higher at that moment", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("there may be %d or %d kills", len(a), len(b))
}

func (x *explorer) endings(p *Prediction) {
	for i, q := range x.finals[0].procs {
		ends := q.ends
		ends.Sure = !x.open
		for _, w := range x.finals {
			if w.procs[i].ends != q.ends {
				ends.Sure = false
			}
		}
		p.Ends[q.p.Name] = ends
		if q.stuck && q.alive() {
			p.Throttled = append(p.Throttled, q.p.Name)
		}
	}
}
