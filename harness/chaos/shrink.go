package chaos

import (
	"maps"
	"slices"
	"strconv"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/stressor/profile"
)

// maxAttempts bounds the runs that making one scenario smaller takes.
const maxAttempts = 150

// Minimize makes a scenario smaller as long as still says that it shows what it
// is about, and returns the smallest one found. Every step leaves something
// out: a process with what refers to it, an action, a cgroup, a knob, a step;
// then amounts become rounder. still is asked at most 150 times; its error ends
// the search and is returned.
func Minimize(s scenario.Scenario, still func(scenario.Scenario) (bool, error)) (scenario.Scenario, error) {
	attempts := 0
	for again := true; again; {
		again = false
		for _, smaller := range Smaller(s) {
			if attempts++; attempts > maxAttempts {
				return s, nil
			}
			shows, err := still(smaller)
			if err != nil {
				return s, err
			}
			if shows {
				s, again = smaller, true
				break
			}
		}
	}
	return s, nil
}

// Smaller are the valid scenarios that lack one thing that s has, those that
// lack most first.
func Smaller(s scenario.Scenario) []scenario.Scenario {
	x := &shrinker{from: s}
	x.processes()
	x.pods()
	x.during()
	x.cgroups()
	x.knobs()
	x.attributes()
	x.amounts()
	return x.out
}

type shrinker struct {
	from scenario.Scenario
	out  []scenario.Scenario
}

// try adds what change makes of a copy, if that is a valid scenario.
func (x *shrinker) try(change func(*scenario.Scenario)) {
	s := copyOf(x.from)
	change(&s)
	Claim(&s)
	if s.Validate() == nil {
		x.out = append(x.out, s)
	}
}

// copyOf shares nothing that a shrinker changes.
func copyOf(s scenario.Scenario) scenario.Scenario {
	s.Cgroups = slices.Clone(s.Cgroups)
	s.System.Sysctls = maps.Clone(s.System.Sysctls)
	s.Processes = slices.Clone(s.Processes)
	for i := range s.Processes {
		p := &s.Processes[i]
		p.Do, p.After = slices.Clone(p.Do), slices.Clone(p.After)
	}
	s.During = slices.Clone(s.During)
	for i := range s.During {
		d := &s.During[i]
		d.After, d.Set = slices.Clone(d.After), maps.Clone(d.Set)
		d.OOMScoreAdj, d.Signal = maps.Clone(d.OOMScoreAdj), maps.Clone(d.Signal)
	}
	s.Pods = slices.Clone(s.Pods)
	for i := range s.Pods {
		p := &s.Pods[i]
		p.After, p.Containers = slices.Clone(p.After), slices.Clone(p.Containers)
		for j := range p.Containers {
			p.Containers[j].Do = slices.Clone(p.Containers[j].Do)
		}
	}
	return s
}

func (x *shrinker) processes() {
	for _, p := range slices.Backward(x.from.Processes) {
		x.try(func(s *scenario.Scenario) { without(s, p.Name) })
	}
}

// without takes a process out, with its children and what refers to them.
func without(s *scenario.Scenario, name string) {
	for _, p := range s.Processes {
		if p.Parent == name {
			without(s, p.Name)
		}
	}
	s.Processes = slices.DeleteFunc(s.Processes, func(p scenario.Process) bool { return p.Name == name })
	for i := range s.Processes {
		p := &s.Processes[i]
		p.After = forget(p.After, name)
		p.Do = slices.DeleteFunc(p.Do, func(st scenario.Step) bool { return st.Name == name })
	}
	forgetDuring(s, name)
}

// forget takes a name out of a list; an empty list is none.
func forget(names scenario.Names, name string) scenario.Names {
	names = slices.DeleteFunc(names, func(n string) bool { return n == name })
	if len(names) == 0 {
		return nil
	}
	return names
}

func forgetDuring(s *scenario.Scenario, name string) {
	for i := range s.During {
		d := &s.During[i]
		d.After = forget(d.After, name)
		delete(d.OOMScoreAdj, name)
		delete(d.Signal, name)
		d.Stop = forget(d.Stop, name)
		if len(d.OOMScoreAdj) == 0 {
			d.OOMScoreAdj = nil
		}
		if len(d.Signal) == 0 {
			d.Signal = nil
		}
	}
	s.During = slices.DeleteFunc(s.During, func(d scenario.During) bool {
		return d.Set == nil && d.OOMScoreAdj == nil && d.Signal == nil && d.Freeze == "" && d.Thaw == "" &&
			d.Sysctls == nil && d.Sysrq == "" && !d.Swapoff && len(d.Stop) == 0
	})
	if len(s.During) == 0 {
		s.During = nil
	}
}

func (x *shrinker) pods() {
	for i, p := range x.from.Pods {
		x.try(func(s *scenario.Scenario) {
			s.Pods = slices.Delete(s.Pods, i, i+1)
			for j := range s.Pods {
				s.Pods[j].After = forget(s.Pods[j].After, p.Name)
			}
			forgetDuring(s, p.Name)
		})
		for j := range p.Containers {
			x.try(func(s *scenario.Scenario) {
				s.Pods[i].Containers = slices.Delete(s.Pods[i].Containers, j, j+1)
			})
		}
	}
}

func (x *shrinker) during() {
	for i := range x.from.During {
		x.try(func(s *scenario.Scenario) {
			s.During = slices.Delete(s.During, i, i+1)
			forgetDuring(s, "")
		})
	}
}

