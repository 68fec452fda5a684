package chaos

import (
	"strconv"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/stressor/profile"
)

// What the programs of a guest were promised, with what is held back, and what a stressor
// was beside what it maps: more than that, so that everybody can start.
const (
	promisedBefore = 160 * kernel.MiB
	promisedEach   = 48 * kernel.MiB
)

// overcommit is processes that map memory, whether or not they touch it, and one after them
// that wants more than there may be.
func (g *generator) overcommit() {
	limit := promisedBefore + promisedEach
	var before string
	for i := range g.between(1, 3) {
		p := scenario.Process{Name: "h" + strconv.Itoa(i+1), OOMScoreAdj: g.between(0, 500)}
		size := kernel.Bytes(g.between(4, 48)) * kernel.MiB
		op := of(g.draw, profile.Touch, profile.Touch, profile.Map)
		p.Do = []scenario.Step{{Op: op, Size: size}, {Op: profile.Hold}}
		if before != "" {
			p.After = scenario.Names{before}
		}
		before = p.Name
		limit += promisedEach + size
		g.s.Processes = append(g.s.Processes, p)
	}
	hog := scenario.Process{Name: "g1", OOMScoreAdj: g.between(-900, 1000), After: scenario.Names{before}}
	if g.chance(20) {
		hog.UID = 1000
	}
	if g.chance(30) {
		hog.Do = []scenario.Step{{Op: profile.Map, Size: kernel.Bytes(g.between(16, 900)) * kernel.MiB}}
	}
	for range g.between(1, 4) {
		hog.Do = append(hog.Do, scenario.Step{Op: profile.Touch, Size: kernel.Bytes(g.between(16, 300)) * kernel.MiB})
	}
	hog.Do = append(hog.Do, scenario.Step{Op: profile.Hold})
	g.s.Processes = append(g.s.Processes, hog)
	limit += kernel.Bytes(g.between(8, 480)) * kernel.MiB

	sysctls := map[string]string{kernel.OvercommitMemory: of(g.draw, kernel.OvercommitNever, kernel.OvercommitNever,
		kernel.OvercommitNever, kernel.OvercommitNever, kernel.OvercommitGuess, kernel.OvercommitAlways)}
	switch {
	case sysctls[kernel.OvercommitMemory] != kernel.OvercommitNever:
	case g.chance(50):
		sysctls[kernel.OvercommitKbytes] = strconv.FormatInt(int64(limit/kernel.KiB), 10)
	default:
		const managed = 440 * kernel.MiB // of a guest's memory, at least
		sysctls[kernel.OvercommitRatio] = strconv.FormatInt(int64(limit*100/managed)+1, 10)
	}
	g.s.System.Sysctls = sysctls
}
