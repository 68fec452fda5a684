// Package testdata carries the runs that were recorded on real kernels.
package testdata

import "embed"

// Recorded has them as KERNEL/RUN. `oomlab selftest` corrupts them, and tests
// judge them again.
//
//go:embed */*
var Recorded embed.FS
