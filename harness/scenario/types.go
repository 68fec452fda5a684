// Package scenario is the file format: what a scenario says, how it is read,
// and what is wrong with one.
//
// Parsing is strict and complete. [Parse] reports every problem of a file at
// once, each with its line, its column and what was probably meant. It touches
// no file system.
package scenario

import (
	"slices"
	"time"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/stressor/profile"
)

// APIVersion and Kind open every scenario file.
const (
	APIVersion = "oomlab/v1alpha1"
	Kind       = "Scenario"
)

// Scenario is one YAML file: a machine, processes, and what should happen.
type Scenario struct {
	// Name is the file's path in its library without the extension, such as
	// memcg/adj-outweighs-size. It is not written in the file.
	Name string `yaml:"-" json:"-"`

	APIVersion string   `yaml:"apiVersion" json:"apiVersion"` // oomlab/v1alpha1
	Kind       string   `yaml:"kind" json:"kind"`             // Scenario
	Summary    string   `yaml:"summary" json:"summary"`       // One sentence: what happens.
	Because    string   `yaml:"because" json:"because"`       // Why it happens, with the arithmetic.
	Refs       []string `yaml:"refs" json:"refs,omitempty"`   // Kernel file and function, public issues.

	Claim   *Statement `yaml:"claim" json:"claim,omitempty"` // What people say that the scenario answers.
	Targets []Target   `yaml:"targets" json:"targets"`       // Where it can run.
	Needs   Needs      `yaml:"needs" json:"needs,omitzero"`  // What the machine must offer.

	System System `yaml:"system" json:"system,omitzero"` // What the whole machine is set to.
	// Paths below the run's own cgroup, parents first.
	Cgroups   Cgroups   `yaml:"cgroups" json:"cgroups,omitempty"`
	Processes Processes `yaml:"processes" json:"processes,omitempty"` // By name, in the order they are started.
	Units     Units     `yaml:"units" json:"units,omitempty"`         // Services of systemd, by name.
	// Containers of an engine in the userland, by name.
	Containers EngineContainers `yaml:"containers" json:"containers,omitempty"`
	Pods       Pods             `yaml:"pods" json:"pods,omitempty"`     // Pods, in place of cgroups and processes.
	Node       Node             `yaml:"node" json:"node,omitzero"`      // What the kubelet of the pods' node is set to.
	During     []During         `yaml:"during" json:"during,omitempty"` // What is done while the processes run.

	Expect Expect `yaml:"expect" json:"expect"` // What should happen.
}

// Statement is what people say of the OOM killer. A run that passes answers it for the
// kernel that it ran on; a run that does not pass answers nothing.
type Statement struct {
	Statement string `yaml:"statement" json:"statement"` // one sentence, as people say it
	Made      string `yaml:"made" json:"made"`           // where they say it: a manual page, articles
	Answer    Answer `yaml:"answer" json:"answer"`       // what a run that passes shows: true or false
	// Under which circumstances, where another scenario answers the statement otherwise.
	When string `yaml:"when" json:"when,omitempty"`
	// What other kernels do or did, which no run shows: of the source.
	Formerly string `yaml:"formerly" json:"formerly,omitempty"`
}

// Answer is what a passing run says to a statement.
type Answer string

// The answers of one scenario. What holds since a version, or depends, takes several.
const (
	True  Answer = "true"
	False Answer = "false"
)

// Answers are all of them.
var Answers = []string{string(True), string(False)}

// Needs is what a machine must offer. A machine that lacks it skips the
// scenario; a VM is made to offer it.
type Needs struct {
	Memory    kernel.Bytes     `yaml:"memory" json:"memory,omitempty"`       // RAM of the machine
	CPUs      int              `yaml:"cpus" json:"cpus,omitempty"`           // online
	Kernel    string           `yaml:"kernel" json:"kernel,omitempty"`       // ">= 5.17"
	Cgroup    int              `yaml:"cgroup" json:"cgroup,omitempty"`       // 1 or 2
	Abilities []kernel.Ability `yaml:"abilities" json:"abilities,omitempty"` // as oomlab doctor shows them
	// A distribution with systemd in the VM, where commands are looked up: debian
	Userland string `yaml:"userland" json:"userland,omitempty"`
	// Packages that the userland has beside its own: [postgresql]
	Packages []string `yaml:"packages" json:"packages,omitempty"`
}

