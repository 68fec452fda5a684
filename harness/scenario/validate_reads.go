package scenario

import (
	"fmt"
	"maps"
	"slices"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/stressor/profile"
)

// Readable are the files of /proc/PID that a claim may be about, each with its bounds.
var Readable = map[string]struct{ Min, Max int64 }{
	kernel.FileOOMScore:    {0, kernel.OOMScoreMax},
	kernel.FileOOMScoreAdj: {kernel.OOMScoreAdjMin, kernel.OOMScoreAdjMax},
	kernel.FileOOMAdj:      {kernel.OOMAdjMin, kernel.OOMAdjMax},
}

// readable are their names.
var readable = slices.Sorted(maps.Keys(Readable))

// oomAdj checks what is written to a process's oom_adj.
func (v *validator) oomAdj(p *Process, path []string) {
	switch {
	case !v.said("processes", p.Name, "oom_adj"):
	case p.OOMAdj < kernel.OOMAdjMin || p.OOMAdj > kernel.OOMAdjMax:
		v.problem(path, fmt.Sprintf("it goes from %d to %d; oom_score_adj goes from %d to %d", kernel.OOMAdjMin,
			kernel.OOMAdjMax, kernel.OOMScoreAdjMin, kernel.OOMScoreAdjMax), "%d is not an oom_adj", p.OOMAdj)
	case v.said("processes", p.Name, "oom_score_adj"):
		v.problem(path, "leave one of them out", "sets the same as oom_score_adj")
	case p.Parent != "":
		v.problem(path, fmt.Sprintf("write oom_score_adj: %d, which is the same", p.ScoreAdj()),
			"is not written by what another process forks")
	}
}

// reads checks the claims about /proc/PID: a process is read when it is ready.
func (v *validator) reads(e Expect) {
	for _, name := range slices.Sorted(maps.Keys(e.Reads)) {
		path := at("expect", "reads", name)
		if len(v.s.Pods) > 0 {
			v.problem(path, "leave it out; on a cluster oom_score_adj: {POD/CONTAINER: 1000} says what the "+
				"kubelet has set", "is of processes, and the scenario has pods")
			return
		}
		v.refer(Names{name}, path)
		if len(e.Reads[name]) == 0 {
			v.problem(path, "write {oom_score: 670}", "claims nothing")
		}
		if p := v.neverReady(name); p != nil {
			v.problem(path, "end its steps with hold, or leave its exit out", "%q is never ready, and so never read",
				p.Name)
		}
		for _, file := range slices.Sorted(maps.Keys(e.Reads[name])) {
			c, below := e.Reads[name][file], with(path, file)
			switch bounds, known := Readable[file]; {
			case !known:
				v.problem(below, meant(file, readable), "no claim is about /proc/PID/%s", file)
			case c.Min <= bounds.Min && c.Max >= bounds.Max:
				v.problem(below, "write a number", "%q holds for every %s: it cannot fail", c, file)
			case c.Max < bounds.Min || c.Min > bounds.Max:
				v.problem(below, fmt.Sprintf("it goes from %d to %d", bounds.Min, bounds.Max), "%q holds for no %s", c,
					file)
			}
		}
	}
}

// neverReady is the process that a name stands for if its steps do not end with hold.
func (v *validator) neverReady(name string) *Process {
	for _, one := range v.stands[name] {
		p := v.of(one)
		if p == nil || v.wrong("processes", p.Name) {
			continue
		}
		end, said := v.s.Expect.Exit[name]
		if len(p.Do) > 0 && p.Do[len(p.Do)-1].Op != profile.Hold ||
			len(p.Command) > 0 && said && end.Signal == "" {
			return p
		}
	}
	return nil
}
