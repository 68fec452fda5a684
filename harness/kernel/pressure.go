package kernel

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// Pressure is one reading of /proc/pressure/memory or of a cgroup's
// memory.pressure.
type Pressure struct {
	Some PressureLine
	Full *PressureLine // nil for the cpu file of kernels before 5.13
}

// PressureLine is the share of time in which some or all tasks were stalled.
type PressureLine struct {
	Avg10, Avg60, Avg300 float64 // percent
	TotalUSec            uint64  // µs since boot, or since the cgroup was made
}

// ParsePressure reads a pressure file (kernel/sched/psi.c, psi_show).
func ParsePressure(r io.Reader) (Pressure, error) {
	var p Pressure
	some := false
	err := eachLine("pressure", r, func(line string) error {
		fields := strings.Fields(line)
		if len(fields) != 5 {
			return fmt.Errorf("want five fields, have %d", len(fields))
		}
		var l PressureLine
		for i, f := range []struct {
			name string
			to   *float64
		}{{"avg10=", &l.Avg10}, {"avg60=", &l.Avg60}, {"avg300=", &l.Avg300}} {
			text, ok := strings.CutPrefix(fields[i+1], f.name)
			v, err := strconv.ParseFloat(text, 64)
			if !ok || err != nil || v < 0 || math.IsInf(v, 0) || math.IsNaN(v) {
				return fmt.Errorf("%q is not %s with a percentage", fields[i+1], f.name)
			}
			*f.to = v
		}
		text, ok := strings.CutPrefix(fields[4], "total=")
		var err error
		if l.TotalUSec, err = strconv.ParseUint(text, 10, 64); !ok || err != nil {
			return fmt.Errorf("%q is not total= with a number", fields[4])
		}
		switch fields[0] {
		case "some":
			p.Some, some = l, true
		case "full":
			p.Full = &l
		default:
			return fmt.Errorf("%q is neither some nor full", fields[0])
		}
		return nil
	})
	if err != nil {
		return Pressure{}, err
	}
	if !some {
		return Pressure{}, errors.New("pressure: no some line; is this a pressure file?")
	}
	return p, nil
}
