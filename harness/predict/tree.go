package predict

import (
	"maps"
	"slices"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/stressor/profile"
)

// Tree is what a rehearsal shows of the processes that a program has started, when one of
// them was killed.
type Tree struct {
	// Grower is the number of the one that grew until it was killed, and Others are those
	// that were there beside it.
	Grower int        `json:"grower,omitempty"`
	Others []Relative `json:"others,omitempty"`
	// Unsure is why it is not certain that the same happens again; empty: it is.
	Unsure string `json:"unsure,omitempty"`
}

// Relative is one of those that a program has started.
type Relative struct {
	Number int          `json:"number"`
	Held   kernel.Pages `json:"held"` // at most
}

// certain reports whether the tree says which process will be killed.
func (t *Tree) certain() bool { return t != nil && t.Unsure == "" }

// planted is the plan with the processes that its programs will start, where a rehearsal
// tells for certain, and what each of them was measured to hold. Who waits for a program
// waits for what it has started.
func planted(p plan.Plan, measured map[string]Measured) (plan.Plan, map[string]Measured) {
	started := map[string][]string{}
	out := p
	out.Processes = nil
	for _, q := range p.Processes {
		out.Processes = append(out.Processes, q)
		m := measured[q.Name]
		if !q.IsCommand() || !m.Tree.certain() || q.Respawn != 0 {
			continue
		}
		if len(started) == 0 {
			measured = maps.Clone(measured)
		}
		add := func(n int, m Measured, after []string) {
			one := q
			one.After = after
			one.Name = plan.Descendant(q.Name, n)
			one.Of, one.Exits, one.Profile = one.Name, false, profile.Profile{}
			out.Processes = append(out.Processes, one)
			measured[one.Name] = m
			started[q.Name] = append(started[q.Name], one.Name)
		}
		for _, o := range m.Tree.Others {
			add(o.Number, Measured{Footprint: kernel.Footprint{Anon: o.Held, Threads: 1}}, q.After)
		}
		// It grows beside the others until it is killed: they have what they take by then.
		add(m.Tree.Grower, Measured{Grows: true}, slices.Concat(q.After, []string{q.Name}, started[q.Name]))
		m.Descendants, m.Theirs, m.Grows = 0, 0, false
		measured[q.Name] = m
	}
	if len(started) == 0 {
		return p, measured
	}
	with := func(names []string) []string {
		names = slices.Clone(names)
		for _, name := range slices.Clone(names) {
			names = append(names, started[name]...)
		}
		return names
	}
	for i := range out.Processes {
		if _, mine := p.Process(out.Processes[i].Name); mine {
			out.Processes[i].After = with(out.Processes[i].After)
		}
	}
	out.During = slices.Clone(p.During)
	for i := range out.During {
		out.During[i].After = with(out.During[i].After)
	}
	return out, measured
}

// programOf is the program that starts a process, or that a process is and starts others,
// where those are followed; empty: neither.
func (w *world) programOf(name string) string {
	if q, n, ok := plan.SplitDescendant(name); ok && n > 0 && w.measured[q].Tree.certain() {
		return q
	}
	if w.measured[name].Tree.certain() {
		return name
	}
	return ""
}

// together makes of a kill what is known of it where programs start others. Pages that a
// process shares with those it has forked are resident in each, and charged once: what each
// of them is scored is not predicted. Whoever of them touches a page when there is none left
// is the trigger.
func (w *world) together(step *Step) {
	for name := range step.Ranges {
		if w.programOf(name) != "" {
			delete(step.Ranges, name)
		}
	}
	step.Trigger = slices.Clip(step.Trigger)
	for _, name := range step.Trigger {
		q := w.programOf(name)
		for _, other := range []string{q, Elsewhere} {
			if q != "" && !slices.Contains(step.Trigger, other) {
				step.Trigger = append(step.Trigger, other)
			}
		}
	}
}
