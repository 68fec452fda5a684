// Package compare holds the runs of one scenario on several kernels against
// each other: what each run shows becomes facts, facts of several runs become a
// cell, cells become a matrix, and a matrix says what differs and since which
// kernel.
//
// It is pure. Everything it says comes from run directories, so runs that were
// made elsewhere, or long ago, are compared like new ones.
//
// A difference is told from noise in two ways. Facts that are words differ when
// more than half of the runs show another one. Facts that are numbers differ
// when the ranges that were seen lie apart by more than a tolerance that belongs
// to the aspect.
package compare
