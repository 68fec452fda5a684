package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/oomlab/oomlab/harness/target/kube/image"
)

// logAPI is an API server that has pods with logs, and nothing else.
type logAPI struct {
	mu    sync.Mutex
	pods  []corev1.Pod
	logs  map[string][][]string // by pod: the lines of each request in turn; the last one stays open
	asked map[string][]string   // by pod: the queries
	tail  map[string]string     // by pod: the last line, where the log is not followed
}

func (s *logAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	s.mu.Lock()
	switch {
	case r.URL.Path == "/api/v1/namespaces/oomlab/pods":
		defer s.mu.Unlock()
		if r.URL.Query().Get("labelSelector") != TraceSelector {
			http.Error(w, "no selector", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"},
			Items: s.pods})
	case len(parts) == 7 && parts[6] == "log":
		name := parts[5]
		if r.URL.Query().Get("follow") == "" {
			defer s.mu.Unlock()
			fmt.Fprint(w, s.tail[name])
			return
		}
		n := len(s.asked[name])
		s.asked[name] = append(s.asked[name], r.URL.RawQuery)
		lines, last := []string(nil), true
		if n < len(s.logs[name]) {
			lines, last = s.logs[name][n], n == len(s.logs[name])-1
		}
		s.mu.Unlock()
		for _, line := range lines {
			fmt.Fprintln(w, line)
		}
		w.(http.Flusher).Flush()
		if last {
			<-r.Context().Done()
		}
	default:
		s.mu.Unlock()
		http.NotFound(w, r)
	}
}

func tracePod(name, node string) corev1.Pod {
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "oomlab", UID: types.UID(name)},
		Spec:   corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "trace"}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning}}
}

