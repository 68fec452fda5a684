package verdict

import (
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/scenario"
)

func init() {
	addClaim(claimKind{
		place: 10, key: "panic",
		judge: func(a *account, e scenario.Expect) []Claim {
			if e.Panic == "" {
				return nil
			}
			got := a.kmsg().panic
			return []Claim{claim("panic", e.Panic, orNone(got), strings.Contains(got, e.Panic), evidence.Console)}
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			return with(e.Panic != "", e, func(c *scenario.Expect) { c.Panic = "another text than " + e.Panic })
		},
	})
	addClaim(claimKind{
		place: 200,
		judge: func(a *account, _ scenario.Expect) []Claim {
			want, got := a.in.Prediction.Panic, a.kmsg().panic
			if want == "" {
				return nil
			}
			return []Claim{claim("prediction.panic", want, orNone(got), got == want, evidence.Console)}
		},
	})
}
