package kernel

import "io"

// OOMControl is one reading of a cgroup v1 memory.oom_control.
//
// See mm/memcontrol-v1.c, mem_cgroup_oom_control_read().
type OOMControl struct {
	// OOMKillDisable: tasks at the limit sleep instead of being killed.
	OOMKillDisable bool
	// UnderOOM: tasks are sleeping at the limit now.
	UnderOOM bool
	// OOMKill counts processes of this cgroup alone that were killed; nil
	// before 4.13.
	OOMKill *uint64
	// Values is everything the file holds, by the kernel's names.
	Values map[string]uint64
}

// ParseOOMControl reads memory.oom_control.
func ParseOOMControl(r io.Reader) (OOMControl, error) {
	const file = "memory.oom_control"
	values, err := keyValues(file, r)
	if err != nil {
		return OOMControl{}, err
	}
	disable, err := need(file, values, "oom_kill_disable")
	if err != nil {
		return OOMControl{}, err
	}
	under, err := need(file, values, "under_oom")
	if err != nil {
		return OOMControl{}, err
	}
	return OOMControl{
		OOMKillDisable: disable != 0,
		UnderOOM:       under != 0,
		OOMKill:        optional(values, "oom_kill"),
		Values:         values,
	}, nil
}
