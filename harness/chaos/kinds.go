package chaos

import (
	"slices"
	"strconv"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/stressor/profile"
)

// hugePage is the size of a guest's huge pages.
const hugePage = 2 * kernel.MiB

// filesDisk is the disk of a guest whose processes have files.
const filesDisk = 512 * kernel.MiB

// node is the memory of each of two NUMA nodes.
const node = Memory / 2

// Guest is what the machine of a scenario has to be, as a scenario that says nothing else:
// those with the same one can share a machine.
func Guest(s scenario.Scenario) scenario.Scenario {
	g := scenario.Scenario{Needs: scenario.Needs{Memory: Memory, CPUs: s.Needs.CPUs}}
	g.System.Nodes, g.System.Disk = s.System.Nodes, s.System.Disk
	if len(g.System.Nodes) == 0 && g.System.Disk == nil {
		g.System.Swap = &scenario.Swap{Size: SwapDisk}
	}
	return g
}

// step is a process that does one thing and holds what it has.
func (g *generator) step(name, cgroup string, s scenario.Step) *scenario.Process {
	g.s.Processes = append(g.s.Processes, scenario.Process{
		Name: name, Cgroup: cgroup, Do: []scenario.Step{s, {Op: profile.Hold}},
	})
	return &g.s.Processes[len(g.s.Processes)-1]
}

// files is a cgroup with page cache in it, which gives way to who needs more.
func (g *generator) files() {
	const lab = "/lab"
	g.s.System.Disk = &scenario.Disk{Size: filesDisk}
	g.s.Cgroups = scenario.Cgroups{{Path: lab, MemorySwapMax: knob(0)}}
	g.hold(lab, g.between(1, 3))
	for i := range g.between(1, 2) {
		name := "f" + strconv.Itoa(i+1)
		p := g.step(name, lab, scenario.Step{Op: of(g.draw, profile.File, profile.Write), Size: g.size(4, 48)})
		p.OOMScoreAdj, p.After = g.adj(), slices.Clone(scenario.Names(g.holders))
		g.holders = append(g.holders, name)
	}
	g.overflow(lab, 0)
}

// tmpfs is memory that is left when its process is gone.
func (g *generator) tmpfs() {
	lab := "/lab"
	g.s.Cgroups = scenario.Cgroups{{Path: lab, MemorySwapMax: knob(0)}}
	machine := g.chance(20)
	write := func(n int, cgroup string, least, most int) {
		for i := range n {
			name := "t" + strconv.Itoa(i+1)
			size := g.size(least, most)
			p := g.step(name, cgroup, scenario.Step{Op: profile.Tmpfs, Size: size})
			p.OOMScoreAdj = g.adj()
			if g.chance(40) { // it is gone, and its file is not
				p.Do[1] = scenario.Step{Op: profile.Exit}
			}
			g.holders, g.held[name] = append(g.holders, name), size
		}
	}
	g.held = map[string]kernel.Bytes{}
	if machine {
		write(g.between(1, 2), of(g.draw, "", lab), 8, 64)
		g.fill(func() string { return of(g.draw, "", lab) })
		return
	}
	if g.chance(50) {
		write(g.between(1, 3), lab, 2, 16)
		g.hold(lab, g.between(1, 3))
	} else {
		g.hold(lab, g.between(1, 3))
		write(g.between(1, 3), lab, 2, 16)
	}
	g.overflow(lab, 0)
}

// zram is a machine that swaps into its own memory, and whose pages compress, or do not.
func (g *generator) zram() {
	g.s.System.Swap = &scenario.Swap{Size: kernel.Bytes(g.between(24, 128)) * kernel.MiB, Kind: "zram"}
	g.fill(func() string { return "" })
	same := of(g.draw, profile.Contents...)
	for i := range g.s.Processes {
		content := same
		if g.chance(25) {
			content = of(g.draw, profile.Contents...)
		}
		if content != profile.Random {
			g.s.Processes[i].Do[0].Content = content
		}
	}
	last := &g.s.Processes[len(g.s.Processes)-1]
	last.Do[0].Size += g.s.System.Swap.Size * 2
}

// hugePages is a pool of explicit huge pages, and who has some of it and who has none.
func (g *generator) hugePages() {
	pages := g.between(8, 90)
	g.s.System.Sysctls = map[string]string{kernel.NrHugepages: strconv.Itoa(pages)}
	used := pages
	for i := range g.between(0, 2) {
		if used = g.between(0, used); used == 0 {
			break
		}
		name := "p" + strconv.Itoa(i+1)
		size := kernel.Bytes(used) * hugePage
		p := g.step(name, "", scenario.Step{Op: profile.HugeTLB, Size: size})
		p.OOMScoreAdj = g.between(0, 1000)
		g.holders = append(g.holders, name)
		used = pages - used
	}
	g.fill(func() string { return "" })
}

// nodes is a machine with two NUMA nodes, of which processes may use one or both.
func (g *generator) nodes() {
	g.s.System.Nodes = []kernel.Bytes{node, node}
	cpusets := g.chance(60)
	if cpusets {
		g.s.Cgroups = scenario.Cgroups{{Path: "/near", MemorySwapMax: knob(0), CpusetMems: "0"},
			{Path: "/far", MemorySwapMax: knob(0), CpusetMems: "1"}}
	}
	confine := func(p *scenario.Process, to int) {
		switch {
		case cpusets:
			p.Cgroup = g.s.Cgroups[to].Path
		default:
			p.Mempolicy = &scenario.Mempolicy{Bind: []int{to}}
		}
	}
	for i := range g.between(2, 4) {
		name := "h" + strconv.Itoa(i+1)
		p := g.step(name, "", scenario.Step{Op: profile.Touch, Size: g.size(4, 40)})
		p.OOMScoreAdj = g.between(0, 1000)
		if g.chance(85) {
			confine(p, g.IntN(2))
		}
		g.holders = append(g.holders, name)
	}
	p := g.step("g1", "", scenario.Step{Op: profile.Touch, Size: kernel.Bytes(g.between(260, 320)) * kernel.MiB})
	p.OOMScoreAdj, p.After = g.between(-900, 1000), slices.Clone(scenario.Names(g.holders))
	if g.chance(85) {
		confine(p, g.IntN(2))
	} else {
		p.Do[0].Size += 180 * kernel.MiB
	}
}

// processors is one cgroup on a machine with several processors, where nobody stands back
// for a victim.
func (g *generator) processors() {
	g.s.Needs.CPUs = 2
	g.memcg()
}
