// Package observe watches a machine and turns what it sees into evidence. Each
// witness is independent of the others:
//
//   - [BPF]: eBPF programs at the OOM killer's own functions
//   - [Kmsg]: the kernel log
//   - the counters of cgroups and of the machine
//   - a sampler that draws the timeline around them
//
// A witness never explains what it saw and never drops anything silently: what
// it lost is an event of its own ([evidence.Lost]), so that the judge can say
// that the evidence does not carry a verdict.
//
// BPF and Kmsg are opened once, which is slow, and then started and stopped
// once for each run. Drain is the barrier of both: when it returns, everything
// that had happened before it was called has been delivered.
package observe

import "github.com/oomlab/oomlab/harness/evidence"

// Sink takes evidence as it comes. Witnesses call it from goroutines of their
// own, one at a time each; a sink shared by several must lock. It must not
// call back into the witness, which waits for it.
type Sink func(evidence.Event)
