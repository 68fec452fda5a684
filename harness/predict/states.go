package predict

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// states are all states that a plan may come to, for plans whose courses are too
// many to be followed one by one. Courses that come to the same state go on
// alike, and states that differ only by which of several equal processes is
// which are one.
type states struct {
	setOf   []int // of each process, see alike
	sets    [][]int
	labels  []string
	ordered bool // the order in which processes joined decides something
	at      map[stateKey]int
	nodes   []node
	doubts  string
	open    bool // the budget was spent before all was seen
}

type node struct {
	w    *world // nil once it has been followed, unless it is final
	next []edge // the likeliest first
	// final: nothing happens any more
	final bool
}

// edge leads from one state to the next. kills happen on the way.
type edge struct {
	to    int
	kills []Step
}

// explore follows a world to every state that it may come to.
func explore(w *world, b *budget) *states {
	s := &states{at: map[stateKey]int{}}
	s.setOf, s.sets = alike(w.plan, w.procs)
	s.labels = labels(w.procs, s.sets)
	s.ordered = slices.ContainsFunc(w.procs, func(p proc) bool { return p.sharer })
	for _, c := range w.cgroups {
		s.ordered = s.ordered || c.OOMGroup
	}
	start := w.clone()
	start.setOf = s.setOf
	s.node(start)
	for todo := []int{0}; len(todo) > 0; {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		known := len(s.nodes)
		if !s.expand(i, b) {
			s.open = true
			break
		}
		for k := len(s.nodes) - 1; k >= known; k-- {
			todo = append(todo, k)
		}
	}
	return s
}

// node is the place of a world's state.
func (s *states) node(w *world) int {
	key := w.key(s.setOf, s.sets, s.ordered)
	if i, ok := s.at[key]; ok {
		return i
	}
	s.at[key] = len(s.nodes)
	s.nodes = append(s.nodes, node{w: w})
	return len(s.nodes) - 1
}

// expand lets a state go on until somebody is killed, or until there is more than
// one way to go on. False: the budget is spent.
func (s *states) expand(i int, b *budget) bool {
	w := s.nodes[i].w.clone()
	for range maxEvents {
		if b.spent() {
			return false
		}
		next := w.step()
		if s.doubts == "" {
			for _, n := range next {
				s.doubts = n.doubts
			}
		}
		if len(next) == 1 && len(next[0].steps) == 0 {
			w = next[0]
			continue
		}
		if len(next) == 0 {
			s.nodes[i].w, s.nodes[i].final = w, true
			return true
		}
		for _, n := range next {
			kills := n.steps
			n.steps = nil
			s.nodes[i].next = append(s.nodes[i].next, edge{s.node(n), kills})
		}
		s.nodes[i].w = nil
		return true
	}
	return false
}

// name is how a prediction calls a process: by its label where others are like it.
func (s *states) name(w *world, process string) string {
	if i, ok := w.look.procs[process]; ok && s.setOf[i] >= 0 {
		return s.labels[s.setOf[i]]
	}
	return process
}

// label says a kill without telling equal processes apart. Each of them may be
// where one of them is.
func (s *states) label(w *world, k Step) Step {
	victims := make([]string, len(k.Victims))
	for i, v := range k.Victims {
		victims[i] = s.name(w, v)
	}
	k.Victims = victims
	triggers := slices.Clone(k.Trigger)
	ranges := maps.Clone(k.Ranges)
	for _, all := range s.sets {
		var hull *Range
		asks := false
		for _, i := range all {
			name := w.procs[i].p.Name
			asks = asks || slices.Contains(k.Trigger, name)
			if r, ok := k.Ranges[name]; ok && hull == nil {
				hull = &r
			} else if ok {
				hull.Lo, hull.Hi = min(hull.Lo, r.Lo), max(hull.Hi, r.Hi)
			}
		}
		for _, i := range all {
			name := w.procs[i].p.Name
			if asks && !slices.Contains(triggers, name) {
				triggers = append(triggers, name)
			}
			if hull != nil {
				ranges[name] = *hull
			}
		}
	}
	k.Trigger, k.Ranges = triggers, ranges
	return k
}

