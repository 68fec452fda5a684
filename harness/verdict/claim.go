package verdict

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/scenario"
)

// claimKind is one kind of claim: of the scenario's author, who makes it under a key
// of `expect:`, or one that holds for every run. Each is in a file claim_*.go, which
// adds it to the list.
type claimKind struct {
	// place is where its claims stand in a result; places are tens apart, so that
	// another one fits in between.
	place int
	// key of `expect:`; empty: it holds for every run.
	key string
	// from is the witness without which the claim cannot be told; empty: one of
	// those that every run has.
	from evidence.Source
	// whole: it is about the record of a whole run, and not asked where the machine
	// was predicted to go down.
	whole bool
	judge func(a *account, e scenario.Expect) []Claim
	// invert gives the expectation with the claim turned into its opposite, in every
	// way that it can be; nil without a key.
	invert func(in Input, e scenario.Expect) []scenario.Expect
}

// claimKinds are all kinds of claims, by place.
var claimKinds []claimKind

func addClaim(k claimKind) {
	claimKinds = inPlace(claimKinds, k, func(k claimKind) int { return k.place })
}

// claims are all claims about the run, judged.
func (a *account) claims() []Claim {
	out := []Claim{}
	for _, k := range claimKinds {
		if k.whole && a.in.Prediction.Panic != "" {
			continue
		}
		why := cmp.Or(k.absent(a.in), a.agent().cutShort())
		for _, c := range k.judge(a, a.in.Scenario.Expect) {
			if why != "" {
				c = cannotTell(c.Name, c.Expected, why)
			}
			out = append(out, c)
		}
	}
	return out
}

// absent says why the witness that the claim needs was not there.
func (k claimKind) absent(in Input) string {
	for _, w := range witnessesOf(in) {
		if w.source() == k.from {
			return w.absent()
		}
	}
	return ""
}

// Inversion is a scenario's expectation with one claim turned into its
// opposite. A run that shows the claim must contradict the inversion.
type Inversion struct {
	Claim  string // the key of `expect:`
	Expect scenario.Expect
}

// Invert turns every claim of an expectation round, one at a time. It is how a
// scenario is shown to be able to fail: a run that passes must fail each of
// these. What cannot be told cannot be contradicted, and is left out.
func Invert(in Input) []Inversion {
	var out []Inversion
	for _, k := range claimKinds {
		if k.invert == nil || k.absent(in) != "" {
			continue
		}
		for _, e := range k.invert(in, in.Scenario.Expect) {
			out = append(out, Inversion{k.key, e})
		}
	}
	return out
}

// claim is a claim under judgement.
func claim(name, expected, observed string, ok bool, sources ...evidence.Source) Claim {
	c := Claim{Name: name, Verdict: Pass, Expected: expected, Observed: observed, Sources: sources}
	if !ok {
		c.Verdict = Fail
	}
	if c.Sources == nil {
		c.Sources = []evidence.Source{}
	}
	return c
}

// cannotTell is a claim about something that this machine does not show. It
// does not count, and is printed so that nobody takes it for shown.
func cannotTell(name, expected, why string) Claim {
	return Claim{Name: name, Verdict: Skip, Expected: expected, Observed: why, Sources: []evidence.Source{}}
}

// every is a claim about many of a kind: the first that is wrong is named.
func every(name, expected string, n int, wrong []string, sources ...evidence.Source) Claim {
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return claim(name, expected, more(wrong[0], len(wrong)-1), false, sources...)
	}
	if n == 0 {
		return cannotTell(name, expected, "nothing was read")
	}
	return claim(name, expected, fmt.Sprintf("%d of %d", n, n), true, sources...)
}

// each judges the claims of a map, by key.
func each[T any](of map[string]T, judge func(key string, want T) Claim) []Claim {
	var out []Claim
	for _, key := range sortedKeys(of) {
		out = append(out, judge(key, of[key]))
	}
	return out
}

// invertEach inverts the claims of a map, one at a time. opposites gives the
// opposites of one.
func invertEach[T any](
	e scenario.Expect, of func(*scenario.Expect) *map[string]T, opposites func(key string, want T) []T,
) []scenario.Expect {
	var out []scenario.Expect
	all := *of(&e)
	for _, key := range sortedKeys(all) {
		for _, opposite := range opposites(key, all[key]) {
			round := e
			*of(&round) = replaced(all, key, opposite)
			out = append(out, round)
		}
	}
	return out
}

// with is an expectation that differs in one thing; nothing, if that was not
// claimed.
func with(claimed bool, e scenario.Expect, change func(*scenario.Expect)) []scenario.Expect {
	if !claimed {
		return nil
	}
	change(&e)
	return []scenario.Expect{e}
}

func sortedKeys[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// replaced is a copy of a map with another value.
func replaced[T any](m map[string]T, key string, value T) map[string]T {
	m = maps.Clone(m)
	m[key] = value
	return m
}

// opposite is a comparison that holds for no number the original holds for.
func opposite(n scenario.Num) scenario.Num {
	if n.Max == scenario.NumMax {
		return scenario.Num{Min: 0, Max: n.Min - 1, Text: "not " + n.Text}
	}
	return scenario.Num{Min: n.Max + 1, Max: scenario.NumMax, Text: "more than " + n.Text}
}

// opposites is opposite for [invertEach].
func opposites(_ string, n scenario.Num) []scenario.Num { return []scenario.Num{opposite(n)} }

// other is the first of the words that is not this one.
func other(words []string, than string) string {
	return words[slices.IndexFunc(words, func(w string) bool { return w != than })]
}

// otherThan names processes of the plan that are not the given ones, or nobody.
func otherThan(in Input, names scenario.Names) scenario.Names {
	taken := map[string]bool{}
	for _, n := range names {
		for _, p := range in.Plan.Names(n) {
			taken[p] = true
		}
	}
	out := scenario.Names{}
	for _, p := range in.Plan.Processes {
		if !taken[p.Name] {
			out = append(out, p.Name)
		}
	}
	if len(out) == 0 {
		out = scenario.Names{nobody}
	}
	return out
}

// nobody is the name of no process.
const nobody = "no such process"

// list writes names for a reader.
func list(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}

// nothing is list for what is no process.
func nothing(names []string) string { return orNone(strings.Join(names, ", ")) }

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// words joins those that are not empty.
func words(all ...string) string {
	return orNone(strings.Join(slices.DeleteFunc(all, func(w string) bool { return w == "" }), " "))
}

// means reports whether a scenario's name stands for the plan's process.
func (a *account) means(name, process string) bool {
	return slices.Contains(a.names(name), process)
}

// everyLast judges the last life of each process that a name stands for: what is
// observed of the first that is not as claimed, or of the last.
func (a *account) everyLast(name string, judge func(l *life) (observed string, ok bool)) (string, bool) {
	observed, ok := "never started", false
	for _, l := range a.last(name) {
		if observed, ok = judge(l); !ok {
			break
		}
	}
	return observed, ok
}
