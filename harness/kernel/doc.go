// Package kernel holds what the kernel says, and the words it says it with:
// amounts of memory, versions, the facts of a machine, and parsers for the
// text that /proc, cgroupfs and /dev/kmsg print.
//
// Everything here is pure: a function takes bytes or a reader and returns a
// value. Opening the file is somebody else's work (package probe). A number
// that the kernel did not print is a nil pointer, not zero.
package kernel
