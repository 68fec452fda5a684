package verdict

import (
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
)

// counterKey names one counter: a file of a cgroup, or of the machine.
type counterKey struct {
	cgroup string // "" for the machine
	file   string
	name   string
}

// countersWitness is the kernel's counters, before and after the run.
type countersWitness struct {
	bystander
	in       Input
	readings []*evidence.CounterFile
	all      map[counterKey]BeforeAfter
	gone     map[counterKey]bool // removed before the end
}

// What is found of the counters.
const (
	NoReading          Kind = "no-reading"           // a counter was not read before and after
	CounterWithoutKill Kind = "counter-without-kill" // a counter rose more than there were kills
	KillWithoutCounter Kind = "kill-without-counter" // a counter rose less than there were kills
)

func init() {
	addWitness(40, func(in Input) witness {
		return &countersWitness{in: in, all: map[counterKey]BeforeAfter{}, gone: map[counterKey]bool{}}
	})
}

func (a *account) counters() *countersWitness { return witnessOf[*countersWitness](a) }

func (*countersWitness) source() evidence.Source { return evidence.Counters }

func (w *countersWitness) hear(e evidence.Event) {
	if e.Kind == evidence.Reading && e.Counter != nil {
		w.readings = append(w.readings, e.Counter)
	}
}

// read sums up: a container that is started again gets a new cgroup each time.
func (w *countersWitness) read(a *account) {
	before, after := map[counterKey]int64{}, map[counterKey]BeforeAfter{}
	gone := map[counterKey]bool{}
	for _, r := range w.readings {
		for name, value := range r.Values {
			key := counterKey{r.Cgroup, r.File, name}
			if r.When == "before" {
				before[key] = value
			} else if b, ok := before[key]; ok {
				after[key], gone[key] = BeforeAfter{b, value}, r.Gone
			}
		}
	}
	for key, c := range after {
		name := key
		name.cgroup = a.cgroups.recorded(key.cgroup)
		if strings.HasPrefix(name.cgroup, "//") {
			continue
		}
		sum := w.all[name]
		w.all[name] = BeforeAfter{sum.Before + c.Before, sum.After + c.After}
		w.gone[name] = w.gone[name] || gone[key]
	}
}

// tells reports whether a counter above the process's cgroup rose by a kill.
func (w *countersWitness) tells(_ *account, _ *Kill, l *life) bool {
	path := l.plan.Cgroup
	for key, c := range w.all {
		if key.name != evidence.CounterOOMKill || c.Delta() == 0 {
			continue
		}
		switch key.file {
		case evidence.FileVmstat:
			if path == "" {
				return true
			}
		case evidence.FileMemoryEvents:
			if kernel.InCgroup(path, key.cgroup) {
				return true
			}
		case evidence.FileMemoryEventsLocal, evidence.FileOOMControl:
			if key.cgroup == path {
				return true
			}
		}
	}
	return false
}

// v1Kills stands in for memory.events on cgroup v1, where memory.oom_control
// counts the kills of one cgroup only: the sum is what v2 would count.
func (w *countersWitness) v1Kills(path string, below bool) (BeforeAfter, bool) {
	var sum BeforeAfter
	found := false
	for key, c := range w.all {
		if key.file != evidence.FileOOMControl || key.name != evidence.CounterOOMKill || key.cgroup == base {
			continue
		}
		if key.cgroup == path || below && kernel.InCgroup(key.cgroup, path) {
			sum.Before += c.Before
			sum.After += c.After
			found = true
		}
	}
	return sum, found
}

// set is all counters for the result.
func (w *countersWitness) set() CounterSet {
	out := CounterSet{}
	for key, c := range w.all {
		path := strings.TrimSpace(key.file + " " + key.cgroup)
		if out[path] == nil {
			out[path] = map[string]BeforeAfter{}
		}
		out[path][key.name] = c
	}
	return out
}

// agree holds every oom_kill counter against the "Killed process" lines:
// __oom_kill_process() counts the kill and prints the line, once each, the first
// victim of a group twice. So the two are equal, with repetitions.
func (w *countersWitness) agree(a *account, found *findings) {
	if len(w.all) == 0 {
		found.add(NoReading, "no counter was read before and after the run")
		return
	}
	for key, c := range w.all {
		if key.name != evidence.CounterOOMKill {
			continue
		}
		var want int64
		for _, k := range a.kills {
			if w.counts(key, k) {
				want += int64(k.Logged)
			}
		}
		where := key.file + " of " + key.cgroup
		if key.cgroup == "" {
			where = key.file
		}
		switch {
		case c.Delta() > want:
			found.add(CounterWithoutKill, "oom_kill in %s rose by %d; the kernel log has %d kills there",
				where, c.Delta(), want)
		case c.Delta() < want && !w.gone[key]:
			found.add(KillWithoutCounter, "oom_kill in %s rose by %d; the kernel log has %d kills there",
				where, c.Delta(), want)
		}
	}
}

// counts reports whether the kernel counts a kill in a counter.
func (w *countersWitness) counts(key counterKey, k Kill) bool {
	at := k.Victim.Cgroup
	ours := strings.HasPrefix(at, "/") && !strings.HasPrefix(at, "//")
	switch {
	case key.file == evidence.FileVmstat:
		return true
	case key.file == evidence.FileMemoryEvents && !w.in.Machine.Cgroup.Local:
		return ours && kernel.InCgroup(at, key.cgroup)
	}
	// memory.events.local, v1 memory.oom_control: this cgroup only
	return ours && at == key.cgroup
}
