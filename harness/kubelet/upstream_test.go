package kubelet_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
)

// TestRecordedFromTheKubelet holds the rules against what the kubelet's own code
// said of random pods, whose requests go from nothing to twice the node. Module
// upstream draws more of them, and records these.
func TestRecordedFromTheKubelet(t *testing.T) {
	files, err := filepath.Glob("testdata/v*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors, %v", err)
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		version := filepath.Base(file[:len(file)-len(".jsonl")])
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		n, containers := 0, 0
		for ; lines.Scan(); n++ {
			var v struct {
				PodLevelResources bool           `json:"pod_level_resources"`
				Capacity          kernel.Bytes   `json:"capacity"`
				Pod               kubelet.Pod    `json:"pod"`
				Class             kubelet.Class  `json:"class"`
				Requests          kernel.Bytes   `json:"requests"`
				Adj               map[string]int `json:"oom_score_adj"`
			}
			if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
				t.Fatalf("%s:%d: %v", file, n+1, err)
			}
			gates := kubelet.Node{KubeletVersion: version,
				FeatureGates: map[string]bool{"PodLevelResources": v.PodLevelResources}}.Gates()
			p := kubelet.Default(v.Pod, gates)
			if got := kubelet.ClassOf(p); got != v.Class {
				t.Errorf("%s:%d: %s; the kubelet says %s", file, n+1, got, v.Class)
			}
			if got := kubelet.Requests(p).Memory; got != v.Requests {
				t.Errorf("%s:%d: it requests %d; the kubelet says %d", file, n+1, got, v.Requests)
			}
			for name, want := range v.Adj {
				c, ok := p.Container(name)
				if !ok {
					t.Fatalf("%s:%d: no container %s", file, n+1, name)
				}
				if got := kubelet.OOMScoreAdj(p, c, v.Capacity, gates); got != want {
					t.Errorf("%s:%d: %s has oom_score_adj %d; the kubelet says %d", file, n+1, name, got, want)
				}
				containers++
			}
		}
		if n < 500 || containers < 1000 {
			t.Errorf("%s has only %d pods and %d containers", file, n, containers)
		}
	}
}
