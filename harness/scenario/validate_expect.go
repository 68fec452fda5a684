package scenario

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

// constraints are the kernel's reasons for an OOM, enum oom_constraint of
// include/linux/oom.h without its prefix.
var constraints = []string{"none", "cpuset", "mempolicy", "memcg"}

// MemoryEvents are the keys of memory.events, the newest included
// (mem_cgroup events of mm/memcontrol.c).
var MemoryEvents = []string{"low", "high", "max", "oom", "oom_kill", "oom_group_kill", "sock_throttled"}

var vmstatKey = regexp.MustCompile(`^[a-z0-9_]+$`)

// expect checks the claims: that they are about something that exists, that
// the evidence can contradict them, and that they do not contradict each other.
func (v *validator) expect() {
	e := v.s.Expect
	if e.Within <= 0 {
		v.problem(at("expect", "within"), "write within: 30s", "there is no time to run")
	} else if e.Within > maxWithin {
		v.problem(at("expect", "within"), "", "%v is longer than a run may last (%v)", e.Within, maxWithin)
	}
	if e.Constraint != "" && !slices.Contains(constraints, e.Constraint) {
		v.problem(at("expect", "constraint"), meant(strings.TrimPrefix(strings.ToLower(e.Constraint), "constraint_"),
			constraints),
			"%q is not a constraint", e.Constraint)
	}
	v.ranked(e)
	v.refer(e.Trigger, at("expect", "trigger"))
	v.refer(e.Survives, at("expect", "survives"))
	v.refer(e.Throttled, at("expect", "throttled"))
	if e.Killed == nil && e.Panic == "" {
		v.problem(at("expect"), "add killed: [NAME], or killed: [] if nobody dies",
			"says neither who is killed nor that the kernel panics: nothing in it could fail")
	}
	if e.Killed != nil {
		v.killedClaim(*e.Killed)
	}
	v.nobody(e)
	v.limits(e)
	v.ends(e)
	v.fails(e)
	v.reads(e)
	v.totalPages(e)
	v.unitClaims(e)
	v.inspectClaims(e)
	for _, c := range []struct {
		key   string
		claim map[string]map[string]Num
	}{{"memory.events", e.MemoryEvents}, {"memory.events.local", e.MemoryEventsLocal}} {
		v.events(c.key, c.claim)
	}
	for _, key := range slices.Sorted(maps.Keys(e.Vmstat)) {
		path := at("expect", "vmstat", key)
		if !vmstatKey.MatchString(key) {
			v.problem(path, "", "%q is not a line of /proc/vmstat", key)
		}
		// nr_* are levels, which may fall; the others only count up
		if !strings.HasPrefix(key, "nr_") {
			v.counter(e.Vmstat[key], path)
		}
	}
	v.down(e)
	v.expectKube(e)
}

// ranked checks the claim about the ranking. It is made where oomlab starts the processes
// itself, of the machine and of its cgroups.
func (v *validator) ranked(e Expect) {
	path := at("expect", "ranked")
	switch {
	case e.Ranked == "":
		return
	case e.Ranked != RankedFirst && e.Ranked != RankedOther:
		v.problem(path, "write first, or other if somebody else is first in the ranking",
			"%q is neither first nor other", e.Ranked)
	case e.Constraint == "cpuset" || e.Constraint == "mempolicy":
		v.problem(path, "leave it out", "the machine and its cgroups are ranked, not nodes, and the constraint is %s",
			e.Constraint)
	case slices.Contains(v.s.Targets, Kube) || len(v.s.Targets) == 0 && len(v.s.Pods) > 0:
		v.problem(path, "leave it out, or kube out of targets", "nothing is ranked on target kube")
	}
}

// totalPages checks the claim about the size of the domain.
func (v *validator) totalPages(e Expect) {
	path := at("expect", "total_pages")
	switch c := e.TotalPages; {
	case c == (Num{}):
	case c.Min <= 0 && c.Max == NumMax:
		v.problem(path, "write a number of pages", "%q holds for every domain: it cannot fail", c)
	case c.Max <= 0:
		v.problem(path, "write a number of pages", "%q holds for no domain: each has a page", c)
	}
}

// counter refuses comparisons that say nothing of a number that only goes up.
func (v *validator) counter(c Num, path []string) {
	switch {
	case c.Min <= 0 && c.Max == NumMax:
		v.problem(path, `write ">= 1", or a number`, "%q holds for every count: it cannot fail", c)
	case c.Max < 0:
		v.problem(path, "", "%q holds for no count: it only goes up", c)
	}
}

