package predict

import (
	"context"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
)

// Mistake is a rule that tests break.
type Mistake = mistake

// Mistakes are the rules that tests break, by name.
var Mistakes = map[string]mistake{
	"sign of adj": adjSign, "division order": divisionLast, "missing page tables": noPageTables,
	"tie rule": tieRule, "group inheritance": groupNotInherited,
}

// MistakesOfKinds are those that need a kind of memory or a machine of their own.
var MistakesOfKinds = map[string]mistake{
	"a file gone with its writer": fileGoes, "a file that is scored": fileScored, "cache that stays": cacheStays,
	"zram on a disk": zramOnDisk, "no pool of huge pages": poolForgotten, "no NUMA nodes": nodesForgotten,
	"nothing refused": nothingRefused,
}

// With breaks a rule.
func (r Rules) With(m mistake) Rules {
	r.mistake = m
	return r
}

// OutcomeByStates predicts as plans with too many courses are predicted.
func OutcomeByStates(p plan.Plan, m kernel.Machine) Prediction {
	b := &budget{ctx: context.Background(), left: stateWork}
	return begin(b, RulesOf(m), &p, m, nil).inParts(b)
}
