package report

import (
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/clustertest"
	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/verdict"
	"github.com/oomlab/oomlab/scenarios"
)

// ofCluster is a scenario of the library as it would be judged if all went as
// predicted.
func ofCluster(t *testing.T, name string) verdict.Result {
	t.Helper()
	s, err := scenarios.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	in, err := clustertest.Run(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return verdict.Judge(in)
}

func TestTextOfACluster(t *testing.T) {
	r := ofCluster(t, "kube/stress-worker-dies-alone")
	golden.File(t, "testdata/kube.txt", []byte(text(t, r, Options{})))
	// what was not predicted stands in brackets
	adj := 999
	r.Kube.Containers[0].Adj, r.Kube.Containers[0].Status.Reason = &adj, "Completed"
	r.Kube.Pods[0].Phase = "Failed"
	r.Kube.Misreports[0].Predicted = false
	got := strings.Join(strings.Fields(text(t, r, Options{})), " ")
	for _, want := range []string{
		"Burstable, Failed (predicted Running)", "oom_score_adj 999 (predicted 955)",
		"terminated Completed (1), restartCount 1, before that OOMKilled (1) (predicted terminated OOMKilled (1), " +
			"restartCount 1, before that OOMKilled (1))",
		"oomkilled-but-own-exit not predicted: demo/stress, life 1",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the report does not say %q:\n%s", want, got)
		}
	}
}

func TestPageOfACluster(t *testing.T) {
	r := ofCluster(t, "kube/eviction-wins")
	var b strings.Builder
	if err := HTML(&b, "", []Subject{{Result: r}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"What the cluster says", "node: kubelet v1.36.3, containerd://2.1.9", "<dt>Evicted</dt><dd>hog</dd>",
		"BestEffort, Failed Evicted", "MemoryPressure",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page does not have %q", want)
		}
	}
}
