package plan_test

import (
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/clustertest"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/scenario"
)

// TestAPodThatNoNodeHasRoomFor: the kubelet does not admit a pod that requests
// more than its node can give, so the scenario is skipped there.
func TestAPodThatNoNodeHasRoomFor(t *testing.T) {
	m, n := clustertest.Node()
	for _, test := range []struct {
		requests, limits, ofPod, allocatable kernel.Bytes
		cpu                                  scenario.MilliCPU
		taken                                *kubelet.Resources
		want                                 string
	}{
		{requests: 2 * kernel.GiB, allocatable: 2 * kernel.GiB},
		{requests: 3 * kernel.GiB, allocatable: 2 * kernel.GiB, want: "a node that has 3Gi for pod web; node can " +
			"give 2Gi"},
		// which are the requests too
		{limits: 3 * kernel.GiB, allocatable: 2 * kernel.GiB, want: "a node that has 3Gi for pod web"},
		{ofPod: 3 * kernel.GiB, allocatable: 2 * kernel.GiB, want: "a node that has 3Gi for pod web"},
		{requests: 3 * kernel.GiB}, // unknown
		{requests: kernel.GiB, allocatable: 2 * kernel.GiB, taken: &kubelet.Resources{Memory: kernel.GiB}},
		{requests: kernel.GiB, allocatable: 2 * kernel.GiB, taken: &kubelet.Resources{Memory: 3 * kernel.GiB / 2},
			want: "a node that has 1Gi for pod web; node has 512Mi left: others request 1.5Gi of 2Gi"},
		{allocatable: 2 * kernel.GiB, taken: &kubelet.Resources{Memory: 3 * kernel.GiB}}, // it requests none
		{cpu: 350, allocatable: 2 * kernel.GiB, taken: &kubelet.Resources{MilliCPU: 650}},
		{cpu: 500, allocatable: 2 * kernel.GiB, taken: &kubelet.Resources{MilliCPU: 650},
			want: "a node that has 500m of CPU for pod web; node has 350m of CPU left: others request 650m of CPU of 1 CPU"},
	} {
		n.Allocatable, n.AllocatableCPU, n.Requested = test.allocatable, 1000, test.taken
		s := scenario.Scenario{Targets: []scenario.Target{scenario.Kube}, Pods: []scenario.Pod{{
			Name: "web", Requests: scenario.Resources{Memory: test.ofPod},
			Containers: []scenario.Container{{
				Name: "main", Requests: scenario.Resources{Memory: test.requests, CPU: test.cpu},
				Limits: scenario.Resources{Memory: test.limits},
				Do:     []scenario.Step{{Op: "hold"}},
			}},
		}}}
		l, err := plan.LayOut(s, plan.Place{Target: scenario.Kube, Machine: m, Node: &n}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, need := range l.Unmet() {
			got += need.String() + "\n"
		}
		if test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%+v: %q, want %q", test, got, test.want)
		}
	}
}
