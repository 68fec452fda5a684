package verdict

import (
	"maps"
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/scenario"
)

func init() {
	addClaim(claimKind{
		place: 190, key: "evicted", from: evidence.API,
		judge: func(a *account, e scenario.Expect) []Claim {
			if e.Evicted == nil {
				return nil
			}
			want, got := *e.Evicted, a.api().evicted
			sources := a.withKubelet(evidence.API)
			return []Claim{claim("evicted", list(want), list(got), slices.Equal(got, want), sources...)}
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			return with(e.Evicted != nil, e, func(c *scenario.Expect) { c.Evicted = otherNames(*e.Evicted) })
		},
	})
	addClaim(claimKind{
		place: 191, key: "misreports", from: evidence.API,
		judge: func(a *account, e scenario.Expect) []Claim {
			if e.Misreports == nil {
				return nil
			}
			want, got := slices.Sorted(slices.Values(*e.Misreports)), slices.Sorted(maps.Keys(a.api().misreports))
			ok := slices.Equal(got, want)
			return []Claim{claim("misreports", nothing(want), nothing(got), ok, evidence.API, evidence.BPF)}
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			return with(e.Misreports != nil, e, func(c *scenario.Expect) { c.Misreports = otherNames(*e.Misreports) })
		},
	})
}

// otherNames are none where there were some, and one where there was none.
func otherNames(names scenario.Names) *scenario.Names {
	if len(names) == 0 {
		return &scenario.Names{"no such thing"}
	}
	return &scenario.Names{}
}
