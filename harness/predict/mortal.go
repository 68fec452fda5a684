package predict

import (
	"cmp"
	"slices"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/stressor/profile"
)

// mortal are the processes of which it cannot be said, without following any
// course, that nobody will kill them: they may be chosen, and a domain that they
// are in may run full.
func (w *world) mortal() []string {
	var out []string
	full := map[string]bool{}
	for i := range w.procs {
		p := &w.procs[i]
		if p.p.OOMScoreAdj == AdjMin && !w.adjusts() {
			continue
		}
		dirs := w.domains(p)
		for dir := range w.look.nodes {
			if w.scored(p, dir) {
				dirs = append(dirs, dir)
			}
		}
		for _, dir := range dirs {
			may, known := full[dir]
			if !known {
				may = w.most(dir) > w.least(dir)
				full[dir] = may
			}
			if may {
				out = append(out, p.p.Name)
				break
			}
		}
	}
	return out
}

// adjusts reports whether any oom_score_adj changes on the way.
func (w *world) adjusts() bool {
	for _, d := range w.plan.During {
		if len(d.OOMScoreAdj) > 0 {
			return true
		}
	}
	return false
}

// most is the most that processes may ever hold together in a domain.
func (w *world) most(dir string) kernel.Pages {
	sum := kernel.Pages(0)
	tops := map[string]kernel.Pages{}
	for i := range w.procs {
		p := &w.procs[i]
		if d, ok := w.look.nodes[dir]; ok && len(p.nodes.And(d.nodes)) == 0 ||
			!kernel.InCgroup(p.p.Cgroup, w.tree(dir)) {
			continue
		}
		if top := w.limitBelow(dir, p.p.Cgroup); top != "" {
			tops[top] += w.wants(p)
		} else {
			sum += w.wants(p)
		}
	}
	for top, want := range tops {
		sum += min(want, w.highest(top)+w.slack())
	}
	return sum
}

// wants is the most that a process may be charged with in its life.
func (w *world) wants(p *proc) kernel.Pages {
	all := *p
	all.phase = holding
	for _, s := range p.p.Profile.Steps {
		if s.Op.Row().Charged() {
			all.anon.Hi += w.want(p, s).Hi
		}
	}
	return min(all.charge().Hi, endless)
}

// highest and least are the bounds of a limit that may be written on the way.
func (w *world) highest(dir string) kernel.Pages {
	n := w.limit(dir)
	for _, d := range w.plan.During {
		for _, c := range d.Writes {
			if c.Path == dir && c.Max != nil {
				n = max(n, kernel.Pages(*c.Max/w.m.PageSize)+w.swapFor(dir))
			}
		}
	}
	return n
}

func (w *world) least(dir string) kernel.Pages {
	n := w.capacity(dir).Lo
	for _, d := range w.plan.During {
		if d.Swapoff || d.Sysrq != "" {
			return 0
		}
		for _, c := range d.Writes {
			if c.Path == dir && c.Max != nil {
				n = min(n, kernel.Pages(*c.Max/w.m.PageSize)-w.slack())
			}
		}
	}
	return n
}

// certain is how many processes will be killed at the least, by what those who
// are in one domain want to hold together in the end. never: there will not be
// room for those who are started again.
func (w *world) certain() (kills int, never bool) {
	if len(w.plan.During) > 0 || w.contained() || w.strict() {
		return 0, false
	}
	for _, c := range w.cgroups {
		if c.High != nil || c.OOMGroup {
			return 0, false
		}
	}
	for _, dir := range append([]string{""}, w.limited()...) {
		n, none := w.excess(dir)
		kills, never = max(kills, n), never || none
	}
	return kills, never
}

func (w *world) limited() []string {
	var out []string
	for _, c := range w.cgroups {
		if c.Max != nil {
			out = append(out, c.Path)
		}
	}
	return out
}

// excess counts the kills before the rest fits into a domain: the fewest, so those
// first who make most room for each kill. Who is started again has to be killed that
// often to be gone. It is a bound from below: of the last one a part may do.
func (w *world) excess(dir string) (kills int, never bool) {
	type removable struct{ want, kills kernel.Pages }
	var sum kernel.Pages
	var all []removable
	for i := range w.procs {
		p := &w.procs[i]
		if !kernel.InCgroup(p.p.Cgroup, dir) {
			continue
		}
		want := w.holds(p)
		sum += want
		if p.p.Respawn >= 0 && p.adj != AdjMin && want > 0 {
			all = append(all, removable{want, kernel.Pages(p.p.Respawn) + 1})
		}
	}
	over := sum - w.capacity(dir).Hi
	slices.SortFunc(all, func(a, b removable) int { return cmp.Compare(b.want*a.kills, a.want*b.kills) })
	for _, r := range all {
		if over <= 0 {
			break
		}
		part := min(over, r.want)
		kills += int((part*r.kills + r.want - 1) / r.want)
		over -= part
	}
	if over > 0 {
		return max(kills, 1), true
	}
	return kills, false
}

// holds is the least that a process is charged with once it has done its steps;
// 0 for one that may never come to that, or end.
func (w *world) holds(p *proc) kernel.Pages {
	if p.p.IsCommand() || p.p.Parent != "" || len(p.p.NeedsSuccess) > 0 || len(p.p.Profile.Children) > 0 {
		return 0
	}
	all := *p
	all.phase = holding
	for _, s := range p.p.Profile.Steps {
		switch {
		case s.Op == profile.Exit || s.Op == profile.Free || s.Op == profile.Sawtooth || s.Op == profile.Wait:
			return 0
		case s.Op.Row().Charged(): // shared memory stays in the page cache, or goes to swap
			has := all.of(s.Op.Row().Memory)
			*has = has.plus(w.want(p, s))
		}
	}
	return min(all.charge().Lo, endless)
}
