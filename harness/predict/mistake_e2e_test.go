//go:build e2e

package predict_test

import (
	"flag"
	"testing"

	"github.com/oomlab/oomlab/harness/chaos"
	"github.com/oomlab/oomlab/harness/lab"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
)

var chaosKernel = flag.String("oomlab.kernel", "", "kernel of the VMs; empty: the default one")

// TestChaosFindsEveryMistakeOnAKernel is TestChaosFindsEveryMistake with the
// kernel itself, not a recording of it: what is found is made smaller there too.
func TestChaosFindsEveryMistakeOnAKernel(t *testing.T) {
	for name, mistake := range predict.Mistakes {
		t.Run(name, func(t *testing.T) {
			l, err := lab.Open(lab.Options{Target: scenario.VM, Kernel: *chaosKernel, RunsDir: t.TempDir(),
				Log: func(s string) { t.Log(s) }})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			summary, err := l.Chaos(t.Context(), lab.ChaosOptions{
				Seed: 20, Domain: chaos.All, Kills: foundWithin, Findings: 1, Shrink: true,
				Rules: predict.Rules{}.With(mistake),
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(summary.Findings) == 0 {
				t.Fatalf("not found within %d kills", summary.Tally.Kills)
			}
			f := summary.Findings[0]
			t.Logf("found within %d kills, and shrunk in %d runs to %d processes: %s", summary.Tally.Kills, f.Attempts,
				f.Processes, f.Reason)
			if f.Processes > smallest || f.Verdict != "fail" {
				t.Errorf("%s, %d processes are left; want a failure with at most %d: %s", f.Verdict, f.Processes,
					smallest, f.Reason)
			}
		})
	}
}
