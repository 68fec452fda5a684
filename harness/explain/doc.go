// Package explain says why the OOM killer chose whom it chose, from nothing but
// a report in a kernel log: the scores of all candidates as oom_badness() makes
// them up, whether the model agrees with the kernel, where memory went that no
// process holds, and who would have died had something been different.
//
// What the log does not say is not made up. Where the size of the domain is not
// printed (the swap that a memory cgroup may use, a missing block of memory
// figures), scores are bounds, and the choice is checked against every size
// that is possible.
//
// The package is pure: [oomlog.Report] in, [Explanation] out. [Text], [Line] and
// [JSON] print the same values.
package explain
