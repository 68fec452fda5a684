package chaos

import (
	"math/rand/v2"

	"github.com/oomlab/oomlab/harness/kernel"
)

// draw is a source of choices that depends on nothing but what it was made
// from. Package math/rand/v2 promises that a PCG gives the same numbers in
// every version of Go.
type draw struct{ *rand.Rand }

func newDraw(seed uint64, index int) draw {
	return draw{rand.New(rand.NewPCG(seed, uint64(index)))}
}

// chance is true in percent of all cases.
func (d draw) chance(percent int) bool { return d.IntN(100) < percent }

// between is a number from lo to hi, both included.
func (d draw) between(lo, hi int) int { return lo + d.IntN(hi-lo+1) }

// pages is an amount from lo to hi MiB in whole pages of 4 KiB.
func (d draw) size(loMiB, hiMiB int) kernel.Bytes {
	const page = 4 * kernel.KiB
	lo, hi := int64(loMiB)*int64(kernel.MiB/page), int64(hiMiB)*int64(kernel.MiB/page)
	return kernel.Bytes(lo+d.Int64N(hi-lo+1)) * page
}

// of is one of the choices.
func of[T any](d draw, choices ...T) T { return choices[d.IntN(len(choices))] }

// adj is an oom_score_adj: often none, else from all over the range, at its
// ends and near zero too.
func (d draw) adj() int {
	switch {
	case d.chance(35):
		return 0
	case d.chance(70):
		return d.between(-999, 1000)
	case d.chance(50):
		return of(d, -999, -998, -1, 1, 999, 1000)
	}
	return d.between(-30, 30)
}
