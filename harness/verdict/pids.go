package verdict

import (
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
)

// pids tell which pid of the agent's namespace is which of the kernel's. A node that
// is a container has a pid namespace of its own, and its agent and its runtime number
// processes otherwise than the kernel log and eBPF do.
type pids struct {
	within  bool        // the agent's namespace is not the initial one
	kernels map[int]int // by those of the agent; of all tasks that eBPF has met
}

// readPIDs takes the numbers from eBPF, which has both.
func readPIDs(in Input) pids {
	p := pids{within: slices.Contains(in.Machine.Namespaces, kernel.PIDNamespace), kernels: map[int]int{}}
	for _, e := range in.Events {
		if e.OOM == nil || !p.within {
			continue
		}
		ids := []evidence.TaskID{e.OOM.Current}
		if e.OOM.Task != nil {
			ids = append(ids, e.OOM.Task.TaskID)
		}
		for _, id := range ids {
			if id.NSTGID != 0 {
				p.kernels[id.NSTGID] = id.TGID
			}
		}
	}
	return p
}

// kernel is the kernel's pid of a process that the agent names; 0: eBPF has not met it.
func (p pids) kernel(pid int) int {
	if !p.within {
		return pid
	}
	return p.kernels[pid]
}

// agent is the agent's pid of a task that eBPF names; 0: it is outside of the agent's
// namespace.
func (p pids) agent(id evidence.TaskID) int {
	if !p.within {
		return id.TGID
	}
	return id.NSTGID
}
