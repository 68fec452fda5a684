package trace

// DefaultBurst is the largest group kill that is held without a loss.
const DefaultBurst = 2000

// MaxBurst is the largest burst that a ring buffer can hold.
const MaxBurst = 1 << 30 / perKill

// perKill is what one kill takes of the ring buffer: a status of 4 KiB, and the events
// of the decision, the kill, the mark and the end, with their headers.
const perKill = 6 << 10

// Buffer is the size of a ring buffer that holds a burst: a power of two.
func Buffer(burst int) uint32 {
	size := uint32(1 << 20)
	for int64(size) < int64(burst)*perKill && size < 1<<30 {
		size <<= 1
	}
	return size
}
