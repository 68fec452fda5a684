package verdict

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/scenario"
)

// claim is a claim under judgement.
func claim(name, expected, observed string, ok bool, sources ...evidence.Source) Claim {
	c := Claim{Name: name, Verdict: Pass, Expected: expected, Observed: observed, Sources: sources}
	if !ok {
		c.Verdict = Fail
	}
	if c.Sources == nil {
		c.Sources = []evidence.Source{}
	}
	return c
}

// cannotTell is a claim about something that this machine does not show. It
// does not count, and is printed so that nobody takes it for shown.
func cannotTell(name, expected, why string) Claim {
	return Claim{Name: name, Verdict: Skip, Expected: expected, Observed: why, Sources: []evidence.Source{}}
}

// list writes names for a reader.
func list(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}

// victims are the names of those killed, in order; a stranger is shown with
// its pid.
func (j *joined) victims() []string {
	out := []string{}
	for _, k := range j.kills {
		name := k.Victim.Process
		if name == "" {
			name = fmt.Sprintf("%s[%d]", k.Victim.Comm, k.Victim.PID)
		}
		out = append(out, name)
	}
	return out
}

// means reports whether a scenario's name stands for the plan's process.
func (j *joined) means(name, process string) bool {
	return slices.Contains(j.in.Plan.Names(name), process)
}

// killSources are the witnesses that every kill has in common.
func (j *joined) killSources() []evidence.Source {
	var all []evidence.Source
	for _, s := range []evidence.Source{evidence.BPF, evidence.Kmsg, evidence.Counters, evidence.Wait} {
		if !slices.ContainsFunc(j.kills, func(k Kill) bool { return !slices.Contains(k.Sources, s) }) {
			all = append(all, s)
		}
	}
	return all
}

// expected are the claims that the scenario's author made.
func (j *joined) expected(e scenario.Expect) []Claim {
	var out []Claim
	if e.Panic != "" {
		out = append(out, claim("panic", e.Panic, orNone(j.log.panic), strings.Contains(j.log.panic, e.Panic), evidence.Console))
	}
	if e.Killed != nil {
		out = append(out, j.killedClaim(*e.Killed))
	}
	if e.Constraint != "" {
		got, sources := j.firstConstraint()
		out = append(out, claim("constraint", e.Constraint, orNone(got), got == e.Constraint, sources...))
	}
	if e.OOMMemcg != "" {
		got := ""
		if len(j.kills) > 0 {
			got = j.kills[0].OOMMemcg
		}
		out = append(out, claim("oom_memcg", e.OOMMemcg, orNone(got), got == e.OOMMemcg, evidence.BPF, evidence.Kmsg))
	}
	if len(e.Trigger) > 0 {
		out = append(out, j.triggerClaim(e.Trigger))
	}
	for _, name := range e.Survives {
		out = append(out, j.survivesClaim(name))
	}
	for _, name := range e.Throttled {
		out = append(out, j.throttledClaim(name))
	}
	for _, name := range slices.Sorted(maps.Keys(e.Exit)) {
		out = append(out, j.exitClaim(name, e.Exit[name]))
	}
	for file, of := range map[string]map[string]map[string]scenario.Num{evidence.FileMemoryEvents: e.MemoryEvents, evidence.FileMemoryEventsLocal: e.MemoryEventsLocal} {
		for path, counters := range of {
			for name, want := range counters {
				out = append(out, j.counterClaim(file, path, name, want))
			}
		}
	}
	for name, want := range e.Vmstat {
		out = append(out, j.counterClaim(evidence.FileVmstat, "", name, want))
	}
	// maps have no order; a verdict is the same byte for byte
	slices.SortStableFunc(out, func(a, b Claim) int { return strings.Compare(counterOrder(a.Name), counterOrder(b.Name)) })
	if e.Panic == "" {
		out = append(out, j.withinClaim(e))
	}
	return out
}

