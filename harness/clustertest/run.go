package clustertest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/verdict"
	"github.com/oomlab/oomlab/stressor/profile"
)

// Run is what there would be to judge of a scenario on that node, if all goes as
// predicted. change may alter the node before.
func Run(s scenario.Scenario, change func(*kernel.Machine, *kubelet.Node)) (verdict.Input, error) {
	m, n := Node()
	if s.Node.Swap > 0 {
		m.SwapTotal, m.SwapFree = s.Node.Swap, s.Node.Swap
	}
	if change != nil {
		change(&m, &n)
	}
	tier := evidence.Tier{Tier: 3, Hooks: map[string]string{"kubelet": "attached: paper"}}
	for _, hook := range []string{
		"mark_victim", "oom_kill_process", "__oom_kill_process", "out_of_memory", "out_of_memory return", "oom_badness",
		"oom_badness return", "oom_evaluate_task", "sched_process_exit", "exact counters",
	} {
		tier.Hooks[hook] = "paper"
	}
	in := verdict.Input{
		Scenario: s, Machine: m, Tier: tier,
		Meta: verdict.Meta{
			Scenario: s.Name, Target: string(scenario.Kube), Run: "0001-" + strings.ReplaceAll(s.Name, "/", "-"),
			Started: "2026-11-25T12:00:00Z", Timings: map[string]int64{"machine": 5000, "total": 30000},
			DurationMS: 30000, Machine: m, Tier: tier, Node: &n,
		},
	}
	layout, err := plan.LayOut(s, plan.Place{Target: scenario.Kube, Machine: m, Node: &n}, nil)
	if err != nil {
		return in, err
	}
	if in.Plan, err = layout.Make(in.Meta.Run); err != nil {
		return in, err
	}
	in.Prediction = predict.Outcome(in.Plan, m, nil)
	p := player{
		in: &in, pid: 1000, pids: map[string]int{}, lives: map[string]int{}, killed: map[string]int64{},
		local: map[string]int64{}, ooms: map[string]int64{}, oom: map[string]bool{}, last: map[string]*kubelet.Status{},
		numbers: map[string]uint64{},
	}
	p.play()
	in.Events = p.out
	return in, nil
}

// player tells a run as its witnesses would.
type player struct {
	in     *verdict.Input
	out    []evidence.Event
	at     int64
	seq    uint64 // of eBPF
	record uint64 // of the log
	kills  uint64
	pid    int
	pids   map[string]int   // of processes that are alive
	lives  map[string]int   // of containers, ended ones included
	killed map[string]int64 // in a cgroup and below it
	local  map[string]int64 // in a cgroup alone
	ooms   map[string]int64 // at its limit
	read   []string         // cgroups that were read before, and not yet after
	oom    map[string]bool  // containers with a kill in this life
	last   map[string]*kubelet.Status

	numbers map[string]uint64 // of cgroups
}

func (p *player) say(e evidence.Event) {
	p.at += 10_000_000
	e.AtNS = p.at
	p.out = append(p.out, e)
}

func (p *player) pressure(status string) {
	p.say(evidence.Event{Source: evidence.API, Kind: evidence.NodeCondition,
		Condition: &evidence.ConditionState{Type: "MemoryPressure", Status: status}})
}

// phase has the API say in which phase a pod is.
func (p *player) phase(pod *plan.Pod, phase, reason, message string) {
	p.say(evidence.Event{Source: evidence.API, Kind: evidence.PodStatus, Process: pod.Name, Pod: &evidence.PodState{
		Phase: phase, Reason: reason, Message: message,
		QOSClass: string(pod.Class), UID: uid(pod.Name), Node: p.in.Plan.On.Name,
	}})
}

// event has the API show an Event of a pod, or with an empty name of the node.
func (p *player) event(pod, reason, uid, message string) {
	kind := evidence.PodEvent
	if pod == "" {
		kind = evidence.NodeEvent
	}
	p.say(evidence.Event{Source: evidence.API, Kind: kind, Process: pod,
		Happened: &evidence.Happened{Reason: reason, Type: "Warning", Count: 1, UID: uid, Message: message}})
}

