package verdict

import (
	"maps"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
)

func init() {
	addClaim(claimKind{
		place: 94, key: "inspect", from: evidence.Engine,
		judge: func(a *account, e scenario.Expect) []Claim {
			var out []Claim
			for _, name := range sortedKeys(e.Inspect) {
				out = append(out, each(e.Inspect[name], func(property, want string) Claim {
					return a.inspectClaim(name, property, want)
				})...)
			}
			return out
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			return invertEach(e, func(e *scenario.Expect) *map[string]map[string]string { return &e.Inspect },
				func(_ string, all map[string]string) []map[string]string {
					return otherProperties(scenario.InspectProperties, all)
				})
		},
	})
	addClaim(claimKind{place: 219, from: evidence.Engine, judge: func(a *account, _ scenario.Expect) []Claim {
		return a.predictedContainersOf(a.in.Prediction)
	}})
}

// inspectClaim judges a property of a container.
func (a *account) inspectClaim(container, name, want string) Claim {
	observed, ok := "its engine never said anything of it", false
	p, known := scenario.PropertyOf(scenario.InspectProperties, name)
	if s := a.engine().last(container); s != nil && known {
		is := shown(*s, name)
		observed, ok = orNone(p.Reads(is)), p.Holds(want, is)
	}
	return claim("inspect "+container+" "+name, orNone(want), observed, ok, evidence.Engine)
}

// predictedContainersOf: engines say what was predicted.
func (a *account) predictedContainersOf(p predict.Prediction) []Claim {
	if len(p.Containers) == 0 {
		return nil
	}
	n := 0
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(p.Containers)) {
		s := a.engine().last(name)
		if s == nil {
			continue
		}
		n++
		if d := differ(p.Containers[name].Shows, s.Shows, asShown); len(d) > 0 {
			wrong = append(wrong, name+" has "+strings.Join(d, ", "))
		}
	}
	return []Claim{every("prediction.inspect", "what engines say at the end", n, wrong, evidence.Engine)}
}
