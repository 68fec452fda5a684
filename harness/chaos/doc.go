// Package chaos makes random scenarios, and smaller ones of those that show
// something.
//
// [Generate] is a pure function of a seed, an index and a domain: the same
// scenario comes out on every machine and for every kernel. What it makes is
// valid, small, and could go wrong in every way that the model knows: limits
// that are hit by growth or lowered onto what is held, nested limits, groups,
// forked and memory-sharing children, threads, swap, adjustments from the whole
// range that change on the way, stopped and frozen victims, and kills that come
// from elsewhere.
//
// [Minimize] takes a scenario apart as long as it still shows what it showed. It
// works on the scenario's structure, not on the numbers it was drawn from: every
// attempt is a run in a virtual machine, and leaving out a process is one
// attempt. That, and the need for a generator outside tests, is why no library
// for property-based testing does it.
//
// [Tally] counts what runs have shown.
package chaos
