package compare

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/verdict"
)

// Answered is a statement that people make, and what runs say to it.
type Answered struct {
	Statement string
	By        []Answering // by the scenarios' names
}

// Answering is a scenario that answers a statement, and its runs by the series of
// their kernel.
type Answering struct {
	Scenario scenario.Scenario
	Runs     map[string][]verdict.Result
}

// Answers are the statements of scenarios, with runs of them. A run answers the
// statement that its scenario had when it ran. Left out are runs of scenarios without
// one, and of scenarios of the library that say something else by now. Kernels are the
// series that ran, oldest first.
func Answers(library []scenario.Scenario, inputs []verdict.Input, results []verdict.Result) (all []Answered,
	kernels []string) {
	for _, s := range library {
		if s.Claim != nil {
			find(&all, s)
		}
	}
	stale := func(s scenario.Scenario) bool {
		i := slices.IndexFunc(library, func(l scenario.Scenario) bool { return l.Name == s.Name })
		return i >= 0 && (library[i].Claim == nil || library[i].Claim.Statement != s.Claim.Statement ||
			library[i].Claim.Answer != s.Claim.Answer)
	}
	seen := map[string]kernel.Version{}
	for i, in := range inputs {
		s := in.Scenario
		if s.Claim == nil || stale(s) {
			continue
		}
		series := results[i].Kernel.Release
		if v, err := kernel.ParseVersion(series); err == nil {
			series = v.Series()
			seen[series] = v
		}
		if !slices.Contains(kernels, series) {
			kernels = append(kernels, series)
		}
		by := find(&all, s)
		by.Runs[series] = append(by.Runs[series], results[i])
	}
	slices.SortFunc(all, func(a, b Answered) int { return strings.Compare(a.Statement, b.Statement) })
	for _, a := range all {
		slices.SortFunc(a.By, func(a, b Answering) int { return strings.Compare(a.Scenario.Name, b.Scenario.Name) })
	}
	slices.SortFunc(kernels, func(a, b string) int {
		return cmp.Or(seen[a].Compare(seen[b]), strings.Compare(a, b))
	})
	return all, kernels
}

// find is the place of a scenario's runs, which is made if there is none. A library's
// words for where a statement is made, and for when it holds, go before those of a run.
func find(all *[]Answered, s scenario.Scenario) *Answering {
	i := slices.IndexFunc(*all, func(a Answered) bool { return a.Statement == s.Claim.Statement })
	if i < 0 {
		i = len(*all)
		*all = append(*all, Answered{Statement: s.Claim.Statement})
	}
	a := &(*all)[i]
	for j := range a.By {
		if known := a.By[j].Scenario; known.Name == s.Name && known.Claim.Answer == s.Claim.Answer {
			return &a.By[j]
		}
	}
	a.By = append(a.By, Answering{Scenario: s, Runs: map[string][]verdict.Result{}})
	return &a.By[len(a.By)-1]
}

// The words for a kernel, beside those of [scenario.Answers].
const (
	Depends  = "depends"
	NotShown = "not shown" // a run failed or is broken
	Skipped  = "skipped"
	NotRun   = "not run"
)

// On is what the runs of one scenario on one kernel say: an answer, or one of the
// other words. It takes all of them to pass.
func (a Answering) On(series string) string {
	runs := a.Runs[series]
	var words []verdict.Verdict
	for _, r := range runs {
		words = append(words, r.Verdict)
	}
	switch worst := verdict.Worst(words...); {
	case len(runs) == 0:
		return NotRun
	case worst == verdict.Pass:
		return string(a.Scenario.Claim.Answer)
	case worst == verdict.Skip:
		return Skipped
	}
	return NotShown
}

// On is what all scenarios say on one kernel. One that was skipped or not run says
// nothing where another answers.
func (a Answered) On(series string) string {
	said := map[string]bool{}
	for _, by := range a.By {
		said[by.On(series)] = true
	}
	yes, no := said[string(scenario.True)], said[string(scenario.False)]
	switch {
	case said[NotShown]:
		return NotShown
	case yes && no:
		return Depends
	case yes:
		return string(scenario.True)
	case no:
		return string(scenario.False)
	case said[Skipped]:
		return Skipped
	}
	return NotRun
}

// Answer is what the kernels say together: true, false, since or before one of them,
// or depends. Kernels that say nothing are left out; where all do, it is what they say
// instead.
func (a Answered) Answer(kernels []string) string {
	type change struct{ word, at string }
	var changes []change
	silent := NotRun
	for _, k := range kernels {
		switch word := a.On(k); {
		case word == NotShown:
			return NotShown
		case word == Skipped:
			silent = Skipped
		case word != NotRun && (len(changes) == 0 || changes[len(changes)-1].word != word):
			changes = append(changes, change{word, k})
		}
	}
	switch {
	case len(changes) == 0:
		return silent
	case len(changes) == 1:
		return changes[0].word
	case len(changes) == 2 && changes[1].word == string(scenario.True) && changes[0].word == string(scenario.False):
		return "since " + changes[1].at
	case len(changes) == 2 && changes[1].word == string(scenario.False) && changes[0].word == string(scenario.True):
		return "before " + changes[1].at
	}
	return Depends
}

// Numbers are what runs of one scenario on one kernel showed, each with its range.
func Numbers(runs []verdict.Result) []string {
	var labels []string
	seen := map[string]*Tally{}
	for _, r := range runs {
		for _, f := range showed(r) {
			label := f.Subject
			if seen[label] == nil {
				seen[label] = &Tally{}
				labels = append(labels, label)
			}
			seen[label].add(f)
		}
	}
	var out []string
	for _, label := range labels {
		out = append(out, label+" "+seen[label].text(Counter))
	}
	return out
}

// showed is what is to be seen of one run: who was killed, the scores of the first decision,
// what the victims held, and whatever was claimed of counters and exits.
func showed(r verdict.Result) []Fact {
	var out []Fact
	word := func(label, value string) {
		out = append(out, Fact{Key: Key{Subject: label}, Value: value})
	}
	number := func(label string, n int64) {
		x := float64(n)
		out = append(out, Fact{Key: Key{Subject: label}, Number: &x})
	}
	if r.Panic != "" {
		word("panic", r.Panic)
		return out
	}
	var victims []string
	for _, k := range r.Kills {
		victims = append(victims, cmp.Or(k.Victim.Process, "a stranger"))
	}
	word("killed", cmp.Or(strings.Join(victims, ", "), nobody))
	if len(r.Scoreboard) > 0 {
		for _, row := range r.Scoreboard[0] {
			label := "points of " + row.Process
			if row.Adj != 0 {
				label += fmt.Sprintf(" (oom_score_adj %d)", row.Adj)
			}
			switch {
			case row.Process == "":
			case row.Points == nil:
				word(label, "never")
			default:
				number(label, *row.Points)
			}
		}
	}
	for _, k := range r.Kills {
		if k.RSS == nil || k.Victim.Process == "" {
			continue
		}
		number("pages of "+k.Victim.Process, int64(k.RSS.Anon+k.RSS.File+k.RSS.Shmem))
		if k.RSS.Swap > 0 {
			number("swapped out of "+k.Victim.Process, int64(k.RSS.Swap))
		}
	}
	for _, c := range r.Claims {
		for _, kind := range []string{"memory.events", "vmstat", "exit", "reads"} {
			if strings.HasPrefix(c.Name, kind) {
				word(c.Name, c.Observed)
			}
		}
	}
	return out
}
