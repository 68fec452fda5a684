package predict

import (
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/stressor/profile"
)

// Overcommit. The kernel promises memory when it is mapped, and may refuse to:
// __vm_enough_memory() in mm/util.c, by vm.overcommit_memory. Who is refused gets ENOMEM.
// A stressor that takes memory maps a piece, fills it, and maps the next one: how much it
// holds when it is refused is a number of whole pieces.

// What the kernel holds back, for root and for others to recover with.
const (
	adminReserve = "vm.admin_reserve_kbytes"
	userReserve  = "vm.user_reserve_kbytes"
)

// setSysctl sets one. Each of the two that CommitLimit is made of clears the other one.
func (w *world) setSysctl(key, value string) {
	w.sysctls[key] = strings.TrimSpace(value)
	if other := kernel.ClearedBy(key); other != "" {
		w.sysctls[other] = "0"
	}
}

// number is a sysctl that is one; what is not known has its default.
func (w *world) number(sysctl string, otherwise int64) int64 {
	n, err := strconv.ParseInt(w.sysctls[sysctl], 10, 64)
	if err != nil || n < 0 {
		return otherwise
	}
	return min(n, 1<<50)
}

// reserve is a sysctl in KiB, in pages.
func (w *world) reserve(sysctl string, otherwise int64) kernel.Pages {
	return kernel.Pages(w.number(sysctl, otherwise)) * kernel.Pages(kernel.KiB) / kernel.Pages(w.m.PageSize)
}

// strict reports whether the kernel promises no more than CommitLimit.
func (w *world) strict() bool {
	return w.sysctls[kernel.OvercommitMemory] == kernel.OvercommitNever && w.rules.mistake != nothingRefused
}

// machinePages is RAM, and all swap space there is.
func (w *world) machinePages() (ram, swap kernel.Pages) {
	if w.swapOn > 0 {
		swap = (w.m.SwapTotal - w.m.SwapFree + w.swapOn).Pages(w.m.PageSize)
	}
	return w.m.MemTotal.Pages(w.m.PageSize), swap
}

// commitLimit follows vm_commit_limit().
func (w *world) commitLimit() kernel.Pages {
	ram, swap := w.machinePages()
	if n := w.reserve(kernel.OvercommitKbytes, 0); n > 0 {
		return n + swap
	}
	return (ram-max(w.pool(), w.hugeInUse()))*kernel.Pages(w.number(kernel.OvercommitRatio, 50))/100 + swap
}

// What a process that runs has committed beside what was measured of an idle one, and the
// agent beside what all had before the run, in pages: the heaps of their runtimes grow by
// pieces of 4Mi.
const (
	runtimePiece = 1024
	agentGrows   = 4 * runtimePiece
)

// commits is what the process was promised.
func (p *proc) commits() Range {
	if !p.alive() || p.sharer {
		return p.file
	}
	c := exactly(p.base.Committed).widen(runtimePiece/4, runtimePiece)
	c = c.plus(p.anon).plus(p.shm).plus(p.file).shift(p.mapping)
	if p.partial {
		c.Hi += p.costs.piece() // one that is being filled
	}
	if p.base.Committed == 0 || p.p.IsCommand() { // nobody has looked
		c = Range{p.anon.Lo, c.Hi + 64*runtimePiece}
	}
	return c
}

// costs are those in the machine's pages.
func (w *world) costs() pageCosts { return pageCosts{w.m.PageSize} }

// promised is what all processes together were promised: Committed_AS.
func (w *world) promised() Range {
	sum := exactly(w.m.CommittedAS.Pages(w.m.PageSize)).widen(runtimePiece/4, agentGrows)
	for i := range w.procs {
		sum = sum.plus(w.procs[i].commits())
	}
	return sum
}

// commitRoom is below how many pages a mapping of the process is still granted.
func (w *world) commitRoom(p *proc) Range {
	allowed := w.commitLimit()
	if w.userOf(p) != 0 { // without CAP_SYS_ADMIN
		allowed -= w.reserve(adminReserve, 8192)
	}
	allowed -= w.kept(p, 0)
	// Each CPU keeps back up to a batch of what was added or taken off
	// (mm_compute_batch() in mm/mm_init.c).
	ram, _ := w.machinePages()
	cpus := kernel.Pages(max(1, w.m.CPUs))
	batch := max(ram/cpus/256, 32, 2*cpus)
	return exactly(allowed).minus(w.promised()).widen(batch*cpus, batch*cpus)
}

// kept is what is held back for the process's user to recover with, when it has mapped that
// much more: a 32nd of its address space, up to vm.user_reserve_kbytes.
func (w *world) kept(p *proc, more kernel.Pages) kernel.Pages {
	virtual := p.base.Virtual + p.anon.Mid() + p.shm.Mid() + p.mapping + p.mapped + more
	return min(virtual/32, w.reserve(userReserve, 131072))
}

// userOf is the user of a process, which is that of the one that was launched for it.
func (w *world) userOf(p *proc) int {
	for range len(w.procs) {
		parent := w.find(p.p.Parent)
		if p.p.Parent == "" || parent == nil {
			break
		}
		p = parent
	}
	return p.p.Launch.UID
}

