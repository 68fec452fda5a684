package verdict

import (
	"cmp"
	"math"
	"reflect"
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/stressor/profile"
)

// samplerWitness is the timeline: what cgroups and processes held about every tenth of
// a second. No claim rests on it, because what lies between two samples is not seen; it
// may contradict the others.
type samplerWitness struct {
	bystander
	in   Input
	rows []evidence.Event
}

// SamplesDiffer: the timeline contradicts itself, or what others tell of that time.
const SamplesDiffer Kind = "samples-differ"

func init() {
	addWitness(90, func(in Input) witness { return &samplerWitness{in: in, rows: in.Samples} })
}

func (*samplerWitness) source() evidence.Source { return evidence.Sampler }

func (w *samplerWitness) absent() string {
	if len(w.rows) == 0 {
		return "no samples were taken"
	}
	return ""
}

// complete: a run directory has its samples, and they are whole.
func (w *samplerWitness) complete(a *account, found *findings) {
	if w.in.SamplesProblem != "" {
		found.add(SamplesDiffer, "%s", w.in.SamplesProblem)
	}
	const soon = 2_000_000_000
	if agent := a.agent(); w.in.Meta.Timeline && len(w.rows) == 0 && a.over() && agent.end-agent.begin > soon {
		found.add(SamplesDiffer, "samples were asked for, and there are none")
	}
	if a.agent().down != "" {
		w.agree(a, found) // as far as it came
	}
}

// agree: samples are taken one after the other while the run lasts, of what is there.
func (w *samplerWitness) agree(a *account, found *findings) {
	last := a.agent().end
	if !a.agent().ended {
		for _, e := range w.in.Events {
			last = max(last, e.AtNS+lateNS+e.AtNS/1000) // by the clock of the console
		}
	}
	for f, r := range a.counters().files {
		if r.after != nil && !r.after.Gone && f.file == evidence.FileVmstat {
			last = min(last, r.afterNS) // the sampler is stopped before
		}
	}
	begin := a.agent().begin
	seen := map[string]bool{} // processes of a node
	for i, e := range w.rows {
		s := e.Sample
		if !reflect.DeepEqual(e, evidence.Event{AtNS: e.AtNS, Source: evidence.Sampler, Kind: evidence.Sample,
			Sample: s}) ||
			s == nil {
			found.add(NobodysEvent, "sample %d is no sample: %q of %q", i+1, e.Kind, e.Source)
			continue
		}
		if e.AtNS < begin || e.AtNS > last {
			found.add(TimeDiffers, "a sample at %d ns was taken outside of the run, from %d to %d ns", e.AtNS, begin,
				last)
		}
		if i > 0 && e.AtNS <= w.rows[i-1].AtNS {
			found.add(TimeDiffers, "a sample at %d ns comes after one at %d ns", e.AtNS, w.rows[i-1].AtNS)
		}
		next := last
		if i+1 < len(w.rows) {
			next = w.rows[i+1].AtNS
		}
		w.machine(a, e, found)
		if w.in.Plan.On == nil {
			w.cgroups(a, e, next, found)
			w.processes(a, e, next, found)
			continue
		}
		w.planned(a, e, next, seen, found)
	}
	if w.in.Plan.On == nil {
		w.growth(a, found)
	}
}

// differs adds what is wrong with a sample.
func differs(e evidence.Event, found *findings) func(format string, args ...any) {
	return func(format string, args ...any) {
		found.add(SamplesDiffer, "the sample at %d ns: "+format, append([]any{e.AtNS}, args...)...)
	}
}

// inPages reports whether what a process has is a number of whole pages.
func (a *account) inPages(u evidence.ProcessUsage) bool {
	return u.RSS >= 0 && u.Swap >= 0 && u.RSS%a.pageSize() == 0 && u.Swap%a.pageSize() == 0
}

// settlesNS is how late the runtime of a node may tell that a process has ended.
const settlesNS = 10_000_000_000

// planned holds a sample of a node's processes against the plan: when one of them began
// and what it takes others tell less exactly there.
func (w *samplerWitness) planned(a *account, e evidence.Event, next int64, seen map[string]bool, found *findings) {
	bad := differs(e, found)
	for path, n := range e.Sample.Cgroups {
		if n < 0 || n%a.pageSize() != 0 || n > w.in.Machine.MemTotal {
			bad("%s is charged with %d bytes", path, n)
		}
	}
	pods := cmp.Or(w.in.Plan.On.Kubepods, kubelet.Root)
	if _, ok := e.Sample.Cgroups[pods]; !ok {
		bad("it has nothing of %s", pods)
	}
	for _, l := range a.lives {
		u, ok := e.Sample.Processes[l.process]
		until := w.until(a, l)
		if a.marked(l.kernelPID) == 0 {
			until -= settlesNS
		}
		if len(a.livesOf(l.process)) > 1 || until <= next {
			continue // it is another container, or about to end
		}
		if seen[l.process] && !ok || ok && u.RSS+u.Swap == 0 {
			bad("%s is there, and it has nothing of it", l)
		}
		seen[l.process] = seen[l.process] || ok
	}
	for name, u := range e.Sample.Processes {
		if !a.inPages(u) {
			bad("%s has %d bytes resident and %d swapped out", name, u.RSS, u.Swap)
		}
		known := func(q plan.Process) bool { return q.Name == name }
		if len(a.livesOf(name)) == 0 && !slices.ContainsFunc(w.in.Plan.Processes, known) {
			bad("there is no process %s", name)
		}
	}
}

