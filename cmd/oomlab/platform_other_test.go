//go:build !linux || notlinux

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestElsewhere runs what needs Linux where there is none: each says so in one line, has
// a hint and exits with 64; the rest works.
func TestElsewhere(t *testing.T) {
	const scenario = "memcg/adj-outweighs-size"
	config := filepath.Join(t.TempDir(), "kubeconfig")
	err := os.WriteFile(config, []byte(`{apiVersion: v1, kind: Config, current-context: c,
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}], contexts: [{name: c, context: {cluster: c}}]}`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string // empty: it works
	}{
		{[]string{"doctor"}, "oomlab doctor needs Linux"},
		{[]string{"rank"}, "oomlab rank needs Linux"},
		{[]string{"clean"}, "oomlab clean without --context or --kubeconfig needs Linux"},
		{[]string{"chaos", "--count", "1"}, "oomlab chaos needs Linux"},
		{[]string{"cluster", "up"}, "oomlab cluster up needs Linux"},
		{[]string{"kernels", "list"}, "oomlab kernels list needs Linux"},
		{[]string{"run", scenario}, "oomlab run without --context or --kubeconfig needs Linux"},
		{[]string{"run", "--kubeconfig", config, scenario},
			"the scenario " + scenario + ", which is not for clusters, needs Linux"},
		{[]string{"run", "--kubeconfig", config, "--target", "vm",
			"kube/guaranteed-over-its-own-limit"}, "--target vm needs Linux"},
		{[]string{"compare", "--kernels", "6.12", scenario}, "oomlab compare --kernels needs Linux"},
		{[]string{"reproduce", "--run", "../../harness/oomlog/testdata/linux-6.18-memcg.log"},
			"oomlab reproduce --run needs Linux"},

		{[]string{"reproduce", "-o", "-", "../../harness/oomlog/testdata/linux-6.18-memcg.log"}, ""},
		{[]string{"explain", "../../harness/oomlog/testdata/linux-6.18-memcg.log"}, ""},
		{[]string{"list"}, ""},
		{[]string{"validate", "../../scenarios/memcg/adj-outweighs-size.yaml"}, ""},
		{[]string{"report", "../../harness/report/testdata/run"}, ""},
		{[]string{"compare", "../../harness/verdict/testdata/6.12"}, ""},
		{[]string{"selftest", "--help"}, ""},
		{[]string{"version"}, ""},
	} {
		var out, complaint bytes.Buffer
		code := run(t.Context(), tt.args, strings.NewReader(""), &out, &complaint)
		if tt.want == "" {
			if code == exitUsage || code == exitBroken || out.Len() == 0 {
				t.Errorf("%v: exit status %d, %d bytes, %s", tt.args, code, out.Len(), complaint.String())
			}
			continue
		}
		lines := strings.Split(strings.TrimSpace(complaint.String()), "\n")
		if code != exitUsage || len(lines) != 2 || !strings.HasPrefix(lines[0], program+tt.want) ||
			!strings.HasPrefix(lines[1], hinting) {
			t.Errorf("%v: exit status %d\n%s\nwant %d and %q", tt.args, code, complaint.String(), exitUsage, tt.want)
		}
	}
}
