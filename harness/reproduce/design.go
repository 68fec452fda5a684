package reproduce

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/kernel"
)

// mode is how the domain is filled up in the end.
type mode int

const (
	// victimFills: the victim asked for the page too many itself.
	victimFills mode = iota
	// triggerFills: another process of the table did.
	triggerFills
	// fillerFills: an exempt child of the victim does, which stands for whatever
	// asked, and dies with it: that leaves exactly one kill.
	fillerFills
	// nobodyFills: sysrq-f.
	nobodyFills
)

// actor is a process of the scenario.
type actor struct {
	name string
	of   explain.Ranked
	want kernel.Pages // its points without the adjustment
	held kernel.Pages // what it is told to take
	adj  int
	// tables is the part of what it holds that is page tables, beside those for its pages.
	tables float64
}

// points is the actor's score without its adjustment.
func (a actor) points() kernel.Pages { return stressorPoints + a.held + a.held/511 }

// charge is what it costs the domain.
func (a actor) charge() kernel.Pages { return stressorCharged + a.held + a.held/511 }

// holding is what to take so as to have so many points.
func holding(points kernel.Pages) kernel.Pages { return max(0, (points-stressorPoints)*511/512) }

// design is a scaled copy of the report on its way.
type design struct {
	in     *input
	margin kernel.Pages // by which the victim outranks everybody
	slack  kernel.Pages // by which the domain may be full sooner or later

	memory kernel.Bytes // of the guest
	limit  kernel.Pages // of the cgroup, or the managed pages
	swap   kernel.Pages
	room   kernel.Pages // what can be charged before somebody dies

	domain    float64 // scale of the domain
	processes float64 // and of the processes
	mode      mode
	victim    actor
	others    []actor
	trigger   int          // of others, or -1
	rest      kernel.Pages // held by an exempt process, for the memory of no process
	gap       kernel.Pages // left to the filler
	notes     []string
}

func (d *design) note(format string, args ...any) {
	d.notes = append(d.notes, fmt.Sprintf(format, args...))
}

// What a domain is scaled to.
const (
	cgroupLeast = 32 * kernel.MiB
	cgroupMost  = 512 * kernel.MiB
	machineMost = kernel.GiB
	swapMost    = kernel.GiB
)

// few is how many processes of the table a scenario has; the rest of it are
// merged.
const few = 8

func (in *input) design(try int) (*design, error) {
	d := &design{in: in, margin: 700 << try, trigger: -1}
	if err := d.scale(); err != nil {
		return nil, err
	}
	d.cast()
	d.slack = 400 + 160*kernel.Pages(len(d.others)+2)
	if !in.cgroup {
		d.slack = d.room/10 + 2048
	}
	d.slack += d.slack / 2 * kernel.Pages(try)
	if err := d.enlarge(); err != nil {
		return nil, err
	}
	d.choose()
	d.separate()
	return d, d.fill()
}

// scale chooses the factor of the domain.
func (d *design) scale() error {
	in := d.in
	total := in.total.Bytes(in.o.PageSize)
	ram := total - in.swap.Bytes(in.o.PageSize)
	factor := 1 / max(in.o.Scale, 1e-9)
	auto := in.o.Scale == 0
	if in.cgroup {
		if auto {
			factor = 1
			if total > cgroupMost {
				factor = float64(cgroupMost) / float64(total)
			} else if total < cgroupLeast {
				factor = float64(cgroupLeast) / float64(max(total, 1))
			}
		}
		d.limit = pages(float64(ram) * factor)
		d.swap = pages(float64(total-ram) * factor)
		d.memory = guestFor(d.limit.Bytes(guestPage) + 256*kernel.MiB)
		d.room = d.limit + d.swap
		if avail := managed(d.memory) - guestOccupies; d.limit.Bytes(guestPage) > avail-64*kernel.MiB {
			return impossible("at a scale of %s the cgroup has %s, which a VM of %s does not hold; "+
				"take a smaller scale, such as 1/%.0f",
				fraction(factor), d.limit.Bytes(guestPage).Human(), maxGuest, 1+1/(float64(cgroupMost)/float64(total)))
		}
		if d.limit < 2048 {
			hint := "leave --scale out"
			if auto {
				hint = fmt.Sprintf("it had %s of memory and %s of swap", ram.Human(), (total - ram).Human())
			}
			return impossible("at a scale of %s the cgroup has %s, too little for "+
				"processes that take memory; %s", fraction(factor), d.limit.Bytes(guestPage).Human(), hint)
		}
	} else {
		if auto {
			factor = float64(managed(machineMost)) / float64(max(ram, 1))
			if float64(total-ram)*factor > float64(swapMost) {
				factor = float64(managed(minGuest)) / float64(ram)
			}
			factor = min(factor, 1)
		}
		want := float64(ram) * factor
		if want > float64(managed(maxGuest))*1.02 || want < float64(managed(minGuest))*0.9 && !auto {
			return impossible("at a scale of %s the machine has %s; VMs have %s to %s",
				fraction(factor), kernel.Bytes(want).Human(), minGuest, maxGuest)
		}
		d.memory = guestFor(kernel.Bytes(want))
		d.limit = managed(d.memory).Pages(guestPage)
		factor = float64(managed(d.memory)) / float64(max(ram, 1))
		d.swap = pages(float64(total-ram) * factor)
		d.room = (managed(d.memory) - guestOccupies).Pages(guestPage) + d.swap
	}
	d.domain, d.processes = factor, factor
	return nil
}