// kubeconfigOf writes a kubeconfig for a server.
func kubeconfigOf(t *testing.T, url string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: t, clusters: [{name: t, cluster: {server: "%s"}}],
contexts: [{name: t, context: {cluster: t, user: t}}], users: [{name: t, user: {}}]}`, url)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

var errTestEnough = errors.New("enough")

// TestTracersFollowEachNode: the lines of all nodes come in one stream, each once, though
// a log ends in between and the API prints its last line again.
func TestTracersFollowEachNode(t *testing.T) {
	api := &logAPI{asked: map[string][]string{}, logs: map[string][][]string{
		"a": {{"2026-01-01T00:00:01.5Z one", "2026-01-01T00:00:01.6Z two"},
			{"2026-01-01T00:00:01.5Z one", "2026-01-01T00:00:01.6Z two", "2026-01-01T00:00:01.7Z three",
				"2026-01-01T00:00:09Z " + strings.Repeat("x", maxLogLine), "2026-01-01T00:00:10Z five"}},
		"b": {{"2026-01-01T00:00:00.9Z before", "2026-01-01T00:00:02Z four"}},
	}, tail: map[string]string{"a": "2026-01-01T00:00:00.5Z header\n", "b": "2026-01-01T00:00:00.9Z before\n"}}
	pending := tracePod("c", "node-c")
	pending.Status.Phase = corev1.PodPending
	api.pods = []corev1.Pod{tracePod("a", "node-a"), tracePod("b", "node-b"), pending}
	server := httptest.NewServer(api)
	defer server.Close()
	var got, said []string
	tr := &Tracers{Where: Where{Kubeconfig: kubeconfigOf(t, server.URL), Namespace: "oomlab"},
		Line: func(node, line string) error {
			if got = append(got, node+" "+line); len(got) == 5 {
				return errTestEnough
			}
			return nil
		},
		Say: func(text string) { said = append(said, text) },
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := tr.Follow(ctx); !errors.Is(err, errTestEnough) {
		t.Fatalf("it ended with %v; got %q, said %q", err, got, said)
	}
	slices.Sort(got)
	want := []string{"node-a five", "node-a one", "node-a three", "node-a two", "node-b four"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(said) == 0 || said[0] != "watching node-a, node-b" {
		t.Errorf("it said %q", said)
	}
	if q := api.asked["a"]; len(q) != 2 || !strings.Contains(q[0], "sinceTime=2026-01-01T00%3A00%3A00Z") ||
		!strings.Contains(q[1], "sinceTime=2026-01-01T00%3A00%3A01Z") {
		t.Errorf("the log was asked for with %q", q)
	}
}

// TestTracersEnd when they are told to, and when nobody traces.
func TestTracersEnd(t *testing.T) {
	api := &logAPI{asked: map[string][]string{}}
	server := httptest.NewServer(api)
	defer server.Close()
	tr := &Tracers{Where: Where{Kubeconfig: kubeconfigOf(t, server.URL), Namespace: "oomlab"},
		Line: func(string, string) error { return nil }, Say: func(string) {}}
	if err := tr.Follow(t.Context()); !errors.Is(err, ErrNoTracers) {
		t.Errorf("without a pod: %v", err)
	}
	api.pods = []corev1.Pod{tracePod("a", "node-a")}
	ctx, cancel := context.WithCancel(t.Context())
	tr.Say = func(string) { cancel() }
	if err := tr.Follow(ctx); err != nil {
		t.Errorf("when it was told to end: %v", err)
	}
	if err := (&Tracers{Where: Where{Kubeconfig: filepath.Join(t.TempDir(), "none")}}).Follow(t.Context()); err == nil {
		t.Error("there is no such kubeconfig")
	}
}

// TestDaemonSetIsValid: Kubernetes' own types take each key of docs/tracing/daemonset.yaml,
// and it has no privilege but those that it needs.
func TestDaemonSetIsValid(t *testing.T) {
	text, err := os.ReadFile("../../../docs/tracing/daemonset.yaml")
	if err != nil {
		t.Fatal(err)
	}
	docs := strings.Split(string(text), "\n---\n")
	if len(docs) != 2 {
		t.Fatalf("%d documents, want a Namespace and a DaemonSet", len(docs))
	}
	strict := serializer.NewSerializerWithOptions(serializer.DefaultMetaFactory, scheme.Scheme, scheme.Scheme,
		serializer.SerializerOptions{Yaml: true, Strict: true})
	var ns corev1.Namespace
	var ds appsv1.DaemonSet
	for i, to := range []runtime.Object{&ns, &ds} {
		if _, _, err := strict.Decode([]byte(docs[i]), nil, to); err != nil {
			t.Fatal(err)
		}
	}
	if ns.Kind != "Namespace" || ds.Kind != "DaemonSet" || ns.Name != image.Namespace || ds.Namespace != ns.Name {
		t.Errorf("%s %s, %s in %s", ns.Kind, ns.Name, ds.Kind, ds.Namespace)
	}
	for key, value := range ds.Spec.Selector.MatchLabels {
		if key+"="+value != TraceSelector || ds.Spec.Template.Labels[key] != value {
			t.Errorf("it selects %s=%s, and oomlab %s", key, value, TraceSelector)
		}
	}
	spec := ds.Spec.Template.Spec
	c := spec.Containers[0]
	s := c.SecurityContext
	if c.Image != image.TraceImage || c.Command[0] != image.OomlabPath || !spec.HostPID || spec.HostNetwork ||
		spec.HostIPC || *spec.AutomountServiceAccountToken || !*s.ReadOnlyRootFilesystem ||
		*s.AllowPrivilegeEscalation || s.Privileged != nil {
		t.Errorf("%+v, %+v", c, s)
	}
	if !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) ||
		!slices.Equal(s.Capabilities.Add, []corev1.Capability{"BPF", "PERFMON", "SYSLOG", "IPC_LOCK"}) {
		t.Errorf("capabilities %+v", s.Capabilities)
	}
	for _, m := range c.VolumeMounts {
		if !m.ReadOnly {
			t.Errorf("%s can be written", m.MountPath)
		}
	}
}
