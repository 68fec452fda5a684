package oomlog

import "golang.org/x/sys/cpu"

// fast: this processor finds anchors 32 bytes at a time.
var fast = cpu.X86.HasAVX2

// anchors is where the first anchor begins of those in the tables: at most at last, from
// where on there must be 34 bytes. If there is none it is a place behind last, before which
// none begins.
//
//go:noescape
func anchors(data *byte, last int, tables *[6][16]byte) int
