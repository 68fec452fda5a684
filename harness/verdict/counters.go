package verdict

import (
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
)

// counterKey names one counter: a file of a cgroup, or of the machine.
type counterKey struct {
	cgroup string // "" for the machine
	file   string
	name   string
}

// base is how the run's own cgroup, above all of the plan's, is called in
// readings.
const base = "/"

func (j *joined) readCounters() {
	before := map[counterKey]int64{}
	read := map[counterKey]BeforeAfter{}
	gone := map[counterKey]bool{}
	for _, e := range j.in.Events {
		if e.Kind != evidence.Reading || e.Counter == nil {
			continue
		}
		for name, value := range e.Counter.Values {
			key := counterKey{e.Counter.Cgroup, e.Counter.File, name}
			if e.Counter.When == "before" {
				before[key] = value
			} else if b, ok := before[key]; ok {
				read[key] = BeforeAfter{b, value}
				gone[key] = e.Counter.Gone
			}
		}
	}
	if j.cluster == nil {
		j.counters = read
		return
	}
	// a container that is started again gets a new cgroup each time
	for key, c := range read {
		name := key
		if key.cgroup != "" {
			name.cgroup = j.cluster.inPlan(key.cgroup)
		}
		if strings.HasPrefix(name.cgroup, "//") {
			continue
		}
		sum := j.counters[name]
		j.counters[name] = BeforeAfter{sum.Before + c.Before, sum.After + c.After}
		j.gone[name] = j.gone[name] || gone[key]
	}
}

// counted reports whether a counter above a process's cgroup rose by a kill.
func (j *joined) counted(path string) bool {
	for key, c := range j.counters {
		if key.name != evidence.CounterOOMKill || c.Delta() == 0 {
			continue
		}
		if key.file == evidence.FileVmstat && path == "" || key.file == evidence.FileMemoryEvents && inside(path, key.cgroup) ||
			(key.file == evidence.FileMemoryEventsLocal || key.file == evidence.FileOOMControl) && key.cgroup == path {
			return true
		}
	}
	return false
}

func inside(path, dir string) bool {
	return dir == "" || dir == base || path == dir || strings.HasPrefix(path, dir+"/")
}

// checkCounters holds every oom_kill counter against the "Killed process"
// lines: __oom_kill_process() counts the kill and prints the line, once each,
// the first victim of a group twice. So the two are equal, with repetitions.
func (j *joined) checkCounters() {
	if len(j.counters) == 0 {
		j.disagree(NoReading, "no counter was read before and after the run")
		return
	}
	for key, c := range j.counters {
		if key.name != evidence.CounterOOMKill {
			continue
		}
		var want int64
		for _, k := range j.kills {
			hit := false
			switch {
			case key.file == evidence.FileVmstat:
				hit = true
			case key.file == evidence.FileMemoryEvents && !j.in.Machine.Cgroup.Local:
				hit = inCgroups(k) && inside(k.Victim.Cgroup, key.cgroup)
			default: // memory.events.local, v1 memory.oom_control: this cgroup only
				hit = inCgroups(k) && (k.Victim.Cgroup == key.cgroup || k.Victim.Cgroup == "" && key.cgroup == base)
			}
			if hit {
				want += int64(k.Logged)
			}
		}
		where := key.file + " of " + key.cgroup
		if key.cgroup == "" {
			where = key.file
		}
		switch {
		case c.Delta() > want:
			j.disagree(CounterWithoutKill, "oom_kill in %s rose by %d; the kernel log has %d kills there", where, c.Delta(), want)
		case c.Delta() < want && !j.gone[key]:
			j.disagree(KillWithoutCounter, "oom_kill in %s rose by %d; the kernel log has %d kills there", where, c.Delta(), want)
		}
	}
}

// inCgroups reports whether the victim lived in one of the run's cgroups.
func inCgroups(k Kill) bool {
	return strings.HasPrefix(k.Victim.Cgroup, "/") && !strings.HasPrefix(k.Victim.Cgroup, "//")
}
