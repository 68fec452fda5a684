package verdict

import (
	"fmt"
	"time"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/scenario"
)

func init() {
	addClaim(claimKind{
		place: 100, key: "within",
		judge: func(a *account, e scenario.Expect) []Claim {
			if e.Panic != "" {
				return nil
			}
			return []Claim{a.withinClaim(e)}
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			claimed := e.Panic == "" && len(e.Throttled) == 0
			return with(claimed, e, func(c *scenario.Expect) { c.Within = time.Nanosecond })
		},
	})
}

func (a *account) withinClaim(e scenario.Expect) Claim {
	stretch := max(1, a.in.Plan.Stretch)
	expected := e.Within.String()
	if stretch > 1 {
		expected += fmt.Sprintf(", %d times as long where a processor is emulated", stretch)
	}
	end := a.agent().endText
	if a.waitsForTheEnd() {
		return claim("within", expected, "watched for all of it", end == "within", evidence.Agent)
	}
	took := a.ms(max(a.agent().begin, a.agent().end))
	observed := fmt.Sprintf("%s after %.1f s", orNone(end), float64(took)/1000)
	ok := end == "settled" && took <= e.Within.Milliseconds()*stretch
	return claim("within", expected, observed, ok, evidence.Agent)
}

// waitsForTheEnd reports whether the run is meant to last all of `within`:
// something in it never comes to rest.
func (a *account) waitsForTheEnd() bool {
	if len(a.in.Plan.Throttled) > 0 {
		return true
	}
	for _, p := range a.in.Plan.Processes {
		l := a.lifeOf(p.Name)
		if p.Respawn < 0 || p.Endless() && l != nil && l.exit == nil {
			return true
		}
	}
	return false
}
