package verdict

import (
	"fmt"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/scenario"
)

func init() {
	addClaim(cgroupCounters(90, evidence.FileMemoryEvents, func(e *scenario.Expect) *byName {
		return &e.MemoryEvents
	}))
	addClaim(cgroupCounters(91, evidence.FileMemoryEventsLocal, func(e *scenario.Expect) *byName {
		return &e.MemoryEventsLocal
	}))
	addClaim(claimKind{
		place: 92, key: "vmstat",
		judge: func(a *account, e scenario.Expect) []Claim {
			return each(e.Vmstat, func(name string, want scenario.Num) Claim {
				return a.counterClaim(evidence.FileVmstat, "", name, want)
			})
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			return invertEach(e, func(e *scenario.Expect) *map[string]scenario.Num { return &e.Vmstat }, opposites)
		},
	})
}

// byName are claims about numbers: by cgroup or pod, and then by name.
type byName = map[string]map[string]scenario.Num

// cgroupCounters are claims about a file of counters that every cgroup has.
func cgroupCounters(place int, file string, of func(*scenario.Expect) *byName) claimKind {
	return claimKind{
		place: place, key: file,
		judge: func(a *account, e scenario.Expect) []Claim {
			return eachOfEach(*of(&e), func(path, name string, want scenario.Num) Claim {
				return a.counterClaim(file, path, name, want)
			})
		},
		invert: func(in Input, e scenario.Expect) []scenario.Expect {
			return invertEachOfEach(e, of, func(name string) bool {
				return in.Plan.CgroupVersion != 1 || name == evidence.CounterOOMKill // v1 has no other
			})
		},
	}
}

func eachOfEach(all byName, judge func(of, name string, want scenario.Num) Claim) []Claim {
	var out []Claim
	for _, of := range sortedKeys(all) {
		out = append(out, each(all[of], func(name string, want scenario.Num) Claim { return judge(of, name, want) })...)
	}
	return out
}

// invertEachOfEach inverts the claims whose names can be told.
func invertEachOfEach(
	e scenario.Expect, of func(*scenario.Expect) *byName, told func(name string) bool,
) []scenario.Expect {
	return invertEach(e, of, func(_ string, all map[string]scenario.Num) []map[string]scenario.Num {
		var out []map[string]scenario.Num
		for _, name := range sortedKeys(all) {
			if told(name) {
				out = append(out, replaced(all, name, opposite(all[name])))
			}
		}
		return out
	})
}

func (a *account) counterClaim(file, path, name string, want scenario.Num) Claim {
	title := strings.TrimSpace(file+" "+path) + " " + name
	c, ok := a.counters().all[counterKey{path, file, name}]
	v1 := a.in.Plan.CgroupVersion == 1 && path != ""
	if !ok && v1 && name == evidence.CounterOOMKill {
		c, ok = a.counters().v1Kills(path, file == evidence.FileMemoryEvents)
	}
	switch {
	case ok:
		observed := fmt.Sprintf("%d -> %d", c.Before, c.After)
		return claim(title, want.Text, observed, want.Holds(c.Delta()), evidence.Counters)
	case v1:
		return cannotTell(title, want.Text, "cgroup v1 has no such counter")
	case name == "oom_group_kill" || name == "sock_throttled":
		return cannotTell(title, want.Text, "this kernel has no such counter")
	}
	return claim(title, want.Text, "not read", false)
}
