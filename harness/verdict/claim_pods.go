package verdict

import (
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/scenario"
)

func init() {
	addClaim(claimKind{
		place: 120, key: "qosClass", from: evidence.API,
		judge: func(a *account, e scenario.Expect) []Claim {
			return each(e.QoSClass, func(pod, want string) Claim {
				got := a.api().pod(pod).QOSClass
				return claim("qosClass "+pod, want, orNone(got), got == want, evidence.API)
			})
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			return invertEach(e, func(e *scenario.Expect) *map[string]string { return &e.QoSClass },
				func(_, want string) []string { return []string{other(kubelet.Classes, want)} })
		},
	})
	addClaim(claimKind{
		place: 130, key: "oom_score_adj", from: evidence.Runtime,
		judge: func(a *account, e scenario.Expect) []Claim {
			return each(e.OOMScoreAdj, func(name string, want scenario.Num) Claim {
				got := a.agent().adjOf(name)
				ok := len(got) > 0 && !slices.ContainsFunc(got, func(adj int) bool { return !want.Holds(int64(adj)) })
				return claim("oom_score_adj "+name, want.Text, adjText(got), ok, evidence.Agent)
			})
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			return invertEach(e, func(e *scenario.Expect) *map[string]scenario.Num { return &e.OOMScoreAdj }, opposites)
		},
	})
	addClaim(claimKind{
		place: 150, key: "pods", from: evidence.API,
		judge: func(a *account, e scenario.Expect) []Claim {
			return each(e.Pods, func(pod string, want scenario.PodClaim) Claim {
				got := a.api().pod(pod)
				ok := (want.Phase == "" || got.Phase == want.Phase) && (want.Reason == "" || got.Reason == want.Reason)
				expected, observed := words(want.Phase, want.Reason), words(got.Phase, got.Reason)
				return claim("pods "+pod, expected, observed, ok, evidence.API)
			})
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			return invertEach(e, func(e *scenario.Expect) *map[string]scenario.PodClaim { return &e.Pods },
				func(_ string, want scenario.PodClaim) []scenario.PodClaim {
					out := []scenario.PodClaim{{Phase: want.Phase, Reason: "Not" + want.Reason}}
					if want.Phase != "" {
						phase := other([]string{kubelet.PodRunning, kubelet.PodFailed}, want.Phase)
						out = append(out, scenario.PodClaim{Phase: phase})
					}
					return out
				})
		},
	})
}

func adjText(all []int) string {
	if len(all) == 0 {
		return "not read"
	}
	var out []string
	for _, a := range all {
		if s := strconv.Itoa(a); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return strings.Join(out, ", ")
}
