package predict

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/stressor/profile"
)

// inParts predicts by states: each group of processes that has nothing to do with
// the others by itself.
func (w *world) inParts(b *budget) Prediction {
	groups := w.independent()
	if len(groups) < 2 {
		return explore(w, b).prediction(w)
	}
	out := Prediction{Killed: []string{}, Ends: map[string]Ends{}}
	share := b.left / len(groups)
	killing := 0
	for _, members := range groups {
		b.left = share
		alone := w.only(members)
		part := explore(alone, b).prediction(alone)
		if len(part.Possible) > 0 || part.Open {
			killing++
		}
		out.add(part)
	}
	if killing < 2 { // then there is one order of things after all
		i := max(0, slices.IndexFunc(out.Parts, func(p Prediction) bool { return len(p.Possible) > 0 || p.Open }))
		one := out.Parts[i]
		one.Ends, one.Throttled = out.Ends, out.Throttled
		one.Fails, one.MayFail, one.Doomed = out.Fails, out.MayFail, out.Doomed
		return one
	}
	out.Unsure = fmt.Sprintf("%d groups of processes are independent of each other; "+
		"their kills come in any order", killing)
	out.Orders, out.Firsts = [][]string{out.Killed}, distinct(out.Firsts)
	return out
}

// add makes one prediction of two that are about different processes.
func (p *Prediction) add(part Prediction) {
	if len(p.Steps) == 0 && len(part.Steps) > 0 {
		p.first(part.Steps[0])
	}
	p.Killed = append(p.Killed, part.Killed...)
	p.Steps = append(p.Steps, part.Steps...)
	p.Alike = append(p.Alike, part.Alike...)
	p.Possible = append(p.Possible, part.Possible...)
	slices.Sort(p.Possible)
	p.Throttled = append(p.Throttled, part.Throttled...)
	maps.Copy(p.Ends, part.Ends)
	if p.Fails == nil {
		p.Fails = part.Fails
	} else {
		maps.Copy(p.Fails, part.Fails)
	}
	p.MayFail, p.Doomed = append(p.MayFail, part.MayFail...), append(p.Doomed, part.Doomed...)
	p.AtLeast += part.AtLeast
	p.Open = p.Open || part.Open
	p.NoVictim = p.NoVictim || part.NoVictim
	if part.Firsts == nil && len(part.Steps) > 0 {
		p.Firsts = append(p.Firsts, part.Steps[0])
	}
	p.Firsts = append(p.Firsts, part.Firsts...)
	p.Parts = append(p.Parts, part)
}

// only is the world without other processes than these, and without the cgroups
// of others.
func (w *world) only(members []int) *world {
	c := w.clone()
	c.procs, c.cgroups = nil, nil
	tops := map[string]bool{}
	for _, i := range members {
		c.procs = append(c.procs, w.procs[i])
		tops[top(w.procs[i].p.Cgroup)] = true
	}
	for _, g := range w.cgroups {
		if tops[top(g.Path)] {
			c.cgroups = append(c.cgroups, g)
		}
	}
	c.look = newLookup(c.procs, c.cgroups)
	return c
}

// top is the first name of a cgroup's path.
func top(path string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return name
}

// independent groups processes such that what happens in one group changes
// nothing in another: they share no limit that can be hit, no swap, and do not
// wait for each other. One group: there is no telling.
func (w *world) independent() [][]int {
	all := make([]int, len(w.procs))
	for i := range all {
		all[i] = i
	}
	if len(w.plan.During) > 0 || len(w.look.nodes) > 0 || w.swapOn > 0 || w.strict() || w.contained() ||
		w.most("") > w.least("") {
		return [][]int{all}
	}
	group := slices.Clone(all) // of each process, by its first member
	find := func(i int) int {
		for group[i] != i {
			i = group[i]
		}
		return i
	}
	join := func(i int, name string) {
		if k, ok := w.look.procs[name]; ok {
			a, b := find(i), find(k)
			group[max(a, b)] = min(a, b)
		}
	}
	first := map[string]string{} // by cgroup
	for i := range w.procs {
		p := w.procs[i].p
		for _, name := range slices.Concat(p.After, p.NeedsSuccess, []string{p.Parent}) {
			join(i, name)
		}
		for _, s := range p.Profile.Steps {
			if s.Op == profile.Fork || s.Op == profile.Wait {
				join(i, s.Name)
			}
		}
		for k := range w.cgroups {
			c := &w.cgroups[k]
			knobs := c.Max != nil || c.High != nil || c.SwapMax != nil || c.OOMGroup
			if !knobs || !kernel.InCgroup(p.Cgroup, c.Path) {
				continue
			}
			if first[c.Path] == "" {
				first[c.Path] = p.Name
			}
			join(i, first[c.Path])
		}
	}
	members := map[int][]int{}
	for i := range all {
		members[find(i)] = append(members[find(i)], i)
	}
	var out [][]int
	for _, k := range slices.Sorted(maps.Keys(members)) {
		out = append(out, members[k])
	}
	return out
}
