package scenario

import "slices"

// Target is a place where scenarios run.
type Target string

// The targets. A new one is a package below harness/target with a row in traits
// and an opener in package lab.
const (
	Local Target = "local" // this machine
	VM    Target = "vm"    // a virtual machine
	Kube  Target = "kube"  // a node of a Kubernetes cluster
)

// Targets are all of them, in the order in which they are listed.
var Targets = []Target{Local, VM, Kube}

// Traits are what tells targets apart.
type Traits struct {
	// Here: it is the machine that oomlab itself runs on, with that machine's
	// kernel.
	Here bool
	// Throwaway: the machine is made for one run and nothing else runs on it.
	Throwaway bool
	// Kubelet: pods are created through an API, and a kubelet starts them.
	Kubelet bool
}

var traits = map[Target]Traits{
	Local: {Here: true},
	VM:    {Throwaway: true},
	Kube:  {Kubelet: true},
}

// Traits are those of the target; none for an unknown one.
func (t Target) Traits() Traits { return traits[t] }

// TargetNames are the names of targets.
func TargetNames(targets ...Target) []string {
	var out []string
	for _, t := range targets {
		out = append(out, string(t))
	}
	return out
}

// NeedsKubelet reports whether the scenario runs on no target without a kubelet.
func (s Scenario) NeedsKubelet() bool {
	with, without := s.kubelets()
	return len(with) > 0 && len(without) == 0
}

// kubelets are the scenario's targets with a kubelet, and those without one.
func (s Scenario) kubelets() (with, without []Target) {
	for _, t := range s.Targets {
		if t.Traits().Kubelet {
			with = append(with, t)
		} else if slices.Contains(Targets, t) {
			without = append(without, t)
		}
	}
	return with, without
}
