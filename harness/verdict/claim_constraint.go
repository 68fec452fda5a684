package verdict

import (
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/scenario"
)

func init() {
	addClaim(claimKind{
		place: 30, key: "constraint",
		judge: func(a *account, e scenario.Expect) []Claim {
			if e.Constraint == "" {
				return nil
			}
			got, sources := a.firstConstraint()
			if why := a.kmsg().unseen(a, a.first()); why != "" && got == "" && e.Constraint != "memcg" {
				return []Claim{cannotTell("constraint", e.Constraint, why)}
			}
			return []Claim{claim("constraint", e.Constraint, orNone(got), got == e.Constraint, sources...)}
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			return with(e.Constraint != "", e, func(c *scenario.Expect) {
				c.Constraint = other([]string{"cpuset", "none"}, e.Constraint)
			})
		},
	})
	addClaim(claimKind{
		place: 40, key: "oom_memcg",
		judge: func(a *account, e scenario.Expect) []Claim {
			if e.OOMMemcg == "" {
				return nil
			}
			got := a.first().OOMMemcg
			if why := a.kmsg().unseen(a, a.first()); why != "" && a.first().Constraint != "" {
				// the limit that was hit is the victim's cgroup's own, or one above it
				if in := a.first().Victim.Cgroup; in == "" || kernel.InCgroup(in, e.OOMMemcg) {
					return []Claim{cannotTell("oom_memcg", e.OOMMemcg, why)}
				}
				got = "a limit of " + a.first().Victim.Cgroup + " or above it"
			}
			return []Claim{claim("oom_memcg", e.OOMMemcg, orNone(got), got == e.OOMMemcg, evidence.BPF, evidence.Kmsg)}
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			return with(e.OOMMemcg != "", e, func(c *scenario.Expect) { c.OOMMemcg = e.OOMMemcg + "/elsewhere" })
		},
	})
	addClaim(claimKind{
		place: 110, key: "domain",
		judge: func(a *account, e scenario.Expect) []Claim {
			if e.Domain == "" {
				return nil
			}
			got := a.domain()
			if why := a.kmsg().unseen(a, a.first()); why != "" {
				return []Claim{cannotTell("domain", e.Domain, why)}
			}
			return []Claim{claim("domain", e.Domain, orNone(got), got == e.Domain, evidence.BPF, evidence.Kmsg)}
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			return with(e.Domain != "", e, func(c *scenario.Expect) { c.Domain = other(kubelet.Domains, e.Domain) })
		},
	})
}

// first is the first kill; empty: there was none.
func (a *account) first() Kill {
	if len(a.kills) == 0 {
		return Kill{}
	}
	return a.kills[0]
}

// domain is whose limit the first kill was about.
func (a *account) domain() string {
	return string(kubelet.DomainOf(a.first().Constraint, a.first().OOMMemcg))
}

// firstConstraint is that of the first kill or, on a machine that panicked
// before it killed, of its report.
func (a *account) firstConstraint() (string, []evidence.Source) {
	if len(a.kills) > 0 {
		return a.kills[0].Constraint, []evidence.Source{evidence.BPF, evidence.Kmsg}
	}
	for _, r := range a.kmsg().reports {
		if r.Global != nil && *r.Global {
			return "none", []evidence.Source{evidence.Console}
		}
		if c := constraints[r.Constraint]; c != "" {
			return c, []evidence.Source{evidence.Console}
		}
	}
	return "", nil
}
