package scenario

import "github.com/oomlab/oomlab/harness/kernel"

// EngineContainers are containers of the userland's engines, in the order in which they are
// started.
type EngineContainers []EngineContainer

// EngineContainer is a container that an engine runs. Its first process has the container's
// name, and runs in the container's own cgroup, /NAME.scope. Settings are called as the
// engines' own flags are.
type EngineContainer struct {
	Name string `yaml:"-" json:"-"`

	Engine  string `yaml:"engine" json:"engine,omitempty"`   // podman (default) or docker
	Runtime string `yaml:"runtime" json:"runtime,omitempty"` // crun (podman's default) or runc
	// --memory: memory.max of its cgroup.
	Memory *kernel.Bytes `yaml:"memory" json:"memory,omitempty"`
	// --memory-swap: memory and swap together; left out, twice the memory.
	MemorySwap *kernel.Bytes `yaml:"memory-swap" json:"memory-swap,omitempty"`
	// --oom-score-adj: that of its processes.
	OOMScoreAdj *int `yaml:"oom-score-adj" json:"oom-score-adj,omitempty"`
	// --restart: no, or on-failure and how often: on-failure:2.
	Restart string `yaml:"restart" json:"restart,omitempty"`
	// --cgroup-conf of podman: files of its cgroup that no other flag writes.
	CgroupConf CgroupConf `yaml:"cgroup-conf" json:"cgroup-conf,omitzero"`

	// signals that its first process ignores, such as SIGTERM
	Ignore []string `yaml:"ignore" json:"ignore,omitempty"`

	// started when all of these hold what they were told to, or have ended
	After   Names    `yaml:"after" json:"after,omitempty"`
	Command []string `yaml:"command" json:"command,omitempty"` // a program of the userland's /usr and its arguments
	Do      []Step   `yaml:"do" json:"do,omitempty"`           // the steps of a stressor
}

// CgroupConf are files of a container's cgroup.
type CgroupConf struct {
	// 1: all of the container is killed together.
	MemoryOOMGroup *int `yaml:"memory.oom.group" json:"memory.oom.group,omitempty"`
}
