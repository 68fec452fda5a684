package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/scenario"
)

// setAs is a node once it is set to what a scenario says, where that may be done.
func setAs(n kubelet.Node, s scenario.Node) kubelet.Node {
	if !n.Ours {
		return n
	}
	if s.SingleProcessOOMKill != nil {
		n.SingleProcessOOMKill = *s.SingleProcessOOMKill
	}
	if s.EvictionHard != nil {
		n.EvictionHard = map[string]string{}
		for signal, t := range s.EvictionHard {
			n.EvictionHard[signal] = t.Text
		}
	}
	if s.SystemReserved.Memory > 0 {
		n.SystemReserved = s.SystemReserved.Memory
	}
	if s.KubeReserved.Memory > 0 {
		n.KubeReserved = s.KubeReserved.Memory
	}
	if s.EnforceNodeAllocatable != nil {
		n.EnforceNodeAllocatable = s.EnforceNodeAllocatable
	}
	if s.SwapBehavior != "" {
		n.SwapBehavior = s.SwapBehavior
	}
	if s.Swap > 0 {
		n.SwapCapacity = max(n.SwapCapacity, s.Swap)
	}
	return n
}

// unmetNode lists in what a node is not set as the scenario wants it.
func unmetNode(s scenario.Node, n kubelet.Node) []Need {
	var out []Need
	differs := func(what string, want, have any) {
		hint := "run it with --cluster vm, whose node is set so"
		if n.Ours {
			hint = ""
		}
		out = append(out, Need{fmt.Sprintf("a node with %s %v; here it is %v", what, want, have), hint})
	}
	if s.SingleProcessOOMKill != nil {
		if !n.Gates().SingleProcessOption && *s.SingleProcessOOMKill {
			differs("singleProcessOOMKill", true, "not known to "+n.KubeletVersion)
		} else if n.SingleProcessOOMKill != *s.SingleProcessOOMKill {
			differs("singleProcessOOMKill", *s.SingleProcessOOMKill, n.SingleProcessOOMKill)
		}
	}
	for signal, t := range s.EvictionHard {
		if have := n.EvictionHard[signal]; !sameThreshold(t.Text, have) {
			differs("evictionHard "+signal, t.Text, cmp.Or(have, "none"))
		}
	}
	if want := s.SystemReserved.Memory; want > 0 && n.SystemReserved != want {
		differs("systemReserved memory", want, n.SystemReserved)
	}
	if want := s.KubeReserved.Memory; want > 0 && n.KubeReserved != want {
		differs("kubeReserved memory", want, n.KubeReserved)
	}
	if s.EnforceNodeAllocatable != nil && !slices.Equal(s.EnforceNodeAllocatable, n.EnforceNodeAllocatable) {
		differs("enforceNodeAllocatable", s.EnforceNodeAllocatable, n.EnforceNodeAllocatable)
	}
	if s.CgroupDriver != "" && s.CgroupDriver != n.CgroupDriver {
		differs("cgroupDriver", s.CgroupDriver, cmp.Or(n.CgroupDriver, "none"))
	}
	if s.Swap > n.SwapCapacity {
		differs("swap", s.Swap, n.SwapCapacity)
	}
	if s.SwapBehavior != "" && s.SwapBehavior != cmp.Or(n.SwapBehavior, kubelet.NoSwap) {
		differs("swapBehavior", s.SwapBehavior, cmp.Or(n.SwapBehavior, "none"))
	}
	slices.SortFunc(out, func(a, b Need) int { return strings.Compare(a.What, b.What) })
	return out
}

// sameThreshold: 0% is how a kubelet is told that nothing is evicted.
func sameThreshold(a, b string) bool {
	off := func(s string) bool { return s == "" || s == "0" || s == "0%" }
	return a == b || off(a) && off(b)
}
