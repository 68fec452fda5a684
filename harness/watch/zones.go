package watch

import (
	"sync"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/probe"
)

// zoneReading is /proc/zoneinfo, read after a kill.
type zoneReading struct {
	info  kernel.Zoneinfo
	after int64 // nanoseconds
}

// zoneReadings are those of kills that are not told yet, by the time of the kill.
type zoneReadings struct {
	mu sync.Mutex
	of map[int64]zoneReading
}

// maxZoneReadings bounds what is kept for kills that are never told.
const maxZoneReadings = 1 << 10

// read reads the zones for a kill, once.
func (z *zoneReadings) read(root probe.Root, at int64) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if _, done := z.of[at]; done {
		return
	}
	info, err := root.Zoneinfo()
	if err != nil {
		return
	}
	if z.of == nil {
		z.of = map[int64]zoneReading{}
	}
	if len(z.of) >= maxZoneReadings {
		clear(z.of)
	}
	z.of[at] = zoneReading{info, max(0, monotonic()-at)}
}

// take gives a reading away.
func (z *zoneReadings) take(at int64) (zoneReading, bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	r, ok := z.of[at]
	delete(z.of, at)
	return r, ok
}
