package verdict

import (
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
)

// account is a run as all its witnesses tell it. Once it is made, it is only read.
type account struct {
	in        Input
	witnesses []witness
	there     []witness // those that were there to see
	cgroups   cgroups
	pids      pids
	lives     []*life
	kills     []Kill           // in the order in which the kernel killed
	lost      []evidence.Event // those that say that events were lost
}

func newAccount(in Input) *account {
	a := &account{in: in, witnesses: witnessesOf(in), pids: readPIDs(in), kills: []Kill{}}
	a.lives = lives(in.Plan, in.Events, a.pids)
	a.cgroups = cgroups{base: in.Plan.Base, runtime: a.runtime().absent() == "", planned: map[string]string{},
		within: slices.Contains(in.Machine.Namespaces, kernel.CgroupNamespace)}
	for _, w := range a.witnesses {
		if w.absent() == "" {
			a.there = append(a.there, w)
		}
	}
	for _, e := range in.Events {
		a.cgroups.hear(e)
		if e.Kind == evidence.Lost {
			a.lost = append(a.lost, e)
		}
		for _, w := range a.there {
			w.hear(e)
		}
	}
	for _, w := range a.there {
		w.read(a)
	}
	for _, w := range a.there {
		w.join(a)
	}
	for i := range a.kills {
		a.settle(&a.kills[i])
		a.kills[i].Ranked = a.rankedOf(a.kills[i])
	}
	return a
}

// settle completes a kill of one of the plan's processes with how its life ended,
// and with the witnesses that tell of it.
func (a *account) settle(k *Kill) {
	l := a.life(k.Victim.PID)
	if l == nil {
		return
	}
	if k.Victim.Cgroup == "" {
		k.Victim.Cgroup = l.plan.Cgroup
	}
	if l.exit != nil && l.exit.Signal == sigkill {
		ms := a.ms(l.diedNS)
		k.ExitMS = &ms
	}
	for _, w := range a.there {
		if w.tells(a, k, l) {
			k.from(w.source())
		}
	}
}

var sigkill = kernel.SignalNumber("SIGKILL")

// from adds a witness to those that tell of the kill.
func (k *Kill) from(s evidence.Source) {
	if !slices.Contains(k.Sources, s) {
		k.Sources = append(k.Sources, s)
	}
}

// kill is the kill of a process; nil: nobody has told of one yet.
func (a *account) kill(tgid int) *Kill {
	i := slices.IndexFunc(a.kills, func(k Kill) bool { return k.Victim.PID == tgid })
	if i < 0 {
		return nil
	}
	return &a.kills[i]
}

// killed is the kill of a process, which begins as told if nobody has told of it
// yet.
func (a *account) killed(as Kill) *Kill {
	if k := a.kill(as.Victim.PID); k != nil {
		return k
	}
	a.kills = append(a.kills, as)
	return &a.kills[len(a.kills)-1]
}

// name is the plan's name of a pid, and "" for a process that is not the
// scenario's.
func (a *account) name(pid int) string {
	if l := a.life(pid); l != nil {
		return l.process
	}
	return ""
}

func (a *account) ms(atNS int64) int64 { return max(0, (atNS-a.agent().begin)/1_000_000) }

func (a *account) pageSize() kernel.Bytes {
	if a.in.Machine.PageSize > 0 {
		return a.in.Machine.PageSize
	}
	return kernel.DefaultPageSize
}

// over reports whether the run came to its end, and the machine with it. One that
// went down has one witness left: its console.
func (a *account) over() bool { return a.agent().ended && a.agent().down == "" }

// EventsLost: an observer could not keep up.
const EventsLost Kind = "events-lost"

// disagreements are what the witnesses do not have, and what they contradict.
func (a *account) disagreements() []Disagreement {
	found := &findings{}
	for _, e := range a.lost {
		found.add(EventsLost, "%d of %s: %s", max(1, e.N), e.Source, e.Text)
	}
	a.told(found)
	a.remade(found)
	a.consistent(found)
	a.machine(found)
	for _, w := range a.witnesses {
		w.complete(a, found)
	}
	for _, w := range a.there {
		if a.over() {
			w.agree(a, found)
		}
	}
	return found.sorted()
}

// lostBy is how many events a witness lost.
func (a *account) lostBy(s evidence.Source) uint64 {
	var n uint64
	for _, e := range a.lost {
		if e.Source == s {
			n += max(1, e.N)
		}
	}
	return n
}
