package scenario

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/stressor/profile"
)

// The memory of a VM, where the scenario does not ask for more.
const defaultVMMemory = 512 * kernel.MiB

// VMMemory is how much memory a VM for the scenario has: what it needs, and where it
// does not say that, what its processes take if no limit of the machine's is meant to
// be hit. With NUMA it is the sum of the nodes.
func (s Scenario) VMMemory() kernel.Bytes {
	if len(s.System.Nodes) > 0 {
		var sum kernel.Bytes
		for _, size := range s.System.Nodes {
			sum += size
		}
		return sum
	}
	if s.Needs.Memory > 0 || len(s.Pods) > 0 || !s.caged() {
		return max(defaultVMMemory, s.Needs.Memory)
	}
	want, _ := s.demand()
	memory := defaultVMMemory
	for s.available(memory) < want && memory < 8*kernel.GiB {
		memory += 256 * kernel.MiB
	}
	return memory
}

// available is about how much processes can get on a VM with that memory: some of it
// is the kernel's, and some holds the programs of the guest.
func (s Scenario) available(memory kernel.Bytes) kernel.Bytes {
	free := managed(memory)
	if swap := s.System.Swap; swap != nil {
		free += swap.Size
	}
	pool, _ := s.pool()
	return free - kernel.Bytes(pool)*HugePage
}

// managed is about what a VM with that memory has for processes and huge pages.
func managed(memory kernel.Bytes) kernel.Bytes { return memory - memory/50 - 76*kernel.MiB }

// HugePage is the size of the explicit huge pages that a scenario counts.
const HugePage = 2 * kernel.MiB

// CountsHugePages reports whether the scenario has a pool of explicit huge pages.
func (s Scenario) CountsHugePages() bool {
	reserved, more := s.pool()
	return reserved > 0 || more > 0
}

// pool is how many explicit huge pages the scenario reserves, and how many more it
// lets the kernel take on demand.
func (s Scenario) pool() (reserved, more int64) {
	most := func(key string) int64 {
		n, _ := strconv.ParseInt(strings.TrimSpace(s.System.Sysctls[key]), 10, 64)
		for _, d := range s.During {
			later, _ := strconv.ParseInt(strings.TrimSpace(d.Sysctls[key]), 10, 64)
			n = max(n, later)
		}
		return min(max(n, 0), 1<<40)
	}
	return most(kernel.NrHugepages), most(kernel.NrOvercommitHugepages)
}

// caged reports whether the scenario says that nobody is killed but at a limit of a
// cgroup's: what kills there are come from one, or there are none.
func (s Scenario) caged() bool {
	e := s.Expect
	if e.Constraint != "" && e.Constraint != "memcg" || e.Panic != "" || e.Domain != "" {
		return false
	}
	for _, d := range s.During {
		if d.Sysrq != "" || d.Swapoff {
			return false
		}
	}
	if e.Constraint == "memcg" || e.OOMMemcg != "" {
		return true
	}
	if e.Killed == nil {
		return false
	}
	for _, name := range slices.Concat(e.Killed.InOrder, e.Killed.From) {
		of, _, _ := strings.Cut(name, "/")
		i := slices.IndexFunc(s.Processes, func(p Process) bool { return p.Name == name || p.Name == of })
		if i < 0 || s.limitOf(s.Processes[i].Cgroup) == nil {
			return false
		}
	}
	return true
}

// limitOf is the outermost limited cgroup that path is in; nil if there is none.
func (s Scenario) limitOf(path string) *Cgroup {
	for i := range s.Cgroups { // parents come first
		if c := &s.Cgroups[i]; path != "" && c.limited() && kernel.InCgroup(path, c.Path) {
			return c
		}
	}
	return nil
}

// overhead is the least that a stressor costs beside what it is told to take.
const overhead = kernel.MiB

