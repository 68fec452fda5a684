package selftest

import (
	"fmt"
	"io/fs"
	"path"

	"github.com/oomlab/oomlab/harness/verdict"
	"github.com/oomlab/oomlab/harness/verdict/testdata"
)

// Recorded are runs that were recorded on real kernels, KERNEL/RUN.
func Recorded() fs.FS { return testdata.Recorded }

// Recording is a recorded run under the name that the user knows it by.
type Recording struct {
	Name  string
	Input verdict.Input
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
			out = append(out, Recording{name, in})
		}
	}
	return out, nil
}

// Trial is one lie, or one claim turned round, and what the judge said of it.
type Trial struct {
	Run, Witness, What string
	Result             verdict.Result
	Caught             bool
}

// Try tells the judge every lie about a run that passed: each must be red. Then it
// turns each claim into its opposite, which must fail.
func Try(r Recording) []Trial {
	var out []Trial
	for _, lie := range Lies(r.Input) {
		got := verdict.Judge(lie.Input)
		red := got.Verdict == verdict.Fail || got.Verdict == verdict.Broken
		out = append(out, Trial{r.Name, string(lie.Witness), lie.Name, got, red})
	}
	for _, inversion := range verdict.Invert(r.Input) {
		in := r.Input
		in.Scenario.Expect = inversion.Expect
		got := verdict.Judge(in)
		what := "the opposite of " + inversion.Claim
		out = append(out, Trial{r.Name, "(scenario)", what, got, got.Verdict == verdict.Fail})
	}
	return out
}
