package agent

import (
	"fmt"
	"strings"

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
	for _, s := range all {
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
	}
	return list, nil
}

func setSysctls(root probe.Root, list []plan.Sysctl) error {
	for _, s := range list {
		if err := writeFile(root.Path(probe.SysctlPath(s.Key)), s.Value); err != nil {
			return fmt.Errorf("sysctl %s: %w", s.Key, err)
		}
	}
	return nil
}