func uid(pod string) string { return "u-" + pod }

// real is where the node has a cgroup of the plan.
func (p *player) real(path string, life int) string {
	for _, pod := range p.in.Plan.Pods {
		cgroup := kubelet.PodCgroup(pod.Class, pod.Name)
		rest, ok := strings.CutPrefix(path, cgroup)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		out := kubelet.ClassCgroup(pod.Class) + "/pod" + uid(pod.Name)
		if rest != "" {
			out += "/" + id(pod.Name+rest, life)
		}
		return out
	}
	return path
}

func id(container string, life int) string {
	return fmt.Sprintf("id-%s-%d", strings.ReplaceAll(container, "/", "-"), life)
}

func (p *player) cgroup(process, path, id string, life int, pid int, adj *int) {
	f := evidence.CgroupFacts{Path: p.real(path, life), Plan: path, ID: id, PID: pid, OOMScoreAdj: adj}
	group := false
	if c, ok := p.in.Plan.Cgroup(path); ok {
		group = c.OOMGroup
		f.Max, f.SwapMax = wholePages(c.Max), wholePages(c.SwapMax)
	}
	f.OOMGroup = &group
	p.say(evidence.Event{Source: evidence.Agent, Kind: evidence.ContainerCgroup, Process: process, Cgroup: &f})
	p.reading("before", f.Path, false)
}

func (p *player) reading(when, path string, gone bool) {
	p.read = slices.DeleteFunc(p.read, func(o string) bool { return o == path })
	if when == "before" {
		p.read = append(p.read, path)
	}
	for _, f := range []struct {
		name  string
		kills int64
	}{{evidence.FileMemoryEvents, p.killed[path]}, {evidence.FileMemoryEventsLocal, p.local[path]}} {
		p.say(evidence.Event{Source: evidence.Counters, Kind: evidence.Reading, Counter: &evidence.CounterFile{
			When: when, Cgroup: path, File: f.name, Gone: gone,
			Values: map[string]int64{
				"oom": p.ooms[path], evidence.CounterOOMKill: f.kills, "max": p.ooms[path] + boolean(when == "after"),
			},
		}})
	}
}

func boolean(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (p *player) vmstat(when string, kills int64) {
	p.say(evidence.Event{Source: evidence.Counters, Kind: evidence.Reading, Counter: &evidence.CounterFile{
		When: when, File: evidence.FileVmstat, Values: map[string]int64{evidence.CounterOOMKill: kills},
	}})
}

func (p *player) play() {
	p.say(evidence.Event{Source: evidence.Agent, Kind: evidence.Begin, Text: "watching " + kubelet.Root})
	p.vmstat("before", 0)
	p.pressure("False")
	p.cgroup("", kubelet.Root, "", 0, 0, nil)
	for i := range p.in.Plan.Pods {
		p.create(&p.in.Plan.Pods[i])
	}
	for _, s := range p.in.Prediction.Steps {
		p.step(s)
	}
	for _, pod := range p.in.Prediction.Kube.Evicted {
		p.evict(pod)
	}
	p.finish()
}

func (p *player) create(pod *plan.Pod) {
	path := kubelet.PodCgroup(pod.Class, pod.Name)
	p.cgroup(pod.Name, path, "", 0, 0, nil)
	adj := kubelet.SandboxAdj
	p.cgroup(pod.Name+"/"+kubelet.Sandbox, path+"/"+kubelet.Sandbox, id(pod.Name+"/sandbox", 0), 0, 999, &adj)
	p.phase(pod, kubelet.PodPending, "", "")
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		if p.in.Prediction.Kube.Containers[c.Process].Reason == kubelet.PodInitializing {
			p.say(evidence.Event{Source: evidence.API, Kind: evidence.ContainerStatus, Process: c.Process,
				Container: &kubelet.Status{State: kubelet.Waiting, Reason: kubelet.PodInitializing}})
			continue
		}
		p.start(c, nil)
		if q, _ := p.in.Plan.Process(c.Process); !slices.Contains(p.in.Prediction.Killed, c.Process) {
			if code, ok := exits(q); ok && len(q.Profile.Children) == 0 {
				p.over(c, code, 0)
			}
		}
	}
}

