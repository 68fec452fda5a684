package scenario

import "github.com/oomlab/oomlab/harness/kernel"

// Units are services of the userland's systemd, in the order in which they are started.
type Units []Unit

// Unit is a service of systemd's. Its main process has the unit's name, and runs in the
// unit's own cgroup, /NAME.service.
type Unit struct {
	Name string `yaml:"-" json:"-"`

	UnitSettings
	// by file name: settings in NAME.service.d/FILE, the last of which counts
	DropIns map[string]UnitSettings `yaml:"drop-ins" json:"drop-ins,omitempty"`
	// signals that its main process ignores, such as SIGTERM
	Ignore []string `yaml:"ignore" json:"ignore,omitempty"`
	// started when all of these hold what they were told to, or have ended
	After   Names    `yaml:"after" json:"after,omitempty"`
	Command []string `yaml:"command" json:"command,omitempty"` // a program of the user's own and its arguments
	Do      []Step   `yaml:"do" json:"do,omitempty"`           // the steps of a stressor
}

// UnitSettings are settings of a unit as systemd calls them (systemd.resource-control(5),
// systemd.service(5), systemd.exec(5)). Nil or empty: systemd's default. The tag unit is
// the section of the file that a setting belongs to; a new one is a field.
type UnitSettings struct {
	// At it somebody is killed: memory.max.
	MemoryMax *kernel.Bytes `yaml:"MemoryMax" json:"MemoryMax,omitempty" unit:"Service"`
	// Above it processes are slowed down: memory.high.
	MemoryHigh *kernel.Bytes `yaml:"MemoryHigh" json:"MemoryHigh,omitempty" unit:"Service"`
	// How much may be swapped out: memory.swap.max.
	MemorySwapMax *kernel.Bytes `yaml:"MemorySwapMax" json:"MemorySwapMax,omitempty" unit:"Service"`
	// -1000 to 1000: oom_score_adj.
	OOMScoreAdjust *int `yaml:"OOMScoreAdjust" json:"OOMScoreAdjust,omitempty" unit:"Service"`
	// What follows when one of the unit's processes is killed: stop, continue, kill.
	OOMPolicy string `yaml:"OOMPolicy" json:"OOMPolicy,omitempty" unit:"Service"`
	// After which ends the unit is started again: no, on-failure, on-abnormal, always.
	Restart string `yaml:"Restart" json:"Restart,omitempty" unit:"Service"`
	// How often it is started at most, within an hour: 5.
	StartLimitBurst *int `yaml:"StartLimitBurst" json:"StartLimitBurst,omitempty" unit:"Unit"`
}
