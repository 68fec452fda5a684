package verdict

import (
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
)

// keptBack is how many pages may be missing in a counter that is read: CPUs keep back up
// to a batch each (percpu_counter_batch, lib/percpu_counter.c), or threads up to 64 each
// (TASK_RSS_EVENTS_THRESH, mm/memory.c), by what oomlab found oom_badness() to read.
func (a *account) keptBack() kernel.Pages {
	threads, batches := a.keepers()
	switch a.in.Machine.Badness {
	case kernel.ReadsThreadBatched:
		return threads
	case kernel.ReadsCPUBatched, kernel.ReadsExact:
		return batches
	}
	return max(threads, batches)
}

// keepers is how many pages the threads of a stressor, or all CPUs, may keep back.
func (a *account) keepers() (threads, batches kernel.Pages) {
	cpus := kernel.Pages(max(1, a.in.Machine.CPUs))
	return 64 * kernel.Pages(max(1, a.in.Machine.Stressor.Threads)), max(32, 2*cpus) * cpus
}

// sampled is how much a process may have more or less in a sample: what each of three
// counters keeps back and, until it has begun its own program, what its parent has.
func (a *account) sampled() kernel.Bytes {
	threads, batches := a.keepers()
	return 3 * max(threads, batches).Bytes(a.pageSize())
}

// alive holds what /proc/PID/status says of a process at the end: it is no zombie, and
// has the memory that its steps took.
func (w *agentWitness) alive(a *account, l *life, s *evidence.ProcessStatus, found *findings) {
	switch {
	case s == nil:
		found.add(HoldDiffers, "nothing is known of %s at the end but that it is alive", l)
		return
	case !exists(*s) || s.RssAnon == nil:
		found.add(DeadButAlive, "%s is said to be alive at the end: state %q, %d threads", l, s.State, s.Threads)
		return
	case !whole(*s):
		found.add(HoldDiffers, "not all is known of what %s holds at the end", l)
		return
	}
	w.memory(a, l, s, "at the end", found)
}

// quiet holds what a program of the user's own has when it counts as ready: it is there,
// and all is known of it.
func (w *agentWitness) quiet(a *account, l *life, s *evidence.ProcessStatus, found *findings) {
	if s == nil || !exists(*s) || !whole(*s) {
		found.add(HoldDiffers, "not all is known of what %s holds when it was ready", l)
		return
	}
	w.memory(a, l, s, "when it was ready", found)
}

// exists reports whether a status is that of a process that has not ended.
func exists(s evidence.ProcessStatus) bool {
	return s.State != "Z" && s.State != "X" && s.State != "" && s.Threads > 0
}

// whole reports whether all that a process holds is in its status.
func whole(s evidence.ProcessStatus) bool {
	return s.RssAnon != nil && s.RssFile != nil && s.RssShmem != nil && s.VmSwap != nil && s.VmPTE != nil
}

// memory holds what /proc/PID/status says that a process has, all of which is known,
// against what its steps took by then.
func (w *agentWitness) memory(a *account, l *life, s *evidence.ProcessStatus, when string, found *findings) {
	for _, n := range []kernel.Bytes{*s.RssAnon, *s.RssFile, *s.RssShmem, *s.VmSwap, *s.VmPTE} {
		if n < 0 || n%a.pageSize() != 0 {
			found.add(HoldDiffers, "%s holds %d bytes of something %s, which is no number of pages", l, n, when)
		}
	}
	idle, back := w.in.Machine.Stressor, a.keptBack()
	least := max(0, idle.Anon-back).Bytes(a.pageSize()) // of its stacks and heap
	if l.ready && !l.plan.IsCommand() && !sharer(l.plan, w.in.Plan) {
		least = max(least, w.anonymous(l.plan.Profile.Steps))
	}
	if *s.VmSwap > 0 && a.swap() == 0 {
		found.add(HoldDiffers, "%s has %s swapped out, on a machine without swap", l, *s.VmSwap)
	}
	if l.plan.IsCommand() {
		if *s.RssAnon+*s.VmSwap == 0 || *s.VmPTE == 0 {
			found.add(HoldDiffers, "%s has %s of anonymous memory %s, and page tables of %s: no program has none", l,
				*s.RssAnon+*s.VmSwap, when, *s.VmPTE)
		}
		return
	}
	if anon := *s.RssAnon + *s.VmSwap; anon < least {
		found.add(HoldDiffers, "%s has %s of anonymous memory %s; its steps took %s", l, anon, when, least)
	}
	// a page of page tables maps as many pages as it has entries of eight bytes
	if tables := (*s.RssAnon - back.Bytes(a.pageSize())) / (a.pageSize() / 8); *s.VmPTE < max(a.pageSize(), tables) {
		found.add(HoldDiffers, "%s has %s resident %s, and page tables of %s", l, *s.RssAnon, when, *s.VmPTE)
	}
	// nothing takes shared memory back where there is no swap space
	if w.in.Plan.On == nil && idle.Shmem > back && a.swap() == 0 && *s.RssShmem == 0 {
		found.add(HoldDiffers, "%s has no shared memory %s, which its program is in", l, when)
	}
}