// demand is the least that the processes need at the same time: those who hold what they
// have until the end together, and of those who end or may be killed the largest one. Of
// a program of the user's own, and of what grows without bound outside of all limits,
// nothing is known.
func (s Scenario) demand() (sum kernel.Bytes, most string) {
	var largest, extra kernel.Bytes
	held := map[*Cgroup]kernel.Bytes{}
	note := func(name string, amount kernel.Bytes) {
		if amount > largest {
			largest, most = amount, name
		}
	}
	fill := func(c *Cgroup, amount kernel.Bytes) kernel.Bytes {
		return min(*c.MemoryMax, held[c]+min(amount, Max-held[c]))
	}
	for pass := range 2 { // those who stay, then the others
		for i := range s.Processes {
			p := &s.Processes[i]
			_, fails := s.Expect.Fails[p.Name] // before it has what it wants
			if len(p.Command) > 0 || p.SharesMemoryWith != "" || fails || s.stays(p) != (pass == 0) {
				continue
			}
			peak, bounded := Peak(p.Do, profile.Row.Charged)
			amount, c := peak+overhead, s.limitOf(p.Cgroup)
			if pass == 0 {
				amount *= kernel.Bytes(max(1, p.Copies))
			}
			switch {
			case c == nil && !bounded:
			case c == nil && pass == 0:
				sum += amount
				note(p.Name, amount)
			case c == nil:
				if amount > extra {
					extra = max(extra, amount-s.later(p))
				}
				note(p.Name, amount)
			case pass == 0:
				held[c] = fill(c, amount)
			default:
				if !bounded {
					amount = Max
				}
				full := fill(c, amount)
				if full-held[c] > extra {
					extra = max(extra, full-held[c]-s.later(p))
				}
				note(c.Path, full)
			}
		}
	}
	for c, amount := range held {
		sum += amount
		note(c.Path, amount)
	}
	return sum + extra, most
}

// later is what those hold who stay and begin only after a process has ended.
func (s Scenario) later(p *Process) (sum kernel.Bytes) {
	begins := map[string]bool{p.Name: true} // after it
	for known := 0; known < len(begins); {
		known = len(begins)
		for _, q := range s.Processes {
			waits := slices.ContainsFunc(append(slices.Clip(q.After), q.Parent), func(name string) bool {
				of, _, _ := strings.Cut(name, "/")
				return begins[of]
			})
			if waits {
				begins[q.Name] = true
			}
		}
	}
	for i := range s.Processes {
		if q := &s.Processes[i]; q.Name != p.Name && begins[q.Name] && s.stays(q) {
			peak, _ := Peak(q.Do, profile.Row.Charged)
			sum += (peak + overhead) * kernel.Bytes(max(1, q.Copies))
		}
	}
	return sum
}

// stays reports whether a process certainly holds what it has until the run is over, as
// far as the scenario goes.
func (s Scenario) stays(p *Process) bool {
	if len(p.Do) == 0 || p.Do[len(p.Do)-1].Op != profile.Hold {
		return false
	}
	for _, d := range s.During {
		if len(d.Signal) > 0 {
			return false
		}
	}
	if s.Expect.Killed == nil {
		return s.limitOf(p.Cgroup) == nil
	}
	return !slices.ContainsFunc(slices.Concat(s.Expect.Killed.InOrder, s.Expect.Killed.From), func(name string) bool {
		of, _, _ := strings.Cut(name, "/")
		return name == p.Name || of == p.Name
	})
}

// machine checks that the scenario fits the VM that it gets.
func (v *validator) machine() {
	s := v.s
	if len(v.found) > 0 || !slices.Contains(s.Targets, VM) || len(s.Pods) > 0 {
		return // what a scenario with other problems needs is guesswork
	}
	memory := s.VMMemory()
	if v.hugePool(memory); len(v.found) > 0 || !s.caged() {
		return
	}
	for i := range s.Cgroups {
		if c := &s.Cgroups[i]; c.limited() && *c.MemoryMax > memory && s.Expect.OOMMemcg == c.Path {
			v.problem(at("cgroups", c.Path, "memory.max"), needs(*c.MemoryMax+*c.MemoryMax/8),
				"%s is more than the %s of the machine: the limit is never hit", *c.MemoryMax, memory)
			return
		}
	}
	want, most := s.demand()
	if free := s.available(memory); want > free+free/16 {
		where := at("needs", "memory")
		if !v.said(where...) {
			where = at("processes")
		}
		v.problem(where, needs(memory+want-free),
			"%s is too small: the processes take up to %s at once, %s most of it, and about %s can be had; "+
				"the machine would run out before a cgroup does", memory, want.Human(), most, free.Human())
	}
}

// needs is the hint to a larger machine.
func needs(memory kernel.Bytes) string {
	const step = 256 * kernel.MiB
	return fmt.Sprintf("write needs: {memory: %s}", (memory+step-1)/step*step)
}

