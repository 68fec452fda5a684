package compare

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/verdict"
)

// Key names one fact of a run.
type Key struct {
	Aspect  Aspect `json:"aspect"`
	Subject string `json:"subject,omitempty"` // a process, a counter; empty: the run as a whole
}

// Fact is one thing that a run shows. Numbers are in Value too, as they are shown.
type Fact struct {
	Key
	Value  string   `json:"value"`
	Number *float64 `json:"number,omitempty"` // nil: it is a word
}

// Run is what one run shows.
type Run struct {
	Scenario string
	Release  string // of the kernel
	Dir      string // where the record is
	Facts    []Fact
}

// Observe draws the facts from a run and its verdict. A run that was skipped or
// is broken has no fact but its verdict: its evidence cannot carry others.
func Observe(in verdict.Input, r verdict.Result) Run {
	o := observer{in: in, r: r, run: Run{Scenario: r.Scenario, Release: r.Kernel.Release, Dir: r.Run}}
	o.verdict()
	if r.Verdict == verdict.Pass || r.Verdict == verdict.Fail {
		o.kills()
		o.scores()
		o.counters()
		o.cluster()
		o.log()
		o.machine()
	}
	return o.run
}

type observer struct {
	in  verdict.Input
	r   verdict.Result
	run Run
	// copies: one of several copies of a process was killed. How many of them die
	// is chance, so nothing is counted.
	copies bool
}

func (o *observer) say(a Aspect, subject, value string) {
	o.run.Facts = append(o.run.Facts, Fact{Key: Key{a, subject}, Value: value})
}

func (o *observer) count(a Aspect, subject string, n float64) {
	o.run.Facts = append(o.run.Facts, Fact{Key: Key{a, subject}, Value: a.about().kind.write(n), Number: &n})
}

// verdict says how it ended. What is lacking tells two skips apart, what broke
// two broken runs, and the claim two failures.
func (o *observer) verdict() {
	v := string(o.r.Verdict)
	switch o.r.Verdict {
	case verdict.Skip:
		v += ": " + o.r.Reason
	case verdict.Broken:
		if len(o.r.Disagreements) > 0 {
			v += ": " + string(o.r.Disagreements[0].Name)
		}
	case verdict.Fail:
		for _, c := range o.r.Claims {
			if c.Verdict == verdict.Fail {
				v += " " + c.Name
			}
		}
	}
	o.say(Verdict, "", v)
}

const nobody = "nobody"

func (o *observer) kills() {
	if o.r.Panic != "" {
		o.say(Panicked, "", o.r.Panic)
		return // a machine that went down tells nothing else for certain
	}
	o.say(Panicked, "", "none")
	var order, logged []string
	for _, k := range o.r.Kills {
		o.copies = o.copies || o.of(k.Victim.Process) != k.Victim.Process
		order = append(order, o.victim(k))
		logged = append(logged, fmt.Sprintf("%s x%d", o.victim(k), k.Logged))
	}
	if o.copies {
		order = slices.Compact(order)
	}
	o.say(Order, "", cmp.Or(strings.Join(order, ", "), nobody))
	slices.Sort(order)
	if o.copies {
		order = slices.Compact(order)
	}
	o.say(Victims, "", cmp.Or(strings.Join(order, ", "), nobody))
	if !o.copies {
		slices.Sort(logged)
		o.say(Logged, "", cmp.Or(strings.Join(logged, ", "), "none"))
	}
	for _, name := range slices.Sorted(maps.Keys(o.r.Exits)) {
		if o.of(name) != name {
			continue
		}
		e := o.r.Exits[name]
		o.say(Exits, name, cmp.Or(e.Signal, fmt.Sprintf("exit code %d", e.Code)))
	}
	if len(o.r.Kills) == 0 {
		o.say(Constraint, "", "none")
		return
	}
	first := o.r.Kills[0]
	o.say(Constraint, "", strings.TrimSpace(first.Constraint+" "+first.OOMMemcg))
	o.say(Trigger, "", cmp.Or(o.of(first.Trigger.Process), "a process of the machine's own"))
	o.count(Time, "", float64(first.AtMS))
	if first.TotalPages != nil {
		o.count(Domain, "", float64(*first.TotalPages))
	}
	if n, known := o.freed(); known && !o.copies {
		o.count(o.scope(Freed, HostFreed), "", float64(n))
	}
}

// scope chooses the aspect by whether a cgroup ran out of memory, or more.
func (o *observer) scope(memcg, host Aspect) Aspect {
	if len(o.r.Kills) > 0 && o.r.Kills[0].Constraint != "memcg" {
		return host
	}
	return memcg
}