// prediction says what all states have in common. w is the first of them.
func (s *states) prediction(w *world) Prediction {
	p := Prediction{Killed: []string{}, Ends: map[string]Ends{}}
	for i, all := range s.sets {
		e := Equal{Label: s.labels[i], Again: w.procs[all[0]].p.Respawn != 0}
		for _, k := range all {
			e.Names = append(e.Names, w.procs[k].p.Name)
		}
		p.Alike = append(p.Alike, e)
	}
	last, endless := s.likely(w, &p)
	s.firsts(w, &p)
	endless = s.count(&p) || endless
	if !endless {
		p.Orders = s.orders(w)
	}
	if p.Open = s.open || endless || p.Orders == nil; p.Open {
		p.Orders = [][]string{p.Killed}
	}
	p.Possible = s.possible(w)
	s.ends(w, last, &p)
	least, never := w.certain()
	if p.Open {
		p.AtLeast = max(p.AtLeast, least)
	}
	switch {
	case endless || p.Open && never:
		p.Unsure = "there is never room for all who are started again: the kills go on for as long as the run does"
	case s.open:
		p.Unsure = "more courses are possible than can be followed"
	case p.Open:
		p.Unsure = fmt.Sprintf("more than %d orders are possible", maxOrders)
	case s.doubts != "":
		p.Unsure = s.doubts
	case len(p.Orders) > 1:
		p.Unsure = disagreement(p.Orders)
	default:
		for _, e := range p.Alike {
			if slices.Contains(p.Killed, e.Label) && p.Unsure == "" {
				p.Unsure = "which of the equal processes " + strings.Join(e.Names, ", ") +
					" are killed, and in which order, depends on timing"
			}
		}
	}
	return p
}

// likely follows the likeliest way from the start, and notes its kills. It
// returns where it ends; endless: it comes to a state that it had been in.
func (s *states) likely(w *world, p *Prediction) (last int, endless bool) {
	seen := map[int]bool{}
	for !seen[last] {
		seen[last] = true
		if len(s.nodes[last].next) == 0 {
			return last, false
		}
		e := s.nodes[last].next[0]
		for _, k := range e.kills {
			k = s.label(w, k)
			if len(p.Steps) > 0 {
				k.Ranges = nil // of many kills among many processes: nobody reads them
			}
			p.Steps = append(p.Steps, k)
			p.Killed = append(p.Killed, k.Victims...)
		}
		last = e.to
	}
	return last, true
}

// firsts notes the first kills of all courses.
func (s *states) firsts(w *world, p *Prediction) {
	seen := map[int]bool{0: true}
	var all []Step
	for todo := []int{0}; len(todo) > 0; todo = todo[1:] {
		for _, e := range s.nodes[todo[0]].next {
			if len(e.kills) > 0 {
				all = append(all, s.label(w, e.kills[0]))
			} else if !seen[e.to] {
				seen[e.to] = true
				todo = append(todo, e.to)
			}
		}
	}
	if p.Firsts = distinct(all); len(p.Steps) > 0 {
		p.first(p.Steps[0])
	}
}

// weight is how many processes are killed along an edge.
func (e edge) weight() int {
	n := 0
	for _, k := range e.kills {
		n += len(k.Victims)
	}
	return n
}