// hugePool checks the pool of explicit huge pages against the machine, and those who
// take some against the pool.
func (v *validator) hugePool(memory kernel.Bytes) {
	reserved, more := v.s.pool()
	size := kernel.Bytes(reserved) * HugePage
	if most := managed(memory); size > most {
		v.problem(at("system", "sysctls", kernel.NrHugepages), needs(memory+size-most),
			"%d huge pages are %s, and about %s of the machine's %s can be had", reserved, size.Human(), most.Human(),
			memory)
	}
	for _, p := range v.s.Processes {
		peak, _ := Peak(p.Do, func(r profile.Row) bool { return r.Memory == profile.HugePool })
		want := int64((peak + HugePage - 1) / HugePage)
		if want == 0 || want <= reserved+more {
			continue
		}
		path := at("processes", p.Name, "do")
		hint := fmt.Sprintf("write system: {sysctls: {vm.nr_hugepages: %d}}", want)
		if reserved+more == 0 {
			v.problem(path, hint, "%s takes explicit huge pages, and none are reserved", p.Name)
		} else {
			v.problem(path, hint, "%s takes %d explicit huge pages, and %d are reserved", p.Name, want, reserved+more)
		}
	}
}

// internal refuses a process in a cgroup that others are below of: cgroup v2 hands a
// controller on only where there is none (Documentation/admin-guide/cgroup-v2.rst, "No
// Internal Process Constraint").
func (v *validator) internal(p *Process, path []string) {
	if p.Cgroup == "" || v.s.Needs.Cgroup == 1 || v.badTree {
		return
	}
	i := slices.IndexFunc(v.s.Cgroups, func(c Cgroup) bool {
		parent, ok := c.Parent()
		return ok && parent == p.Cgroup
	})
	if i >= 0 {
		v.problem(with(path, "cgroup"), fmt.Sprintf("give it a cgroup of its own, such as %s/own, or write "+
			"needs: {cgroup: 1}", strings.TrimSuffix(p.Cgroup, "/")),
			"%s has %s below it, and with cgroup v2 a cgroup whose children have limits holds no process", p.Cgroup,
			v.s.Cgroups[i].Path)
	}
}

// files is the most that a process and its copies have in files at once.
func (p Process) files() kernel.Bytes {
	peak, _ := Peak(p.Do, func(r profile.Row) bool { return r.Memory == profile.PageCache })
	return peak * kernel.Bytes(max(1, p.Copies))
}

// FilesDisk is the size of a disk that holds what the scenario's processes have in
// files; 0: they have none.
func (s Scenario) FilesDisk() kernel.Bytes {
	var sum kernel.Bytes
	for _, p := range s.Processes {
		sum += p.files()
	}
	const step = 256 * kernel.MiB
	switch d := s.System.Disk; {
	case sum == 0 && d == nil:
		return 0
	case d != nil && d.Size > 0:
		return d.Size
	}
	return (sum + sum/8 + step) / step * step // with room for what the file system keeps
}

// disk checks the disk that files are on.
func (v *validator) disk() {
	d := v.s.System.Disk
	if d == nil {
		return
	}
	path := at("system", "disk")
	for i, t := range v.s.Targets {
		if !t.Traits().Throwaway && !v.wrong("targets") {
			v.problem(at("targets", strconv.Itoa(i)), "write targets: [vm]", "%s has the disk that it has: "+
				"system.disk is for a VM", t)
		}
	}
	const least, most = 16 * kernel.MiB, 64 * kernel.GiB
	switch {
	case v.s.Needs.Userland != "":
		v.problem(path, "", "a VM with a userland has a disk of its own")
	case d.Size == 0 && v.said("system", "disk", "size"), d.Size != 0 && d.Size < least:
		v.problem(with(path, "size"), "", "%s is too small for a file system", d.Size)
	case d.Size > most || d.Size%kernel.MiB != 0:
		v.problem(with(path, "size"), "", "%s is not a whole number of Mi up to %s", d.Size, most)
	}
	if d.Size == 0 {
		return
	}
	var sum kernel.Bytes
	for _, p := range v.s.Processes {
		size := p.files()
		if sum += size; sum+sum/32+8*kernel.MiB > d.Size && size > 0 {
			v.problem(at("processes", p.Name, "do"), fmt.Sprintf("write system: {disk: {size: %s}}",
				(sum+sum/8+16*kernel.MiB)/kernel.MiB*kernel.MiB),
				"the disk of %s is full: files take %s by then", d.Size, sum.Human())
			return
		}
	}
}
