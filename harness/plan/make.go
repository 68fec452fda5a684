package plan

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/stressor/profile"
)

// shared is what every process of one plan is made from.
type shared struct {
	names      names
	all        scenario.Processes
	deadlineMS int64
	// oneCPU: stressors take turns on one processor, unless the scenario asks
	// for several.
	oneCPU bool
	// contained: the kubelet has set oom_score_adj, and nobody touches it.
	contained bool
}

// deadlineSlackMS is how long after `within` everything is killed in any case:
// long enough for a slow machine to settle, short enough that nothing that was
// forgotten lives on.
const deadlineSlackMS = 15_000

// Make plans a scenario for a place that meets its needs (see [Layout.Unmet]).
// run names the run; its cgroups are made below "oomlab-<run>". The result holds no
// reference to the scenario.
func (l Layout) Make(run string) (Plan, error) {
	s, m := l.scenario, l.machine
	p := Plan{
		Scenario:      s.Name,
		Base:          BaseOf(run, len(s.Units) > 0 || len(s.Containers) > 0),
		CgroupVersion: m.Cgroup.Version,
		WithinMS:      s.Expect.Within.Milliseconds(),
		ExpectPanic:   s.Expect.Panic != "",
		Ranks:         s.Expect.Ranked != "",
		Cgroups:       slices.Clone(l.cgroups),
	}
	p.Stretch = stretch(s, m)
	p.WithinMS *= p.Stretch
	p.DeadlineMS = p.WithinMS + deadlineSlackMS
	p.Sysctls = sysctls(s.System.Sysctls)
	if s.System.Swap != nil {
		p.Swap = &Swap{Kind: s.System.Swap.Kind, Size: s.System.Swap.Size}
		if p.Swap.Kind == "" {
			p.Swap.Kind = "disk"
		}
	}
	if l.kubelet {
		p.Pods, p.On, p.Node = slices.Clone(l.pods), &l.node, &s.Node
		if e := s.Expect.Evicted; e != nil {
			p.Evictions = len(*e)
		}
	}
	n := names{}
	for _, proc := range l.processes {
		n.add(proc, l.more[proc.Name].Aside)
	}
	shared := shared{names: n, all: l.processes, deadlineMS: p.DeadlineMS,
		oneCPU: s.Needs.CPUs <= 1, contained: l.kubelet}
	for i := range p.Pods {
		if err := n.known(p.Pods[i].After); err != nil {
			return Plan{}, err
		}
		p.Pods[i].After = n.all(p.Pods[i].After)
	}
	for _, proc := range l.processes {
		for i, name := range n[proc.Name] {
			planned, err := planProcess(proc, name, i, shared)
			if err != nil {
				return Plan{}, err
			}
			if more, ok := l.more[proc.Name]; ok {
				planned.NeedsSuccess, planned.RestartOn = more.NeedsSuccess, more.RestartOn
				planned.Holds, planned.Aside = more.Holds, more.Aside
			}
			p.Processes = append(p.Processes, planned)
		}
	}
	for _, d := range s.During {
		p.During = append(p.During, planDuring(d, m, n))
	}
	for name, end := range s.Expect.Exit {
		for _, one := range n.all(scenario.Names{name}) {
			if i := slices.IndexFunc(p.Processes, func(q Process) bool { return q.Name == one }); i >= 0 {
				p.Processes[i].Exits = p.Processes[i].IsCommand() && end.Signal == ""
			}
		}
	}
	p.Units, p.Containers = planUnits(s.Units), planContainers(s.Containers)
	p.Throttled = n.all(s.Expect.Throttled)
	p.Reads = n.all(slices.Sorted(maps.Keys(s.Expect.Reads)))
	return p, nil
}

// emulatedStretch is how much longer an emulated machine may take. It is
// generous: the host may be doing other things too.
const emulatedStretch = 4

// stretch leaves `within` alone where it is not a bound but how long the run
// lasts: something in the scenario never comes to rest.
func stretch(s scenario.Scenario, m kernel.Machine) int64 {
	if !m.Emulated || len(s.Expect.Throttled) > 0 {
		return 1
	}
	for _, p := range s.Processes {
		if _, bounded := peak(p); !bounded && len(p.Command) == 0 || p.Respawn < 0 {
			return 1
		}
	}
	return emulatedStretch
}

// names maps a scenario's name of a process to the plan's: one, or one for each
// copy. A pod's name stands for the processes of all its containers.
type names map[string][]string