// counterOrder sorts counters behind each other and leaves the rest in place.
func counterOrder(name string) string {
	if strings.HasPrefix(name, "memory.") || strings.HasPrefix(name, "vmstat") {
		return name
	}
	return ""
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func (j *joined) killedClaim(want scenario.Killed) Claim {
	got := j.victims()
	if len(want.From) == 0 {
		ok := len(got) == len(want.InOrder)
		for i := range want.InOrder {
			ok = ok && j.means(want.InOrder[i], got[i])
		}
		ok = ok && j.twoWitnesses()
		return claim("killed", list(want.InOrder), list(got), ok, j.killSources()...)
	}
	ok := want.Count.Holds(int64(len(got)))
	for _, name := range got {
		ok = ok && slices.ContainsFunc(want.From, func(w string) bool { return j.means(w, name) })
	}
	return claim("killed", fmt.Sprintf("%s of %s", want.Count, list(want.From)), list(got), ok && j.twoWitnesses(), j.killSources()...)
}

// twoWitnesses: a kill needs SIGKILL in the wait status and a kernel record
// that names the pid.
func (j *joined) twoWitnesses() bool {
	for _, k := range j.kills {
		kernelSide := slices.Contains(k.Sources, evidence.BPF) || slices.Contains(k.Sources, evidence.Kmsg)
		if !kernelSide || !slices.Contains(k.Sources, evidence.Wait) {
			return false
		}
	}
	return true
}

// firstConstraint is that of the first kill or, on a machine that panicked
// before it killed, of its report.
func (j *joined) firstConstraint() (string, []evidence.Source) {
	if len(j.kills) > 0 {
		return j.kills[0].Constraint, []evidence.Source{evidence.BPF, evidence.Kmsg}
	}
	for _, r := range j.log.reports {
		if r.Global != nil && *r.Global {
			return "none", []evidence.Source{evidence.Console}
		}
		if c := constraints[r.Constraint]; c != "" {
			return c, []evidence.Source{evidence.Console}
		}
	}
	return "", nil
}

func (j *joined) triggerClaim(want scenario.Names) Claim {
	if len(j.kills) == 0 {
		return claim("trigger", strings.Join(want, " or "), "none", false)
	}
	t := j.kills[0].Trigger
	ok := slices.ContainsFunc(want, func(w string) bool { return t.Process != "" && j.means(w, t.Process) })
	return claim("trigger", strings.Join(want, " or "), trigger(t), ok, evidence.BPF, evidence.Kmsg)
}

func trigger(t Trigger) string {
	if t.Process != "" {
		return t.Process
	}
	return fmt.Sprintf("%s[%d]", t.Comm, t.PID)
}

// last are the last lives of the processes that a scenario's name stands for.
func (j *joined) last(name string) []*life {
	var out []*life
	for _, process := range j.in.Plan.Names(name) {
		if l := byName(j.lives, process); l != nil {
			out = append(out, l)
		}
	}
	return out
}

func (j *joined) survivesClaim(name string) Claim {
	all := j.last(name)
	observed, ok := "never started", len(all) > 0
	for _, l := range all {
		observed = "alive"
		if !l.alive || l.exit != nil {
			observed, ok = l.process+" ended", false
			if l.exit != nil {
				observed += " with " + status(*l.exit)
			}
			break
		}
	}
	return claim("survives "+name, "alive at the end", observed, ok, evidence.Wait)
}

func (j *joined) throttledClaim(name string) Claim {
	all := j.last(name)
	observed, ok := "never started", len(all) > 0
	for _, l := range all {
		observed = "alive, steps not done"
		switch {
		case l.exit != nil:
			observed, ok = l.process+" ended with "+status(*l.exit), false
		case l.ready:
			observed, ok = l.process+" finished its steps", false
		}
	}
	return claim("throttled "+name, "alive, steps not done", observed, ok, evidence.Wait, evidence.Stressor)
}

func (j *joined) exitClaim(name string, want scenario.Exit) Claim {
	all := j.last(name)
	observed, ok := "never started", len(all) > 0
	for _, l := range all {
		if l.exit == nil {
			observed, ok = l.process+" did not end", false
			break
		}
		observed = status(*l.exit)
		if l.exit.Signal != signalOf(want) || l.exit.Code != want.Code {
			ok = false
			break
		}
	}
	expected := want.Signal
	if expected == "" {
		expected = fmt.Sprintf("exit code %d", want.Code)
	}
	return claim("exit "+name, expected, observed, ok, evidence.Wait)
}

func (j *joined) counterClaim(file, path, name string, want scenario.Num) Claim {
	title := strings.TrimSpace(file+" "+path) + " " + name
	c, ok := j.counters[counterKey{path, file, name}]
	if !ok && j.in.Plan.CgroupVersion == 1 && name == evidence.CounterOOMKill && path != "" {
		c, ok = j.v1Kills(path, file == evidence.FileMemoryEvents)
	}
	if !ok {
		if j.in.Plan.CgroupVersion == 1 && path != "" {
			return cannotTell(title, want.Text, "cgroup v1 has no such counter")
		}
		if name == "oom_group_kill" || name == "sock_throttled" {
			return cannotTell(title, want.Text, "this kernel has no such counter")
		}
		return claim(title, want.Text, "not read", false)
	}
	observed := fmt.Sprintf("%d -> %d", c.Before, c.After)
	return claim(title, want.Text, observed, want.Holds(c.Delta()), evidence.Counters)
}

// v1Kills stands in for memory.events on cgroup v1, where memory.oom_control
// counts the kills of one cgroup only: the sum is what v2 would count.
func (j *joined) v1Kills(path string, below bool) (BeforeAfter, bool) {
	var sum BeforeAfter
	found := false
	for key, c := range j.counters {
		if key.file != evidence.FileOOMControl || key.name != evidence.CounterOOMKill || key.cgroup == base {
			continue
		}
		if key.cgroup == path || below && inside(key.cgroup, path) {
			sum.Before += c.Before
			sum.After += c.After
			found = true
		}
	}
	return sum, found
}

func (j *joined) withinClaim(e scenario.Expect) Claim {
	limit := e.Within.Milliseconds() * max(1, j.in.Plan.Stretch)
	expected := e.Within.String()
	if j.in.Plan.Stretch > 1 {
		expected += fmt.Sprintf(", %d times as long where a processor is emulated", j.in.Plan.Stretch)
	}
	if j.waitsForTheEnd() {
		return claim("within", expected, "watched for all of it", j.endText == "within", evidence.Agent)
	}
	end := j.begin
	for _, ev := range j.in.Events {
		if ev.Kind == evidence.End {
			end = ev.AtNS
		}
	}
	took := j.ms(end)
	observed := fmt.Sprintf("%s after %.1f s", orNone(j.endText), float64(took)/1000)
	return claim("within", expected, observed, j.endText == "settled" && took <= limit, evidence.Agent)
}

// waitsForTheEnd reports whether the run is meant to last all of `within`:
// something in it never comes to rest.
func (j *joined) waitsForTheEnd() bool {
	if len(j.in.Plan.Throttled) > 0 {
		return true
	}
	for _, p := range j.in.Plan.Processes {
		l := byName(j.lives, p.Name)
		if p.Respawn < 0 || p.Endless() && l != nil && l.exit == nil {
			return true
		}
	}
	return false
}

func signalOf(e scenario.Exit) int {
	if e.Signal == "" {
		return 0
	}
	return numberOf(e.Signal)
}
