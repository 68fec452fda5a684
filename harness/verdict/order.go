package verdict

import (
	"cmp"
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/scenario"
)

// sorted gives the disagreements in an order that does not depend on how maps
// are walked, each once.
func (j *joined) sorted() []Disagreement {
	out := slices.Clone(j.discords)
	slices.SortFunc(out, func(a, b Disagreement) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Detail, b.Detail))
	})
	return slices.Compact(out)
}

func exitOf(e evidence.ExitStatus) scenario.Exit {
	if e.Signal != 0 {
		return scenario.Exit{Signal: kernel.SignalName(e.Signal)}
	}
	return scenario.Exit{Code: e.Code}
}
