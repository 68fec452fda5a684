package verdict

import (
	"strconv"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/scenario"
)

func init() {
	podEvents := func(e *scenario.Expect) *byName { return &e.PodEvents }
	addClaim(claimKind{
		place: 160, key: "podEvents", from: evidence.API,
		judge: func(a *account, e scenario.Expect) []Claim {
			return eachOfEach(e.PodEvents, func(pod, reason string, want scenario.Num) Claim {
				return eventClaim("podEvents "+pod+" "+reason, want, a.api().podEvents[pod], reason, evidence.API)
			})
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			return invertEachOfEach(e, podEvents, func(string) bool { return true })
		},
	})
	addClaim(claimKind{
		place: 170, key: "nodeEvents", from: evidence.API,
		judge: func(a *account, e scenario.Expect) []Claim {
			return each(e.NodeEvents, func(reason string, want scenario.Num) Claim {
				sources := []evidence.Source{evidence.API}
				if reason == kubelet.SystemOOM && a.kubelet().loud() {
					sources = a.withKubelet(sources...)
				}
				return eventClaim("nodeEvents "+reason, want, a.api().nodeEvents, reason, sources...)
			})
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			return invertEach(e, func(e *scenario.Expect) *map[string]scenario.Num { return &e.NodeEvents }, opposites)
		},
	})
	addClaim(claimKind{
		place: 180, key: "nodeConditions", from: evidence.API,
		judge: func(a *account, e scenario.Expect) []Claim {
			text := map[bool]string{true: "was True", false: "never True"}
			return each(e.NodeConditions, func(name string, want bool) Claim {
				got, known := a.api().conditions[name]
				observed := text[got]
				if !known {
					observed = "not seen"
				}
				return claim("nodeConditions "+name, text[want], observed, known && got == want, evidence.API)
			})
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			return invertEach(e, func(e *scenario.Expect) *map[string]bool { return &e.NodeConditions },
				func(_ string, want bool) []bool { return []bool{!want} })
		},
	})
}

// eventClaim is about how often an event of a reason came, by the count of each
// object.
func eventClaim(
	name string, want scenario.Num, all map[string]evidence.Happened, reason string, sources ...evidence.Source,
) Claim {
	var got int64
	for _, h := range all {
		if h.Reason == reason {
			got += int64(max(1, h.Count))
		}
	}
	return claim(name, want.Text, strconv.FormatInt(got, 10), want.Holds(got), sources...)
}
