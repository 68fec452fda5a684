package scenario

import (
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/engine"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/stressor/profile"
)

// Cgroup is the path of the container's cgroup below that of the run. The engine gives it a
// name with the container's ID in it.
func (c EngineContainer) Cgroup() string { return "/" + c.Name + ".scope" }

// RunBy is the engine that runs it.
func (c EngineContainer) RunBy() string {
	if c.Engine == "" {
		return engine.Engines[0]
	}
	return c.Engine
}

// MadeBy is the OCI runtime that makes it.
func (c EngineContainer) MadeBy() string {
	if known := engine.Runtimes[c.RunBy()]; c.Runtime == "" && len(known) > 0 {
		return known[0]
	}
	return c.Runtime
}

// SwapMax is memory.swap.max of its cgroup; nil: no limit.
func (c EngineContainer) SwapMax() *kernel.Bytes {
	switch {
	case c.Memory == nil || c.MemorySwap != nil && *c.MemorySwap == Max:
		return nil
	case c.MemorySwap == nil:
		swap := *c.Memory
		return &swap
	}
	swap := *c.MemorySwap - *c.Memory
	return &swap
}

// Packages are those that the scenario's userland has beside its own: those that it asks
// for, and those of the engines of its containers.
func (s Scenario) Packages() []string {
	out := slices.Clone(s.Needs.Packages)
	for _, c := range s.Containers {
		out = append(out, engine.Packages[c.RunBy()]...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// addContainers gives every container its cgroup and its first process, which are then like
// others.
func addContainers(s *Scenario) {
	for _, c := range s.Containers {
		restarts, _ := engine.Restarts(c.Restart)
		p := Process{Name: c.Name, Container: c.Name, Cgroup: c.Cgroup(), After: c.After, Ignore: c.Ignore,
			Command: c.Command, Do: c.Do, Respawn: Respawn(restarts)}
		if c.OOMScoreAdj != nil {
			p.OOMScoreAdj = *c.OOMScoreAdj
		}
		s.Cgroups = append(s.Cgroups, Cgroup{Path: c.Cgroup(), Container: c.Name, MemoryMax: c.Memory,
			MemorySwapMax: c.SwapMax(), MemoryOOMGroup: c.CgroupConf.MemoryOOMGroup, Transient: true})
		s.Processes = append(s.Processes, p)
	}
}

// engineContainers checks the containers. What their processes and cgroups say is checked
// with the others.
func (v *validator) engineContainers() {
	s := v.s
	if len(s.Containers) > 0 && s.Needs.Userland == "" && !v.unread("needs") {
		v.problem(at("containers"), "add needs: {userland: "+Userlands[0]+"}", "an engine of containers is a program "+
			"of a userland")
	}
	for _, c := range s.Containers {
		path := at("containers", c.Name)
		if slices.ContainsFunc(s.Processes, func(p Process) bool { return p.Container == "" && p.Name == c.Name }) {
			v.problem(path, "give one of them another name", "%q is a process or a unit, too", c.Name)
		}
		if slices.ContainsFunc(s.Cgroups, func(g Cgroup) bool {
			return g.Container == "" && kernel.InCgroup(g.Path, c.Cgroup())
		}) {
			v.problem(path, "give the cgroup another name", "cgroup %s is made by the engine", c.Cgroup())
		}
		for _, p := range s.Processes {
			if p.Container == "" && p.Cgroup == c.Cgroup() {
				v.problem(at("processes", p.Name, "cgroup"), "let the container's command start it",
					"%q is the cgroup of a container, which only its engine puts processes into", p.Cgroup)
			}
		}
		v.engineSettings(c, path)
		for j, step := range c.Do {
			where := with(with(path, "do"), strconv.Itoa(j))
			restarts, _ := engine.Restarts(c.Restart)
			switch {
			case step.Op == profile.Fork:
				v.problem(where, "write a command that starts others", "the stressor of a container does not fork")
			case step.Op == profile.Exit && restarts > 0:
				v.problem(where, "leave restart out, or write a command", "the stressor of a container that is "+
					"started again does not exit by itself")
			}
		}
	}
	v.engineDuring()
}

// engineDuring: a container's cgroup is the engine's to freeze.
func (v *validator) engineDuring() {
	for i, d := range v.s.During {
		for key, cgroup := range map[string]string{"freeze": d.Freeze, "thaw": d.Thaw} {
			if c := v.cgroups[cgroup]; c != nil && c.Container != "" {
				v.problem(at("during", strconv.Itoa(i), key), "write signal: {"+c.Container+": SIGSTOP}",
					"%q is the cgroup of a container, which its engine freezes", cgroup)
			}
		}
	}
}

// leastContainer is the memory that a container has at least: the runtime is charged to its
// cgroup before the program is.
const leastContainer = 16 * kernel.MiB

func (v *validator) engineSettings(c EngineContainer, path []string) {
	known := engine.Runtimes[c.RunBy()]
	switch {
	case known == nil:
		v.problem(with(path, "engine"), meant(c.Engine, engine.Engines), "%q is not an engine; those that are known "+
			"are %s", c.Engine, strings.Join(engine.Engines, ", "))
	case !slices.Contains(known, c.MadeBy()):
		v.problem(with(path, "runtime"), "write "+strings.Join(known, " or "),
			"%q is not a runtime that %s is run with", c.Runtime, c.RunBy())
	}
	if _, ok := engine.Restarts(c.Restart); !ok {
		v.problem(with(path, "restart"), "write no, or on-failure and 1 to 100 times: on-failure:2",
			"%q is not a restart policy that comes to an end", c.Restart)
	}
	if c.OOMScoreAdj != nil {
		v.adj(*c.OOMScoreAdj, with(path, "oom-score-adj"))
	}
	if group := c.CgroupConf.MemoryOOMGroup; group != nil {
		where := with(with(path, "cgroup-conf"), "memory.oom.group")
		switch {
		case *group != 0 && *group != 1:
			v.problem(where, "write 1 or 0", "%d is not a value of memory.oom.group", *group)
		case !engine.ConfiguresCgroups(c.RunBy()):
			v.problem(where, "let podman run it", "%s has no flag that sets memory.oom.group", c.RunBy())
		}
	}
	swap := with(path, "memory-swap")
	switch {
	case c.Memory != nil && *c.Memory != Max && *c.Memory < leastContainer:
		v.problem(with(path, "memory"), "write at least "+leastContainer.String(),
			"%s are too little for a runtime to start a program in", *c.Memory)
	case c.Memory != nil && *c.Memory == Max:
		v.problem(with(path, "memory"), "leave it out", "--memory has no word for no limit")
	case c.MemorySwap != nil && c.Memory == nil:
		v.problem(swap, "write memory, too", "the engines limit swap only together with memory")
	case c.MemorySwap != nil && *c.MemorySwap < *c.Memory:
		v.problem(swap, "write the sum of memory and swap: "+c.Memory.String()+" is no swap", "%s are less than the "+
			"memory, which is part of it", *c.MemorySwap)
	}
}

// InspectProperties are what docker inspect and podman inspect show and a scenario can
// claim. Events is the order of the engine's own events.
var InspectProperties = []Property{
	{Name: engine.Status, Words: []string{engine.Running, engine.Exited}},
	{Name: engine.OOMKilled, Words: []string{"true", "false"}},
	{Name: engine.ExitCode},
	{Name: engine.RestartCount},
	{Name: engine.Events, Several: engine.EventNames},
}

// inspectClaims checks the claims about containers.
func (v *validator) inspectClaims(e Expect) {
	var names []string
	for _, c := range v.s.Containers {
		names = append(names, c.Name)
	}
	v.propertyClaims(claimed{section: "containers", key: "inspect", thing: "container", example: "{OOMKilled: true}"},
		names, InspectProperties, e.Inspect)
}
