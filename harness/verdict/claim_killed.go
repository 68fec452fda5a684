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
		place: 20, key: "killed",
		judge: func(a *account, e scenario.Expect) []Claim {
			if e.Killed == nil {
				return nil
			}
			return []Claim{a.killedClaim(*e.Killed)}
		},
		invert: func(in Input, e scenario.Expect) []scenario.Expect {
			return with(e.Killed != nil, e, func(c *scenario.Expect) { c.Killed = otherKills(in, *e.Killed) })
		},
	})
}

func (a *account) killedClaim(want scenario.Killed) Claim {
	got := a.victims()
	expected := list(want.InOrder)
	if len(want.From) > 0 {
		expected = fmt.Sprintf("%s of %s", want.Count, list(want.From))
	}
	ok := want.Accepts(got, a.means)
	return claim("killed", expected, list(got), ok && a.twoWitnesses(), a.killSources()...)
}

// otherKills claims one kill fewer or, where there was none, one that was not.
func otherKills(in Input, k scenario.Killed) *scenario.Killed {
	if len(k.From) > 0 {
		return &scenario.Killed{From: otherThan(in, k.From), Count: k.Count}
	}
	if len(k.InOrder) > 0 {
		return &scenario.Killed{InOrder: slices.Clone(k.InOrder[:len(k.InOrder)-1])}
	}
	return &scenario.Killed{InOrder: []string{in.Plan.Processes[0].Name}}
}

// victims are the names of those killed, in order; a stranger, or what a program of the
// user's own has started, is shown with its pid.
func (a *account) victims() []string {
	out := []string{}
	for _, k := range a.kills {
		name := k.Victim.Process
		if name == "" {
			name = fmt.Sprintf("%s[%d]", k.Victim.Comm, k.Victim.PID)
			if by := a.startedBy(k.Victim); len(by) > 0 {
				name += " of " + strings.Join(by, " or ")
			}
		}
		out = append(out, name)
	}
	return out
}

// killSources are the witnesses that every kill has in common.
func (a *account) killSources() []evidence.Source {
	var all []evidence.Source
	for _, s := range []evidence.Source{evidence.BPF, evidence.Kmsg, evidence.Counters, evidence.Wait} {
		if !slices.ContainsFunc(a.kills, func(k Kill) bool { return !slices.Contains(k.Sources, s) }) {
			all = append(all, s)
		}
	}
	return all
}

// twoWitnesses: a kill needs SIGKILL in the wait status and a kernel record
// that names the pid.
func (a *account) twoWitnesses() bool {
	for _, k := range a.kills {
		kernelSide := slices.Contains(k.Sources, evidence.BPF) || slices.Contains(k.Sources, evidence.Kmsg)
		if !kernelSide || !slices.Contains(k.Sources, evidence.Wait) {
			return false
		}
	}
	return true
}
