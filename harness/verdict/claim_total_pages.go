package verdict

import (
	"strconv"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/scenario"
)

func init() {
	addClaim(claimKind{
		place: 45, key: "total_pages",
		judge: func(a *account, e scenario.Expect) []Claim {
			if e.TotalPages == (scenario.Num{}) {
				return nil
			}
			k := a.first()
			switch {
			case len(a.kills) == 0:
				return []Claim{claim("total_pages", e.TotalPages.Text, "none", false)}
			case k.TotalPages == nil:
				return []Claim{cannotTell("total_pages", e.TotalPages.Text,
					"nobody says how many pages the domain has")}
			}
			n := int64(*k.TotalPages)
			return []Claim{claim("total_pages", e.TotalPages.Text, strconv.FormatInt(n, 10), e.TotalPages.Holds(n),
				evidence.BPF, evidence.Kmsg)}
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			if e.TotalPages == (scenario.Num{}) {
				return nil
			}
			var out []scenario.Expect
			for _, n := range opposites(e.TotalPages.Text, e.TotalPages) {
				inverted := e
				inverted.TotalPages = n
				out = append(out, inverted)
			}
			return out
		},
	})
}
