package export

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/oomlab/oomlab/harness/census"
	"github.com/oomlab/oomlab/harness/trace"
)

func serve(t *testing.T) (*Exporter, func() string) {
	t.Helper()
	c, err := census.Open("/")
	if err != nil {
		t.Skipf("needs /proc: %v", err)
	}
	e, err := New("127.0.0.1:0", func() int { return 3 }, func() uint64 { return 7 }, c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return e, func() string {
		t.Helper()
		response, err := http.Get("http://" + e.Addr() + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%d, %v: %s", response.StatusCode, err, text)
		}
		return string(text)
	}
}

// TestMetrics: what is counted, and what is read when it is asked for.
func TestMetrics(t *testing.T) {
	e, get := serve(t)
	k := trace.Kill{By: trace.ByKernel, Constraint: "memcg", Limit: &trace.Limit{Kind: "pod", Cgroup: "/kubepods/x"},
		Victim: trace.Process{Comm: "worker-12", Namespace: "default", Pod: "web-0"}}
	e.Kill(k)
	k.Victim.Comm = "worker-7"
	e.Kill(k)
	text := get()
	for _, want := range []string{
		`oomlab_kills_total{by="kernel",comm="worker-N",constraint="memcg",domain="/kubepods/x",limit="pod",` +
			`namespace="default",pod="web-0"} 2`,
		"oomlab_lost_events_total 7", "oomlab_ebpf_tier 3", `oomlab_domain_left_bytes{domain="",kind="machine"} `,
		`oomlab_domain_limit_bytes{domain="",kind="machine"} `, "oomlab_last_kill_timestamp_seconds 1",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

// TestSeriesAreBounded: whatever names processes and cgroups have.
func TestSeriesAreBounded(t *testing.T) {
	e, get := serve(t)
	for i := range 3 * maxSeries {
		e.Kill(trace.Kill{By: trace.ByKernel, Limit: &trace.Limit{Kind: "cgroup", Cgroup: fmt.Sprintf("/\xff%d", i)}})
	}
	if n := strings.Count(get(), "oomlab_kills_total{"); n > maxSeries+1 {
		t.Errorf("%d series", n)
	}
}

// TestExamples: the alert and the dashboard of the docs ask for metrics that exist.
func TestExamples(t *testing.T) {
	_, get := serve(t)
	e := get() + "oomlab_kills_total"
	text, err := os.ReadFile("../../docs/prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(text, &rules); err != nil || len(rules.Groups) != 1 || len(rules.Groups[0].Rules) < 3 {
		t.Fatalf("%+v, %v", rules, err)
	}
	dashboard, err := os.ReadFile("../../docs/prometheus/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for word := range strings.FieldsFuncSeq(string(text)+string(dashboard), func(r rune) bool {
		return r != '_' && (r < 'a' || r > 'z')
	}) {
		if strings.HasPrefix(word, "oomlab_") {
			asked++
			if !strings.Contains(e, word) {
				t.Errorf("%s is asked for and not exported", word)
			}
		}
	}
	if asked < 6 {
		t.Errorf("they ask for %d metrics", asked)
	}
}
