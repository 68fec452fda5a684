// Package plan turns a scenario and a machine into ordered steps and their
// undo. A plan has every size in bytes, every name of a file that is written,
// and nothing left to decide: the agent carries it out as it stands.
//
// The package is pure. A plan can be made anywhere for any machine.
package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/stressor/profile"
)

// Plan is a scenario made ready for one machine.
type Plan struct {
	Scenario string `json:"scenario"`
	// Base is the directory below the machine's memory hierarchy that holds
	// the run's cgroups: "oomlab-<run>". The agent puts it below its own cgroup.
	Base          string `json:"base"`
	CgroupVersion int    `json:"cgroup_version"`

	Sysctls    []Sysctl          `json:"sysctls,omitempty"`
	Swap       *Swap             `json:"swap,omitempty"`
	Cgroups    []Cgroup          `json:"cgroups"` // parents before children
	Processes  []Process         `json:"processes"`
	Units      []Unit            `json:"units,omitempty"`
	Containers []EngineContainer `json:"containers,omitempty"` // of an engine
	During     []During          `json:"during,omitempty"`
	// Pods are what is created on a cluster. The cgroups and the processes above
	// are then those that the kubelet and the stressors make of them: nobody
	// else makes any.
	Pods []Pod `json:"pods,omitempty"`
	// Node is what a node of oomlab's own is set to for them, and On the node
	// that was planned for, so set.
	Node *scenario.Node `json:"node,omitempty"`
	On   *kubelet.Node  `json:"on,omitempty"`
	// Evictions is how many pods the run waits to see evicted.
	Evictions int `json:"evictions,omitempty"`

	// The run ends when every process has ended or has done its steps and
	// holds, or after WithinMS milliseconds, whichever is first. Processes in
	// Throttled are expected not to finish: with one of them the run always
	// lasts WithinMS.
	WithinMS int64 `json:"within_ms"`
	// Stretch is how many times the scenario's `within` that is: more than 1
	// on an emulated machine, whose slowness says nothing about the kernel.
	Stretch   int64    `json:"stretch"`
	Throttled []string `json:"throttled,omitempty"`
	// DeadlineMS is when everything that was started is killed in any case.
	DeadlineMS int64 `json:"deadline_ms"`
	// Reads are the processes of which the agent reads what /proc says, when they are ready.
	Reads []string `json:"reads,omitempty"`
	// Ranks: the agent records who would die next, as often as it can.
	Ranks bool `json:"ranks,omitempty"`
	// ExpectPanic: the machine is supposed to go down; its silence is not an error.
	ExpectPanic bool `json:"expect_panic,omitempty"`
}

// Sysctl is one value below /proc/sys, restored at the end.
type Sysctl struct {
	Key   string `json:"key"` // vm.panic_on_oom
	Value string `json:"value"`
}

// Swap is swap space to switch on before anything is started.
type Swap struct {
	Kind string       `json:"kind"` // disk, zram, file
	Size kernel.Bytes `json:"size"`
}

// Usable is how much of it can be swapped to: its first page is a header.
func (s Swap) Usable(page kernel.Bytes) kernel.Bytes {
	if page <= 0 {
		page = kernel.DefaultPageSize
	}
	return s.Size/page*page - page
}

// Cgroup is one cgroup to make and the files to write in it, in order. The
// file names are those of the machine's cgroup version.
type Cgroup struct {
	Path string `json:"path"`           // "/lab/a" below Base
	Unit string `json:"unit,omitempty"` // the unit whose cgroup it is
	// the container whose cgroup it is: its engine makes it
	Container string `json:"container,omitempty"`
	// Transient: it is made anew whenever the unit or the container is started. Its counters
	// are not read; those of the run's own cgroup count all.
	Transient bool    `json:"transient,omitempty"`
	Writes    []Write `json:"writes,omitempty"`
	// The knobs as they were understood, for the prediction. Nil: no limit.
	Max      *kernel.Bytes `json:"max,omitempty"`
	High     *kernel.Bytes `json:"high,omitempty"`
	SwapMax  *kernel.Bytes `json:"swap_max,omitempty"`
	OOMGroup bool          `json:"oom_group,omitempty"`
	// Mems is cpuset.mems; nil: that of the cgroup above.
	Mems kernel.Nodes `json:"mems,omitempty"`
	// Extra is what is charged to it that is no process of the plan's, in bytes
	// and within bounds: a pod's sandbox, the daemons of a node.
	Extra *Bounds `json:"extra,omitempty"`
}

// Cpusets reports whether cgroups are cpusets: one of them has a cpuset.mems.
func Cpusets(cgroups []Cgroup) bool {
	return slices.ContainsFunc(cgroups, func(c Cgroup) bool { return c.Mems != nil })
}

// Bounds are the least and the most of an amount.
type Bounds struct {
	Least kernel.Bytes `json:"least"`
	Most  kernel.Bytes `json:"most"`
}

