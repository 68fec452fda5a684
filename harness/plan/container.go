package plan

import (
	"slices"
	"strconv"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/scenario"
)

// EngineContainer is a container that an engine runs. Its first process is the plan's process of
// the same name; its cgroup has a name of the engine's, and the plan's path stands for it.
type EngineContainer struct {
	Name    string `json:"name"`
	Engine  string `json:"engine"`
	Runtime string `json:"runtime"`
	Cgroup  string `json:"cgroup"`
	// Flags are those of the engine's run that the scenario sets.
	Flags []string `json:"flags"`
	// What decides what the engine makes of the container's end.
	Restart string `json:"restart,omitempty"`
	// What inspect is due to show of the settings; 0: nothing is set.
	Memory      kernel.Bytes `json:"memory,omitempty"`
	MemorySwap  kernel.Bytes `json:"memory_swap,omitempty"`
	OOMScoreAdj int          `json:"oom_score_adj,omitempty"`
}

// planContainers plans the containers.
func planContainers(all scenario.EngineContainers) []EngineContainer {
	var out []EngineContainer
	for _, c := range all {
		p := EngineContainer{Name: c.Name, Engine: c.RunBy(), Runtime: c.MadeBy(), Cgroup: c.Cgroup(),
			Restart: c.Restart, Flags: []string{}}
		flag := func(name, value string) { p.Flags = append(p.Flags, "--"+name, value) }
		if c.Memory != nil {
			p.Memory, p.MemorySwap = *c.Memory, 2**c.Memory
			flag("memory", strconv.FormatInt(int64(p.Memory), 10))
		}
		if s := c.MemorySwap; s != nil {
			if p.MemorySwap = *s; *s == scenario.Max {
				p.MemorySwap = -1
			}
			flag("memory-swap", strconv.FormatInt(int64(p.MemorySwap), 10))
		}
		if c.OOMScoreAdj != nil {
			p.OOMScoreAdj = *c.OOMScoreAdj
			flag("oom-score-adj", strconv.Itoa(p.OOMScoreAdj))
		}
		if c.Restart != "" {
			flag("restart", c.Restart)
		}
		if group := c.CgroupConf.MemoryOOMGroup; group != nil {
			flag("cgroup-conf", "memory.oom.group="+strconv.Itoa(*group))
		}
		out = append(out, p)
	}
	return out
}

// Sliced reports whether the run's cgroup is a slice: systemd makes cgroups in it.
func (p Plan) Sliced() bool { return len(p.Units) > 0 || len(p.Containers) > 0 }

// Container finds the container of a first process, or of what that starts.
func (p Plan) Container(process string) (EngineContainer, bool) {
	q, ok := p.Process(process)
	if !ok {
		if q, ok = p.DescendantOf(process); !ok {
			return EngineContainer{}, false
		}
	}
	i := slices.IndexFunc(p.Containers, func(c EngineContainer) bool { return kernel.InCgroup(q.Cgroup, c.Cgroup) })
	if i < 0 {
		return EngineContainer{}, false
	}
	return p.Containers[i], true
}

// Stops reports whether the overseer of a process is told to stop it.
func (p Plan) Stops(process string) bool {
	return slices.ContainsFunc(p.During, func(d During) bool { return slices.Contains(d.Stop, process) })
}

// Overseen reports whether somebody else than the agent starts the process and waits for
// it: systemd, or an engine of containers.
func (p Process) Overseen() bool { return p.Unit != "" || p.Container != "" }