// exits says with which code a process ends, if it does.
func exits(q plan.Process) (int, bool) {
	if n := len(q.Profile.Steps); n > 0 && q.Profile.Steps[n-1].Op == profile.Exit {
		return q.Profile.Steps[n-1].Code, true
	}
	return 0, false
}

func (p *player) start(c plan.Container, last *kubelet.Status) {
	life := p.lives[c.Process]
	p.pid += 10
	adj := c.OOMScoreAdj
	p.cgroup(c.Process, c.Cgroup, id(c.Process, life), life, p.pid, &adj)
	p.pids[c.Process] = p.pid
	p.say(evidence.Event{Source: evidence.Agent, Kind: evidence.Spawned, Process: c.Process, PID: p.pid})
	q, _ := p.in.Plan.Process(c.Process)
	for _, s := range q.Profile.Steps {
		if s.Op == profile.Fork {
			p.pid++
			p.pids[s.Name] = p.pid
			p.say(evidence.Event{Source: evidence.Agent, Kind: evidence.Spawned, Process: s.Name, PID: p.pid})
		}
	}
	p.say(evidence.Event{Source: evidence.API, Kind: evidence.ContainerStatus, Process: c.Process,
		Container: &kubelet.Status{
			State: kubelet.Running, RestartCount: life, ID: "containerd://" + id(c.Process, life), Last: last,
		}})
}

func (p *player) container(process string) plan.Container {
	for _, pod := range p.in.Plan.Pods {
		for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
			if kubelet.ContainerOf(process) == c.Process {
				return c
			}
		}
	}
	return plan.Container{}
}

// kubelet has the kubelet write a line into its log.
func (p *player) kubelet(format string, args ...any) {
	text := fmt.Sprintf("I1125 19:46:15.534017     164 "+format, args...)
	p.say(evidence.Event{Source: evidence.Kubelet, Kind: evidence.KubeletLine, Text: text})
}

// count adds a kill to the counters of a cgroup and of those above it.
func (p *player) count(path string) {
	p.killed[""]++
	p.local[path]++
	for ; path != ""; path = path[:strings.LastIndexByte(path, '/')] {
		p.killed[path]++
	}
}

// aftermath ends the containers whose first process was killed, or ends by
// itself when its child is gone.
func (p *player) aftermath(victims []string) {
	done := map[string]bool{}
	for _, v := range victims {
		c := p.container(v)
		if done[c.Process] {
			continue
		}
		done[c.Process] = true
		q, _ := p.in.Plan.Process(c.Process)
		code, own := exits(q)
		switch {
		case slices.Contains(victims, c.Process):
			p.over(c, 0, 9)
		case own:
			delete(p.pids, v)
			p.over(c, code, 0)
		default:
			delete(p.pids, v)
		}
	}
}

