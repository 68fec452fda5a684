// Package probe reads a machine: what it is, how much memory it has, how its
// memory controller is reached, and which abilities it offers.
//
// Reading is kept apart from parsing: every method of [Root] opens a file and
// hands it to the function of package kernel that is named after the file. A
// Root is a directory that looks like "/", so a recorded fixture is read the
// same way as the machine itself.
//
// Nothing here starts a process or changes the machine. Abilities are answered
// yes, no or unsure, the last two with the reason; what can only be learnt by
// doing (making a cgroup, loading an eBPF program, lowering a child's
// oom_score_adj) is done by package agent and passed in with [Options].
package probe
