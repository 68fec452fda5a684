package kernel

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// Loadavg is one reading of /proc/loadavg.
type Loadavg struct {
	Load1, Load5, Load15 float64
	Running, Tasks       int // scheduling entities: runnable now, and in all
	LastPID              int
}

// ParseLoadavg reads /proc/loadavg (fs/proc/loadavg.c, loadavg_proc_show).
func ParseLoadavg(r io.Reader) (Loadavg, error) {
	var l Loadavg
	lines := 0
	err := eachLine("loadavg", r, func(line string) error {
		if lines++; lines > 1 {
			return fmt.Errorf("want one line, this is line %d", lines)
		}
		fields := strings.Fields(line)
		if len(fields) != 5 {
			return fmt.Errorf("want five fields, have %d", len(fields))
		}
		var err error
		for i, to := range []*float64{&l.Load1, &l.Load5, &l.Load15} {
			if *to, err = strconv.ParseFloat(fields[i], 64); err != nil || !(*to >= 0) || math.IsInf(*to, 0) {
				return fmt.Errorf("%q is not a load", fields[i])
			}
		}
		running, tasks, ok := strings.Cut(fields[3], "/")
		if l.Running, err = strconv.Atoi(running); !ok || err != nil {
			return fmt.Errorf("%q is not running/tasks", fields[3])
		}
		if l.Tasks, err = strconv.Atoi(tasks); err != nil {
			return fmt.Errorf("%q is not running/tasks", fields[3])
		}
		if l.LastPID, err = strconv.Atoi(fields[4]); err != nil {
			return fmt.Errorf("%q is not a process id", fields[4])
		}
		return nil
	})
	if err == nil && lines == 0 {
		err = fmt.Errorf("loadavg: empty; is /proc mounted?")
	}
	if err != nil {
		return Loadavg{}, err
	}
	return l, nil
}