// System is what the whole machine is set to while the scenario runs.
type System struct {
	Sysctls map[string]string `yaml:"sysctls" json:"sysctls,omitempty"` // vm.panic_on_oom: 1
	Swap    *Swap             `yaml:"swap" json:"swap,omitempty"`       // Swap to switch on before anything is started.
	// The disk of a VM that files are on.
	Disk *Disk `yaml:"disk" json:"disk,omitempty"`
	// The NUMA nodes of a VM and the memory of each: [256Mi, 256Mi]. Node 0 has the CPUs.
	Nodes []kernel.Bytes `yaml:"nodes" json:"nodes,omitempty"`
}

// Disk is the disk of a VM that processes have their files on.
type Disk struct {
	Size  kernel.Bytes `yaml:"size" json:"size,omitempty"`   // 0: as large as the files need
	Write Rate         `yaml:"write" json:"write,omitempty"` // how fast it takes what is written; 0: as fast as it can
}

// Rate is an amount a second: 32Mi/s.
type Rate kernel.Bytes

// Swap is the swap space that the scenario wants.
type Swap struct {
	Size kernel.Bytes `yaml:"size" json:"size"`           // how much
	Kind string       `yaml:"kind" json:"kind,omitempty"` // disk (default), zram or file
}

// Cgroups are the memory cgroups in the order they are made, which is the
// order in which the kernel visits them.
type Cgroups []Cgroup

// Cgroup is one memory cgroup below the run's own. Knobs carry the kernel's v2
// names; nil means that the knob is not written.
type Cgroup struct {
	Path string `yaml:"-" json:"-"` // "/lab/a", absolute from the run's own cgroup
	Unit string `yaml:"-" json:"-"` // the unit whose cgroup it is, which systemd makes
	// the container whose cgroup it is, which its engine makes
	Container string `yaml:"-" json:"-"`
	// Transient: it is made anew whenever its unit or its container is started again, and with
	// it its counters.
	Transient bool `yaml:"-" json:"-"`

	// Reclaim leaves that much alone, whatever happens.
	MemoryMin *kernel.Bytes `yaml:"memory.min" json:"memory.min,omitempty"`
	// Reclaim leaves that much alone while it can.
	MemoryLow *kernel.Bytes `yaml:"memory.low" json:"memory.low,omitempty"`
	// Above it processes are slowed down.
	MemoryHigh *kernel.Bytes `yaml:"memory.high" json:"memory.high,omitempty"`
	// At it somebody is killed.
	MemoryMax *kernel.Bytes `yaml:"memory.max" json:"memory.max,omitempty"`
	// How much may be swapped out.
	MemorySwapMax *kernel.Bytes `yaml:"memory.swap.max" json:"memory.swap.max,omitempty"`
	// 1: all of the cgroup is killed together.
	MemoryOOMGroup *int `yaml:"memory.oom.group" json:"memory.oom.group,omitempty"`
	// The NUMA nodes that its processes may have memory of: 1, 0-1, "0,2".
	CpusetMems string `yaml:"cpuset.mems" json:"cpuset.mems,omitempty"`
}

// Max is the value of a knob that says "max".
const Max kernel.Bytes = 1<<63 - 1

// Processes are in the order they are started where no `after` says otherwise.
type Processes []Process

// Process is a process that oomlab starts: a stressor, or a program of the
// user's own.
type Process struct {
	Name string `yaml:"-" json:"-"`
	Unit string `yaml:"-" json:"-"` // the unit whose main process it is, which systemd starts
	// the container whose first process it is, which an engine starts
	Container string `yaml:"-" json:"-"`

	// where it runs; none: outside the run's cgroups
	Cgroup      string `yaml:"cgroup" json:"cgroup,omitempty"`
	OOMScoreAdj int    `yaml:"oom_score_adj" json:"oom_score_adj,omitempty"` // -1000 to 1000
	// -17 to 15, written in place of oom_score_adj
	OOMAdj int `yaml:"oom_adj" json:"oom_adj,omitempty"`
	// started when all of these hold what they were told to, or have ended
	After  Names `yaml:"after" json:"after,omitempty"`
	Copies int   `yaml:"copies" json:"copies,omitempty"` // 0 means 1
	// how often it is started again after it was killed
	Respawn Respawn `yaml:"respawn" json:"respawn,omitempty"`
	// forked by a fork step of this process
	Parent string `yaml:"parent" json:"parent,omitempty"`
	// its parent, whose address space it uses (CLONE_VM)
	SharesMemoryWith string `yaml:"shares_memory_with" json:"shares_memory_with,omitempty"`
	Nice             int    `yaml:"nice" json:"nice,omitempty"` // -20 to 19
	// 0 keeps the agent's user
	UID int `yaml:"uid" json:"uid,omitempty"`
	// the NUMA nodes that it may have memory of, whatever its cgroup allows beside them
	Mempolicy *Mempolicy `yaml:"mempolicy" json:"mempolicy,omitempty"`
	// extra threads that do nothing
	Threads int `yaml:"threads" json:"threads,omitempty"`
	// signals that are ignored, such as SIGTERM
	Ignore []string `yaml:"ignore" json:"ignore,omitempty"`

	Command []string `yaml:"command" json:"command,omitempty"` // a program of the user's own and its arguments
	Do      []Step   `yaml:"do" json:"do,omitempty"`           // the steps of a stressor
}

