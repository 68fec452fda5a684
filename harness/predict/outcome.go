package predict

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/stressor/profile"
)

// Model is the number of this model, plans included. It is raised whenever a plan or
// a prediction comes out otherwise than before: runs of the same model are held to
// what it says today, to the byte.
const Model = 7

// Measured is what a program of the user's own held when it was rehearsed.
type Measured struct {
	Footprint kernel.Footprint `json:"footprint"`
	// Grows: it had not stopped growing when the rehearsal ended.
	Grows bool `json:"grows,omitempty"`
	// Descendants is how many other processes it had started at one time, at most, and
	// these again. Theirs is what they held together, in pages; Grows is true of them, too.
	Descendants int          `json:"descendants,omitempty"`
	Theirs      kernel.Pages `json:"theirs,omitempty"`
	// Tree is which of them was killed, if one was.
	Tree *Tree `json:"tree,omitempty"`
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
// The work it takes is bounded, whatever the plan. Courses are followed one by one;
// where they are too many, state by state. What the budget leaves out, the prediction
// says (Open, Unsure, AtLeast).
func Outcome(p plan.Plan, m kernel.Machine, measured map[string]Measured) Prediction {
	return OutcomeBy(context.Background(), RulesOf(m), p, m, measured)
}

// OutcomeBy is Outcome by rules that are given, whatever the machine's kernel
// is. The page size is the machine's in any case.
func OutcomeBy(ctx context.Context, r Rules, p plan.Plan, m kernel.Machine, measured map[string]Measured) Prediction {
	out := courses(ctx, r, p, m, measured)
	out.Reads = reads(ctx, r, p, m)
	out.units(p)
	out.containers(p)
	return out
}

// courses predicts what happens, on every course that events may take.
func courses(ctx context.Context, r Rules, p plan.Plan, m kernel.Machine, measured map[string]Measured) Prediction {
	b := &budget{ctx: ctx, left: courseWork}
	p, measured = planted(p, measured)
	w := begin(b, r, &p, m, measured)
	x := explorer{left: maxCourses, budget: b}
	x.follow(w.clone())
	if p.On != nil || w.forking() {
		out := x.prediction()
		if p.On != nil {
			out.Kube = x.kube(&p)
		}
		return out
	}
	if !x.open {
		return x.prediction()
	}
	b.left = stateWork
	return w.inParts(b)
}

// begin is the world before anything has happened.
func begin(b *budget, r Rules, p *plan.Plan, m kernel.Machine, measured map[string]Measured) *world {
	if m.PageSize <= 0 {
		m.PageSize = kernel.DefaultPageSize
	}
	r.PageSize = m.PageSize
	w := &world{rules: r, m: &m, plan: p, measured: measured, budget: b,
		cgroups: slices.Clone(p.Cgroups), sysctls: maps.Clone(m.Sysctls),
		during: make([]bool, len(p.During)), swapOn: m.SwapFree}
	if w.sysctls == nil {
		w.sysctls = map[string]string{}
	}
	for _, s := range p.Sysctls {
		w.setSysctl(s.Key, s.Value)
	}
	if p.Swap != nil {
		w.swapOn += p.Swap.Usable(m.PageSize)
	}
	processes := slices.Clone(p.Processes)
	for i := range processes {
		q := &processes[i]
		base := m.Stressor
		if q.IsCommand() {
			base = imitate(q, said(*q, measured))
		}
		one := proc{p: q, base: base, costs: w.costs(), adj: q.OOMScoreAdj, sharer: sharer(*p, *q)}
		if q.IsCommand() {
			one.descendants, one.theirs = measured[q.Name].Descendants, measured[q.Name].Theirs
		}
		w.procs = append(w.procs, one)
	}
	w.look = newLookup(w.procs, w.cgroups)
	w.confine()
	return w
}

// said is what is known of a program of the user's own: what was measured or,
// in a container, what the scenario says that it holds.
func said(q plan.Process, measured map[string]Measured) map[string]Measured {
	if _, ok := measured[q.Name]; ok || q.Holds == 0 {
		return measured
	}
	c := pageCosts{kernel.DefaultPageSize} // as it is measured where that is done
	pages := q.Holds.Pages(c.page)
	return map[string]Measured{q.Name: {
		Footprint: kernel.Footprint{Anon: pages, PgTable: pages/c.perTable() + 8, Threads: 1},
	}}
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

// explorer follows every course that events may take, one by one.
type explorer struct {
	budget  *budget
	finals  []*world
	pending []*world
	left    int
	open    bool
	dropped []int // kills so far on courses that are not followed
}

// follow gives up as soon as there are too many courses, unless courses are all
// that a prediction can be made of: those of pods.
func (x *explorer) follow(w *world) {
	x.pending = append(x.pending, w)
	for len(x.pending) > 0 && (!x.open || w.contained() && !x.budget.spent()) {
		w := x.pending[0]
		x.pending = x.pending[1:]
		x.course(w)
	}
}

// course lets one world run to its end. Where it forks, it goes on with the
// likeliest branch and leaves the others for later.
func (x *explorer) course(w *world) {
	for range maxEvents {
		if x.budget.spent() {
			x.open = true
			break
		}
		next := w.step()
		if len(next) == 0 {
			break
		}
		for _, other := range next[1:] {
			if x.left == 0 || len(x.pending)*len(w.procs) > heldProcs {
				x.open = true
				x.dropped = append(x.dropped, len(other.killedNames()))
				continue
			}
			x.left--
			x.pending = append(x.pending, other)
		}
		w = next[0]
	}
	x.finals = append(x.finals, w)
}

// step lets the next thing happen. It returns the worlds that may follow, the
// likeliest first; none if nothing happens any more, or the budget is spent.
func (w *world) step() []*world {
	if w.panic != "" || w.noVictim || w.unforeseen != "" {
		return nil
	}
	w.place()
	if w.start() || w.instant() {
		w.budget.spend(perEvent + len(w.procs)/16)
		return []*world{w}
	}
	w.budget.spend(perEvent + len(w.procs))
	if next, mapped := w.mapAhead(); mapped {
		return next
	}
	if next, acted := w.act(); acted {
		return next
	}
	if segs := w.segments(); len(segs) > 0 {
		w.budget.spend(8 * len(segs))
		return w.grow(segs)
	}
	if w.pressed() {
		return []*world{w}
	}
	return nil
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
	p := Prediction{Killed: best.killedNames(), Steps: best.steps,
		Ends: map[string]Ends{}, Panic: best.panic, Open: x.open}
	if len(best.steps) > 0 {
		p.first(best.steps[0])
	}
	possible := map[string]bool{}
	p.Firsts = firsts(x.finals)
	for _, w := range x.finals {
		order := w.killedNames()
		if !slices.ContainsFunc(p.Orders, func(o []string) bool { return slices.Equal(o, order) }) {
			if len(p.Orders) < maxOrders {
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
		p.NoVictim = p.NoVictim || w.noVictim || w.gaveUp
		if w.unforeseen != "" {
			p.Open, p.Unsure = true, w.unforeseen
			for _, name := range w.eligible {
				possible[name] = true
			}
		}
	}
	p.Possible = slices.Sorted(maps.Keys(possible))
	switch {
	case p.Open && !slices.ContainsFunc(x.finals, func(w *world) bool { return w.unforeseen != "" }):
		p.Unsure = "more courses are possible than can be followed"
	case len(p.Orders) > 1 && p.Unsure == "":
		p.Unsure = disagreement(p.Orders)
	}
	x.endings(&p)
	p.failing(best, x.finals, func(i int) []int { return []int{i} })
	if p.Open { // all courses begin with what has happened on one of these
		p.AtLeast = slices.Min(append(x.dropped, len(p.Killed)))
		for _, w := range slices.Concat(x.finals, x.pending) {
			p.AtLeast = min(p.AtLeast, len(w.killedNames()))
		}
	}
	return p
}

// first notes the first kill of the likeliest course.
func (p *Prediction) first(k Step) {
	p.Constraint, p.OOMMemcg, p.Trigger = k.Constraint, k.OOMMemcg, k.Trigger
	p.Ranges, p.TotalPages = k.Ranges, k.TotalPages
	p.Scores = map[string]int64{}
	for name, r := range k.Ranges {
		p.Scores[name] = int64(r.Mid())
	}
}

// firsts are the first kills that courses have, without repetitions; none if all
// have the same.
func firsts(finals []*world) []Step {
	var all []Step
	for _, w := range finals {
		if len(w.steps) > 0 {
			all = append(all, w.steps[0])
		}
	}
	return distinct(all)
}

func distinct(all []Step) []Step {
	var out []Step
	for _, s := range all {
		if !slices.ContainsFunc(out, func(o Step) bool {
			return o.OOMMemcg == s.OOMMemcg && o.Victims[0] == s.Victims[0] &&
				o.TotalPages == s.TotalPages && maps.Equal(o.Ranges, s.Ranges)
		}) {
			out = append(out, s)
		}
	}
	if len(out) < 2 || len(out) > maxOrders {
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
		ends.Sure = !p.Open
		for _, w := range x.finals {
			if w.procs[i].ends != q.ends {
				ends.Sure = false
			}
		}
		p.Ends[q.p.Name] = ends
		if q.throttled && q.alive() {
			p.Throttled = append(p.Throttled, q.p.Name)
		}
	}
}