// over ends one life of a container.
func (p *player) over(c plan.Container, code, signal int) {
	life := p.lives[c.Process]
	status := code
	if signal != 0 {
		status = 128 + signal
	}
	if p.oom[c.Process] {
		p.say(evidence.Event{
			Source: evidence.Runtime, Kind: evidence.TaskOOM, Process: c.Process, Text: id(c.Process, life),
		})
	}
	p.say(evidence.Event{Source: evidence.Runtime, Kind: evidence.TaskEnded, Process: c.Process, PID: p.pids[c.Process],
		Exit: &evidence.ExitStatus{Code: status, By: "containerd"}, Text: id(c.Process, life)})
	path := p.real(c.Cgroup, life)
	p.reading("after", path, true)
	end := kubelet.Status{
		State: kubelet.Terminated, Reason: kubelet.Completed, ExitCode: &status, RestartCount: life,
		ID: "containerd://" + id(c.Process, life),
	}
	if status != 0 {
		end.Reason = kubelet.Error
	}
	if p.oom[c.Process] {
		end.Reason = kubelet.OOMKilled
	}
	end.Last = p.last[c.Process]
	p.say(evidence.Event{Source: evidence.API, Kind: evidence.ContainerStatus, Process: c.Process, Container: &end})
	for name := range p.pids {
		if kubelet.ContainerOf(name) == c.Process {
			delete(p.pids, name)
		}
	}
	delete(p.oom, c.Process)
	want := p.in.Prediction.Kube.Containers[c.Process]
	last := end
	last.Last = nil
	p.last[c.Process] = &last
	switch {
	case life < want.RestartCount:
		p.lives[c.Process]++
		p.start(c, &last)
	case want.BackOff:
		pod := kubelet.NameOf(c.Process).Pod
		p.event(pod, "BackOff", "backoff-"+pod, "Back-off restarting failed container")
	}
}

func (p *player) evict(pod string) {
	const message = "The node was low on resource: memory. "
	p.pressure("True")
	p.event(pod, kubelet.Evicted, "evicted-"+pod, message)
	p.kubelet(`eviction_manager.go:404] "Eviction manager: pods ranked for eviction" pods=["oomlab/%s-0123abcd"]`, pod)
	for _, planned := range p.in.Plan.Pods {
		if planned.Name != pod {
			continue
		}
		for _, c := range planned.Containers {
			p.say(evidence.Event{Source: evidence.Runtime, Kind: evidence.TaskEnded,
				Process: c.Process, PID: p.pids[c.Process],
				Exit: &evidence.ExitStatus{Code: 137, By: "containerd"}, Text: id(c.Process, 0)})
			delete(p.pids, c.Process)
		}
		p.phase(&planned, kubelet.PodFailed, kubelet.Evicted, message)
	}
}

func (p *player) finish() {
	for _, q := range p.in.Plan.Processes {
		if pid := p.pids[q.Name]; pid != 0 {
			var told kernel.Bytes
			for _, s := range q.Profile.Steps {
				if s.Op.Row().Takes() {
					told += (kernel.Bytes(s.Bytes) + 4095) / 4096 * 4096
				}
			}
			p.say(evidence.Event{Source: evidence.Stressor, Kind: evidence.Ready, Process: q.Name, PID: pid,
				Held: &evidence.Holding{Told: told, Resident: told, Overhead: 2 * kernel.MiB}})
		}
	}
	for _, pod := range p.in.Plan.Pods {
		if end := p.in.Prediction.Kube.Pods[pod.Name]; end.Reason == "" {
			p.phase(&pod, end.Phase, "", "")
		}
	}
	p.vmstat("after", p.killed[""])
	for _, path := range slices.Clone(p.read) {
		p.reading("after", path, false)
	}
	none, some := kernel.Bytes(0), kernel.MiB
	for _, q := range p.in.Plan.Processes {
		if pid := p.pids[q.Name]; pid != 0 {
			anon := some
			for _, step := range q.Profile.Steps {
				if step.Op.Row().Memory == profile.AnonMemory {
					anon += kernel.Bytes(step.Bytes+4095) / 4096 * 4096
				}
			}
			tables := some + anon/512/4096*4096
			p.say(evidence.Event{Source: evidence.Agent, Kind: evidence.Alive, Process: q.Name, PID: pid,
				Status: &evidence.ProcessStatus{State: "S", Threads: 5,
					RssAnon: &anon, RssFile: &none, RssShmem: &some, VmSwap: &none, VmPTE: &tables}})
		}
	}
	p.say(evidence.Event{Source: evidence.Agent, Kind: evidence.End, Text: "settled"})
}

// wholePages is a limit as the kernel keeps it.
func wholePages(limit *kernel.Bytes) *kernel.Bytes {
	if limit == nil {
		return nil
	}
	whole := *limit / kernel.DefaultPageSize * kernel.DefaultPageSize
	return &whole
}
