package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/trace"
)

// tracedCluster is an API server with a tracer on one node, which prints these lines, or
// with none. It returns a kubeconfig.
func tracedCluster(t *testing.T, lines ...string) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/namespaces/oomlab/pods", func(w http.ResponseWriter, _ *http.Request) {
		items := ""
		if lines != nil {
			items = `{"metadata": {"name": "t", "namespace": "oomlab", "uid": "1"}, "status": {"phase": "Running"},
"spec": {"nodeName": "node-a", "containers": [{"name": "trace"}]}}`
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"kind": "PodList", "apiVersion": "v1", "items": [%s]}`, items)
	})
	mux.HandleFunc("/api/v1/namespaces/oomlab/pods/t/log", func(w http.ResponseWriter, r *http.Request) {
		for i, line := range lines {
			fmt.Fprintf(w, "2026-01-01T00:00:%02dZ %s\n", i, line)
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: t, clusters: [{name: t, cluster: {server: "%s"}}],
contexts: [{name: t, context: {cluster: t, user: t}}], users: [{name: t, user: {}}]}`, server.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func killedPod(t *testing.T, namespace, pod string) string {
	t.Helper()
	rss := 32 * kernel.KiB
	k := trace.Kill{Time: "2026-01-01T12:00:00Z", PageSize: 16 * kernel.KiB, By: trace.ByKernel, Constraint: "memcg",
		Victim: trace.Process{PID: 7, Comm: "app\x1b[2J", Cgroup: "/kubepods/x", RSS: &rss}}
	k.Victim.Namespace, k.Victim.Pod = namespace, pod
	line, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(line)
}

// TestTraceKube: the kills of a node come with its name, and the flags choose among them.
func TestTraceKube(t *testing.T) {
	config := tracedCluster(t, "oomlab: watching by eBPF, tier 3 of 3\x1b[2J", killedPod(t, "other", "web-1"),
		killedPod(t, "default", "web-0"), "{no JSON", killedPod(t, "default", "web-0"))
	for form, pages := range map[string]string{"text": ", 2 pages", "json": `"page_size":16384`} {
		var out, errs bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		status := run(ctx, []string{"trace", "--kube", "--kubeconfig", config, "--pod", "default/web-0", "--count", "2",
			"-o", form}, strings.NewReader(""), &out, &errs)
		if status != exitPass || strings.Count(out.String(), "\n") != 2 || !strings.Contains(out.String(), "node-a") ||
			!strings.Contains(out.String(), "web-0") || !strings.Contains(out.String(), pages) ||
			strings.Contains(out.String(), "web-1") ||
			strings.Contains(out.String()+errs.String(), "\x1b") {
			t.Errorf("%s: status %d, printed\n%s%s", form, status, &out, &errs)
		}
		for _, want := range []string{"oomlab: watching node-a\n", "oomlab: node-a: watching by eBPF, tier 3 of 3",
			"oomlab: 2 kills, and 1 that the flags leave out\n"} {
			if !strings.Contains(errs.String(), want) {
				t.Errorf("%s: it does not say %q: %s", form, want, &errs)
			}
		}
	}
}

// TestTraceKubeWithout a cluster, a kubeconfig or a tracer, and with flags that do not go
// with it.
func TestTraceKubeWithout(t *testing.T) {
	none := tracedCluster(t)
	for _, tt := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"--kube", "--kubeconfig", "/none"}, exitUsage, "/none"},
		{[]string{"--kube", "--kubeconfig", none, "--context", "x"}, exitUsage, `context "x" does not exist`},
		{[]string{"--kubeconfig", none}, exitUsage, "add --kube"},
		{[]string{"--kube", "--kubeconfig", none, "--exec", "true"}, exitUsage, "--exec and --kube"},
		{[]string{"--kube", "--kubeconfig", none}, exitSkip, "docs/tracing/daemonset.yaml"},
	} {
		var out, errs bytes.Buffer
		status := run(t.Context(), append([]string{"trace"}, tt.args...), strings.NewReader(""), &out, &errs)
		if status != tt.status || !strings.Contains(errs.String(), tt.says) || out.Len() > 0 {
			t.Errorf("%q: status %d, want %d; printed %s%s", tt.args, status, tt.status, &out, &errs)
		}
	}
}

// commandOf is what a file of docs/tracing starts, from the word trace on.
func commandOf(t *testing.T, file, before, after string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/tracing/" + file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), before)
	line, _, ended := strings.Cut(rest, after)
	if !found || !ended {
		t.Fatalf("%s does not have %q", file, before)
	}
	return strings.Fields(strings.NewReplacer(",", " ", `"`, "").Replace(line))
}

// TestNodeFilesStartTrace with flags that there are.
func TestNodeFilesStartTrace(t *testing.T) {
	for _, argv := range [][]string{
		commandOf(t, "oomlab-trace.service", "ExecStart=/usr/bin/oomlab ", "\n"),
		commandOf(t, "daemonset.yaml", "command: [/oomlab, ", "]"),
	} {
		cmd := (&app{}).traceCommand()
		err := cmd.ParseFlags(argv[1:])
		if argv[0] != "trace" || err != nil || !cmd.Flags().Changed("listen") ||
			cmd.Flags().Lookup("output").Value.String() != "json" {
			t.Errorf("%q: %v", argv, err)
		}
	}
}

// TestUnitIsValid: systemd has nothing to say about the unit.
func TestUnitIsValid(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("needs systemd-analyze")
	}
	text, err := os.ReadFile("../../docs/tracing/oomlab-trace.service")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable() // it wants a program that is there
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "oomlab-trace.service")
	if err := os.WriteFile(file, bytes.ReplaceAll(text, []byte("/usr/bin/oomlab"), []byte(self)), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "systemd-analyze", "verify", "--recursive-errors=no", "--man=no", file)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}