// ScoreAdj is the oom_score_adj that the process is given, by either file.
func (p Process) ScoreAdj() int {
	if p.OOMAdj != 0 {
		return kernel.ScoreAdjOf(p.OOMAdj)
	}
	return p.OOMScoreAdj
}

// Mempolicy is a process's memory policy (set_mempolicy(2)).
type Mempolicy struct {
	Bind []int `yaml:"bind" json:"bind"` // nodes: memory of these, or none (MPOL_BIND)
}

// Names is one name or a list of names.
type Names []string

// Respawn counts restarts: `true` is RespawnForever, a number is that many.
type Respawn int

// RespawnForever is stress-ng's habit.
const RespawnForever Respawn = -1

// Step is one entry of `do:`: a word (`hold`), or a map whose first key names
// the step and whose others qualify it (`{touch: 64Mi, rate: 32Mi/s}`).
type Step struct {
	Op       profile.Op    `json:"op"`
	Size     kernel.Bytes  `json:"size,omitempty"`
	Rate     kernel.Bytes  `json:"rate,omitempty"` // a second; 0: as fast as it goes
	Duration time.Duration `json:"duration,omitempty"`
	Code     int           `json:"code,omitempty"`
	Name     string        `json:"name,omitempty"`    // fork, wait
	Content  string        `json:"content,omitempty"` // of the pages; empty: any
}

// During is something done to the machine while the processes run. Exactly one
// of the actions is set.
type During struct {
	After Names         `yaml:"after" json:"after,omitempty"` // processes that must be ready
	Delay time.Duration `yaml:"delay" json:"delay,omitempty"` // and then this long

	Set         map[string]Cgroup `yaml:"set" json:"set,omitempty"`                     // /lab: {memory.max: 64Mi}
	OOMScoreAdj map[string]int    `yaml:"oom_score_adj" json:"oom_score_adj,omitempty"` // big: 500
	Signal      map[string]string `yaml:"signal" json:"signal,omitempty"`               // big: SIGSTOP
	Freeze      string            `yaml:"freeze" json:"freeze,omitempty"`               // a cgroup
	Thaw        string            `yaml:"thaw" json:"thaw,omitempty"`                   // a cgroup
	Sysctls     map[string]string `yaml:"sysctls" json:"sysctls,omitempty"`             // vm.panic_on_oom: 1
	Sysrq       string            `yaml:"sysrq" json:"sysrq,omitempty"`                 // "f"
	// switches the scenario's swap off
	Swapoff bool `yaml:"swapoff" json:"swapoff,omitempty"`
	// units and containers that are stopped, each by its overseer: app
	Stop Names `yaml:"stop" json:"stop,omitempty"`
}

// Resources are a container's requests or limits. CPU only decides the QoS
// class; it is in thousandths of a core.
type Resources struct {
	Memory kernel.Bytes `yaml:"memory" json:"memory,omitempty"` // 64Mi
	CPU    MilliCPU     `yaml:"cpu" json:"cpu,omitempty"`       // 100m, 0.5, 2
}

// MilliCPU is a Kubernetes CPU quantity: 100m, 0.5, 2.
type MilliCPU int64

