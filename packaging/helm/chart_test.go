// Package helm has the chart for oomlab trace on each node, and holds docs/tracing/daemonset.yaml,
// which is for kubectl alone, against it.
package helm_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	"sigs.k8s.io/yaml"
)

const (
	chart = "oomlab-trace"
	plain = "../../docs/tracing/daemonset.yaml"
)

// render is what helm template prints, without its comments.
func render(t *testing.T, values map[string]any) string {
	t.Helper()
	c, err := loader.Load(chart)
	if err != nil {
		t.Fatal(err)
	}
	all, err := chartutil.ToRenderValues(c, values, chartutil.ReleaseOptions{Name: "trace", Namespace: "oomlab"},
		chartutil.DefaultCapabilities)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Render(c, all)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, name := range []string{"namespace", "daemonset"} {
		if text := files[chart+"/templates/"+name+".yaml"]; strings.TrimSpace(text) != "" {
			out = append(out, text)
		}
	}
	return strings.Join(out, "---\n")
}

// TestPlainFile: the file for kubectl is what the chart says; OOMLAB_UPDATE=1 writes it.
func TestPlainFile(t *testing.T) {
	want := []byte(render(t, map[string]any{"createNamespace": true}))
	if os.Getenv("OOMLAB_UPDATE") != "" {
		if err := os.WriteFile(plain, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the chart says; OOMLAB_UPDATE=1 writes it. The chart says\n%s", plain, want)
	}
}

// TestLint: helm lint has nothing to say but that a chart of its own may have an icon.
func TestLint(t *testing.T) {
	for _, values := range []map[string]any{nil, {"createNamespace": true, "arguments": []any{"-v"}}} {
		for _, m := range lint.All(chart, values, "oomlab", true).Messages {
			if m.Severity > support.InfoSev {
				t.Error(m.Error())
			}
		}
	}
}

// TestValues: each value is in what is rendered, and none is left out of values.yaml.
func TestValues(t *testing.T) {
	type values = map[string]any
	for _, c := range []struct {
		values values
		want   string
	}{
		{values{"image": "r.example/oomlab:1"}, "image: r.example/oomlab:1\n"},
		{values{"imagePullPolicy": "Always"}, "imagePullPolicy: Always\n"},
		{values{"arguments": []any{"-v", "--cgroup", "/a b"}}, `--listen, ":9464", "-v", "--cgroup", "/a b"]`},
		{values{"port": 80}, `--listen, ":80"]`},
		{values{"port": 80}, `prometheus.io/port: "80"`},
		{values{"port": 80}, `containerPort: 80}`},
		{values{"requests": values{"cpu": "1"}}, "requests: {cpu: 1, memory: 64Mi}\n"},
		{values{"limits": values{"memory": "1Gi"}}, "limits: {memory: 1Gi}\n"},
		{values{"priorityClassName": "mine"}, "priorityClassName: mine\n"},
		{values{"nodeSelector": values{"pool": "new"}}, `nodeSelector: {"pool":"new"}`},
	} {
		text := render(t, c.values)
		if !strings.Contains(text, c.want) || strings.Contains(text, "kind: Namespace") {
			t.Errorf("%v: %q is not in\n%s", c.values, c.want, text)
		}
		for _, doc := range strings.Split(text, "---\n") {
			var object values
			if err := yaml.UnmarshalStrict([]byte(doc), &object); err != nil || object["kind"] != "DaemonSet" {
				t.Errorf("%v: %v\n%s", c.values, err, doc)
			}
		}
		c, err := loader.Load(chart)
		if err != nil {
			t.Fatal(err)
		}
		for name := range c.Values {
			if !strings.Contains(string(c.Templates[0].Data)+string(c.Templates[1].Data), ".Values."+name) {
				t.Errorf("%s is in values.yaml, and in no template", name)
			}
		}
	}
}