// refuses says whether the kernel may, and whether it surely will, refuse the process a
// mapping.
func (w *world) refuses(p *proc, pages kernel.Pages) (may, surely bool) {
	if w.rules.mistake == nothingRefused {
		return false, false
	}
	switch w.sysctls[kernel.OvercommitMemory] {
	case kernel.OvercommitGuess, "":
		ram, swap := w.machinePages()
		return pages > ram+swap, pages > ram+swap
	case kernel.OvercommitNever:
		room := w.commitRoom(p)
		return pages >= room.Lo, pages >= room.Hi
	}
	return false, false
}

// mapAhead lets the first process whose next step maps memory and touches none of it do
// so, or be refused. False: there is none.
func (w *world) mapAhead() ([]*world, bool) {
	for i := range w.procs {
		p := &w.procs[i]
		steps := p.p.Profile.Steps
		if p.phase != running || p.stop || p.throttled || p.pc >= len(steps) ||
			steps[p.pc].Op.Row().Memory != profile.AddressSpace {
			continue
		}
		pages := kernel.Bytes(steps[p.pc].Bytes).Pages(w.m.PageSize)
		may, surely := w.refuses(p, pages)
		out := []*world{w}
		if may && !surely {
			out = append(out, w.clone())
		}
		if may {
			refused := out[len(out)-1]
			refused.fails(refused.find(p.p.Name))
		}
		if !surely {
			p.mapping += pages
			p.pc++
		}
		return out, true
	}
	return nil, false
}

// fails ends a process that was refused memory.
func (w *world) fails(p *proc) {
	p.phase, p.ends = ended, Ends{Code: profile.ExitFailed, Errno: profile.ENOMEM}
	p.partial = false
	w.orphan(p.p.Name)
}

// promise follows segments to the first mapping that is refused, where there may be one.
// Nil: all of them get what they want.
func (w *world) promise(segs []segment) []*world {
	if !w.strict() {
		return nil
	}
	segs = slices.Clone(segs)
	var all Range
	least := kernel.Pages(1 << 50)
	for _, s := range segs {
		if s.kind == profile.TableMemory {
			continue // they are promised to nobody
		}
		all = all.plus(s.want)
		if s.p.partial {
			all.Hi += w.costs().piece()
		}
		least = min(least, w.commitRoom(s.p).Lo)
	}
	if all.Hi < least {
		return nil
	}
	if s := segs[0]; len(segs) == 1 && s.kind == profile.AnonMemory && !s.p.p.IsCommand() {
		return w.promiseOne(s)
	}
	// Each piece is asked for when the one before is full: who comes too late depends on
	// who is faster.
	var out []*world
	granted := false
	for _, s := range segs {
		switch {
		case s.kind == profile.TableMemory:
			granted = true
			continue
		case s.kind != profile.AnonMemory || s.p.p.IsCommand():
			w.doubts = s.p.p.Name + " may be refused memory in a way that the model does not have"
			granted = true
			continue
		}
		next := w.clone()
		next.doubts = "who of those that map memory at the same time is refused depends on who is faster"
		late := next.find(s.p.p.Name)
		late.anon.Hi += s.want.Hi
		next.fails(late)
		out = append(out, next)
		granted = granted || all.Lo < w.commitRoom(s.p).Hi
	}
	for _, next := range w.proceed(segs) {
		if granted || len(next.steps) > len(w.steps) || next.panic != "" || next.noVictim {
			out = append(out, next) // killed before anybody was refused
		}
	}
	return out
}

// promiseOne is promise for a process that is the only one to map memory.
func (w *world) promiseOne(s segment) []*world {
	taken, surely := w.refusedAt(s)
	cut := s
	cut.refused, cut.whole, cut.want = true, s.want, taken
	if surely {
		return w.proceed([]segment{cut})
	}
	refused, granted := w.clone().proceed([]segment{cut}), w.proceed([]segment{s})
	if w.commitRoom(s.p).Mid() > s.want.Mid() {
		return append(granted, refused...)
	}
	return append(refused, granted...)
}

// refusedAt is how much a segment has taken when it is refused more.
func (w *world) refusedAt(s segment) (taken Range, surely bool) {
	room := w.commitRoom(s.p)
	var before kernel.Pages
	lo := kernel.Pages(-1)
	ram, swap := w.machinePages()
	for _, want := range w.pieces(s, 4*(ram+swap)) {
		for left := want; left > 0 && !surely; {
			piece := min(left, w.costs().piece())
			need := before + piece + w.kept(s.p, before) - w.kept(s.p, 0)
			if need >= room.Lo && lo < 0 {
				lo = before
			}
			if surely = need >= room.Hi; surely {
				break
			}
			before, left = before+piece, left-piece
		}
	}
	if lo < 0 {
		lo = before
	}
	if s.p.partial { // where its pieces begin is not known any more
		lo = max(0, lo-w.costs().piece())
	}
	return Range{lo, before}, surely
}

// pieces are the amounts of a segment's steps, of an endless one no more than most.
func (w *world) pieces(s segment, most kernel.Pages) []kernel.Pages {
	var out []kernel.Pages
	for pc := s.p.pc; pc < s.until; pc++ {
		step := s.p.p.Profile.Steps[pc]
		if !step.Op.Row().Charged() {
			continue
		}
		want := w.want(s.p, step).Hi
		if pc == s.p.pc && s.p.partial {
			want = s.p.rest.Hi
		}
		out = append(out, min(want, most))
	}
	return out
}