// cgroups takes cgroups out; their processes move to the one above.
func (x *shrinker) cgroups() {
	for _, c := range slices.Backward(x.from.Cgroups) {
		x.try(func(s *scenario.Scenario) {
			parent, _ := c.Parent()
			s.Cgroups = slices.DeleteFunc(s.Cgroups, func(o scenario.Cgroup) bool { return o.Path == c.Path })
			if len(s.Cgroups) == 0 {
				s.Cgroups = nil
			}
			for i := range s.Processes {
				if s.Processes[i].Cgroup == c.Path {
					s.Processes[i].Cgroup = parent
				}
			}
			for i := range s.During {
				d := &s.During[i]
				if d.Freeze == c.Path {
					d.Freeze = ""
				}
				delete(d.Set, c.Path)
				if len(d.Set) == 0 {
					d.Set = nil
				}
			}
			forgetDuring(s, "")
		})
	}
}

func (x *shrinker) knobs() {
	for i, c := range x.from.Cgroups {
		if c.MemoryOOMGroup != nil {
			x.try(func(s *scenario.Scenario) { s.Cgroups[i].MemoryOOMGroup = nil })
		}
		if c.MemoryMax != nil {
			x.try(func(s *scenario.Scenario) { s.Cgroups[i].MemoryMax = nil })
		}
	}
	if x.from.System.Swap != nil {
		x.try(func(s *scenario.Scenario) { s.System.Swap = nil })
	}
	if x.from.System.Disk != nil {
		x.try(func(s *scenario.Scenario) { s.System.Disk = nil })
	}
	if x.from.Needs.CPUs != 0 {
		x.try(func(s *scenario.Scenario) { s.Needs.CPUs = 0 })
	}
	for _, key := range slices.Sorted(maps.Keys(x.from.System.Sysctls)) {
		x.try(func(s *scenario.Scenario) {
			if delete(s.System.Sysctls, key); len(s.System.Sysctls) == 0 {
				s.System.Sysctls = nil
			}
		})
	}
}

func (x *shrinker) attributes() {
	for i, p := range x.from.Processes {
		for _, change := range []struct {
			has   bool
			apply func(*scenario.Process)
		}{
			{p.Threads != 0, func(p *scenario.Process) { p.Threads = 0 }},
			{p.Nice != 0, func(p *scenario.Process) { p.Nice = 0 }},
			{p.UID != 0, func(p *scenario.Process) { p.UID = 0 }},
			{p.OOMScoreAdj != 0, func(p *scenario.Process) { p.OOMScoreAdj = 0 }},
			{p.OOMScoreAdj%100 != 0, func(p *scenario.Process) { p.OOMScoreAdj = p.OOMScoreAdj / 100 * 100 }},
		} {
			if change.has {
				x.try(func(s *scenario.Scenario) { change.apply(&s.Processes[i]) })
			}
		}
		for j, st := range p.Do {
			if st.Op == profile.Free {
				x.try(func(s *scenario.Scenario) { s.Processes[i].Do = slices.Delete(s.Processes[i].Do, j, j+1) })
			}
			if st.Rate != 0 {
				x.try(func(s *scenario.Scenario) { s.Processes[i].Do[j].Rate = 0 })
			}
			if st.Content != "" {
				x.try(func(s *scenario.Scenario) { s.Processes[i].Do[j].Content = "" })
			}
			if st.Op != profile.Touch && st.Op.Row().Takes() {
				x.try(func(s *scenario.Scenario) { s.Processes[i].Do[j].Op = profile.Touch })
			}
		}
	}
}

// amounts makes sizes and limits round.
func (x *shrinker) amounts() {
	for _, unit := range []kernel.Bytes{kernel.MiB, kernel.MiB / 4} {
		for i, p := range x.from.Processes {
			for j, st := range p.Do {
				if r := round(st.Size, unit); r != st.Size {
					x.try(func(s *scenario.Scenario) { s.Processes[i].Do[j].Size = r })
				}
			}
		}
		for i, c := range x.from.Cgroups {
			if c.MemoryMax != nil && round(*c.MemoryMax, unit) != *c.MemoryMax {
				x.try(func(s *scenario.Scenario) { s.Cgroups[i].MemoryMax = knob(round(*c.MemoryMax, unit)) })
			}
		}
		for i, d := range x.from.During {
			for path, c := range d.Set {
				if c.MemoryMax != nil && round(*c.MemoryMax, unit) != *c.MemoryMax {
					x.try(func(s *scenario.Scenario) {
						c.MemoryMax = knob(round(*c.MemoryMax, unit))
						s.During[i].Set[path] = c
					})
				}
			}
		}
	}
}

func round(b, unit kernel.Bytes) kernel.Bytes {
	if b == 0 || b == scenario.Max {
		return b
	}
	return max(unit, (b+unit/2)/unit*unit)
}

// Exhausts reports whether a scenario may take all of the machine's memory: a
// guest is not the same after that.
func Exhausts(s scenario.Scenario) bool {
	limited := map[string]bool{}
	for _, c := range s.Cgroups {
		parent, _ := c.Parent()
		limited[c.Path] = c.MemoryMax != nil || limited[parent]
	}
	pool, _ := strconv.Atoi(s.System.Sysctls[kernel.NrHugepages])
	sum := kernel.Bytes(pool) * hugePage
	for _, p := range s.Processes {
		if limited[p.Cgroup] {
			continue
		}
		for _, st := range p.Do {
			sum += st.Size
		}
	}
	return sum > Memory/2
}
