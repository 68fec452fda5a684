package verdict

import (
	"maps"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
)

// counterKey names one counter: a file of a cgroup, or of the machine.
type counterKey struct {
	cgroup string // "" for the machine
	file   string
	name   string
}

// counterFile names one file of counters, as recorded.
type counterFile struct{ cgroup, file string }

func (f counterFile) String() string {
	if f.cgroup == "" {
		return f.file
	}
	return f.file + " of " + f.cgroup
}

// reading is what was read of a file before and after; nil: nothing.
type reading struct {
	before, after *evidence.CounterFile
	afterNS       int64
	times         map[string]int
}

// countersWitness is the kernel's counters, before and after the run.
type countersWitness struct {
	bystander
	in       Input
	readings []*evidence.CounterFile
	files    map[counterFile]*reading
	all      map[counterKey]BeforeAfter
	gone     map[counterKey]bool // removed before the end
}

// What is found of the counters.
const (
	NoReading          Kind = "no-reading"           // a counter was not read before and after
	CounterWithoutKill Kind = "counter-without-kill" // a counter rose more than there were kills
	KillWithoutCounter Kind = "kill-without-counter" // a counter rose less than there were kills
	CounterFell        Kind = "counter-fell"         // a counter that only rises has fallen
	CountersDiffer     Kind = "counters-differ"      // two counters contradict each other
)

func init() {
	addWitness(40, func(in Input) witness {
		return &countersWitness{in: in, files: map[counterFile]*reading{}, all: map[counterKey]BeforeAfter{},
			gone: map[counterKey]bool{}}
	})
}

func (a *account) counters() *countersWitness { return witnessOf[*countersWitness](a) }

func (*countersWitness) source() evidence.Source { return evidence.Counters }

func (w *countersWitness) hear(e evidence.Event) {
	if e.Kind == evidence.Reading && e.Counter != nil {
		w.readings = append(w.readings, e.Counter)
		w.file(e)
	}
}

func (w *countersWitness) file(e evidence.Event) {
	name := counterFile{e.Counter.Cgroup, e.Counter.File}
	r := w.files[name]
	if r == nil {
		r = &reading{times: map[string]int{}}
		w.files[name] = r
	}
	r.times[e.Counter.When]++
	switch e.Counter.When {
	case before:
		r.before = e.Counter
	case after:
		r.after, r.afterNS = e.Counter, e.AtNS
	}
}

// When a file is read.
const before, after = "before", "after"