func (n names) add(p scenario.Process, aside bool) {
	all := []string{p.Name}
	if p.Copies > 1 {
		all = all[:0]
		for i := range p.Copies {
			all = append(all, p.Name+"/"+strconv.Itoa(i+1))
		}
	}
	n[p.Name] = all
	if of := kubelet.NameOf(p.Name); of.Container != "" && !aside {
		n[of.Pod] = append(n[of.Pod], all...)
	}
	for _, name := range all {
		n[name] = []string{name}
	}
}

func (n names) all(of scenario.Names) []string {
	var out []string
	for _, name := range of {
		out = append(out, n[name]...)
	}
	return out
}

// known refuses names of containers that only a manifest could have had.
func (n names) known(of scenario.Names) error {
	for _, name := range of {
		if n[name] == nil {
			return fmt.Errorf("plan: no container %q in any manifest", name)
		}
	}
	return nil
}

// Names says which processes of the plan a scenario's name stands for: itself,
// its copies, or the containers of a pod. It returns nil for a name that
// stands for nothing.
func (p Plan) Names(name string) []string {
	var out []string
	for _, proc := range p.Processes {
		if proc.Name == name || proc.Of == name || kubelet.NameOf(proc.Of).Pod == name && !proc.Aside {
			out = append(out, proc.Name)
		}
	}
	return out
}

// Process finds a process by the plan's name for it.
func (p Plan) Process(name string) (Process, bool) {
	i := slices.IndexFunc(p.Processes, func(q Process) bool { return q.Name == name })
	if i < 0 {
		return Process{}, false
	}
	return p.Processes[i], true
}

// Cgroup finds a cgroup by its path below Base.
func (p Plan) Cgroup(path string) (Cgroup, bool) {
	i := slices.IndexFunc(p.Cgroups, func(c Cgroup) bool { return c.Path == path })
	if i < 0 {
		return Cgroup{}, false
	}
	return p.Cgroups[i], true
}

func sysctls(m map[string]string) []Sysctl {
	var out []Sysctl
	for _, key := range slices.Sorted(maps.Keys(m)) {
		out = append(out, Sysctl{Key: key, Value: m[key]})
	}
	return out
}

func planCgroup(c scenario.Cgroup, m kernel.Machine) Cgroup {
	out := Cgroup{Path: c.Path, Unit: c.Unit, Container: c.Container, Transient: c.Transient,
		Max: limit(c.MemoryMax), High: limit(c.MemoryHigh), SwapMax: limit(c.MemorySwapMax)}
	out.OOMGroup = c.MemoryOOMGroup != nil && *c.MemoryOOMGroup == 1
	out.Mems, _ = kernel.ParseNodes(c.CpusetMems) // none, or Validate has parsed it
	if c.Container == "" {                        // or its engine writes them
		out.Writes = writes(c, m)
	}
	return out
}

// limit is nil for a knob that is not written or says "max".
func limit(b *kernel.Bytes) *kernel.Bytes {
	if b == nil || *b == scenario.Max {
		return nil
	}
	v := *b
	return &v
}

// writes translates a cgroup's knobs to files of the machine's cgroup version.
//
// On v1 memory.max is memory.limit_in_bytes, and the limit on swap becomes one
// on memory and swap together, which must never be below the former: hence the
// order. A knob without a v1 meaning is left out here; [Unmet] has refused the
// scenario before, unless the knob asks for what v1 does anyway.
func writes(c scenario.Cgroup, m kernel.Machine) []Write {
	var out []Write
	bytes := func(file string, b *kernel.Bytes, unlimited string) {
		switch {
		case b == nil:
		case *b == scenario.Max:
			out = append(out, Write{file, unlimited})
		default:
			out = append(out, Write{file, strconv.FormatInt(int64(*b), 10)})
		}
	}
	if m.Cgroup.Version == 1 {
		bytes("memory.limit_in_bytes", c.MemoryMax, "-1")
		if c.MemorySwapMax != nil && m.Cgroup.Swap {
			total := scenario.Max
			if c.MemoryMax != nil && *c.MemoryMax != scenario.Max && *c.MemorySwapMax != scenario.Max {
				total = *c.MemoryMax + *c.MemorySwapMax
			}
			bytes("memory.memsw.limit_in_bytes", &total, "-1")
		}
		return out
	}
	if c.CpusetMems != "" {
		out = append(out, Write{"cpuset.mems", c.CpusetMems})
	}
	bytes("memory.min", c.MemoryMin, "max")
	bytes("memory.low", c.MemoryLow, "max")
	// swap first: a limit that is hit while swap is still open would swap out.
	if m.Cgroup.Swap {
		bytes("memory.swap.max", c.MemorySwapMax, "max")
	}
	bytes("memory.high", c.MemoryHigh, "max")
	bytes("memory.max", c.MemoryMax, "max")
	if c.MemoryOOMGroup != nil && m.Cgroup.Group {
		out = append(out, Write{"memory.oom.group", strconv.Itoa(*c.MemoryOOMGroup)})
	}
	return out
}

