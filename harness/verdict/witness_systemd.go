package verdict

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/systemd"
)

// systemdWitness is systemd: what it says of the plan's units at the end.
type systemdWitness struct {
	bystander
	in   Input
	told []evidence.Event
}

// What is found of systemd.
const (
	UnitMissing Kind = "unit-missing" // nothing is told of a unit, or something of one that there is not
	UnitDiffers Kind = "unit-differs" // systemd says of a unit what the kernel and the wait status contradict
)

func init() { addWitness(55, func(in Input) witness { return &systemdWitness{in: in} }) }

func (a *account) systemd() *systemdWitness { return witnessOf[*systemdWitness](a) }

func (*systemdWitness) source() evidence.Source { return evidence.Systemd }

func (w *systemdWitness) absent() string {
	if len(w.in.Plan.Units) == 0 {
		return "the plan has no units of systemd's"
	}
	return ""
}

func (w *systemdWitness) hear(e evidence.Event) {
	if e.Kind == evidence.UnitShown {
		w.told = append(w.told, e)
	}
}

// last is what was told of a unit; nil: nothing.
func (w *systemdWitness) last(unit string) *evidence.UnitState {
	for _, e := range slices.Backward(w.told) {
		if e.Process == unit && e.Unit != nil {
			return e.Unit
		}
	}
	return nil
}

// explains: systemd ends what is left of a unit that it stops.
func (w *systemdWitness) explains(a *account, l *life) bool {
	u, ok := w.in.Plan.Unit(l.process)
	return ok && len(a.killsIn(u, 0)) > 0
}

// tells reports whether systemd has taken note of a kill.
func (w *systemdWitness) tells(_ *account, _ *Kill, l *life) bool {
	u, ok := w.in.Plan.Unit(l.process)
	if !ok {
		return false
	}
	s := w.last(u.Name)
	return s != nil && s.Noted > 0
}

func (w *systemdWitness) complete(a *account, found *findings) {
	times := map[string]int{}
	for _, e := range w.told {
		times[e.Process]++
		if e.Unit == nil || e.Source != evidence.Systemd ||
			!slices.ContainsFunc(w.in.Plan.Units, func(u plan.Unit) bool {
				return u.Name == e.Process && u.Service == e.Unit.Service
			}) {
			found.add(UnitMissing, "%s of %q is told, which is no unit of the plan's", e.Kind, e.Process)
			continue
		}
		for _, name := range evidence.UnitProperties {
			if _, ok := e.Unit.Shows[name]; !ok {
				found.add(UnitMissing, "%s of %s is not told", name, e.Unit.Service)
			}
		}
	}
	if !a.over() {
		return
	}
	for _, u := range w.in.Plan.Units {
		if n := times[u.Name]; n != 1 {
			found.add(UnitMissing, "systemd told %d times of %s at the end", n, u.Service)
		}
	}
}

// killsIn are the kills of a unit's processes since a moment.
func (a *account) killsIn(u plan.Unit, sinceNS int64) []Kill {
	return slices.DeleteFunc(slices.Clone(a.kills), func(k Kill) bool {
		of, ok := a.in.Plan.Unit(k.Victim.Process)
		l := a.life(k.Victim.PID)
		return !ok || of.Name != u.Name || l == nil || l.diedNS != 0 && l.diedNS < sinceNS
	})
}

// agree holds what systemd says against the kernel's kills and the ends of the processes.
func (w *systemdWitness) agree(a *account, found *findings) {
	for _, u := range w.in.Plan.Units {
		s, lives := w.last(u.Name), a.livesOf(u.Name)
		if s == nil || len(lives) == 0 {
			continue
		}
		w.settings(u, *s, found)
		w.noted(a, u, *s, found)
		if a.agent().endText != settled {
			continue // systemd may have more to do
		}
		l := lives[len(lives)-1]
		end := systemd.End{OOMPolicy: u.OOMPolicy, Restart: u.Restart, Alive: l.alive, Lives: len(lives),
			Killed: len(a.killsIn(u, l.born)) > 0, Stopped: a.in.Plan.Stops(u.Name)}
		if l.exit != nil {
			end.Signal, end.Code = l.exit.Signal, l.exit.Code
		}
		for _, d := range differing(end.Shows(), *s) {
			found.add(UnitDiffers, "%s has %s, after what became of its processes", u.Service, d)
		}
		pid := strconv.Itoa(l.pid)
		if main := s.Shows["MainPID"]; l.alive && main != pid || !l.alive && main != "0" {
			found.add(UnitDiffers, "%s has the main process %s at the end; the last one was pid %s", u.Service, main,
				pid)
		}
		if last := s.Shows["ExecMainPID"]; last != pid {
			found.add(UnitDiffers, "%s had the main process %s; the last one was pid %s", u.Service, last, pid)
		}
	}
}

// noted: the journal tells of kills if there were any, and of no more than there were.
func (w *systemdWitness) noted(a *account, u plan.Unit, s evidence.UnitState, found *findings) {
	kills := len(a.killsIn(u, 0))
	switch {
	case s.Noted < 0 || s.Noted > kills:
		found.add(UnitDiffers, "the journal of %s tells %d times of a kill; there were %d", u.Service, s.Noted, kills)
	case s.Noted == 0 && kills > 0 && a.agent().endText == settled:
		found.add(UnitDiffers, "the journal of %s does not tell of a kill; there were %d", u.Service, kills)
	}
}

// settings: systemd has read the files as they were written, of which the last one counts.
func (w *systemdWitness) settings(u plan.Unit, s evidence.UnitState, found *findings) {
	set := maps.Clone(systemd.Defaults)
	for _, f := range u.Files {
		for line := range strings.Lines(f.Text) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
				set[key] = value
			}
		}
	}
	for _, key := range sortedKeys(set) {
		if is := s.Shows[key]; is != set[key] {
			found.add(UnitDiffers, "%s has %s=%s; its files say %s", u.Service, key, is, set[key])
		}
	}
	if want := "/" + plan.UnitsParent + "/" + w.in.Plan.Base + u.Cgroup; s.Shows["ControlGroup"] != want &&
		s.Shows["ControlGroup"] != "" {
		found.add(UnitDiffers, "%s is in %s; the plan has it in %s", u.Service, s.Shows["ControlGroup"], want)
	}
}
