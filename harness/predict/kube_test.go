package predict_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/clustertest"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/scenarios"
)

func onCluster(t *testing.T, s scenario.Scenario, change func(*kernel.Machine, *kubelet.Node)) (plan.Plan,
	predict.Prediction) {
	t.Helper()
	m, n := clustertest.Node()
	if s.Node.Swap > 0 {
		m.SwapTotal, m.SwapFree = s.Node.Swap, s.Node.Swap
	}
	if change != nil {
		change(&m, &n)
	}
	layout, err := plan.LayOut(s, plan.Place{Target: scenario.Kube, Machine: m, Node: &n}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := layout.Make("1")
	if err != nil {
		t.Fatal(err)
	}
	return p, predict.Outcome(p, m, nil)
}

// TestTheClusterLibraryIsPredicted: what every scenario of the library claims is
// what is predicted for a small node, and nothing of it is left open but when the
// kubelet looks.
func TestTheClusterLibraryIsPredicted(t *testing.T) {
	all, err := scenarios.All()
	all = slices.DeleteFunc(all, func(s scenario.Scenario) bool { return !slices.Contains(s.Targets, scenario.Kube) })
	if err != nil || len(all) < 25 {
		t.Fatalf("%d scenarios, %v", len(all), err)
	}
	for _, s := range all {
		t.Run(strings.TrimPrefix(s.Name, "kube/"), func(t *testing.T) {
			_, p := onCluster(t, s, nil)
			k, e := p.Kube, s.Expect
			if p.Unsure != "" {
				t.Errorf("unsure: %s; orders %v", p.Unsure, p.Orders)
			}
			if !slices.Equal(p.Killed, e.Killed.InOrder) {
				t.Errorf("killed %v; want %v", p.Killed, e.Killed.InOrder)
			}
			if e.Constraint != "" && p.Constraint != e.Constraint || e.Trigger != nil &&
				!slices.Equal(p.Trigger, e.Trigger) {
				t.Errorf("constraint %s, trigger %v; want %s, %v", p.Constraint, p.Trigger, e.Constraint, e.Trigger)
			}
			if e.Domain != "" && string(k.Domain) != e.Domain {
				t.Errorf("domain %s (%s %s); want %s", k.Domain, p.Constraint, p.OOMMemcg, e.Domain)
			}
			for pod, class := range e.QoSClass {
				if string(k.Classes[pod]) != class {
					t.Errorf("%s is %s; want %s", pod, k.Classes[pod], class)
				}
			}
			for name, adj := range e.OOMScoreAdj {
				if !adj.Holds(int64(k.Adj[name])) {
					t.Errorf("%s has oom_score_adj %d; want %s", name, k.Adj[name], adj)
				}
			}
			for name, want := range e.Containers {
				container(t, name, k.Containers[name], want)
			}
			for pod, want := range e.Pods {
				if got := k.Pods[pod]; got.Phase != want.Phase || got.Reason != want.Reason || !got.Sure {
					t.Errorf("pod %s: %+v; want %+v, for sure", pod, got, want)
				}
			}
			if e.Evicted != nil && !slices.Equal(k.Evicted, *e.Evicted) {
				t.Errorf("evicted %v (%s); want %v", k.Evicted, k.Eviction, *e.Evicted)
			}
			if len(k.Evicted) > 0 && k.Eviction != predict.Certain {
				t.Errorf("the eviction is %s", k.Eviction)
			}
			if e.Misreports != nil && !slices.Equal(k.Misreports, *e.Misreports) {
				t.Errorf("misreports %v; want %v", k.Misreports, *e.Misreports)
			}
		})
	}
}

func container(t *testing.T, name string, got predict.ContainerEnd, want scenario.ContainerClaim) {
	t.Helper()
	if !got.Sure || !want.Holds(got.Status) {
		t.Errorf("%s: %s, sure %t; want %s, for sure", name, got.Status, got.Sure, want)
	}
}
