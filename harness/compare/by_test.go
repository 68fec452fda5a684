package compare

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/clustertest"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/verdict"
	"github.com/oomlab/oomlab/harness/verdict/testdata"
	"github.com/oomlab/oomlab/scenarios"
)

// fleet runs a scenario on nodes that differ, side by side.
func fleet(t *testing.T, scenario string, nodes ...func(*kernel.Machine, *kubelet.Node)) []verdict.Input {
	t.Helper()
	s, err := scenarios.Load(scenario)
	if err != nil {
		t.Fatal(err)
	}
	var out []verdict.Input
	for i, change := range nodes {
		in, err := clustertest.Run(s, change)
		if err != nil {
			t.Fatal(err)
		}
		in.Meta.Run = fmt.Sprintf("%04d", i+1)
		out = append(out, in)
	}
	return out
}

func node(name, release, kubeletVersion, runtime string) func(*kernel.Machine, *kubelet.Node) {
	return func(m *kernel.Machine, n *kubelet.Node) {
		m.Release = release
		n.Name, n.KubeletVersion, n.Runtime = name, kubeletVersion, runtime
		n.Labels = map[string]string{"pool": name[:1]}
	}
}

func grouped(t *testing.T, runs []verdict.Input, by string) *Matrix {
	t.Helper()
	m := New()
	for _, in := range runs {
		column, err := By(in, by)
		if err != nil {
			t.Fatal(err)
		}
		m.Add(column, Observe(in, verdict.Judge(in)))
	}
	m.Sort(false)
	return m
}

func columns(m *Matrix) []string {
	var out []string
	for i, c := range m.Columns {
		out = append(out, fmt.Sprintf("%s x%d", c.Name, m.Cells[0][i].Runs))
	}
	return out
}

// TestAFleetIsGroupedByWhatItsNodesAre: two nodes of one kernel and one of
// another, two kubelets, two runtimes.
func TestAFleetIsGroupedByWhatItsNodesAre(t *testing.T) {
	runs := fleet(t, "kube/sidecar-is-as-safe-as-what-it-serves",
		node("a1", "6.12.57-cloud-amd64", "v1.36.3", "containerd://2.1.9"),
		node("a2", "6.12.57-cloud-amd64", "v1.31.14", "containerd://1.7.24"),
		node("b1", "6.1.158-cloud-amd64", "v1.36.3", "containerd://2.1.9"))
	for _, tt := range []struct {
		by   string
		want []string
	}{
		{"node.kernelVersion", []string{"6.1.158-cloud-amd64 x1", "6.12.57-cloud-amd64 x2"}},
		{"node.kubeletVersion", []string{"v1.31.14 x1", "v1.36.3 x2"}},
		{"node.containerRuntimeVersion", []string{"containerd://1.7.24 x1", "containerd://2.1.9 x2"}},
		{"node.name", []string{"a1 x1", "a2 x1", "b1 x1"}},
		{"node.labels.pool", []string{"a x2", "b x1"}},
		{"target", []string{"kube x3"}},
	} {
		if got := columns(grouped(t, runs, tt.by)); !slices.Equal(slices.Sorted(slices.Values(got)),
			slices.Sorted(slices.Values(tt.want))) {
			t.Errorf("by %s: %q; want %q", tt.by, got, tt.want)
		}
	}
	// what differs between the two kubelets is the rule for sidecars of 1.32:
	// before it, the sidecar had 999 for its lack of a request
	var got []string
	for _, d := range grouped(t, runs, "node.kubeletVersion").Differences() {
		for _, g := range d.Groups() {
			if d.Aspect == Adj {
				got = append(got, fmt.Sprintf("%s: %s: %s", d.Since, g.Subject, g.Short))
			}
		}
	}
	if want := []string{"v1.36.3: web/proxy: 999 -> 770"}; !slices.Equal(got, want) {
		t.Errorf("adjustments differ in %q; want %q", got, want)
	}
	// and on one kubelet nothing that the API says differs between two kernels
	for _, d := range grouped(t, []verdict.Input{runs[0], runs[2]}, "node.kernelVersion").Differences() {
		if slices.Contains([]Aspect{Status, Adj, Evicted, Misreports, Order}, d.Aspect) {
			t.Errorf("%s differs between two kernels on one kubelet", d.Aspect)
		}
	}
}

func TestByNamesWhatIsMissing(t *testing.T) {
	run := fleet(t, "kube/bigmem-1000m-fits", node("a1", "6.12.57", "v1.36.3", "containerd://2.1.9"))[0]
	_, err := By(run, "node.labels.zone")
	if want := "0001: its node a1 has no node.labels.zone"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	run.Meta.Node = nil
	_, err = By(run, "node.name")
	if want := "0001 ran on no cluster: it has no node.name"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	for field, known := range map[string]bool{"node.name": true, "node.labels.x": true, "node.labels.": false,
		"node.version": false, "": false} {
		if KnownField(field) != known {
			t.Errorf("%q is known: %t", field, !known)
		}
	}
}

// TestOneScenarioWithAKubeletAndWithout stands side by side by target: what both
// see of the kernel is comparable, and what only a cluster says is no difference.
func TestOneScenarioWithAKubeletAndWithout(t *testing.T) {
	const name = "qos/container-limit-stays-in-its-pod"
	dir, err := fs.Sub(testdata.Recorded, "7.3/"+strings.ReplaceAll(name, "/", "-"))
	if err != nil {
		t.Fatal(err)
	}
	without, err := verdict.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	runs := append(fleet(t, name, node("a", "7.3.4+deb13-cloud-amd64", "v1.36.3", "containerd://2.1.9")), without)
	m := grouped(t, runs, "target")
	if got, want := columns(m), []string{"kube x1", "vm x1"}; !slices.Equal(got, want) {
		t.Errorf("columns %q; want %q", got, want)
	}
	for _, d := range m.Differences() {
		switch d.Aspect {
		case Verdict, Victims, Order, Exits, Trigger, Status, Evicted, Misreports, Adj:
			t.Errorf("%s differs: %v", d.Aspect, d.Changes)
		}
	}
}

// TestByRuntime: what two runtimes say of the same is a difference, and a run that did not
// pass says nothing.
func TestByRuntime(t *testing.T) {
	m := New()
	for _, name := range []string{"6.12/container-first-process-killed", "kube-1.36/guaranteed-over-its-own-limit"} {
		dir, err := fs.Sub(testdata.Recorded, name)
		if err != nil {
			t.Fatal(err)
		}
		in, err := verdict.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		r := verdict.Judge(in)
		for by, runs := range ByRuntime(in, r) {
			for _, run := range runs {
				m.Add(by, run)
			}
		}
		if r.Verdict = verdict.Fail; len(ByRuntime(in, r)) > 0 {
			t.Errorf("%s says something although it failed", name)
		}
	}
	m.Sort(false)
	if want := []string{string(verdict.FirstKilled)}; !slices.Equal(m.Scenarios, want) {
		t.Fatalf("rows are %v, want %v", m.Scenarios, want)
	}
	got := map[string]string{}
	for i, c := range m.Columns {
		got[c.Name] = m.Cells[0][i].Summary().Killed
	}
	want := map[string]string{"podman + crun": "OOMKilled=true, 137", "kubelet": "OOMKilled, 137",
		"containerd": "TaskOOM, exit 137"}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
