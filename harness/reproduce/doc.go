// Package reproduce turns an OOM report of a kernel log into a scenario that
// makes the same thing happen again: processes of the reported sizes and
// adjustments, in a cgroup or a machine of the reported size, all of it scaled
// to what a desk has.
//
// Scaling keeps what decides. A score is pages plus oom_score_adj times a
// thousandth of the domain, so domain and processes shrink by the same factor
// wherever adjustments matter, and a stressor's own footprint is taken off what
// it is told to hold. What cannot be kept is said in [Result.Notes].
//
// The package is pure. The scenario it makes has been through [plan.LayOut] and
// [predict.Outcome] for a machine like the VM that will run it.
package reproduce
