package trace

// DefaultBurst is the largest group kill that is held without a loss.
const DefaultBurst = 2000

// MaxBurst is the largest burst that a ring buffer can hold.
const MaxBurst = 1 << 30 / perKill

// perKill is what one kill takes of the ring buffer: the events of the decision, the kill,
// the mark and the end with their headers, which are 1280 bytes; and a status, which is 632
// and the text that goes with it: three paths of cgroups, of 300 bytes each, and a command
// line of 256. Longer paths are not lost by themselves: the reader is at work meanwhile.
const perKill = 3 << 10

// Buffer is the size of a ring buffer that holds a burst: a power of two.
func Buffer(burst int) uint32 {
	size := uint32(1 << 20)
	for int64(size) < int64(burst)*perKill && size < 1<<30 {
		size <<= 1
	}
	return size
}
