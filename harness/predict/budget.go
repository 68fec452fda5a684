package predict

import "context"

// budget bounds what a prediction costs. Work is counted, not timed: the same
// plan gives the same prediction on every machine.
type budget struct {
	ctx  context.Context
	left int // processes that may still be looked at
}

// A prediction looks at so many processes at the most, once for each thing that
// happens: first along every single course, then state by state.
const (
	courseWork = 1 << 17
	stateWork  = 1 << 18
	// perEvent is what an event costs beside the processes.
	perEvent = 16
	// heldProcs bounds how many processes the worlds have that are still to be
	// followed, which is what takes memory.
	heldProcs = 1 << 16
)

func (b *budget) spend(n int) { b.left -= n }

// spent reports whether it is used up, or nobody wants to know any more.
func (b *budget) spent() bool { return b.left <= 0 || b.ctx.Err() != nil }