func (v *validator) killedClaim(k Killed) {
	path := at("expect", "killed")
	if k.From == nil && k.Count == (Num{}) {
		v.refer(k.InOrder, path)
		v.chosen(k.InOrder, path)
		return
	}
	if k.InOrder != nil {
		v.problem(path, "write one or the other", "has both a list and a count")
		return
	}
	from := with(path, "from")
	switch {
	case len(k.From) == 0:
		v.problem(from, "name those who may be killed, or write killed: [] for nobody", "there is nobody to kill")
		return
	case k.Count == (Num{}):
		v.problem(with(path, "count"), `write count: 1, ">= 1" or "2..5"`, "is missing")
		return
	}
	v.refer(k.From, from)
	v.chosen(k.From, from)
	all := v.all(k.From)
	total := 0
	respawn := false
	for _, name := range v.spoken {
		if v.processes[name] != nil || strings.Contains(name, "/") {
			total += len(v.stands[name])
		}
	}
	for _, one := range all {
		respawn = respawn || v.restarts(one)
	}
	count := with(path, "count")
	switch c := k.Count; {
	case c.Min <= 0 && c.Max == NumMax && len(all) == total && v.allDescendants(k.From):
		v.problem(count, `write ">= 1", or leave a process out of from`, "%q of everybody holds whatever happens: "+
			"it cannot fail", c)
	case c.Max <= 0:
		v.problem(count, "write killed: [] for nobody", "%q holds only when nobody is killed", c)
	case !respawn && c.Min > int64(len(all)) && !v.namesDescendants(k.From):
		v.problem(count, "", "%q can never hold: from has %d, and none of them is started again", c, len(all))
	}
}

// chosen refuses victims that the kernel never chooses.
func (v *validator) chosen(names []string, path []string) {
	for _, one := range v.all(names) {
		if p := v.of(one); p != nil && p.ScoreAdj() == -1000 && !v.readjusted(p.Name) {
			v.problem(path, "", "%q is at -1000 and never chosen", one)
		}
	}
	if path[len(path)-1] == "from" {
		return
	}
	seen := map[string]bool{}
	for _, name := range names {
		for _, one := range v.stands[name] {
			if seen[one] && !v.restarts(one) {
				v.problem(path, "", "%q is killed twice, but never started again", one)
			}
			seen[one] = true
		}
	}
}

// victims are those of whom the claim says that they are killed, and those of
// whom it says that they may be.
func (v *validator) victims(e Expect) (certain, possible []string) {
	if e.Killed == nil {
		return nil, nil
	}
	certain = v.all(e.Killed.InOrder)
	return certain, append(slices.Clip(certain), v.all(e.Killed.From)...)
}

// nobody refuses claims about a kill that the scenario says does not happen.
func (v *validator) nobody(e Expect) {
	if e.Killed == nil || len(e.Killed.InOrder) > 0 || e.Killed.From != nil || e.Killed.Count != (Num{}) ||
		e.Panic != "" {
		return
	}
	for _, c := range []struct {
		key   string
		given bool
	}{{"constraint", e.Constraint != ""}, {"oom_memcg", e.OOMMemcg != ""}, {"trigger", len(e.Trigger) > 0}, {"ranked",
		e.Ranked != ""}, {"domain", e.Domain != ""}, {"total_pages", e.TotalPages != (Num{})}} {
		if c.given {
			v.problem(at("expect", c.key), "leave it out", "says how somebody is killed, but killed: [] says that "+
				"nobody is")
		}
	}
	for path, claims := range e.MemoryEvents {
		if c, ok := claims["oom_kill"]; ok && c.Min > 0 {
			v.problem(at("expect", "memory.events", path, "oom_kill"), "", "%q contradicts killed: []", c)
		}
	}
}

// limits checks the claims about the limit that was hit.
func (v *validator) limits(e Expect) {
	if e.OOMMemcg != "" {
		v.cgroup(e.OOMMemcg, at("expect", "oom_memcg"))
		if e.Constraint != "" && e.Constraint != "memcg" {
			v.problem(at("expect", "oom_memcg"), "", "a cgroup's limit is hit with constraint memcg, not %s",
				e.Constraint)
		}
		if c := v.cgroups[e.OOMMemcg]; c != nil && !c.limited() && !v.limitedLater(e.OOMMemcg) &&
			!v.wrong("cgroups", e.OOMMemcg) {
			v.problem(at("expect", "oom_memcg"), "", "%s has no memory.max that could be hit", e.OOMMemcg)
		}
		return
	}
	if e.Constraint != "memcg" || v.unread("cgroups") || v.unread("pods") || len(v.s.Pods) > 0 {
		return
	}
	for _, c := range v.s.Cgroups {
		if c.limited() || v.limitedLater(c.Path) || v.wrong("cgroups", c.Path) {
			return
		}
	}
	v.problem(at("expect", "constraint"), "give a cgroup a memory.max", "no cgroup has a limit that could be hit")
}

// limitedLater reports whether the cgroup gets a memory.max while the scenario
// runs; "" asks for any cgroup.
func (v *validator) limitedLater(path string) bool {
	return slices.ContainsFunc(v.s.During, func(d During) bool {
		for p, c := range d.Set {
			if (p == path || path == "") && c.limited() {
				return true
			}
		}
		return false
	})
}