// due: what comes after others in the plan comes after they were ready or had ended.
func (w *agentWitness) due(a *account, found *findings) {
	if w.in.Plan.On != nil {
		return // the kubelet starts what it can
	}
	started := map[string]bool{}
	for _, l := range a.lives {
		if started[l.process] || l.plan.Parent != "" {
			continue // started again at once, or by its parent
		}
		started[l.process] = true
		if at, name := a.reached(l.plan.After); l.born < at {
			found.add(TimeDiffers, "%s was started at %d ns; it comes after %s, which was not ready before %d", l,
				l.born,
				name, at)
		}
	}
	for _, e := range w.in.Events {
		if e.Kind != evidence.Did {
			continue
		}
		var early *plan.During
		for i, d := range w.in.Plan.During {
			at, _ := a.reached(d.After)
			if d.String() != e.Text {
				continue
			}
			if at = max(at, w.begin) + d.DelayMS*1_000_000; e.AtNS >= at {
				early = nil
				break
			}
			early = &w.in.Plan.During[i]
		}
		if early != nil {
			found.add(TimeDiffers, "%q was done at %d ns, %d ms before it was due at the earliest", e.Text, e.AtNS,
				early.DelayMS)
		}
	}
}

// reached is when all of the processes were ready or had ended for the first time, and
// which was the last of them. One that never lived is not waited for.
func (a *account) reached(names []string) (atNS int64, last string) {
	for _, name := range names {
		var first int64
		for _, l := range a.livesOf(name) {
			for _, at := range []int64{l.readyNS, l.diedNS} {
				if at != 0 && (first == 0 || at < first) {
					first = at
				}
			}
			if first == 0 {
				first = l.born // at least
			}
		}
		if first > atNS {
			atNS, last = first, name
		}
	}
	return atNS, last
}

// checkMost holds the most that a process had resident against what it held, and
// against what it can have held.
func (w *waitWitness) checkMost(a *account, l *life, found *findings) {
	most := l.exit.MaxRSS
	if most == nil {
		return
	}
	if *most <= 0 || *most%a.pageSize() != 0 {
		found.add(HoldDiffers, "%s had at most %d bytes resident by its wait status", l, *most)
	}
	if l.plan.IsCommand() {
		return // of a program of the user's own it is the largest sample
	}
	var held kernel.Bytes
	if a.swap() == 0 {
		held = a.mostHeld(l) // what was swapped out counts there
	}
	// What the oom_reaper takes from a mm before it ends does not count in its most.
	if k := a.kill(l.kernelPID); k != nil && k.RSS != nil && !a.kmsg().reaped(l.kernelPID) {
		held = max(held, kernel.Bytes(k.RSS.Anon)*a.pageSize())
	}
	if *most < held {
		found.add(HoldDiffers, "%s had at most %d bytes resident by its wait status, and held %d", l, *most, held)
	}
	if w.in.Plan.On != nil || l.exit.By != string(evidence.Agent) || len(l.plan.Profile.Children) > 0 ||
		l.plan.Parent != "" {
		return
	}
	if can, ok := a.capacity(l); ok && *most > can {
		found.add(HoldDiffers, "%s had %s resident by its wait status; its steps take no more than %s", l, *most, can)
	}
}

// checkWaiter: a process is waited for by its parent, and by the agent if that has ended.
func (w *waitWitness) checkWaiter(a *account, l *life, found *findings) {
	by := l.exit.By
	if w.in.Plan.On != nil {
		return
	}
	if byEvents := l.of != "" || l.plan.Overseen(); byEvents || by == evidence.ByProcessEvents {
		if !byEvents || by != evidence.ByProcessEvents {
			found.add(EndUnexplained, "the end of %s is told by %q", l, by)
		}
		return
	}
	parent := a.lifeOf(l.plan.Parent)
	orphan := parent == nil || parent.exit != nil
	if by != string(evidence.Agent) && (by == "" || by != l.plan.Parent) ||
		by == string(evidence.Agent) && !orphan {
		found.add(EndUnexplained, "%q is said to have waited for %s", by, l)
	}
}
