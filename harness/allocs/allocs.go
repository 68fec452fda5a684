// Package allocs holds code to a bound on what it allocates. Fuzz targets use
// it: a decoder that believes a length it reads fails there, and not on the
// machine of somebody who was sent a file.
package allocs

import (
	"runtime/metrics"
	"testing"
)

// slack is what one measurement may be off by: the runtime counts small objects
// when the span that holds them is full, so some are of the code that ran
// before. Buffers of a fixed size are in it too.
const slack = 8 << 20

// Within fails the test if what do allocates, all of it added up, is more than
// factor times the input's size and a few MiB.
func Within(t testing.TB, factor, input int, do func()) {
	t.Helper()
	before := total()
	do()
	if got, most := total()-before, uint64(factor)*uint64(input)+slack; got > most {
		t.Errorf("%d bytes were allocated for an input of %d; at most %d should be", got, input, most)
	}
}

func total() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
