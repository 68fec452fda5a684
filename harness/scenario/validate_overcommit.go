package scenario

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/stressor/profile"
)

// Failures are the reasons for which a process may be claimed to fail.
var Failures = []string{profile.ENOMEM}

// overcommit checks the sysctls that say when the kernel refuses memory.
func (v *validator) overcommit() {
	sets := v.s.System.Sysctls
	path := at("system", "sysctls")
	_, ratio := sets[kernel.OvercommitRatio]
	_, kbytes := sets[kernel.OvercommitKbytes]
	if ratio && kbytes {
		v.problem(with(path, kernel.OvercommitKbytes), "leave one of them out",
			"setting it sets %s to 0, and the other way round", kernel.OvercommitRatio)
	}
	where := []struct {
		all  map[string]string
		path []string
	}{{sets, path}}
	for i, d := range v.s.During {
		where = append(where, struct {
			all  map[string]string
			path []string
		}{d.Sysctls, at("during", strconv.Itoa(i), "sysctls")})
	}
	for _, w := range where {
		for _, key := range []string{kernel.OvercommitRatio, kernel.OvercommitKbytes} {
			if text, set := w.all[key]; set && !isCount(text) {
				v.problem(with(w.path, key), "", "%q is not a number", text)
			}
		}
		policy, set := w.all[kernel.OvercommitMemory]
		if set && !slices.Contains([]string{kernel.OvercommitGuess, kernel.OvercommitAlways, kernel.OvercommitNever},
			strings.TrimSpace(policy)) {
			v.problem(with(w.path, kernel.OvercommitMemory), "write 0, 1 or 2", "%q is no policy", policy)
		}
		for i, t := range v.s.Targets {
			if set && !t.Traits().Throwaway && !v.wrong("targets") {
				v.problem(at("targets", strconv.Itoa(i)), "write targets: [vm]", "%s is in force for everybody on %s: "+
					"others would be refused memory", kernel.OvercommitMemory, t)
				return
			}
		}
	}
}

// policies are the values of vm.overcommit_memory that may be in force while processes
// run; the kernel's own where the scenario does not set it.
func (s Scenario) policies() []string {
	out := []string{kernel.OvercommitGuess}
	if policy, set := s.System.Sysctls[kernel.OvercommitMemory]; set {
		out = []string{strings.TrimSpace(policy)}
	}
	for _, d := range s.During {
		if policy, set := d.Sysctls[kernel.OvercommitMemory]; set {
			out = append(out, strings.TrimSpace(policy))
		}
	}
	return out
}

// fails checks the claim of who is refused memory: that it is about a stressor, that the
// kernel may refuse it any, and that no other claim has it end otherwise.
func (v *validator) fails(e Expect) {
	certain, _ := v.victims(e)
	alive := append(v.all(e.Survives), v.all(e.Throttled)...)
	policies := v.s.policies()
	for _, name := range slices.Sorted(maps.Keys(e.Fails)) {
		path := at("expect", "fails", name)
		if len(v.s.Pods) > 0 {
			v.problem(path, "leave it out", "a kubelet sets %s to 1: nobody is refused memory", kernel.OvercommitMemory)
			return
		}
		v.refer(Names{name}, path)
		if errno := e.Fails[name]; !slices.Contains(Failures, errno) {
			v.problem(path, meant(strings.ToUpper(errno), Failures), "%q is not why a process fails", errno)
		}
		for _, one := range v.stands[name] {
			p := v.of(one)
			switch {
			case slices.Contains(certain, one):
				v.problem(path, "leave it out of one of them", "%q is also in killed", one)
			case slices.Contains(alive, one):
				v.problem(path, "leave it out of one of them", "%q is also said to be alive at the end", one)
			case p != nil && len(p.Command) > 0:
				v.problem(path, "claim how it exits", "%q is no stressor: only it knows why it ends", one)
			case p != nil && p.SharesMemoryWith != "":
				v.problem(path, "", "%q takes no memory", one)
			case p != nil && !mapsAny(p.Do):
				v.problem(path, "", "%q maps no memory that could be refused", one)
			case p != nil:
				v.refusable(one, p, policies, path)
			}
		}
		for _, who := range slices.Sorted(maps.Keys(e.Exit)) {
			same := slices.ContainsFunc(v.stands[who], func(one string) bool {
				return slices.Contains(v.stands[name], one)
			})
			if claim := e.Exit[who]; same && (claim.Signal != "" || claim.Code != profile.ExitFailed) {
				v.problem(at("expect", "exit", who), fmt.Sprintf("write %d, or leave it out", profile.ExitFailed),
					"%q is also in fails, and a stressor that is refused memory exits with %d", who, profile.ExitFailed)
			}
		}
	}
}

// refusable says why a process cannot be refused memory by any of the policies.
func (v *validator) refusable(name string, p *Process, policies []string, path []string) {
	if slices.Contains(policies, kernel.OvercommitNever) {
		return
	}
	const hint = "write system: {sysctls: {vm.overcommit_memory: 2}}"
	if !slices.Contains(policies, kernel.OvercommitGuess) {
		v.problem(path, hint, "with %s 1 nobody is refused memory", kernel.OvercommitMemory)
		return
	}
	largest := kernel.Bytes(0)
	for _, s := range p.Do {
		if s.Op.Row().Memory == profile.AddressSpace {
			largest = max(largest, s.Size)
		}
	}
	if largest == 0 {
		v.problem(path, hint, "%q maps %s at a time, and with %s 0 only one mapping that is larger than memory and "+
			"swap is refused: a map step", name, kernel.Bytes(profile.LargestPiece), kernel.OvercommitMemory)
	}
}

// mapsAny reports whether steps map memory that counts for overcommit.
func mapsAny(steps []Step) bool {
	return slices.ContainsFunc(steps, func(s Step) bool { return s.Op.Row().Committed() })
}
