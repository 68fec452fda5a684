// Package watch follows the kills on this machine while they happen: it opens the
// witnesses of package observe as far as they can be had, lets package trace put
// together what they tell, and adds what only user space knows.
//
// What it adds (load, names of pods, a command line that the kernel could not give) is
// read a moment after the kill, and marked so.
package watch
