package agent

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/probe"
)

// sysctlUndo reads the present value of everything a plan sets below
// /proc/sys, now or while it runs.
func sysctlUndo(root probe.Root, p plan.Plan) ([]plan.Undo, error) {
	all := p.Sysctls
	for _, d := range p.During {
		all = append(all[:len(all):len(all)], d.Sysctls...)
	}
	var list []plan.Undo
	seen := map[string]bool{}
	for i := 0; i < len(all); i++ {
		s := all[i]
		if seen[s.Key] {
			continue
		}
		seen[s.Key] = true
		if strings.ContainsAny(s.Key, "/ ") || strings.Contains(s.Key, "..") {
			return nil, fmt.Errorf("plan: sysctl %q is not a dotted key such as vm.panic_on_oom", s.Key)
		}
		now, err := root.Sysctl(s.Key)
		if err != nil {
			return nil, &Refusal{What: fmt.Sprintf("sysctl %s (%v)", s.Key, err)}
		}
		list = append(list, plan.Undo{Op: undoWrite, Path: root.Path(probe.SysctlPath(s.Key)), Value: now})
		if other := kernel.ClearedBy(s.Key); other != "" && !seen[other] {
			all = append(all[:len(all):len(all)], plan.Sysctl{Key: other})
		}
	}
	// Who is written last holds; zero is the one that does not. The list is replayed
	// from its end.
	slices.SortStableFunc(list, func(a, b plan.Undo) int { return cmp.Compare(cleared(root, a), cleared(root, b)) })
	return list, nil
}

// cleared is 1 for one of those that another one has set to zero.
func cleared(root probe.Root, u plan.Undo) int {
	for _, key := range []string{kernel.OvercommitRatio, kernel.OvercommitKbytes} {
		if u.Path == root.Path(probe.SysctlPath(key)) && u.Value == "0" {
			return 1
		}
	}
	return 0
}

// parted sets the overcommit policy apart, which may have the kernel refuse memory to the
// agent as well. It is in force when everything else that the plan changes has been
// changed, and is undone first: making and removing swap takes memory, and swapoff asks
// for all that is in it.
func parted(all []plan.Sysctl) (early, policy []plan.Sysctl) {
	for _, s := range all {
		if s.Key == kernel.OvercommitMemory {
			policy = append(policy, s)
		} else {
			early = append(early, s)
		}
	}
	return early, policy
}

// policyLast moves the overcommit policy to the end of an undo list.
func policyLast(root probe.Root, list []plan.Undo) []plan.Undo {
	file := root.Path(probe.SysctlPath(kernel.OvercommitMemory))
	slices.SortStableFunc(list, func(a, b plan.Undo) int {
		switch {
		case a.Path == file && b.Path != file:
			return 1
		case a.Path != file && b.Path == file:
			return -1
		}
		return 0
	})
	return list
}

func setSysctls(root probe.Root, list []plan.Sysctl) error {
	for _, s := range list {
		if err := writeFile(root.Path(probe.SysctlPath(s.Key)), s.Value); err != nil {
			return fmt.Errorf("sysctl %s: %w", s.Key, err)
		}
	}
	return nil
}
