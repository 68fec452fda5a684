package verdict

import (
	"maps"
	"slices"
	"time"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
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
		{evidence.FileMemoryEvents, func(c *scenario.Expect) *map[string]map[string]scenario.Num { return &c.MemoryEvents }},
		{evidence.FileMemoryEventsLocal, func(c *scenario.Expect) *map[string]map[string]scenario.Num { return &c.MemoryEventsLocal }},
	} {
		for path, counters := range *f.get(&e) {
			for name := range counters {
				if in.Plan.CgroupVersion == 1 && name != evidence.CounterOOMKill {
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
		with(evidence.FileVmstat, func(c *scenario.Expect) {
			c.Vmstat = maps.Clone(e.Vmstat)
			c.Vmstat[name] = opposite(e.Vmstat[name])
		})
	}
	invertCluster(e, with)
	if e.Panic != "" {
		with("panic", func(c *scenario.Expect) { c.Panic = "another text than " + e.Panic })
	} else if len(e.Throttled) == 0 {
		with("within", func(c *scenario.Expect) { c.Within = time.Nanosecond })
	}
	return out
}

// invertCluster turns the claims about a cluster round.
func invertCluster(e scenario.Expect, with func(string, func(*scenario.Expect))) {
	if e.Domain != "" {
		with("domain", func(c *scenario.Expect) { c.Domain = other(kubelet.Domains, e.Domain) })
	}
	for _, pod := range slices.Sorted(maps.Keys(e.QoSClass)) {
		with("qosClass", func(c *scenario.Expect) {
			c.QoSClass = maps.Clone(e.QoSClass)
			c.QoSClass[pod] = other(kubelet.Classes, e.QoSClass[pod])
		})
	}
	for _, name := range slices.Sorted(maps.Keys(e.OOMScoreAdj)) {
		with("oom_score_adj", func(c *scenario.Expect) {
			c.OOMScoreAdj = maps.Clone(e.OOMScoreAdj)
			c.OOMScoreAdj[name] = opposite(e.OOMScoreAdj[name])
		})
	}
	for _, name := range slices.Sorted(maps.Keys(e.Containers)) {
		for _, round := range invertContainer(e.Containers[name]) {
			with("containers", func(c *scenario.Expect) {
				c.Containers = maps.Clone(e.Containers)
				c.Containers[name] = round
			})
		}
	}
	for _, pod := range slices.Sorted(maps.Keys(e.Pods)) {
		with("pods", func(c *scenario.Expect) {
			c.Pods = maps.Clone(e.Pods)
			claim := e.Pods[pod]
			claim.Reason = "Not" + claim.Reason
			c.Pods[pod] = claim
		})
		if e.Pods[pod].Phase != "" {
			with("pods", func(c *scenario.Expect) {
				c.Pods = maps.Clone(e.Pods)
				c.Pods[pod] = scenario.PodClaim{Phase: other([]string{"Running", "Failed"}, e.Pods[pod].Phase)}
			})
		}
	}
	for pod, events := range e.PodEvents {
		for reason := range events {
			with("podEvents", func(c *scenario.Expect) {
				c.PodEvents = maps.Clone(e.PodEvents)
				c.PodEvents[pod] = maps.Clone(events)
				c.PodEvents[pod][reason] = opposite(events[reason])
			})
		}
	}
	for reason := range e.NodeEvents {
		with("nodeEvents", func(c *scenario.Expect) {
			c.NodeEvents = maps.Clone(e.NodeEvents)
			c.NodeEvents[reason] = opposite(e.NodeEvents[reason])
		})
	}
	for name := range e.NodeConditions {
		with("nodeConditions", func(c *scenario.Expect) {
			c.NodeConditions = maps.Clone(e.NodeConditions)
			c.NodeConditions[name] = !e.NodeConditions[name]
		})
	}
	for name, claim := range map[string]*scenario.Names{"evicted": e.Evicted, "misreports": e.Misreports} {
		if claim == nil {
			continue
		}
		round := scenario.Names{}
		if len(*claim) == 0 {
			round = scenario.Names{"no such thing"}
		}
		with(name, func(c *scenario.Expect) {
			if name == "evicted" {
				c.Evicted = &round
			} else {
				c.Misreports = &round
			}
		})
	}
}

// other is the first of the words that is not this one.
func other(words []string, than string) string {
	return words[slices.IndexFunc(words, func(w string) bool { return w != than })]
}

// invertContainer turns every part of a claim about a container round.
func invertContainer(c scenario.ContainerClaim) []scenario.ContainerClaim {
	var out []scenario.ContainerClaim
	with := func(given bool, change func(*scenario.ContainerClaim)) {
		if given {
			round := c
			change(&round)
			out = append(out, round)
		}
	}
	code := func(n *int) *int { more := *n + 1; return &more }
	with(c.State != "", func(r *scenario.ContainerClaim) { r.State = other([]string{"running", "terminated"}, c.State) })
	with(c.Reason != "", func(r *scenario.ContainerClaim) { r.Reason = other([]string{"Error", "OOMKilled"}, c.Reason) })
	with(c.ExitCode != nil, func(r *scenario.ContainerClaim) { r.ExitCode = code(c.ExitCode) })
	with(c.RestartCount != nil, func(r *scenario.ContainerClaim) { n := opposite(*c.RestartCount); r.RestartCount = &n })
	if l := c.LastState; l != nil {
		with(l.Reason != "", func(r *scenario.ContainerClaim) {
			r.LastState = &scenario.LastState{Reason: other([]string{"Error", "OOMKilled"}, l.Reason), ExitCode: l.ExitCode}
		})
		with(l.ExitCode != nil, func(r *scenario.ContainerClaim) {
			r.LastState = &scenario.LastState{Reason: l.Reason, ExitCode: code(l.ExitCode)}
		})
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
