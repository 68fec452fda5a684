package verdict

import (
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/scenario"
)

func init() {
	addClaim(claimKind{
		place: 140, key: "containers", from: evidence.API,
		judge: func(a *account, e scenario.Expect) []Claim {
			return each(e.Containers, func(name string, want scenario.ContainerClaim) Claim {
				observed, ok := "the API never said anything of it", false
				if said := a.api().containers[name]; said != nil {
					observed, ok = said.last.String(), a.api().show(name, want.Holds)
				}
				return claim("containers "+name, want.String(), observed, ok, evidence.API)
			})
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			return invertEach(e, func(e *scenario.Expect) *map[string]scenario.ContainerClaim { return &e.Containers },
				func(_ string, c scenario.ContainerClaim) []scenario.ContainerClaim { return otherContainers(c) })
		},
	})
}

// otherContainers turns every part of a claim about a container round.
func otherContainers(c scenario.ContainerClaim) []scenario.ContainerClaim {
	var out []scenario.ContainerClaim
	with := func(claimed bool, change func(*scenario.ContainerClaim)) {
		if claimed {
			round := c
			change(&round)
			out = append(out, round)
		}
	}
	code := func(n *int) *int { more := *n + 1; return &more }
	reason := func(than string) string { return other([]string{kubelet.Error, kubelet.OOMKilled}, than) }
	with(c.State != "", func(r *scenario.ContainerClaim) {
		r.State = other([]string{kubelet.Running, kubelet.Terminated}, c.State)
	})
	with(c.Reason != "", func(r *scenario.ContainerClaim) { r.Reason = reason(c.Reason) })
	with(c.ExitCode != nil, func(r *scenario.ContainerClaim) { r.ExitCode = code(c.ExitCode) })
	with(c.RestartCount != nil, func(r *scenario.ContainerClaim) {
		n := opposite(*c.RestartCount)
		r.RestartCount = &n
	})
	if l := c.LastState; l != nil {
		with(l.Reason != "", func(r *scenario.ContainerClaim) {
			r.LastState = &scenario.LastState{Reason: reason(l.Reason), ExitCode: l.ExitCode}
		})
		with(l.ExitCode != nil, func(r *scenario.ContainerClaim) {
			r.LastState = &scenario.LastState{Reason: l.Reason, ExitCode: code(l.ExitCode)}
		})
	}
	return out
}