// Expect is what should happen. Every line is a claim that the evidence can
// contradict.
type Expect struct {
	Constraint string `yaml:"constraint" json:"constraint,omitempty"` // none, cpuset, mempolicy, memcg
	OOMMemcg   string `yaml:"oom_memcg" json:"oom_memcg,omitempty"`   // the cgroup whose limit was hit
	Trigger    Names  `yaml:"trigger" json:"trigger,omitempty"`       // one of these invoked the OOM killer
	// pages of the domain that ran out, of the first kill: what scores are relative to
	TotalPages Num `yaml:"total_pages" json:"total_pages,omitzero"`
	// whether the first victim was first in the ranking of what ran out: first, other
	Ranked   string  `yaml:"ranked" json:"ranked,omitempty"`
	Killed   *Killed `yaml:"killed" json:"killed,omitempty"`     // who dies; [] for nobody
	Survives Names   `yaml:"survives" json:"survives,omitempty"` // these are alive at the end
	// Throttled processes are alive at the end and have not finished their
	// steps; with one of these the run always lasts `within`.
	Throttled Names `yaml:"throttled" json:"throttled,omitempty"`
	// how processes end
	Exit map[string]Exit `yaml:"exit" json:"exit,omitempty"`
	// who is refused memory, and ends with that: ENOMEM
	Fails map[string]string `yaml:"fails" json:"fails,omitempty"`
	// by cgroup: by how much each counter rises, descendants included
	MemoryEvents map[string]map[string]Num `yaml:"memory.events" json:"memory.events,omitempty"`
	// the same without descendants
	MemoryEventsLocal map[string]map[string]Num `yaml:"memory.events.local" json:"memory.events.local,omitempty"`
	// by process: what /proc/PID says when it is ready: {oom_score: 670}
	Reads map[string]map[string]Num `yaml:"reads" json:"reads,omitempty"`
	// by unit: what systemctl shows at the end: {Result: oom-kill}
	Units map[string]map[string]string `yaml:"units" json:"units,omitempty"`
	// by container: what its engine's inspect shows at the end: {OOMKilled: true}
	Inspect map[string]map[string]string `yaml:"inspect" json:"inspect,omitempty"`
	// by how much lines of /proc/vmstat rise
	Vmstat map[string]Num `yaml:"vmstat" json:"vmstat,omitempty"`

	// whose limit was hit first: container, pod, kubepods, node
	Domain string `yaml:"domain" json:"domain,omitempty"`
	// by pod: Guaranteed, Burstable, BestEffort
	QoSClass map[string]string `yaml:"qosClass" json:"qosClass,omitempty"`
	// by container: what the kubelet has set
	OOMScoreAdj map[string]Num `yaml:"oom_score_adj" json:"oom_score_adj,omitempty"`
	// by container: what the API says at the end
	Containers map[string]ContainerClaim `yaml:"containers" json:"containers,omitempty"`
	// by pod: what the API says at the end
	Pods map[string]PodClaim `yaml:"pods" json:"pods,omitempty"`
	// by pod and reason: how often an event came
	PodEvents map[string]map[string]Num `yaml:"podEvents" json:"podEvents,omitempty"`
	// by reason: how often an event came
	NodeEvents map[string]Num `yaml:"nodeEvents" json:"nodeEvents,omitempty"`
	// MemoryPressure: true, if it was ever True
	NodeConditions map[string]bool `yaml:"nodeConditions" json:"nodeConditions,omitempty"`
	// pods that the kubelet evicted, in this order; [] for none
	Evicted *Names `yaml:"evicted" json:"evicted,omitempty"`
	// what Kubernetes says that the kernel does not, exactly these; [] for nothing
	Misreports *Names `yaml:"misreports" json:"misreports,omitempty"`

	// Panic is text that the kernel's panic message must contain.
	Panic  string        `yaml:"panic" json:"panic,omitempty"`
	Within time.Duration `yaml:"within" json:"within"` // how long the run lasts at most
}

// The values of Expect.Ranked.
const (
	RankedFirst = "first" // the first victim was first in the ranking
	RankedOther = "other" // somebody else was
)

// Killed is the claim of who dies. A plain list means exactly these, in this
// order; {from: [...], count: N} means N kills, each of one of these.
type Killed struct {
	InOrder []string `json:"in_order,omitempty"`
	From    []string `yaml:"from" json:"from,omitempty"`
	Count   Num      `yaml:"count" json:"count,omitzero"`
}

// Accepts reports whether kills, in their order, are as claimed. means says whether a
// name that the scenario uses is one of the process.
func (k Killed) Accepts(kills []string, means func(name, process string) bool) bool {
	if len(k.From) == 0 {
		return slices.EqualFunc(k.InOrder, kills, means)
	}
	return k.Count.Holds(int64(len(kills))) && !slices.ContainsFunc(kills, func(process string) bool {
		return !slices.ContainsFunc(k.From, func(name string) bool { return means(name, process) })
	})
}

// Exit is how a process ends: a signal's name or an exit code.
type Exit struct {
	Signal string `json:"signal,omitempty"` // SIGKILL
	Code   int    `json:"code"`
}

// Num is a comparison with a number: 1, ">= 1", "< 3", "2..5".
// The range includes both ends.
type Num struct {
	Min  int64  `json:"min"`
	Max  int64  `json:"max"` // NumMax: no upper end
	Text string `json:"text"`
}

// NumMax is the upper end of a comparison without one.
const NumMax int64 = 1<<63 - 1

// Holds reports whether n satisfies the comparison.
func (c Num) Holds(n int64) bool { return c.Min <= n && n <= c.Max }

func (c Num) String() string { return c.Text }
