// Package census reads all processes and memory cgroups of a machine, as package rank
// wants them. It reads as few files as will do: a machine may have thousands of each.
package census
