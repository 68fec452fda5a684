package trace

import "testing"

// TestBuffer: a ring buffer is a power of two that holds the burst.
func TestBuffer(t *testing.T) {
	for _, burst := range []int{1, 100, DefaultBurst, 5000, MaxBurst} {
		size := Buffer(burst)
		needed := int64(burst) * perKill
		if size&(size-1) != 0 || int64(size) < needed || size > 1<<20 && int64(size/2) >= needed {
			t.Errorf("%d kills: %d bytes", burst, size)
		}
	}
}
