package predict

import (
	"fmt"
	"slices"
)

// A program of the user's own may start other processes. The plan does not know them, and a
// rehearsal tells only how many there were and what they held together: that a limit is hit
// can be predicted, but not which of them is chosen then, nor what the others do next.

// forking reports whether the plan has a program that starts others.
func (w *world) forking() bool {
	return slices.ContainsFunc(w.procs, func(p proc) bool { return p.descendants > 0 })
}

// forkingAmong is the first candidate that has started others; nil: none has.
func (w *world) forkingAmong(candidates []candidate) *proc {
	for _, c := range candidates {
		if c.p != nil && c.p.descendants > 0 {
			return c.p
		}
	}
	return nil
}

// leaveOpen notes that somebody is killed, and that it may be any of the candidates, or a
// process that one of them, p, has started.
func (w *world) leaveOpen(step Step, candidates []candidate, p *proc) []*world {
	others := "another process"
	if p.descendants > 1 {
		others = fmt.Sprintf("up to %d others", p.descendants)
	}
	w.unforeseen = fmt.Sprintf("%s starts %s: which of them is killed, and what becomes of the rest, is not predicted",
		p.p.Name, others)
	if t := w.measured[p.p.Name].Tree; t != nil && t.Unsure != "" {
		w.unforeseen += "; in the rehearsal " + t.Unsure
	}
	step.Victims = []string{candidates[0].name}
	for _, c := range candidates {
		w.eligible = append(w.eligible, c.name)
		if c.p != nil && c.p.descendants > 0 {
			delete(step.Ranges, c.name)
			if slices.Contains(step.Trigger, c.name) && !slices.Contains(step.Trigger, Elsewhere) {
				step.Trigger = append(slices.Clip(step.Trigger), Elsewhere)
			}
		}
	}
	w.steps = append(w.steps, step)
	return []*world{w}
}
