package verdict

import (
	"fmt"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/scenario"
)

func init() {
	addClaim(claimKind{
		place: 55, key: "ranked",
		judge: func(a *account, e scenario.Expect) []Claim {
			if e.Ranked == "" {
				return nil
			}
			if len(a.kills) == 0 {
				return []Claim{claim("ranked", e.Ranked, "none", false)}
			}
			observed, ok := a.ranked(e.Ranked)
			if observed == "" {
				return []Claim{cannotTell("ranked", e.Ranked, "there is no ranking of before the kill")}
			}
			return []Claim{claim("ranked", e.Ranked, observed, ok, evidence.Agent, evidence.BPF)}
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			return with(e.Ranked != "", e, func(c *scenario.Expect) {
				c.Ranked = other([]string{scenario.RankedFirst, scenario.RankedOther}, e.Ranked)
			})
		},
	})
	addClaim(claimKind{place: 225, whole: true, judge: func(a *account, _ scenario.Expect) []Claim {
		if !a.in.Plan.Ranks {
			return nil
		}
		return []Claim{a.rankings()}
	}})
}

// rankings: whoever was so far ahead that nothing in between could have changed the order
// is whom the kernel chose.
func (a *account) rankings() Claim {
	n, wrong := 0, []string{}
	for _, k := range a.kills {
		if k.Ranked == nil || k.Ranked.Open != "" {
			continue
		}
		if n++; !k.Ranked.isFirst() {
			wrong = append(wrong, fmt.Sprintf("%s was killed: %s", k.Victim, k.Ranked))
		}
	}
	return every("ranking", "the first, where the order could not change", n, wrong, evidence.Agent, evidence.BPF)
}

// ranked says where the first victim stood, and whether that is as expected; no words:
// there is no ranking of before the kill.
func (a *account) ranked(expected string) (observed string, ok bool) {
	r := a.first().Ranked
	if r == nil {
		return "", false
	}
	if expected == scenario.RankedOther {
		return r.String(), r.isOther()
	}
	return r.String(), r.isFirst()
}
