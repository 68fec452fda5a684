package verdict

import (
	"fmt"
	"maps"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/scenario"
)

// Judge says what a run shows. It looks at nothing but in.
func Judge(in Input) Result {
	r := Result{
		Scenario: in.Meta.Scenario, Summary: in.Scenario.Summary, Target: in.Meta.Target, Because: in.Meta.Because,
		Run: in.Meta.Run, Command: in.Meta.Command, Seed: in.Meta.Seed,
		Kernel:   KernelID{Release: in.Machine.Release, Version: in.Machine.Version, PageSize: in.Machine.PageSize},
		Userland: in.Machine.Userland,
		Console:  in.Meta.Console,
		Started:  in.Meta.Started, DurationMS: in.Meta.DurationMS, Timings: in.Meta.Timings, Tier: in.Tier.Tier,
		Kills: []Kill{}, Scoreboard: [][]Row{}, Claims: []Claim{},
		Exits: map[string]scenario.Exit{}, Counters: CounterSet{},
	}
	if len(in.Meta.Skip) > 0 && !ended(in.Events) { // of a run that was skipped there are none
		r.Verdict, r.Reason = Skip, strings.Join(in.Meta.Skip, "; ")
		r.Prediction.Killed = []string{}
		return r
	}
	if in.Meta.Error != "" && len(in.Events) == 0 {
		// nothing was started, so there is nothing to judge
		r.Verdict, r.Reason = Broken, in.Meta.Error
		r.Prediction.Killed = []string{}
		return r
	}
	r.Prediction = short(in.Prediction)
	a := newAccount(in)
	r.Kills, r.Scoreboard, r.Panic = a.kills, a.scoreboards(), a.kmsg().panic
	r.Lost = LostCount{EBPF: a.lostBy(evidence.BPF), Kmsg: a.lostBy(evidence.Kmsg)}
	r.Claims, r.Disagreements, r.Counters, r.Kube = a.claims(), a.disagreements(), a.counters().set(), a.kube()
	for _, l := range a.lives {
		if l.exit != nil {
			r.Exits[l.process] = exitOf(*l.exit)
		}
	}
	r.Descendants = a.descended()
	r.Fails, r.Reads = a.failures(), a.reads()
	r.Timings = a.timings(in.Meta.Timings)
	r.Verdict, r.Reason = conclude(r)
	return r
}

// timings adds to what the harness measured when the last process was ready
// before the first kill, and when that was, both from the run's begin.
func (a *account) timings(measured map[string]int64) map[string]int64 {
	out := maps.Clone(measured)
	if out == nil {
		out = map[string]int64{}
	}
	if len(a.kills) > 0 {
		out["oom"] = a.kills[0].AtMS
	}
	for _, l := range a.lives {
		if ready := a.ms(l.readyNS); l.ready && (len(a.kills) == 0 || ready <= a.kills[0].AtMS) {
			out["ready"] = max(out["ready"], ready)
		}
	}
	return out
}

// conclude draws the verdict from disagreements and claims.
func conclude(r Result) (Verdict, string) {
	if len(r.Disagreements) > 0 {
		d := r.Disagreements[0]
		return Broken, more(string(d.Name)+": "+d.Detail, len(r.Disagreements)-1)
	}
	failed, first := 0, ""
	shown := 0
	for _, c := range r.Claims {
		switch c.Verdict {
		case Fail:
			if failed == 0 {
				first = fmt.Sprintf("%s: expected %s; observed %s", c.Name, c.Expected, c.Observed)
			}
			failed++
		case Pass:
			shown++
		}
	}
	if failed > 0 {
		return Fail, more(first, failed-1)
	}
	if shown == 0 {
		return Broken, "nothing was shown"
	}
	return Pass, ""
}

func more(first string, others int) string {
	if others == 0 {
		return first
	}
	return fmt.Sprintf("%s (and %d more)", first, others)
}
