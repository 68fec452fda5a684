package verdict

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
)

// witness is one source of evidence. What oomlab knows of a source is in one file,
// witness_*.go, which adds it to the list of witnesses.
//
// A witness is asked in this order: it hears every event of the run, reads what it
// has heard, and adds its part to the account. When the account is made, it is only
// read: the witness says of which kills it tells, what is missing from its own
// record, and what it contradicts. One that was absent says at most why.
type witness interface {
	source() evidence.Source
	// absent says why the witness was not there to see. Empty: it was.
	absent() string
	// hear takes in one event. Every witness hears all events, as recorded.
	hear(e evidence.Event)
	// read works out what was heard, once all of it was. The witnesses before this
	// one on the list have done so.
	read(a *account)
	// join adds kills to the account, or what is still unknown of them. All
	// witnesses have read, and those before this one on the list have joined.
	join(a *account)
	// tells reports whether the witness tells of a kill of one of the plan's
	// processes. Those that join kills name themselves as a source there.
	tells(a *account, k *Kill, l *life) bool
	// explains reports whether the witness knows why a process got SIGKILL that
	// the OOM killer did not take.
	explains(a *account, l *life) bool
	// complete finds what is missing from the witness's own record. It is asked of
	// those who were absent, too.
	complete(a *account, found *findings)
	// agree finds what the witness contradicts, in a run that came to its end.
	agree(a *account, found *findings)
}

// bystander has nothing to say. Witnesses embed it for the questions that they have
// no answer to.
type bystander struct{}

func (bystander) absent() string                    { return "" }
func (bystander) hear(evidence.Event)               {}
func (bystander) read(*account)                     {}
func (bystander) join(*account)                     {}
func (bystander) tells(*account, *Kill, *life) bool { return false }
func (bystander) explains(*account, *life) bool     { return false }
func (bystander) complete(*account, *findings)      {}

// listedWitness makes a witness for a run.
type listedWitness struct {
	place int
	of    func(in Input) witness
}

// listed are all witnesses, by place.
var listed []listedWitness

// addWitness puts a witness on the list. Its place is where it stands among the
// sources of a kill, and when it reads and joins; places are tens apart, so that
// another one fits in between.
func addWitness(place int, of func(in Input) witness) {
	listed = inPlace(listed, listedWitness{place, of}, func(w listedWitness) int { return w.place })
}

// inPlace adds an entry to a list that is sorted by place.
func inPlace[T any](list []T, entry T, place func(T) int) []T {
	i, taken := slices.BinarySearchFunc(list, place(entry), func(t T, p int) int { return cmp.Compare(place(t), p) })
	if taken {
		panic(fmt.Sprintf("verdict: place %d is taken", place(entry)))
	}
	return slices.Insert(list, i, entry)
}

func witnessesOf(in Input) []witness {
	out := make([]witness, len(listed))
	for i, w := range listed {
		out[i] = w.of(in)
	}
	return out
}

// witnessOf is the account's witness of a type.
func witnessOf[W witness](a *account) W {
	for _, w := range a.witnesses {
		if w, ok := w.(W); ok {
			return w
		}
	}
	panic("verdict: a witness is not on the list")
}

// Witnesses are the sources of evidence that were there in a run.
func Witnesses(in Input) []evidence.Source {
	var out []evidence.Source
	for _, w := range witnessesOf(in) {
		if w.absent() == "" {
			out = append(out, w.source())
		}
	}
	return out
}

// findings are the disagreements that were found.
type findings struct{ all []finding }

// finding is a disagreement and what it has in common with others of its sort.
type finding struct {
	Disagreement
	sort string
}

func (f *findings) add(kind Kind, format string, args ...any) {
	f.all = append(f.all, finding{Disagreement{kind, fmt.Sprintf(format, args...)}, format})
}

// many is how many disagreements of a sort are named one by one.
const many = 3

// sorted gives them in an order that does not depend on how maps are walked, each
// once. Of more than a few that differ in names and numbers only the first is named:
// they have one cause.
func (f *findings) sorted() []Disagreement {
	slices.SortFunc(f.all, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.sort, b.sort), cmp.Compare(a.Detail, b.Detail))
	})
	var out []Disagreement
	for rest := slices.Compact(f.all); len(rest) > 0; {
		n := slices.IndexFunc(rest, func(o finding) bool { return o.Name != rest[0].Name || o.sort != rest[0].sort })
		if n < 0 {
			n = len(rest)
		}
		alike := rest[:n]
		if rest = rest[n:]; n > many {
			alike = alike[:1]
			alike[0].Detail = fmt.Sprintf("%s; and %d more like this", alike[0].Detail, n-1)
		}
		for _, o := range alike {
			out = append(out, o.Disagreement)
		}
	}
	slices.SortStableFunc(out, func(a, b Disagreement) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Detail, b.Detail))
	})
	return out
}