func pages(bytes float64) kernel.Pages {
	return kernel.Pages(min(max(bytes, 0), 1<<50) / float64(guestPage))
}

// fraction writes a scale: 1/32, 1, 4.
func fraction(f float64) string {
	text := func(x float64) string {
		if x >= 100 || x-float64(int64(x)) < 0.05 {
			return fmt.Sprintf("%.0f", x)
		}
		return fmt.Sprintf("%.1f", x)
	}
	if f >= 1 {
		return text(f)
	}
	return "1/" + text(1/f)
}

// cast chooses the processes: the victim, the trigger, those with the highest
// scores, and the largest of the others. More are merged into the rest.
func (d *design) cast() {
	in := d.in
	names := namer{"rest": true, "filler": true}
	d.victim = actor{name: names.of(in.victim.Comm), of: in.victim, adj: in.victim.Adj}
	isTrigger := func(k explain.Ranked) bool {
		if pid := in.r.Trigger.PID; pid != nil {
			return *pid == k.PID
		}
		return k.Killed && in.r.Trigger.Comm == k.Comm // the line with the pid is lost
	}
	keep := map[int]bool{}
	for i, k := range in.others {
		if isTrigger(k) || i < few/2 {
			keep[i] = true
		}
	}
	large := make([]int, len(in.others))
	for i := range large {
		large[i] = i
	}
	slices.SortStableFunc(large, func(a, b int) int { return cmp.Compare(held(in.others[b]), held(in.others[a])) })
	for _, i := range large {
		if len(keep) < few {
			keep[i] = true
		}
	}
	merged := 0
	for i, k := range in.others {
		if !keep[i] {
			merged++
			continue
		}
		if isTrigger(k) {
			d.trigger = len(d.others)
		}
		d.others = append(d.others, actor{name: names.of(k.Comm), of: k, adj: k.Adj})
	}
	if merged > 0 {
		d.note("%d processes with lower scores are merged into the exempt process rest.", merged)
	}
	d.adjustments()
	switch {
	case in.r.Sysrq:
		d.mode = nobodyFills
	case in.r.AllocatingTask || isTrigger(in.victim):
		d.mode = victimFills
	case d.trigger >= 0:
		d.mode = triggerFills
	default:
		d.mode = fillerFills
	}
}

// held is what a process of the table had, in its machine's pages.
func held(k explain.Ranked) kernel.Pages { return max(0, k.RSS) + max(0, k.Swap) + max(0, k.PgTables) }

// adjustments drops those that counted for nothing: in a domain below 1000
// pages.
func (d *design) adjustments() {
	if d.in.total >= 1000 || d.in.e.TotalPages == nil && !d.in.cgroup {
		return
	}
	differs := d.victim.adj != 0
	d.victim.adj = 0
	for i := range d.others {
		differs = differs || d.others[i].adj != 0
		d.others[i].adj = 0
	}
	if differs {
		d.note("The domain had less than 1000 pages, where oom_score_adj counts for nothing; it is left out.")
	}
}

// coupled reports whether domain and processes must have one scale: adjustments
// that differ are shares of the domain.
func (d *design) coupled() bool {
	return slices.ContainsFunc(d.others, func(a actor) bool { return a.adj != d.victim.adj })
}

// enlarge gives the processes a scale of their own where nothing speaks against
// it: large enough for a stressor's footprint not to matter, small enough to fit.
func (d *design) enlarge() error {
	size := func(k explain.Ranked) float64 { return float64(held(k)) * float64(d.in.o.PageSize/guestPage) }
	sum := size(d.victim.of)
	for _, a := range d.others {
		sum += size(a.of)
	}
	if !d.coupled() {
		const enough = 8 * float64(stressorPoints)
		if size(d.victim.of)*d.processes < enough {
			d.processes = max(d.processes, min(16, enough/max(1, size(d.victim.of))))
		}
	}
	most := 0.85*float64(d.room) - float64(d.slack)
	if d.mode == fillerFills {
		most = min(most, float64(d.room-d.slack-d.fillers()-stressorCharged*kernel.Pages(len(d.others)+3)))
	}
	if d.coupled() {
		most = 0.97*float64(d.room) - float64(stressorCharged)*float64(len(d.others)+2)
	}
	if sum*d.processes > most {
		d.processes = max(0, most/sum) // pages that were shared, or not charged
	}
	for i := range d.others {
		d.others[i].want = kernel.Pages(size(d.others[i].of) * d.processes)
		d.others[i].held = holding(d.others[i].want)
	}
	d.victim.want = kernel.Pages(size(d.victim.of) * d.processes)
	d.victim.held = holding(d.victim.want)
	d.pageTables()
	if d.room < 2*d.slack {
		return impossible("the domain is too small for so many processes; take a larger scale")
	}
	return nil
}