// Write puts a value into a file of a cgroup.
type Write struct {
	File  string `json:"file"`
	Value string `json:"value"`
}

// Process is one process to start. Copies of a scenario's process are
// processes of their own here, called NAME/1, NAME/2 and so on.
type Process struct {
	Name        string   `json:"name"`
	Of          string   `json:"of"`     // the scenario's name for it
	Cgroup      string   `json:"cgroup"` // "" is outside the run's cgroups
	OOMScoreAdj int      `json:"oom_score_adj"`
	OOMAdj      int      `json:"oom_adj,omitempty"`   // written to that file, which sets OOMScoreAdj
	After       []string `json:"after,omitempty"`     // started when all of these are ready or have ended
	Parent      string   `json:"parent,omitempty"`    // forked by this one; the agent does not start it
	Unit        string   `json:"unit,omitempty"`      // the main process of this one; systemd starts it
	Container   string   `json:"container,omitempty"` // the first process of this one; its engine starts it
	Respawn     int      `json:"respawn,omitempty"`   // -1: forever
	// NeedsSuccess: it is started when all of these have exited with 0.
	NeedsSuccess []string `json:"needs_success,omitempty"`
	// RestartOn is which ends Respawn starts it again after; "": kills only.
	RestartOn kubelet.Restart `json:"restart_on,omitempty"`
	// Exits: a program of the user's own that is expected to exit by itself, and so is
	// waited for until it has.
	Exits bool `json:"exits,omitempty"`
	// Aside: it is not meant by the name of its pod.
	Aside bool `json:"aside,omitempty"`
	// Holds is what a program of the user's own is said to hold; 0: unknown.
	Holds   kernel.Bytes    `json:"holds,omitempty"`
	Launch  profile.Launch  `json:"launch"`
	Profile profile.Profile `json:"profile,omitzero"` // of a stressor
}

// IsCommand reports whether the process is a program of the user's own.
func (p Process) IsCommand() bool { return len(p.Launch.Argv) > 0 }

// Endless reports whether the process has a step that never ends.
func (p Process) Endless() bool {
	return slices.ContainsFunc(p.Profile.Steps, func(s profile.Step) bool { return s.Op.Row().Endless })
}

// During is something done while the processes run. Exactly one action is set.
type During struct {
	After   []string `json:"after,omitempty"`
	DelayMS int64    `json:"delay_ms,omitempty"`

	Writes      []CgroupWrite  `json:"writes,omitempty"`
	OOMScoreAdj map[string]int `json:"oom_score_adj,omitempty"`
	Signal      map[string]int `json:"signal,omitempty"`
	Freeze      string         `json:"freeze,omitempty"`
	Thaw        string         `json:"thaw,omitempty"`
	Sysctls     []Sysctl       `json:"sysctls,omitempty"`
	Sysrq       string         `json:"sysrq,omitempty"`
	Swapoff     bool           `json:"swapoff,omitempty"`
	Stop        []string       `json:"stop,omitempty"`
}

// String says in one line what an action does.
func (d During) String() string {
	var parts []string
	for _, c := range d.Writes {
		for _, w := range c.Writes {
			parts = append(parts, fmt.Sprintf("%s: %s = %s", c.Path, w.File, w.Value))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.OOMScoreAdj)) {
		parts = append(parts, fmt.Sprintf("oom_score_adj of %s = %d", name, d.OOMScoreAdj[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(d.Signal)) {
		parts = append(parts, fmt.Sprintf("%s to %s", kernel.SignalName(d.Signal[name]), name))
	}
	if d.Freeze != "" {
		parts = append(parts, "freeze "+d.Freeze)
	}
	if d.Thaw != "" {
		parts = append(parts, "thaw "+d.Thaw)
	}
	for _, s := range d.Sysctls {
		parts = append(parts, s.Key+" = "+s.Value)
	}
	if d.Sysrq != "" {
		parts = append(parts, "sysrq-"+d.Sysrq)
	}
	if d.Swapoff {
		parts = append(parts, "swapoff")
	}
	if len(d.Stop) > 0 {
		parts = append(parts, "stop "+strings.Join(d.Stop, " and "))
	}
	return strings.Join(parts, ", ")
}

// CgroupWrite is a Write while the run goes on, with the knobs it changes.
type CgroupWrite struct {
	Path   string        `json:"path"`
	Writes []Write       `json:"writes"`
	Max    *kernel.Bytes `json:"max,omitempty"`
	High   *kernel.Bytes `json:"high,omitempty"`
}

// Undo is one thing to put back. The agent writes the list to disk before it
// makes the first change, so that a run that was killed can be cleaned up.
type Undo struct {
	Op    string `json:"op"` // kill-cgroup, rmdir, write, swapoff, unlink
	Path  string `json:"path"`
	Value string `json:"value,omitempty"` // what was there before, for write
}