// machine holds a sample of the machine against how much there is of it.
func (w *samplerWitness) machine(a *account, e evidence.Event, found *findings) {
	s, m := e.Sample, w.in.Machine
	bad := differs(e, found)
	if s.MemFree <= 0 || s.MemFree > m.MemTotal || s.MemFree%kernel.KiB != 0 {
		bad("%d bytes are free of %d", s.MemFree, m.MemTotal)
	}
	if s.SwapFree < 0 || s.SwapFree > a.swap() || s.SwapFree%kernel.KiB != 0 {
		bad("%d bytes of swap are free of %d", s.SwapFree, a.swap())
	}
	if s.Load1 < 0 {
		bad("the load is %g", s.Load1)
	}
	some, full := s.PSISome, s.PSIFull
	first := w.rows[0].Sample
	if first != nil && ((some == nil) != (first.PSISome == nil) || (full == nil) != (first.PSIFull == nil)) {
		bad("it tells of pressure, and the first one does not, or the other way round")
	}
	if some != nil && (*some < 0 || *some > 100) || full != nil && (*full < 0 || *full > 100) ||
		some != nil && full != nil && *full > *some {
		bad("the pressure is no percentage, or more wait in full than some")
	}
}

// cgroups holds a sample of cgroups against their limits and against those in them that
// are at rest. A charge may go over a limit for those that are being killed.
func (w *samplerWitness) cgroups(a *account, e evidence.Event, next int64, found *findings) {
	const over = 4 << 20
	bad := differs(e, found)
	for _, path := range w.in.Plan.Lasting() {
		if _, ok := e.Sample.Cgroups[path]; !ok {
			bad("it has nothing of %s", path)
		}
	}
	changed := a.limitMoves()
	for path, n := range e.Sample.Cgroups {
		c, ok := w.in.Plan.Cgroup(path)
		if !ok {
			bad("there is no cgroup %s", path)
			continue
		}
		if n < 0 || n%a.pageSize() != 0 || c.Max != nil && !changed && n > *c.Max+over {
			bad("%s is charged with %d bytes", path, n)
		}
		var least kernel.Bytes
		for _, l := range a.lives {
			if a.swap() == 0 && kernel.InCgroup(l.plan.Cgroup, path) && w.rests(a, l, e.AtNS, next) {
				least += a.agent().anonymous(l.plan.Profile.Steps)
			}
		}
		if n < least {
			bad("%s is charged with %s, and processes that rest there took %s", path, n, least)
		}
	}
}

// rests reports whether a stressor has done its steps before a sample and lives beyond
// the next one, untouched.
func (w *samplerWitness) rests(a *account, l *life, atNS, nextNS int64) bool {
	return l.ready && l.readyNS < atNS && !l.plan.IsCommand() && l.plan.Parent == "" && w.until(a, l) > nextNS &&
		!slices.ContainsFunc(l.plan.Profile.Steps, func(s profile.Step) bool { return s.Op == profile.Free })
}

// until is when a process begins to lose its memory: when it is killed, or ends.
func (w *samplerWitness) until(a *account, l *life) int64 {
	k := a.kill(l.kernelPID)
	switch marked := a.marked(l.kernelPID); {
	case marked != 0:
		return marked
	case k != nil:
		return l.born // nobody tells to the moment
	case l.exit == nil && (l.alive || a.agent().down != ""):
		return math.MaxInt64
	case l.exit == nil:
		return l.born
	case a.sharesWithVictim(l):
		return l.born
	}
	return l.diedNS - lateNS // it was noticed a moment later
}

// sharesWithVictim reports whether a process uses the memory of one that was killed.
func (a *account) sharesWithVictim(l *life) bool {
	return slices.ContainsFunc(a.kills, func(k Kill) bool {
		v, ok := a.in.Plan.Process(k.Victim.Process)
		return ok && sharesMemory(l.plan, v)
	})
}

