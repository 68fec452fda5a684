package scenario

import (
	"slices"
	"strconv"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/stressor/profile"
)

// tmpfs checks the files that outlive their writers: who may write them, and that they fit
// into the tmpfs of a VM, which is as large as half of its memory (shmem_default_max_blocks()
// in mm/shmem.c).
func (v *validator) tmpfs() {
	outlives := func(s Step) bool { return s.Op.Row().Outlives() }
	for _, p := range v.s.Pods {
		for _, c := range slices.Concat(p.InitContainers, p.Containers) {
			if i := slices.IndexFunc(c.Do, outlives); i >= 0 {
				group := "containers"
				if slices.ContainsFunc(p.InitContainers, func(o Container) bool { return o.Name == c.Name }) {
					group = "initContainers"
				}
				v.problem(at("pods", p.Name, group, c.Name, "do", strconv.Itoa(i)), "write shmem",
					"%s is for processes: pods are given no volumes here", c.Do[i].Op)
			}
		}
	}
	memory := v.s.VMMemory()
	var sum kernel.Bytes
	for _, p := range v.s.Processes {
		i := slices.IndexFunc(p.Do, outlives)
		if i < 0 {
			continue
		}
		path := at("processes", p.Name, "do", strconv.Itoa(i))
		if p.Respawn != 0 {
			v.problem(path, "leave out respawn", "a process that is started again would write its file anew")
			return
		}
		peak, _ := Peak(p.Do, profile.Row.Outlives)
		sum += peak * kernel.Bytes(max(1, p.Copies))
		if full := managed(memory) / 2; slices.Contains(v.s.Targets, VM) && sum > full {
			v.problem(path, needs(memory+2*(sum-full)),
				"the tmpfs is full: files take %s by then, and it has half of the memory, about %s", sum.Human(),
				full.Human())
			return
		}
	}
}
