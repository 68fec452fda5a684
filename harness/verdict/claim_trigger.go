package verdict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/scenario"
)

func init() {
	addClaim(claimKind{
		place: 50, key: "trigger",
		judge: func(a *account, e scenario.Expect) []Claim {
			expected := strings.Join(e.Trigger, " or ")
			switch {
			case len(e.Trigger) == 0:
				return nil
			case len(a.kills) == 0:
				return []Claim{claim("trigger", expected, "none", false)}
			}
			t := a.first().Trigger
			means := func(name string) bool { return a.means(name, t.Process) }
			ok := t.Process != "" && slices.ContainsFunc(e.Trigger, means)
			return []Claim{claim("trigger", expected, t.String(), ok, evidence.BPF, evidence.Kmsg)}
		},
		invert: func(in Input, e scenario.Expect) []scenario.Expect {
			return with(len(e.Trigger) > 0, e, func(c *scenario.Expect) { c.Trigger = otherThan(in, e.Trigger) })
		},
	})
}

func (t Trigger) String() string {
	if t.Process != "" {
		return t.Process
	}
	return fmt.Sprintf("%s[%d]", t.Comm, t.PID)
}