// ends checks what is said about how processes end, or that they do not.
func (v *validator) ends(e Expect) {
	certain, possible := v.victims(e)
	// an unknown name has been reported; whom it meant is anybody's guess
	sound := e.Killed == nil || !slices.ContainsFunc(append(slices.Clip(e.Killed.InOrder), e.Killed.From...),
		func(name string) bool {
			return v.stands[name] == nil
		})
	alive := v.all(e.Survives)
	slowed := v.all(e.Throttled)
	dragged := v.dragged()
	for _, one := range alive {
		if slices.Contains(possible, one) {
			v.problem(at("expect", "survives"), "leave it out of one of them", "%q is also in killed", one)
		}
	}
	for _, one := range slowed {
		if slices.Contains(possible, one) {
			v.problem(at("expect", "throttled"), "leave it out of one of them", "%q is also in killed", one)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.Exit)) {
		claim, path := e.Exit[name], at("expect", "exit", name)
		v.refer(Names{name}, path)
		for _, one := range v.stands[name] {
			p := v.of(one)
			switch {
			case slices.Contains(slowed, one):
				v.problem(path, "leave it out of one of them", "%q is also in throttled, and so still alive", one)
			case slices.Contains(alive, one):
				v.problem(path, "leave it out of one of them", "%q is also in survives, and so still alive", one)
			case claim.Signal != "SIGKILL" && slices.Contains(certain, one):
				v.problem(path, "write SIGKILL", "%q is in killed, and so ends by SIGKILL", one)
			case claim.Signal == "SIGKILL" && e.Killed != nil && sound && e.Panic == "" &&
				!slices.Contains(possible, one) && !dragged[one]:
				v.problem(path, "", "nothing kills %q: it is not in killed", one)
			case claim.Code == 137 && p != nil && len(p.Do) > 0 && p.Do[len(p.Do)-1].Code != 137:
				v.problem(path, "write SIGKILL; 137 is how a shell reports it", "%q does not exit with 137", one)
			}
		}
	}
}

// dragged are the processes that may get SIGKILL without being victims: by a
// during action, or because they share their memory with another
// (__oom_kill_process, mm/oom_kill.c).
func (v *validator) dragged() map[string]bool {
	out := map[string]bool{}
	add := func(name string) {
		for _, one := range v.stands[name] {
			out[one] = true
		}
	}
	for _, d := range v.s.During {
		for who, sig := range d.Signal {
			if sig == "SIGKILL" {
				add(who)
			}
		}
	}
	for _, p := range v.s.Pods {
		// who is forked dies with its container, and what is evicted may be killed
		evicted := v.s.Expect.Evicted != nil && slices.Contains(*v.s.Expect.Evicted, p.Name)
		for _, c := range p.all() {
			if evicted {
				add(p.Name + "/" + c.Name)
			}
			for _, f := range c.Processes {
				add(p.Name + "/" + c.Name + "/" + f.Name)
			}
		}
	}
	for _, p := range v.s.Processes {
		if p.SharesMemoryWith != "" {
			add(p.Name)
			add(p.SharesMemoryWith)
		}
	}
	return out
}

func (v *validator) events(key string, claim map[string]map[string]Num) {
	certain, _ := v.victims(v.s.Expect)
	for _, cgroup := range slices.Sorted(maps.Keys(claim)) {
		path := at("expect", key, cgroup)
		v.cgroup(cgroup, path)
		if len(claim[cgroup]) == 0 {
			v.problem(path, "write {oom_kill: 1}", "claims nothing")
		}
		if c := v.cgroups[cgroup]; c != nil && c.Transient {
			hint, of := "claim killed, or leave Restart out", "unit"
			if c.Container != "" {
				hint, of = "claim killed", "container"
			}
			v.problem(path, hint, "the counters of %q begin anew with each start of its %s", cgroup, of)
		}
		for _, event := range slices.Sorted(maps.Keys(claim[cgroup])) {
			below := with(path, event)
			if !slices.Contains(MemoryEvents, event) {
				v.problem(below, meant(event, MemoryEvents), "memory.events has no %q", event)
				continue
			}
			c := claim[cgroup][event]
			v.counter(c, below)
			if event != "oom_kill" {
				continue
			}
			// never fewer than victims; more with memory.oom.group, which counts the first one twice
			victims := 0
			for _, one := range certain {
				if p := v.of(one); p != nil && (p.Cgroup == cgroup || key == "memory.events" &&
					kernel.InCgroup(p.Cgroup, cgroup)) {
					victims++
				}
			}
			if c.Max >= 0 && c.Max < int64(victims) {
				v.problem(below, "", "%q contradicts killed, which has %d of its processes", c, victims)
			}
		}
	}
}

// down refuses claims about a machine that has panicked by then.
func (v *validator) down(e Expect) {
	if e.Panic == "" {
		return
	}
	for _, c := range []struct {
		key   string
		given bool
	}{
		{"survives", len(e.Survives) > 0}, {"throttled", len(e.Throttled) > 0}, {"exit", len(e.Exit) > 0},
		{"fails", len(e.Fails) > 0}, {"ranked", e.Ranked != ""},
		{"memory.events", len(e.MemoryEvents) > 0}, {"memory.events.local", len(e.MemoryEventsLocal) > 0}, {"vmstat",
			len(e.Vmstat) > 0},
		{"total_pages", e.TotalPages != (Num{})},
	} {
		if c.given {
			v.problem(at("expect", c.key), "leave it out", "cannot be seen: the machine panics")
		}
	}
}
