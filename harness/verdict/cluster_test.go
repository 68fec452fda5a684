package verdict_test

import (
	"testing"

	"github.com/oomlab/oomlab/harness/clustertest"
	"github.com/oomlab/oomlab/harness/verdict"
	"github.com/oomlab/oomlab/scenarios"
)

// played are the library's scenarios for a cluster, played as predicted.
func played(t *testing.T) map[string]verdict.Input {
	t.Helper()
	all, err := scenarios.Match("kube/...")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]verdict.Input{}
	for _, s := range all {
		in, err := clustertest.Run(s, nil)
		if err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		out[s.Name] = in
	}
	return out
}

func TestAClusterThatDoesAsPredictedPasses(t *testing.T) {
	for name, in := range played(t) {
		r := verdict.Judge(in)
		if r.Verdict != verdict.Pass {
			t.Errorf("%s: %s, %s", name, r.Verdict, r.Reason)
			for _, d := range r.Disagreements {
				t.Errorf("   %s: %s", d.Name, d.Detail)
			}
			for _, c := range r.Claims {
				if c.Verdict == verdict.Fail {
					t.Errorf("   %s: expected %s; observed %s", c.Name, c.Expected, c.Observed)
				}
			}
		}
	}
}