// read sums up: a container that is started again gets a new cgroup each time.
func (w *countersWitness) read(a *account) {
	first, last := map[counterKey]int64{}, map[counterKey]BeforeAfter{}
	gone := map[counterKey]bool{}
	for _, r := range w.readings {
		for name, value := range r.Values {
			key := counterKey{r.Cgroup, r.File, name}
			if r.When == before {
				first[key] = value
			} else if b, ok := first[key]; ok {
				last[key], gone[key] = BeforeAfter{b, value}, r.Gone
			}
		}
	}
	for key, c := range last {
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

// planned are the files that the agent reads in this run: /proc/vmstat, and those of
// the run's cgroups or, on a node, of every cgroup that it has told of.
func (w *countersWitness) planned(a *account) []counterFile {
	out := []counterFile{{"", evidence.FileVmstat}}
	contained := a.runtime().absent() == ""
	var paths []string
	if contained {
		for _, all := range a.agent().cgroups {
			for _, f := range all {
				paths = append(paths, f.Path)
			}
		}
	} else {
		paths = append([]string{base}, w.in.Plan.Lasting()...)
	}
	for _, path := range paths {
		switch {
		case w.in.Plan.CgroupVersion == 1:
			out = append(out, counterFile{path, evidence.FileOOMControl})
			if !contained {
				out = append(out, counterFile{path, evidence.FileFailcnt})
			}
		default:
			out = append(out, counterFile{path, evidence.FileMemoryEvents})
			if v, err := kernel.ParseVersion(w.in.Machine.Release); err == nil && v.AtLeast(5, 2) {
				out = append(out, counterFile{path, evidence.FileMemoryEventsLocal})
			}
		}
	}
	return out
}

// complete: every file was read once before the run and once after it, with the same
// counters in it. A machine that went down has no reading after.
func (w *countersWitness) complete(a *account, found *findings) {
	planned := map[counterFile]bool{}
	for _, f := range w.planned(a) {
		planned[f] = true
		r := w.files[f]
		switch {
		case r == nil || r.before == nil:
			found.add(NoReading, "%s was not read before the run", f)
		case r.after == nil && a.over():
			found.add(NoReading, "%s was not read after the run", f)
		}
	}
	for f, r := range w.files {
		if !planned[f] && a.runtime().absent() != "" {
			found.add(NoReading, "%s was read, and is none of the run's", f)
		}
		for when, n := range r.times {
			if when != before && when != after {
				found.add(NoReading, "%s was read %q, not before or after the run", f, when)
			} else if n > 1 {
				found.add(NoReading, "%s was read %d times %s the run", f, n, when)
			}
		}
		w.same(a, f, r, found)
	}
}

// killCounters are the files that count OOM kills.
var killCounters = []string{
	evidence.FileVmstat, evidence.FileMemoryEvents, evidence.FileMemoryEventsLocal, evidence.FileOOMControl,
}

// same holds a file's two readings against each other.
func (w *countersWitness) same(a *account, f counterFile, r *reading, found *findings) {
	if r.before != nil && slices.Contains(killCounters, f.file) {
		if _, ok := r.before.Values[evidence.CounterOOMKill]; !ok {
			found.add(NoReading, "%s has no %s before the run", f, evidence.CounterOOMKill)
		}
	}
	w.state(a, f, r, found)
	if r.before == nil || r.after == nil {
		return
	}
	names := map[string]int64{}
	maps.Copy(names, r.before.Values)
	maps.Copy(names, r.after.Values)
	for name := range names {
		b, okB := r.before.Values[name]
		now, okA := r.after.Values[name]
		switch state := name == "under_oom" || name == "oom_kill_disable"; {
		case !okB || !okA:
			found.add(NoReading, "%s has %s in one of two readings", f, name)
		case now < b && !state:
			found.add(CounterFell, "%s in %s was %d before the run and %d after it", name, f, b, now)
		case name == "oom_kill_disable" && now != 0:
			found.add(CountersDiffer, "%s in %s is %d; oomlab never sets it", name, f, now)
		}
	}
}

// state holds each reading of a file against what is certain whatever happened: files of
// one name have the same counters, a cgroup that was made for the run begins at zero, and
// nothing counts what the plan makes impossible.
func (w *countersWitness) state(a *account, f counterFile, r *reading, found *findings) {
	if r.before != nil && f.cgroup != "" {
		for other, o := range w.files {
			alike := other.file == f.file || strings.HasPrefix(f.file, evidence.FileMemoryEvents) &&
				strings.HasPrefix(other.file, evidence.FileMemoryEvents)
			if alike && other.cgroup != "" && o.before != nil && len(o.before.Values) > len(r.before.Values) {
				found.add(NoReading, "%s has other counters than %s", f, other)
			}
		}
	}
	for _, c := range []*evidence.CounterFile{r.before, r.after} {
		if c == nil {
			continue
		}
		for name, value := range c.Values {
			switch {
			case value < 0:
				found.add(CounterFell, "%s in %s is %d", name, f, value)
			case value != 0 && c == r.before && f.cgroup != "" && w.made(a, f.cgroup):
				found.add(CountersDiffer, "%s in %s, which was made for the run, began at %d", name, f, value)
			case value != 0 && w.in.Plan.On == nil && w.impossible(a, f, name):
				found.add(CountersDiffer, "%s in %s is %d; nothing in the run counts there", name, f, value)
			}
		}
		// one processor counts in the order in which it does things
		scanned, ok := c.Values["pgscan_direct"]
		if stolen := c.Values["pgsteal_direct"]; ok && stolen > scanned && w.in.Machine.CPUs == 1 {
			found.add(CountersDiffer, "%d pages were reclaimed directly by %s, and %d scanned", stolen, f, scanned)
		}
	}
	if r.before != nil && r.after != nil && f.file == evidence.FileVmstat && a.swap() == 0 &&
		w.in.Machine.SwapFree == 0 {
		for _, name := range []string{"pswpin", "pswpout"} {
			if was, is := r.before.Values[name], r.after.Values[name]; was != is {
				found.add(CountersDiffer, "%s in %s was %d and is %d, on a machine without swap", name, f, was, is)
			}
		}
	}
}

// made reports whether a cgroup was made for the run.
func (w *countersWitness) made(a *account, cgroup string) bool {
	return w.in.Plan.On == nil || slices.ContainsFunc(a.agent().all(), func(f evidence.CgroupFacts) bool {
		return f.Path == cgroup && f.Plan != kubelet.Root
	})
}

// impossible reports whether a counter of a cgroup's own file stays zero: no limit of
// that sort is set there, or nobody waits for the OOM killer any more.
func (w *countersWitness) impossible(a *account, f counterFile, name string) bool {
	if name == "under_oom" {
		return a.agent().endText == settled
	}
	if f.file != evidence.FileMemoryEventsLocal && f.file != evidence.FileFailcnt {
		return false
	}
	limits := map[string]func(c plan.Cgroup) bool{
		"max": limited, "oom": limited, "failcnt": limited,
		"high": func(c plan.Cgroup) bool { return c.High != nil },
		"low": func(c plan.Cgroup) bool {
			return slices.ContainsFunc(c.Writes, func(w plan.Write) bool {
				return w.File == "memory.low" || w.File == "memory.min"
			})
		},
	}
	of, ok := limits[name]
	if !ok {
		return false
	}
	for _, d := range w.in.Plan.During {
		if slices.ContainsFunc(d.Writes, func(c plan.CgroupWrite) bool { return c.Path == f.cgroup }) {
			return false
		}
	}
	return !slices.ContainsFunc(w.in.Plan.Cgroups, func(c plan.Cgroup) bool { return c.Path == f.cgroup && of(c) })
}

func limited(c plan.Cgroup) bool { return c.Max != nil }

// agree holds the counters against each other and against the kills.
func (w *countersWitness) agree(a *account, found *findings) {
	w.kills(a, found)
	w.times(a, found)
	for f, r := range w.files {
		if r.before == nil || r.after == nil || f.file != evidence.FileMemoryEvents {
			continue
		}
		if w.in.Plan.On == nil {
			w.sums(a, f, found)
		}
		w.events(a, f, found)
	}
}

// killedBefore reports whether the machine had OOM kills before the run, or may have.
func (w *countersWitness) killedBefore() bool {
	r := w.files[counterFile{"", evidence.FileVmstat}]
	if r == nil || r.before == nil {
		return true
	}
	n, ok := r.before.Values[evidence.CounterOOMKill]
	return !ok || n > 0
}

// delta is by how much a counter of a file rose.
func (w *countersWitness) delta(cgroup, file, name string) (int64, bool) {
	r := w.files[counterFile{cgroup, file}]
	if r == nil || r.before == nil || r.after == nil {
		return 0, false
	}
	b, okB := r.before.Values[name]
	a, okA := r.after.Values[name]
	return a - b, okB && okA
}

// sums: memory.events has what memory.events.local of the cgroup and of all below it
// have together. The files are read one after the other, from the top: while a run has
// not come to rest, those below may have counted more.
func (w *countersWitness) sums(a *account, f counterFile, found *findings) {
	for name, value := range w.files[f].after.Values {
		var sum int64
		for _, path := range append([]string{base}, w.cgroupPaths()...) {
			if path == f.cgroup || !w.in.Machine.Cgroup.Local && kernel.InCgroup(path, f.cgroup) {
				n, ok := w.delta(path, evidence.FileMemoryEventsLocal, name)
				if !ok {
					return // which is named on its own
				}
				sum += n
			}
		}
		if settled := a.agent().endText == "settled"; value > sum || value < sum && settled {
			found.add(CountersDiffer, "%s in %s is %d; memory.events.local there and below adds up to %d",
				name, f, value, sum)
		}
	}
}

func (w *countersWitness) cgroupPaths() []string {
	var out []string
	for _, c := range w.in.Plan.Cgroups {
		out = append(out, c.Path)
	}
	return out
}

// events: mem_cgroup_oom() counts in oom of the cgroup whose limit was hit before it
// calls the OOM killer, and the charge that failed had counted in max. A group that is
// killed is counted and announced, once each.
func (w *countersWitness) events(a *account, f counterFile, found *findings) {
	path := a.cgroups.recorded(f.cgroup)
	value := func(name string) (int64, bool) { return w.delta(f.cgroup, evidence.FileMemoryEventsLocal, name) }
	if oom, ok := value("oom"); ok {
		var decided int64
		for _, d := range a.bpf().decisions {
			if d.control != nil && d.control.Constraint == "memcg" && d.control.Memcg == path {
				decided++
			}
		}
		if oom < decided && !w.files[f].after.Gone {
			found.add(CountersDiffer, "oom in memory.events.local of %s rose by %d; eBPF saw %d decisions there",
				f.cgroup, oom, decided)
		}
		if failed, ok := value("max"); ok && oom > failed && !a.limitMoves() {
			found.add(CountersDiffer, "oom in memory.events.local of %s rose by %d, max by %d", f.cgroup, oom, failed)
		}
	}
	w.groups(a, f, found)
}

// groups: oom_group_kill counts the groups whose kill the log announces, in
// memory.events.local those of the cgroup, in memory.events those below it as well.
func (w *countersWitness) groups(a *account, f counterFile, found *findings) {
	for _, file := range []string{evidence.FileMemoryEventsLocal, evidence.FileMemoryEvents} {
		groups, ok := w.delta(f.cgroup, file, "oom_group_kill")
		if !ok {
			continue
		}
		var announced int64
		for _, r := range a.kmsg().reports {
			at := a.cgroups.named(r.GroupPath)
			below := file == evidence.FileMemoryEvents && !w.in.Machine.Cgroup.Local && kernel.InCgroup(at, f.cgroup)
			if r.GroupPath != "" && !strings.HasPrefix(at, "//") && (at == f.cgroup || below) {
				announced++
			}
		}
		if gone := w.files[f].after.Gone; groups > announced || groups < announced && !gone {
			found.add(CountersDiffer, "oom_group_kill in %s of %s rose by %d; the log has %d such groups", file,
				f.cgroup, groups, announced)
		}
	}
}

// times: the files are read before anything is started, and after the last kill.
func (w *countersWitness) times(a *account, found *findings) {
	agent := a.agent()
	w.removals(found)
	for _, e := range w.in.Events {
		if e.Kind != evidence.Reading || e.Counter == nil || w.in.Plan.On != nil {
			continue
		}
		f := counterFile{e.Counter.Cgroup, e.Counter.File}
		switch at := e.AtNS; {
		case e.Counter.When == before && at > agent.begin:
			found.add(TimeDiffers, "%s was read before the run, after the run had begun", f)
		case e.Counter.When == after && (at < agent.begin || at > agent.end):
			found.add(TimeDiffers, "%s was read after the run, at a time that is not at its end", f)
		}
	}
	for _, m := range a.bpf().marks {
		for f, r := range w.files {
			if r.after != nil && !r.after.Gone && w.in.Plan.On == nil && r.afterNS < m.AtNS {
				found.add(TimeDiffers, "%s was read after the run, before the last victim was chosen", f)
			}
		}
	}
}

// removals: a cgroup of a node is read when it is found gone, or at the end, after the
// machine's own counters.
func (w *countersWitness) removals(found *findings) {
	machine := w.files[counterFile{"", evidence.FileVmstat}]
	if w.in.Plan.On == nil || machine == nil || machine.after == nil {
		return
	}
	for f, r := range w.files {
		if f.cgroup != "" && r.after != nil && r.after.Gone != (r.afterNS < machine.afterNS) {
			found.add(TimeDiffers, "%s was read at %d ns, gone: %t; the end of the run was at %d ns", f, r.afterNS,
				r.after.Gone, machine.afterNS)
		}
	}
}

// kills holds every oom_kill counter against the "Killed process" lines:
// __oom_kill_process() counts the kill and prints the line, once each, the first
// victim of a group twice. So the two are equal, with repetitions.
func (w *countersWitness) kills(a *account, found *findings) {
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
		where := counterFile{key.cgroup, key.file}
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
