package predict

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
)

// alike finds processes that the model cannot tell apart: they begin at the same
// moment, are told the same and live in the same cgroup. Which of them does what
// is a matter of names only. It returns the set of each process, or -1 for one
// that is unlike all others, and the processes of each set.
func alike(p *plan.Plan, procs []proc) (setOf []int, sets [][]int) {
	setOf = make([]int, len(procs))
	for i := range procs {
		setOf[i] = -1
	}
	special := related(p)
	var kinds [][]int
	var models []plan.Process
	for i := range procs {
		q := *procs[i].p
		if special[q.Name] {
			continue
		}
		q.Name, q.Of, q.Profile.Name, q.Launch.Comm = "", "", "", ""
		k := slices.IndexFunc(models, func(m plan.Process) bool { return reflect.DeepEqual(m, q) })
		if k < 0 {
			k = len(models)
			models, kinds = append(models, q), append(kinds, nil)
		}
		kinds[k] = append(kinds[k], i)
	}
	for _, all := range kinds {
		sameBase := !slices.ContainsFunc(all, func(i int) bool { return procs[i].base != procs[all[0]].base })
		if len(all) < 2 || !sameBase || !namedTogether(p, procs, all) {
			continue
		}
		for _, k := range all {
			setOf[k] = len(sets)
		}
		sets = append(sets, all)
	}
	return setOf, sets
}

// related are the processes that have a parent, children, or an action of
// during: of their own.
func related(p *plan.Plan) map[string]bool {
	out := map[string]bool{}
	for _, q := range p.Processes {
		if q.Parent != "" {
			out[q.Parent], out[q.Name] = true, true
		}
		if len(q.Profile.Children) > 0 {
			out[q.Name] = true
		}
		for _, s := range q.Profile.Steps {
			if s.Name != "" {
				out[s.Name], out[q.Name] = true, true
			}
		}
	}
	for _, d := range p.During {
		for name := range d.OOMScoreAdj {
			out[name] = true
		}
		for name := range d.Signal {
			out[name] = true
		}
	}
	return out
}

// namedTogether reports whether what waits for one of the processes waits for
// all of them.
func namedTogether(p *plan.Plan, procs []proc, all []int) bool {
	together := func(names []string) bool {
		n := 0
		for _, i := range all {
			if slices.Contains(names, procs[i].p.Name) {
				n++
			}
		}
		return n == 0 || n == len(all)
	}
	for _, q := range p.Processes {
		if !together(q.After) || !together(q.NeedsSuccess) {
			return false
		}
	}
	return !slices.ContainsFunc(p.During, func(d plan.During) bool { return !together(d.After) })
}

// labels name the sets: by the scenario's name if that stands for all of them,
// by all names otherwise.
func labels(procs []proc, sets [][]int) []string {
	var out []string
	for _, all := range sets {
		of := procs[all[0]].p.Of
		var names []string
		one := of != "" && of != procs[all[0]].p.Name
		for _, i := range all {
			names = append(names, procs[i].p.Name)
			one = one && procs[i].p.Of == of
		}
		if !one || slices.Contains(out, of) {
			of = strings.Join(names, "|")
		}
		out = append(out, of)
	}
	return out
}

// stateKey tells worlds apart that may go on differently, and no others.
type stateKey [sha256.Size]byte

// key is the state of a world without its past. Processes that are alike are
// counted by state: which is in which does not matter. ordered says that it
// matters in which order processes joined their cgroups.
func (w *world) key(setOf []int, sets [][]int, ordered bool) stateKey {
	var b []byte
	number := func(n int64) { b = binary.AppendVarint(b, n) }
	flag := func(f bool) {
		if f {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	}
	ranks := w.ranks(ordered)
	for i := range w.procs {
		if setOf[i] < 0 {
			b = w.procs[i].appendState(b, ranks[i])
		}
	}
	for _, all := range sets {
		states := make([]string, len(all))
		for k, i := range all {
			states[k] = string(w.procs[i].appendState(nil, ranks[i]))
		}
		slices.Sort(states)
		for _, s := range states {
			b = append(b, s...)
		}
	}
	limit := func(l *kernel.Bytes) {
		if flag(l != nil); l != nil {
			number(int64(*l))
		}
	}
	for i := range w.cgroups {
		limit(w.cgroups[i].Max)
		limit(w.cgroups[i].High)
	}
	number(int64(w.swapOn))
	for _, done := range w.during {
		flag(done)
	}
	for _, k := range slices.Sorted(maps.Keys(w.sysctls)) {
		b = append(b, k+"="+w.sysctls[k]+"\n"...)
	}
	if w.squeezed != nil {
		b = append(b, *w.squeezed...)
		number(int64(w.remains))
		b = append(b, strings.Join(w.left, "\n")...)
	}
	number(int64(w.stacks))
	flag(w.overlapped)
	flag(w.unusing)
	flag(w.swapped)
	b = append(b, strings.Join(w.orphans, "\n")...)
	flag(w.noVictim)
	flag(w.gaveUp)
	b = append(b, w.panic...)
	return sha256.Sum256(b)
}

// ranks are the places of living processes in the order in which they joined
// their cgroups; all zero where no rule asks for it.
func (w *world) ranks(ordered bool) []int64 {
	out := make([]int64, len(w.procs))
	if !ordered {
		return out
	}
	var alive []int
	for i := range w.procs {
		if w.procs[i].alive() {
			alive = append(alive, i)
		}
	}
	slices.SortFunc(alive, func(a, b int) int { return cmp.Compare(w.procs[a].order, w.procs[b].order) })
	for rank, i := range alive {
		out[i] = int64(rank)
	}
	return out
}

// appendState appends what decides how a process goes on.
func (p *proc) appendState(b []byte, rank int64) []byte {
	number := func(n int64) { b = binary.AppendVarint(b, n) }
	number(int64(p.phase))
	if p.p.Respawn > 0 {
		number(int64(p.lives))
	}
	if !p.alive() && p.phase != waiting {
		number(int64(p.ends.Signal))
		number(int64(p.ends.Code))
		number(int64(p.file.Lo))
		number(int64(p.file.Hi))
		for _, r := range p.on {
			number(int64(r.Lo))
			number(int64(r.Hi))
		}
		return b
	}
	for _, r := range []Range{p.rest, p.goal, p.anon, p.shm, p.file, p.cache} {
		number(int64(r.Lo))
		number(int64(r.Hi))
	}
	for _, n := range []int{p.pc, p.forks, p.adj, int(p.huge), int(p.mapped), int(p.mapping)} {
		number(int64(n))
	}
	for _, r := range p.on {
		number(int64(r.Lo))
		number(int64(r.Hi))
	}
	number(rank)
	var flags int64
	for i, f := range []bool{p.partial, p.fresh, p.freed, p.stop, p.throttled, p.oom, p.doomed} {
		if f {
			flags |= 1 << i
		}
	}
	number(flags)
	return b
}
