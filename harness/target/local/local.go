// Package local carries out plans on this machine, inside a cgroup of its own
// below the caller's.
//
// It is for memory cgroups. Whether a plan could reach the whole machine is
// decided before, from the scenario and the machine's abilities: host-oom is
// "no" here unless [Options.AllowHostOOM] is set.
package local

// Options are what a local target needs.
type Options struct {
	Stressor     string // path of the stressor binary
	ScratchDir   string // for undo lists and swap files; empty: DefaultScratch
	AllowHostOOM bool
	NoBPF        bool // leave eBPF alone
}

// DefaultScratch is where undo lists are kept. It does not outlive a reboot,
// and neither do cgroups, sysctls and swap.
const DefaultScratch = "/run/oomlab"
