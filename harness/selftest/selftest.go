package selftest

import (
	"fmt"
	"io/fs"
	"path"
	"runtime/debug"

	"github.com/oomlab/oomlab/harness/verdict"
	"github.com/oomlab/oomlab/harness/verdict/testdata"
)

// Recorded are runs that were recorded on real kernels, KERNEL/RUN.
func Recorded() fs.FS { return testdata.Recorded }

// Recording is a recorded run under the name that the user knows it by.
type Recording struct {
	Name  string
	Input verdict.Input
	Files fs.FS          // the run directory; nil: there is none
	docs  map[string]any // its files as JSON, kept for who mutates it often; nil: not kept
}

// Recordings are the recorded runs that passed.
func Recordings() ([]Recording, error) {
	metas, err := fs.Glob(Recorded(), "*/*/"+verdict.MetaFile)
	if err != nil {
		return nil, err
	}
	var out []Recording
	for _, meta := range metas {
		name := path.Dir(meta)
		dir, err := fs.Sub(Recorded(), name)
		if err != nil {
			return nil, err
		}
		in, err := verdict.Load(dir)
		if err != nil {
			return nil, fmt.Errorf("recording %s: %w", name, err)
		}
		// a recording may be there because it did not pass
		if verdict.Judge(in).Verdict == verdict.Pass {
			out = append(out, Recording{Name: name, Input: in, Files: dir})
		}
	}
	return out, nil
}

// Trial is one lie, or one claim turned round, and what the judge said of it.
type Trial struct {
	Run, Witness, What string
	Result             verdict.Result
	Caught             bool
	// Excused says why nothing else in the run contradicts a mutation that was not
	// caught.
	Excused string
}

// Try tells the judge every lie about a run that passed: each must be red. Then it
// turns each claim into its opposite, which must fail.
func Try(r Recording) []Trial {
	var out []Trial
	for _, lie := range Lies(r.Input) {
		got := verdict.Judge(lie.Input)
		red := isRed(got)
		out = append(out, Trial{Run: r.Name, Witness: string(lie.Witness), What: lie.Name, Result: got, Caught: red})
	}
	for _, inversion := range verdict.Invert(r.Input) {
		in := r.Input
		in.Scenario.Expect = inversion.Expect
		got := verdict.Judge(in)
		what := "the opposite of " + inversion.Claim
		out = append(out, Trial{
			Run: r.Name, Witness: "(scenario)", What: what, Result: got, Caught: got.Verdict == verdict.Fail,
		})
	}
	return out
}

// judge makes a panic of the judge's a result that is no verdict: it has slipped.
func judge(in verdict.Input) (r verdict.Result) {
	defer func() {
		if p := recover(); p != nil {
			r = verdict.Result{Verdict: "panic", Reason: fmt.Sprintf("%v\n%s", p, debug.Stack())}
		}
	}()
	return verdict.Judge(in)
}

func isRed(r verdict.Result) bool { return r.Verdict == verdict.Fail || r.Verdict == verdict.Broken }

// TryMutations judges mutations of a run, as [Mutations] makes them. Each must be
// refused, be red, or have an excuse.
func TryMutations(r Recording, seed uint64, limit int) []Trial {
	var out []Trial
	for m := range Mutations(r, seed, limit) {
		out = append(out, try(r, m))
	}
	return out
}

func try(r Recording, m Mutation) Trial {
	t := Trial{Run: r.Name, Witness: m.source(), What: m.String()}
	if m.Err != nil {
		t.Result = verdict.Result{Verdict: verdict.Broken, Reason: m.Err.Error()}
	} else {
		t.Result = judge(m.Input)
	}
	if t.Caught = isRed(t.Result); !t.Caught {
		t.Excused = excused(m, r.Input)
	}
	return t
}
