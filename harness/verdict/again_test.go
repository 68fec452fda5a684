package verdict_test

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/verdict"
	"github.com/oomlab/oomlab/scenarios"
)

var againFlag = flag.String("again", "", "predict and judge the runs in this directory as well, those of clusters")

// TestClustersArePredictedAgain: what the model says today of the machine that a
// cluster's run was recorded on is still what happened there, and still what the
// library's scenario claims.
func TestClustersArePredictedAgain(t *testing.T) {
	all := recordings(t)
	if *againFlag != "" {
		maps.Copy(all, runsIn(t, *againFlag))
	}
	n := 0
	for name, in := range all {
		if in.Plan.On == nil {
			continue
		}
		n++
		in.Prediction = predict.Outcome(in.Plan, in.Machine, nil)
		library, err := scenarios.Match(in.Scenario.Name)
		if err == nil && len(library) == 1 {
			in.Scenario = library[0]
		}
		got := verdict.Judge(in)
		if got.Verdict == verdict.Pass {
			continue
		}
		t.Errorf("%s: %s: %s", name, got.Verdict, got.Reason)
		for _, c := range got.Claims {
			if c.Verdict != verdict.Pass {
				t.Logf("%s: expected %s; observed %s", c.Name, c.Expected, c.Observed)
			}
		}
		for _, d := range got.Disagreements {
			t.Logf("%s: %s", d.Name, d.Detail)
		}
	}
	if n == 0 {
		t.Error("no recording is of a cluster")
	}
}

// runsIn are the finished runs in a directory of run directories.
func runsIn(t *testing.T, dir string) map[string]verdict.Input {
	names, err := filepath.Glob(filepath.Join(dir, "*", verdict.ResultFile))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]verdict.Input{}
	for _, name := range names {
		in, err := verdict.Load(os.DirFS(filepath.Dir(name)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[filepath.Base(filepath.Dir(name))] = in
	}
	return out
}