// pageTables says what is made of page tables. Where there is swap they stay anonymous
// memory, for which alone it is known when it is full.
func (d *design) pageTables() {
	part := func(a *actor) kernel.Pages {
		tables := d.in.pageTables(a.of)
		if tables > 0 && d.swap == 0 {
			a.tables = float64(tables) / float64(held(a.of))
		}
		return tables
	}
	for i := range d.others {
		part(&d.others[i])
	}
	tables := part(&d.victim)
	if tables == 0 {
		return
	}
	made := "They are page tables here, too."
	if d.swap > 0 {
		made = "They are anonymous memory here, which can be swapped."
	}
	d.note("Of what %s held, %s were page tables, more than its pages need. %s", d.in.victim.Comm,
		tables.Bytes(d.in.o.PageSize).Human(), made)
}

// worth is what an adjustment adds in the scaled domain.
func (d *design) worth(adj int) kernel.Pages {
	return kernel.Pages(adj) * ((d.limit + d.swap) / 1000)
}

// givesBack is what the victim of a machine has at least, so that nobody else
// runs out of memory before the filler is gone too.
const givesBack = kernel.Pages(32 * kernel.MiB / guestPage)

// separate makes the victim outrank everybody by more than the kernel's
// counters lag behind, and the footprint of stressors distorts.
func (d *design) separate() {
	lead := d.margin
	if d.mode == victimFills {
		lead += d.slack
	}
	need := stressorPoints
	for _, a := range d.others {
		need = max(need, stressorPoints+d.worth(a.adj)-d.worth(d.victim.adj)+lead)
	}
	why := "an idle stressor has " + d.bytes(stressorPoints) + " already"
	if d.mode == fillerFills && !d.in.cgroup && need < givesBack {
		need, why = givesBack, "the machine must have room again when it is dead"
	}
	if d.victim.points() < need && !d.in.r.AllocatingTask {
		d.note("%s is enlarged from %s to %s: %s.", d.victim.name, d.bytes(d.victim.want), d.bytes(need), why)
		d.victim.held = holding(need) + 2
	}
	top := d.victim.points() + d.worth(d.victim.adj) - lead
	for i := range d.others {
		a := &d.others[i]
		most := top - d.worth(a.adj)
		if i == d.trigger && d.mode == triggerFills {
			most -= 2 * d.slack
		}
		if d.in.r.AllocatingTask || a.points() <= most {
			continue
		}
		to := holding(max(most, stressorPoints))
		if a.held-to > a.held/8 {
			d.note("%s is made smaller, %s instead of %s, for its score to stay clear of the victim's.",
				a.name, d.bytes(to), d.bytes(a.held))
		}
		a.held = to
	}
}

func (d *design) bytes(p kernel.Pages) string { return p.Bytes(guestPage).Human() }

// choose falls back to the filler where the trigger's own growth would kill
// more than once: what the victim gives back must be more than what is asked for.
func (d *design) choose() {
	switch {
	case d.mode == triggerFills && d.victim.charge() < 6*d.slack:
		d.mode = fillerFills
		d.note("%s asked for memory when %s was killed. Here an exempt child of the victim does: "+
			"what the victim gives back is too little to satisfy a process that goes on growing.",
			d.others[d.trigger].name, d.victim.name)
	case d.mode == triggerFills && d.others[d.trigger].charge() < 3*d.slack:
		d.mode = fillerFills
		d.note("%s asked for memory, and held too little to fill the domain up here; "+
			"an exempt child of the victim stands for it.",
			d.others[d.trigger].name)
	case d.mode == fillerFills:
		d.note("The task that asked for memory is not in the table; an exempt child of the victim stands for it.")
	}
	if d.mode == fillerFills {
		d.gap = d.fillers()
	}
}

// fillers is the room that is left to the filler.
func (d *design) fillers() kernel.Pages { return 3*d.slack + 1024 }

// fill gives what is left of the domain to an exempt process.
func (d *design) fill() error {
	if d.mode == nobodyFills {
		return nil
	}
	victim := d.victim.charge()
	if least := 3 * d.slack; d.mode == victimFills && victim < least {
		// rest must not be the one that finds the domain full
		d.note("%s grows to about %s instead of %s: how much room there is, is not known better.",
			d.victim.name, d.bytes(least), d.bytes(d.victim.points()))
		victim = least
	}
	used := victim + d.gap
	if d.gap > 0 {
		used += stressorCharged
	}
	for _, a := range d.others {
		used += a.charge()
	}
	left := d.room - used - stressorCharged
	const least = 512
	if left >= least {
		d.rest = left
		return nil
	}
	if c := d.in.r.Constraint; left < -d.slack && (c == "CONSTRAINT_CPUSET" || c == "CONSTRAINT_MEMORY_POLICY") {
		return impossible("the processes hold more than the memory nodes that ran out: part of it lay on other " +
			"nodes, and " +
			"the log does not say whose")
	}
	if left < -d.slack {
		return impossible("the processes do not fit into the domain at this scale")
	}
	return nil
}