// processes holds a sample of processes against their lives and their steps.
func (w *samplerWitness) processes(a *account, e evidence.Event, next int64, found *findings) {
	bad := differs(e, found)
	for name, u := range e.Sample.Processes {
		// It is read after its time, and a process is known a moment before it is announced.
		lives := slices.DeleteFunc(a.livesOf(name), func(l *life) bool {
			return l.born > next+lateNS || l.exit != nil && l.diedNS < e.AtNS
		})
		if len(lives) == 0 {
			bad("there is no process %s then", name)
			continue
		}
		leaves := slices.ContainsFunc(lives, func(l *life) bool { return w.until(a, l) <= next })
		if !a.inPages(u) || u.Swap > a.swap() || u.RSS+u.Swap == 0 && !leaves {
			bad("%s has %d bytes resident and %d swapped out", name, u.RSS, u.Swap)
		}
		slack := a.sampled()
		for _, l := range lives {
			if most, ok := a.mostResident(l); ok && u.RSS > most+slack && len(lives) == 1 {
				bad("%s has %s resident, which is more than %s", l, u.RSS, most)
			}
			if least := a.agent().anonymous(l.plan.Profile.Steps); w.rests(a, l, e.AtNS, next) &&
				u.RSS+u.Swap+slack < least {
				bad("%s has %s resident and %s swapped out; its steps took %s", l, u.RSS, u.Swap, least)
			}
		}
	}
	for _, l := range a.lives {
		_, ok := e.Sample.Processes[l.process]
		known := l.plan.Parent == "" || l.of != ""
		born := l.born
		if l.of != "" { // by the kernel's clock; the agent learns of it a moment later
			born += lateNS
		}
		if !ok && known && born < e.AtNS && w.until(a, l) > next && l.plan.Respawn == 0 {
			bad("%s is there, and it has nothing of it", l)
		}
	}
}

// growth: a process that only takes memory does not have less of it later on, where the
// kernel cannot take it back; and as long as it has it, it is charged, and not free.
func (w *samplerWitness) growth(a *account, found *findings) {
	if a.swap() != 0 {
		return
	}
	idle := w.in.Machine.Stressor
	slack := a.sampled() + idle.File.Bytes(a.pageSize())
	most := map[*life]kernel.Bytes{}
	for i, e := range w.rows {
		next := int64(math.MaxInt64)
		if i+1 < len(w.rows) {
			next = w.rows[i+1].AtNS
		}
		if e.Sample == nil || next == math.MaxInt64 && a.agent().down == "" {
			break
		}
		own := map[*life]kernel.Bytes{} // of it, at least so much is anonymous
		var sum kernel.Bytes
		for l, had := range most {
			if u, ok := e.Sample.Processes[l.process]; ok && next < w.until(a, l) && u.RSS+slack < had {
				found.add(SamplesDiffer, "the sample at %d ns: %s has %s resident, and had %s before", e.AtNS, l,
					u.RSS, had)
			}
			if next < w.until(a, l) {
				own[l] = max(0, had-slack-idle.Shmem.Bytes(a.pageSize()))
				sum += own[l]
			}
		}
		if free := e.Sample.MemFree; free > w.in.Machine.MemTotal-sum {
			found.add(SamplesDiffer, "the sample at %d ns: %s are free, and processes have %s", e.AtNS, free, sum)
		}
		for path, n := range e.Sample.Cgroups {
			var least kernel.Bytes
			for l, had := range own {
				if kernel.InCgroup(l.plan.Cgroup, path) {
					least += had
				}
			}
			if n < least {
				found.add(SamplesDiffer, "the sample at %d ns: %s is charged with %s, and processes there have %s",
					e.AtNS,
					path, n, least)
			}
		}
		for _, l := range a.lives {
			if u, ok := e.Sample.Processes[l.process]; ok && w.grows(a, l) {
				most[l] = max(most[l], u.RSS)
			}
		}
	}
}

// grows reports whether a process is a stressor that only takes memory which the kernel
// cannot take back without swap.
func (w *samplerWitness) grows(a *account, l *life) bool {
	return !l.plan.IsCommand() && len(a.livesOf(l.process)) == 1 && l.plan.Parent == "" &&
		!slices.ContainsFunc(l.plan.Profile.Steps, func(s profile.Step) bool {
			return s.Op == profile.Free || s.Op.Row().Memory == profile.PageCache || s.Op.Row().InTmpfs()
		})
}

// mostResident is the most that a stressor can have resident: what its wait status says,
// or what its steps take.
func (a *account) mostResident(l *life) (kernel.Bytes, bool) {
	if l.plan.IsCommand() || l.plan.Parent != "" || len(l.plan.Profile.Children) > 0 {
		return 0, false
	}
	most := kernel.Bytes(math.MaxInt64)
	if l.exit != nil && l.exit.MaxRSS != nil && !a.kmsg().reaped(l.kernelPID) {
		most = *l.exit.MaxRSS
	}
	if n, ok := a.capacity(l); ok {
		most = min(most, n)
	}
	return most, most != math.MaxInt64
}

// capacity is the most that the steps of a stressor take, with what it has beside that.
func (a *account) capacity(l *life) (kernel.Bytes, bool) {
	const beside = 16 << 20 // its program, its heap, and what counters keep back
	if l.plan.Endless() || a.in.Machine.THP == "always" {
		return 0, false
	}
	sum := a.in.Machine.Stressor.RSS().Bytes(a.pageSize()) + beside
	for _, s := range l.plan.Profile.Steps {
		if s.Op.Row().Takes() {
			sum += kernel.Bytes(s.Bytes)
		}
	}
	return sum, true
}
