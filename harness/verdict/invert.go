package verdict

import (
	"maps"
	"slices"
	"time"

	"github.com/oomlab/oomlab/harness/scenario"
)

// Inversion is a scenario's expectation with one claim turned into its
// opposite. A run that shows the claim must contradict the inversion.
type Inversion struct {
	Claim  string // the kind of claim
	Expect scenario.Expect
}

// Invert turns every claim of an expectation round, one at a time. It is how a
// scenario is shown to be able to fail: a run that passes must fail each of
// these.
func Invert(in Input) []Inversion {
	e := in.Scenario.Expect
	var out []Inversion
	with := func(name string, change func(*scenario.Expect)) {
		c := e
		change(&c)
		out = append(out, Inversion{name, c})
	}
	if e.Constraint != "" {
		with("constraint", func(c *scenario.Expect) {
			c.Constraint = "cpuset"
		})
	}
	if e.OOMMemcg != "" {
		with("oom_memcg", func(c *scenario.Expect) { c.OOMMemcg = e.OOMMemcg + "/elsewhere" })
	}
	if len(e.Trigger) > 0 {
		with("trigger", func(c *scenario.Expect) { c.Trigger = otherThan(in, e.Trigger) })
	}
	if e.Killed != nil {
		with("killed", func(c *scenario.Expect) { c.Killed = otherKills(in, *e.Killed) })
	}
	for i := range e.Survives {
		with("survives", func(c *scenario.Expect) {
			c.Survives = slices.Clone(e.Survives)
			c.Survives[i] = "no such process"
		})
	}
	if len(e.Throttled) > 0 {
		with("throttled", func(c *scenario.Expect) { c.Throttled = scenario.Names{"no such process"} })
	}
	for _, name := range slices.Sorted(maps.Keys(e.Exit)) {
		with("exit", func(c *scenario.Expect) {
			c.Exit = maps.Clone(e.Exit)
			if e.Exit[name].Signal == "" {
				c.Exit[name] = scenario.Exit{Signal: "SIGKILL"}
			} else {
				c.Exit[name] = scenario.Exit{Code: 137} // what a shell makes of it is not what happened
			}
		})
	}
	for _, f := range []struct {
		name string
		get  func(*scenario.Expect) *map[string]map[string]scenario.Num
	}{
		{memoryEvents, func(c *scenario.Expect) *map[string]map[string]scenario.Num { return &c.MemoryEvents }},
		{memoryEventsLocal, func(c *scenario.Expect) *map[string]map[string]scenario.Num { return &c.MemoryEventsLocal }},
	} {
		for path, counters := range *f.get(&e) {
			for name := range counters {
				if in.Plan.CgroupVersion == 1 && name != oomKill {
					continue // cannot be told, so it cannot be contradicted either
				}
				with(f.name, func(c *scenario.Expect) {
					m := f.get(c)
					*m = maps.Clone(*m)
					(*m)[path] = maps.Clone((*m)[path])
					(*m)[path][name] = opposite((*m)[path][name])
				})
			}
		}
	}
	for name := range e.Vmstat {
		with(vmstat, func(c *scenario.Expect) {
			c.Vmstat = maps.Clone(e.Vmstat)
			c.Vmstat[name] = opposite(e.Vmstat[name])
		})
	}
	if e.Panic != "" {
		with("panic", func(c *scenario.Expect) { c.Panic = "another text than " + e.Panic })
	} else if len(e.Throttled) == 0 {
		with("within", func(c *scenario.Expect) { c.Within = time.Nanosecond })
	}
	return out
}

// otherThan names processes of the plan that are not the given ones, or nobody.
func otherThan(in Input, names scenario.Names) scenario.Names {
	taken := map[string]bool{}
	for _, n := range names {
		for _, p := range in.Plan.Names(n) {
			taken[p] = true
		}
	}
	out := scenario.Names{}
	for _, p := range in.Plan.Processes {
		if !taken[p.Name] {
			out = append(out, p.Name)
		}
	}
	if len(out) == 0 {
		out = scenario.Names{"no such process"}
	}
	return out
}

// otherKills claims one kill fewer or, where there was none, one that was not.
func otherKills(in Input, k scenario.Killed) *scenario.Killed {
	if len(k.From) > 0 {
		return &scenario.Killed{From: otherThan(in, k.From), Count: k.Count}
	}
	if len(k.InOrder) > 0 {
		return &scenario.Killed{InOrder: slices.Clone(k.InOrder[:len(k.InOrder)-1])}
	}
	return &scenario.Killed{InOrder: []string{in.Plan.Processes[0].Name}}
}

// opposite is a comparison that holds for no number the original holds for.
func opposite(n scenario.Num) scenario.Num {
	if n.Max == scenario.NumMax {
		return scenario.Num{Min: 0, Max: n.Min - 1, Text: "not " + n.Text}
	}
	return scenario.Num{Min: n.Max + 1, Max: scenario.NumMax, Text: "more than " + n.Text}
}
