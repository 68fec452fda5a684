package kernel

import "io"

// MemoryEvents is one reading of a cgroup's memory.events or
// memory.events.local (cgroup v2).
//
// memory.events covers the cgroup and everything below it, unless cgroup2 is
// mounted with memory_localevents; memory.events.local always covers the
// cgroup alone. The counters never go down, so only the difference between two
// readings says anything about a run.
//
// See Documentation/admin-guide/cgroup-v2.rst, "Memory Interface Files", and
// mm/memcontrol.c, __memory_events_show().
type MemoryEvents struct {
	Low, High, Max uint64
	// OOM counts how often an allocation was about to fail at this cgroup's
	// limit. It is not the number of kills: it can be higher and lower.
	OOM uint64
	// OOMKill counts processes killed. The first victim of a group kill is
	// counted twice.
	OOMKill uint64
	// OOMGroupKill counts group kills; nil on kernels without it (before 5.17).
	OOMGroupKill *uint64
	// SockThrottled is nil on kernels without it (before 6.19).
	SockThrottled *uint64
	// Values is everything the file holds, by the kernel's names.
	Values map[string]uint64
}

// ParseMemoryEvents reads memory.events or memory.events.local.
func ParseMemoryEvents(r io.Reader) (MemoryEvents, error) {
	const file = "memory.events"
	values, err := keyValues(file, r)
	if err != nil {
		return MemoryEvents{}, err
	}
	e := MemoryEvents{
		OOMGroupKill:  optional(values, "oom_group_kill"),
		SockThrottled: optional(values, "sock_throttled"),
		Values:        values,
	}
	for _, f := range []struct {
		name string
		to   *uint64
	}{{"low", &e.Low}, {"high", &e.High}, {"max", &e.Max}, {"oom", &e.OOM}, {"oom_kill", &e.OOMKill}} {
		if *f.to, err = need(file, values, f.name); err != nil {
			return MemoryEvents{}, err
		}
	}
	return e, nil
}