// count bounds how many processes are killed. It reports whether kills may go on
// without end.
func (s *states) count(p *Prediction) (endless bool) {
	most := make([]int, len(s.nodes)) // -1: on the way, -2: not seen
	cyclic := make([]bool, len(s.nodes))
	for i := range most {
		most[i] = -2
	}
	var visit func(i int) int
	visit = func(i int) int {
		if most[i] >= 0 {
			return most[i]
		}
		if most[i] == -1 {
			cyclic[i], endless = true, true
			return 0
		}
		most[i] = -1
		n := 0
		for _, e := range s.nodes[i].next {
			n = max(n, e.weight()+visit(e.to))
		}
		most[i] = n
		return n
	}
	if n := visit(0); !endless && !s.open {
		p.AtMost = n
	}
	// the nearest state that a run may end in
	buckets := [][]int{{0}}
	done := make([]bool, len(s.nodes))
	for d := 0; d < len(buckets); d++ {
		for k := 0; k < len(buckets[d]); k++ {
			i := buckets[d][k]
			if done[i] {
				continue
			}
			done[i] = true
			if len(s.nodes[i].next) == 0 || cyclic[i] {
				p.AtLeast = d
				return endless
			}
			for _, e := range s.nodes[i].next {
				for len(buckets) <= d+e.weight() {
					buckets = append(buckets, nil)
				}
				buckets[d+e.weight()] = append(buckets[d+e.weight()], e.to)
			}
		}
	}
	return endless
}

// maxSteps bounds how many edges are walked to list orders.
const maxSteps = 20_000

// orders lists the sequences of kills, the likeliest first; nil: there are too
// many.
func (s *states) orders(w *world) [][]string {
	var out [][]string
	seen := map[string]bool{}
	left := maxSteps
	var walk func(i int, so []string) bool
	walk = func(i int, so []string) bool {
		if left--; left < 0 {
			return false
		}
		if len(s.nodes[i].next) == 0 {
			if text := strings.Join(so, "\n"); !seen[text] {
				seen[text] = true
				out = append(out, slices.Clone(so))
			}
			return len(out) <= maxOrders
		}
		for _, e := range s.nodes[i].next {
			next := slices.Clip(so)
			for _, k := range e.kills {
				for _, v := range k.Victims {
					next = append(next, s.name(w, v))
				}
			}
			if !walk(e.to, next) {
				return false
			}
		}
		return true
	}
	if !walk(0, []string{}) {
		return nil
	}
	return out
}

// possible are those who are killed on some course; if not all was seen, those
// of whom it cannot be said that they are safe.
func (s *states) possible(w *world) []string {
	names := map[string]bool{}
	if s.open {
		for _, name := range w.mortal() {
			names[name] = true
		}
		return slices.Sorted(maps.Keys(names))
	}
	for _, n := range s.nodes {
		for _, e := range n.next {
			for _, k := range e.kills {
				for _, v := range k.Victims {
					names[s.name(w, v)] = true
				}
			}
		}
	}
	for i, all := range s.sets {
		if names[s.labels[i]] {
			delete(names, s.labels[i])
			for _, k := range all {
				names[w.procs[k].p.Name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// ends notes how processes end, by the state that the likeliest course ends in.
func (s *states) ends(w *world, last int, p *Prediction) {
	var finals []*world
	for _, n := range s.nodes {
		if n.final {
			finals = append(finals, n.w)
		}
	}
	best := w
	if s.nodes[last].final {
		best = s.nodes[last].w
	}
	p.Panic = best.panic
	p.failing(best, finals, func(i int) []int {
		if set := s.setOf[i]; set >= 0 {
			return s.sets[set]
		}
		return []int{i}
	})
	for i, q := range best.procs {
		ends := q.ends
		ends.Sure = !p.Open && len(finals) > 0
		same := []int{i}
		if s.setOf[i] >= 0 {
			same = s.sets[s.setOf[i]]
		}
		for _, f := range finals {
			for _, k := range same {
				ends.Sure = ends.Sure && f.procs[k].ends == q.ends
			}
		}
		p.Ends[q.p.Name] = ends
		if q.throttled && q.alive() {
			p.Throttled = append(p.Throttled, q.p.Name)
		}
	}
	for _, f := range finals {
		if p.NoVictim = p.NoVictim || f.noVictim || f.gaveUp; f.panic != best.panic && s.doubts == "" {
			s.doubts = "whether the kernel panics depends on timing"
		}
	}
}
