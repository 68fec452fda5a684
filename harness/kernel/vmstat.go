package kernel

import (
	"errors"
	"io"
)

// Vmstat is one reading of /proc/vmstat.
type Vmstat struct {
	// OOMKill counts every kill of the OOM killer on the machine, those in
	// memory cgroups included; nil before 4.13.
	OOMKill *uint64
	// Values is everything the file holds, by the kernel's names.
	Values map[string]uint64
}

// ParseVmstat reads /proc/vmstat (mm/vmstat.c, vmstat_show).
func ParseVmstat(r io.Reader) (Vmstat, error) {
	values, err := keyValues("vmstat", r)
	if err != nil {
		return Vmstat{}, err
	}
	if len(values) == 0 {
		return Vmstat{}, errors.New("vmstat: empty; is /proc mounted?")
	}
	return Vmstat{OOMKill: optional(values, "oom_kill"), Values: values}, nil
}
