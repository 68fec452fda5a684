package verdict

import (
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/scenario"
)

func init() {
	addClaim(claimKind{
		place: 60, key: "survives",
		judge: func(a *account, e scenario.Expect) []Claim {
			var out []Claim
			for _, name := range e.Survives {
				observed, ok := a.everyLast(name, func(l *life) (string, bool) {
					switch {
					case l.exit != nil:
						return l.process + " ended with " + status(*l.exit), false
					case !l.alive:
						return l.process + " ended", false
					}
					return "alive", true
				})
				out = append(out, claim("survives "+name, "alive at the end", observed, ok, evidence.Wait))
			}
			return out
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			var out []scenario.Expect
			for i := range e.Survives {
				out = append(out, with(true, e, func(c *scenario.Expect) {
					c.Survives = slices.Clone(e.Survives)
					c.Survives[i] = nobody
				})...)
			}
			return out
		},
	})
	addClaim(claimKind{
		place: 70, key: "throttled",
		judge: func(a *account, e scenario.Expect) []Claim {
			const want = "alive, steps not done"
			var out []Claim
			for _, name := range e.Throttled {
				observed, ok := a.everyLast(name, func(l *life) (string, bool) {
					switch {
					case l.exit != nil:
						return l.process + " ended with " + status(*l.exit), false
					case l.ready:
						return l.process + " finished its steps", false
					}
					return want, true
				})
				out = append(out, claim("throttled "+name, want, observed, ok, evidence.Wait, evidence.Stressor))
			}
			return out
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			return with(len(e.Throttled) > 0, e, func(c *scenario.Expect) { c.Throttled = scenario.Names{nobody} })
		},
	})
}