// victim is a process of the scenario, or a stranger by its comm: pids differ
// from run to run.
func (o *observer) victim(k verdict.Kill) string {
	if k.Victim.Process != "" {
		name := o.of(k.Victim.Process)
		if name != k.Victim.Process {
			name += " (copies)"
		}
		return name
	}
	return "a stranger (" + k.Victim.Comm + ")"
}

// of is a scenario's name for a process: copies are as good as each other, and
// which of them dies is chance.
func (o *observer) of(process string) string {
	if p, ok := o.in.Plan.Process(process); ok && p.Of != "" {
		return p.Of
	}
	return process
}

// cluster says what the API of a cluster said.
func (o *observer) cluster() {
	k := o.r.Kube
	if k == nil {
		return
	}
	for _, c := range k.Containers {
		o.say(Status, c.Container, c.Status.String())
		if c.Adj != nil {
			o.count(Adj, c.Container, float64(*c.Adj))
		}
	}
	o.say(Evicted, "", cmp.Or(strings.Join(k.Evicted, ", "), nobody))
	var names []string
	for _, m := range k.Misreports {
		names = append(names, m.Name)
	}
	o.say(Misreports, "", cmp.Or(strings.Join(names, ", "), "none"))
}

// freed is what the first victim held, and those that were killed with it.
func (o *observer) freed() (n kernel.Pages, known bool) {
	for i, k := range o.r.Kills {
		if k.RSS == nil || i > 0 && (k.Group == "" || k.AtMS != o.r.Kills[0].AtMS) {
			continue
		}
		n, known = n+k.RSS.Anon+k.RSS.File+k.RSS.Shmem+k.RSS.Swap+k.RSS.PgTables, true
	}
	return n, known
}

func (o *observer) scores() {
	reads := cmp.Or(string(o.in.Machine.Badness), "unknown")
	o.say(Reads, "", reads)
	o.say(Watched, "", fmt.Sprintf("tier %d", o.r.Tier))
	for _, c := range o.r.Claims {
		if c.Name == "replay.points" {
			o.say(Arithmetic, "", map[verdict.Verdict]string{
				verdict.Pass: "equal to the page", verdict.Fail: "not equal",
				verdict.Skip: "cannot be seen"}[c.Verdict])
		}
	}
	if len(o.r.Scoreboard) == 0 {
		return
	}
	if !o.copies {
		o.say(Decisions, "", fmt.Sprint(len(o.r.Scoreboard)))
	}
	var scan []string
	for _, row := range o.r.Scoreboard[0] {
		if row.Process == "" || o.of(row.Process) != row.Process {
			continue
		}
		scan = append(scan, row.Process)
		if row.Points == nil {
			o.say(o.scope(Points, HostPoints), row.Process, "never")
			continue
		}
		o.count(o.scope(Points, HostPoints), row.Process, float64(*row.Points))
	}
	if len(scan) > 0 {
		o.say(Scan, "", strings.Join(scan, ", "))
	}
}

// counters says which counters there are, by file, and by how much those of
// kills rose on the whole machine and in all cgroups of the run. `oom` counts
// attempts, of which there may be any number.
func (o *observer) counters() {
	names := map[string][]string{}
	for _, file := range slices.Sorted(maps.Keys(o.r.Counters)) {
		values := o.r.Counters[file]
		base, _, _ := strings.Cut(file, " ")
		for _, name := range slices.Sorted(maps.Keys(values)) {
			if !slices.Contains(names[base], name) {
				names[base] = append(names[base], name)
			}
			whole := file == evidence.FileVmstat || file == evidence.FileMemoryEvents+" /"
			if !o.copies && whole && (name == evidence.CounterOOMKill || name == "oom_group_kill") {
				o.count(Counter, file+" "+name, float64(values[name].Delta()))
			}
		}
	}
	for _, base := range slices.Sorted(maps.Keys(names)) {
		if base == evidence.FileMemoryEventsLocal {
			continue // has what memory.events has
		}
		slices.Sort(names[base])
		o.say(CounterSet, base, join(names[base]))
	}
}

// machine says what the kernel says of itself.
func (o *observer) machine() {
	model := "none"
	for w := range strings.FieldsSeq(o.in.Machine.Version) {
		if strings.HasPrefix(w, "PREEMPT") {
			model = w
		}
	}
	o.say(Preempt, "", model)
}

// records are those of the kernel log, or of the console of a machine that went
// down.
func records(events []evidence.Event) []*evidence.LogRecord {
	source := evidence.Kmsg
	if slices.ContainsFunc(events, func(e evidence.Event) bool { return e.Kind == evidence.Down }) {
		source = evidence.Console
	}
	var out []*evidence.LogRecord
	for _, e := range events {
		if e.Kind == evidence.Record && e.Log != nil && e.Source == source && e.Log.Facility == 0 {
			out = append(out, e.Log)
		}
	}
	return out
}
