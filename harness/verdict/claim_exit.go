package verdict

import (
	"fmt"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/scenario"
)

func init() {
	addClaim(claimKind{
		place: 80, key: "exit",
		judge: func(a *account, e scenario.Expect) []Claim {
			return each(e.Exit, func(name string, want scenario.Exit) Claim {
				observed, ok := a.everyLast(name, func(l *life) (string, bool) {
					if l.exit == nil {
						return l.process + " did not end", false
					}
					return status(*l.exit), exitOf(*l.exit) == want
				})
				expected := want.Signal
				if expected == "" {
					expected = fmt.Sprintf("exit code %d", want.Code)
				}
				return claim("exit "+name, expected, observed, ok, evidence.Wait)
			})
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			return invertEach(e, func(e *scenario.Expect) *map[string]scenario.Exit { return &e.Exit },
				func(_ string, want scenario.Exit) []scenario.Exit {
					if want.Signal == "" {
						return []scenario.Exit{{Signal: "SIGKILL"}}
					}
					return []scenario.Exit{{Code: 137}} // what a shell makes of it is not what happened
				})
		},
	})
}

func exitOf(e evidence.ExitStatus) scenario.Exit {
	if e.Signal != 0 {
		return scenario.Exit{Signal: kernel.SignalName(e.Signal)}
	}
	return scenario.Exit{Code: e.Code}
}