func planProcess(s scenario.Process, name string, i int, o shared) (Process, error) {
	n, deadlineMS := o.names, o.deadlineMS
	p := Process{
		Name: name, Of: s.Name, Unit: s.Unit, Container: s.Container, Cgroup: s.Cgroup, OOMScoreAdj: s.ScoreAdj(),
		OOMAdj: s.OOMAdj, After: n.all(s.After), Respawn: int(s.Respawn),
	}
	if parent := s.Parent; parent != "" {
		p.Parent = pick(n[parent], i)
	}
	p.Launch = profile.Launch{
		Argv: s.Command, Comm: comm(name), Nice: s.Nice, UID: s.UID, Ignore: s.Ignore, DeadlineMS: deadlineMS,
		// a program of the user's own runs as it would elsewhere
		OneCPU: len(s.Command) == 0 && o.oneCPU,
	}
	if s.Mempolicy != nil {
		p.Launch.Bind = slices.Clone(s.Mempolicy.Bind)
	}
	if p.IsCommand() {
		return p, nil
	}
	prof, err := planProfile(s, name, i, o)
	p.Profile = prof
	return p, err
}

// pick chooses the i-th of several names; a single name serves every copy.
func pick(of []string, i int) string {
	if len(of) == 0 {
		return ""
	}
	return of[min(i, len(of)-1)]
}

func comm(name string) string { return name[:min(len(name), kernel.CommLen)] }

func planProfile(s scenario.Process, name string, i int, o shared) (profile.Profile, error) {
	n, all := o.names, o.all
	p := profile.Profile{Name: name, Threads: s.Threads, DeadlineMS: o.deadlineMS}
	for _, step := range s.Do {
		out := profile.Step{
			Op: step.Op, Bytes: int64(step.Size), Rate: int64(step.Rate),
			DurationMS: step.Duration.Milliseconds(), Code: step.Code, Content: step.Content,
		}
		if step.Name != "" {
			out.Name = pick(n[step.Name], i)
		}
		p.Steps = append(p.Steps, out)
		if out.Op != profile.Fork {
			continue
		}
		j := slices.IndexFunc(all, func(q scenario.Process) bool { return q.Name == step.Name })
		if j < 0 {
			return p, fmt.Errorf("plan: %s forks %q, which is not a process", name, step.Name)
		}
		child, err := planProfile(all[j], out.Name, i, o)
		if err != nil {
			return p, err
		}
		if adj := all[j].OOMScoreAdj; !o.contained {
			child.OOMScoreAdj = &adj
		}
		child.SharesMemory = all[j].SharesMemoryWith != ""
		if p.Children == nil {
			p.Children = map[string]profile.Profile{}
		}
		p.Children[out.Name] = child
	}
	return p, nil
}

func planDuring(d scenario.During, m kernel.Machine, n names) During {
	out := During{
		After: n.all(d.After), DelayMS: d.Delay.Milliseconds(),
		Freeze: d.Freeze, Thaw: d.Thaw, Sysctls: sysctls(d.Sysctls), Sysrq: d.Sysrq, Swapoff: d.Swapoff,
		Stop: d.Stop,
	}
	for _, path := range slices.Sorted(maps.Keys(d.Set)) {
		c := d.Set[path]
		out.Writes = append(out.Writes, CgroupWrite{
			Path: path, Writes: writes(c, m), Max: limit(c.MemoryMax), High: limit(c.MemoryHigh),
		})
	}
	for name, adj := range d.OOMScoreAdj {
		for _, one := range n[name] {
			if out.OOMScoreAdj == nil {
				out.OOMScoreAdj = map[string]int{}
			}
			out.OOMScoreAdj[one] = adj
		}
	}
	for name, sig := range d.Signal {
		for _, one := range n[name] {
			if out.Signal == nil {
				out.Signal = map[string]int{}
			}
			out.Signal[one] = kernel.SignalNumber(sig)
		}
	}
	return out
}
