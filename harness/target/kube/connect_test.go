package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/e2e-framework/klient/k8s/resources"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
)

// paperAPI is an API server that knows a node, namespaces and pods, and refuses
// what a test has it refuse.
type paperAPI struct {
	mu         sync.Mutex
	namespaces map[string]corev1.Namespace
	pods       map[string]corev1.Pod
	// refuse is asked first: a status other than 0 is the answer.
	refuse func(method, path string) (status int, reason metav1.StatusReason, message string)
	// admit changes what a pod looks like once it is created.
	admit func(*corev1.Pod)
	node  corev1.Node
	more  []corev1.Node // nodes beside that one
	// events are told of in their own namespaces; those about nodes are in default.
	events []corev1.Event
}

func newPaperAPI(t *testing.T) (*paperAPI, Where) {
	a := &paperAPI{namespaces: map[string]corev1.Namespace{}, pods: map[string]corev1.Pod{},
		admit: func(*corev1.Pod) {}}
	a.refuse = func(string, string) (int, metav1.StatusReason, string) { return 0, "", "" }
	a.node.Name = "worker-1"
	a.node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	return a, Where{Kubeconfig: kubeconfig(t, server.URL)}
}

func kubeconfig(t *testing.T, url string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [{"name": "c", "cluster": {"server": %q}}],
"users": [{"name": "u", "user": {}}], "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}`, url)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func (a *paperAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	say := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(v)
	}
	fail := func(status int, reason metav1.StatusReason, message string) {
		say(status, metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
			Code: int32(status), Reason: reason, Message: message,
		})
	}
	if status, reason, message := a.refuse(r.Method, r.URL.Path); status != 0 {
		fail(status, reason, message)
		return
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case r.URL.Path == "/api":
		say(200, metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}})
	case r.URL.Path == "/apis":
		say(200, metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}})
	case r.URL.Path == "/api/v1":
		all := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
			GroupVersion: "v1"}
		for _, k := range []struct {
			name, kind string
			namespaced bool
		}{{"nodes", "Node", false}, {"namespaces", "Namespace", false}, {"pods", "Pod", true}, {"events", "Event",
			true}} {
			all.APIResources = append(all.APIResources, metav1.APIResource{Name: k.name, Kind: k.kind,
				Namespaced: k.namespaced, Verbs: metav1.Verbs{"get", "list", "create", "delete"}})
		}
		say(200, all)
	case r.URL.Path == "/api/v1/nodes":
		selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
		if err != nil {
			fail(400, metav1.StatusReasonBadRequest, err.Error())
			return
		}
		list := corev1.NodeList{TypeMeta: metav1.TypeMeta{Kind: "NodeList", APIVersion: "v1"}}
		for _, n := range append([]corev1.Node{a.node}, a.more...) {
			if selector.Matches(labels.Set(n.Labels)) {
				list.Items = append(list.Items, n)
			}
		}
		say(200, list)
	case r.URL.Path == "/api/v1/nodes/"+a.node.Name:
		n := a.node
		n.TypeMeta = metav1.TypeMeta{Kind: "Node", APIVersion: "v1"}
		say(200, n)
	case r.URL.Path == "/api/v1/nodes/"+a.node.Name+"/proxy/configz":
		say(200, map[string]any{"kubeletconfig": map[string]any{"cgroupDriver": "systemd",
			"evictionHard": map[string]string{"memory.available": "100Mi"}}})
	case strings.HasSuffix(r.URL.Path, "/events"):
		list := corev1.EventList{TypeMeta: metav1.TypeMeta{Kind: "EventList", APIVersion: "v1"}}
		for _, e := range a.events {
			if "/api/v1/namespaces/"+e.Namespace+"/events" == r.URL.Path {
				list.Items = append(list.Items, e)
			}
		}
		say(200, list)
	case r.URL.Path == "/api/v1/namespaces" && r.Method == "POST":
		var ns corev1.Namespace
		read(r, &ns)
		a.namespaces[ns.Name] = ns
		say(201, ns)
	case len(parts) == 4 && parts[2] == "namespaces":
		if found := one(a.namespaces, "namespaces", parts[3], r.Method, fail); found != nil {
			say(200, found)
		}
	case r.URL.Path == "/api/v1/pods":
		list := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}}
		for _, p := range a.pods {
			list.Items = append(list.Items, p)
		}
		say(200, list)
	case len(parts) == 5 && parts[4] == "pods" && r.Method == "POST":
		var p corev1.Pod
		read(r, &p)
		p.TypeMeta = metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}
		a.admit(&p)
		a.pods[p.Name] = p
		say(201, p)
	case len(parts) == 5 && parts[4] == "pods":
		selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
		if err != nil {
			fail(400, metav1.StatusReasonBadRequest, err.Error())
			return
		}
		list := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}}
		for _, p := range a.pods {
			if selector.Matches(labels.Set(p.Labels)) {
				list.Items = append(list.Items, p)
			}
		}
		say(200, list)
	case len(parts) == 6 && parts[4] == "pods":
		if found := one(a.pods, "pods", parts[5], r.Method, fail); found != nil {
			say(200, found)
		}
	default:
		fail(404, metav1.StatusReasonNotFound, "the paper API has no "+r.URL.Path)
	}
}

// one is the object of that name, which DELETE takes away; nil: fail has said that
// there is none.
func one[T any](all map[string]T, resource, name, method string, fail func(int, metav1.StatusReason, string)) *T {
	object, ok := all[name]
	if !ok {
		fail(404, metav1.StatusReasonNotFound, resource+" \""+name+"\" not found")
		return nil
	}
	if method == "DELETE" {
		delete(all, name)
	}
	return &object
}

// read decodes what a client sends, which may be protobuf.
func read(r *http.Request, into runtime.Object) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		_, _, err = scheme.Codecs.UniversalDeserializer().Decode(body, nil, into)
	}
	if err != nil {
		panic(err)
	}
}

// left is what is in the cluster.
func (a *paperAPI) left() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for name := range a.pods {
		out = append(out, "pod "+name)
	}
	for name := range a.namespaces {
		out = append(out, "namespace "+name)
	}
	return out
}

// TestConnectSaysWhatIsWrong: whatever a cluster refuses, the error says so, and
// nothing is left in it.
func TestConnectSaysWhatIsWrong(t *testing.T) {
	forbid := func(method, what string) func(*paperAPI) {
		return func(a *paperAPI) {
			a.refuse = func(m, path string) (int, metav1.StatusReason, string) {
				if m == method && strings.HasSuffix(path, what) {
					return 403, metav1.StatusReasonForbidden, "User \"u\" cannot " + strings.ToLower(m) + " " + what
				}
				return 0, "", ""
			}
		}
	}
	for name, test := range map[string]struct {
		spoil func(*paperAPI)
		node  string
		want  string
	}{
		"nodes are forbidden": {spoil: forbid("GET", "/nodes"), want: `cannot get /nodes`},
		"pods are forbidden":  {spoil: forbid("POST", "/pods"), want: `the agent's pod: User "u" cannot post /pods`},
		"no such node":        {node: "worker-2", want: "there is no node worker-2; there are worker-1"},
		"the node is not Ready": {spoil: func(a *paperAPI) { a.node.Status.Conditions = nil },
			want: "no node is Ready and open to pods; there are worker-1"},
		"a node of another architecture": {spoil: func(a *paperAPI) {
			a.node.Status.NodeInfo.Architecture = "riscv64"
		}, want: "no node that is Ready is of " + goruntime.GOARCH + ", which the agent in this oomlab is for"},
		"that node is named": {node: "worker-1", spoil: func(a *paperAPI) {
			a.node.Status.NodeInfo.Architecture = "riscv64"
		}, want: "node worker-1 is of riscv64, and the agent in this oomlab is for " + goruntime.GOARCH},
		"a quota": {spoil: func(a *paperAPI) {
			a.refuse = func(m, path string) (int, metav1.StatusReason, string) {
				if m == "POST" && strings.HasSuffix(path, "/pods") {
					return 403, metav1.StatusReasonForbidden, "exceeded quota: compute, requested: pods=1, used: " +
						"pods=0, limited: pods=0"
				}
				return 0, "", ""
			}
		}, want: "exceeded quota: compute"},
		"the image is not there": {spoil: func(a *paperAPI) {
			a.admit = func(p *corev1.Pod) {
				p.Status.ContainerStatuses = []corev1.ContainerStatus{{
					Image: p.Spec.Containers[0].Image,
					State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}},
				}}
			}
		}, want: "ErrImagePull: oomlab.dev/agent:"},
		"the kubelet does not admit the agent": {spoil: func(a *paperAPI) {
			a.admit = func(p *corev1.Pod) {
				p.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfpods",
					Message: "Pod was rejected: too many pods"}
			}
		}, want: "the agent's pod: OutOfpods: Pod was rejected: too many pods"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, w := newPaperAPI(t)
			if test.spoil != nil {
				test.spoil(a)
			}
			c, err := Connect(w, []byte("agent"), []byte("stressor"))
			if err != nil {
				t.Fatal(err)
			}
			target := c.Target(test.node)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			_, err = target.Hello(ctx)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if left := a.left(); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// TestANodeDescribesItself: what the API knows of a node is there before anything is
// created in the cluster; what it does not tell is no error.
func TestANodeDescribesItself(t *testing.T) {
	a, w := newPaperAPI(t)
	a.node.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1900m")}
	w.AllowNodeOOM = []string{"worker-1"}
	c, err := Connect(w, []byte("agent"), []byte("stressor"))
	if err != nil {
		t.Fatal(err)
	}
	target := c.Target("")
	hello, err := target.Describe(t.Context())
	if n := hello.Node; err != nil || n == nil || n.Name != "worker-1" || n.CgroupDriver != "systemd" || !n.MayOOM ||
		n.AllocatableCPU != 1900 || n.EvictionHard["memory.available"] != "100Mi" {
		t.Errorf("described as %+v, %v", hello.Node, err)
	}
	if left := a.left(); len(left) > 0 {
		t.Errorf("created: %q", left)
	}
	a.refuse = func(_, path string) (int, metav1.StatusReason, string) {
		if strings.HasSuffix(path, "/configz") {
			return 403, metav1.StatusReasonForbidden, "not yours"
		}
		return 0, "", ""
	}
	if hello, err := target.Describe(t.Context()); hello.Node != nil || err != nil {
		t.Errorf("described as %+v, %v by an API that does not tell", hello.Node, err)
	}
	if _, err := c.Target("worker-2").Describe(t.Context()); err == nil || !strings.Contains(err.Error(), "there is no node worker-2") {
		t.Errorf("error %v", err)
	}
}

// TestNodesAreSelected: a fleet is the nodes whose labels match.
func TestNodesAreSelected(t *testing.T) {
	a, w := newPaperAPI(t)
	a.node.Labels = map[string]string{"pool": "old"}
	for _, name := range []string{"worker-2", "worker-3"} {
		a.more = append(a.more,
			corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pool": "new"}}})
	}
	for selector, want := range map[string][]string{
		"pool=new": {"worker-2", "worker-3"}, "pool": {"worker-1", "worker-2", "worker-3"}, "pool=none": nil,
	} {
		got, err := w.Nodes(t.Context(), selector)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s selects %v, %v; want %v", selector, got, err, want)
		}
	}
	if err := CheckSelector("pool in new"); err == nil || !strings.Contains(err.Error(), "expected: '('") {
		t.Errorf("a selector that is none: %v", err)
	}
	if err := CheckSelector("pool in (new, old),!spare"); err != nil {
		t.Error(err)
	}
}

// TestClean: what bears oomlab's labels goes, and nothing else; of namespaces, only
// one that a run has made.
func TestClean(t *testing.T) {
	own := map[string]string{OwnLabel: Own}
	run := map[string]string{OwnLabel: Own, RunLabel: "r"}
	for name, test := range map[string]struct {
		namespace  map[string]string
		want, left []string
	}{
		"a namespace of the admin's": {nil, []string{"pod ours"}, []string{"namespace oomlab", "pod theirs"}},
		"one for oomlab":             {own, []string{"pod ours"}, []string{"namespace oomlab", "pod theirs"}},
		"one that a run has made":    {run, []string{"pod ours", "namespace oomlab"}, []string{"pod theirs"}},
	} {
		t.Run(name, func(t *testing.T) {
			a, w := newPaperAPI(t)
			a.namespaces["oomlab"] = corev1.Namespace{TypeMeta: metav1.TypeMeta{Kind: "Namespace", APIVersion: "v1"},
				ObjectMeta: metav1.ObjectMeta{Name: "oomlab", Labels: test.namespace}}
			for pod, labels := range map[string]map[string]string{"ours": run, "theirs": {"app": "web"}} {
				a.pods[pod] = corev1.Pod{TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
					ObjectMeta: metav1.ObjectMeta{Name: pod, Namespace: "oomlab", Labels: labels}}
			}
			got, err := w.Clean(t.Context())
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("deleted %q, %v; want %q", got, err, test.want)
			}
			left := a.left()
			slices.Sort(left)
			if !slices.Equal(left, test.left) {
				t.Errorf("left are %q; want %q", left, test.left)
			}
			if again, err := w.Clean(t.Context()); err != nil || len(again) > 0 {
				t.Errorf("a second time: %q, %v", again, err)
			}
		})
	}
}

func TestNoCluster(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	for _, test := range []struct {
		where Where
		want  string
	}{
		{Where{Kubeconfig: "/no/such/file"}, "kubeconfig /no/such/file: stat /no/such/file: no such file or directory"},
		{Where{Context: "prod"}, `context prod: context "prod" does not exist`},
	} {
		if _, err := Connect(test.where, nil, nil); err == nil || err.Error() != test.want {
			t.Errorf("error %v, want %s", err, test.want)
		}
	}
	// A kubeconfig whose cluster does not answer.
	c, err := Connect(Where{Kubeconfig: kubeconfig(t, "http://127.0.0.1:1")}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.Target("").Hello(ctx); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error %v, want a refused connection", err)
	}
}

// paperLine is a node's agent that says what it is told to.
type paperLine struct {
	events chan evidence.Event
	enough chan struct{}
	broken chan error // what Ask returns before it is told that it is enough
}

func newPaperLine() *paperLine {
	return &paperLine{events: make(chan evidence.Event, 16), enough: make(chan struct{}), broken: make(chan error, 1)}
}

func (l *paperLine) Ask(ctx context.Context, _ wire.Request, sink func(evidence.Event)) error {
	sink(evidence.Event{AtNS: 1e9, Source: evidence.Agent, Kind: evidence.Begin})
	for {
		select {
		case e := <-l.events:
			sink(e)
		case <-l.enough:
			sink(evidence.Event{AtNS: 9e9, Source: evidence.Agent, Kind: evidence.End, Text: "settled"})
			return nil
		case err := <-l.broken:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *paperLine) Enough(int) error {
	close(l.enough)
	return nil
}

// onPaper is a target on a paper API, with an agent of paper.
func onPaper(t *testing.T, a *paperAPI, w Where) (*Target, *paperLine) {
	t.Helper()
	config, err := w.Config()
	if err != nil {
		t.Fatal(err)
	}
	l := newPaperLine()
	s := &site{config: config, node: "worker-1", line: l, at: placing{namespace: "oomlab", node: "worker-1"}}
	s.close = s.clear
	return &Target{site: s, end: func() error { return nil }, files: func() map[string]string { return nil }}, l
}

func smallPlan(within time.Duration) plan.Plan {
	return plan.Plan{
		Base: "oomlab-0001", WithinMS: within.Milliseconds(), DeadlineMS: (2 * within).Milliseconds(),
		Pods: []plan.Pod{{
			Name: "web", RestartPolicy: "Never", Containers: []plan.Container{{Name: "main", Process: "web/main",
				Image: "app"}},
			Spec: kubeletPod("main"),
		}},
		Processes: []plan.Process{{Name: "web/main"}},
	}
}

// TestANodeThatIsGone: when the agent's line breaks in the middle, the run says
// so, and its pods are deleted.
func TestANodeThatIsGone(t *testing.T) {
	a, w := newPaperAPI(t)
	target, l := onPaper(t, a, w)
	a.admit = func(*corev1.Pod) { l.broken <- errors.New("the connection to the node's agent ended: EOF") }
	err := target.Do(t.Context(), wire.Request{Plan: smallPlan(20 * time.Second)}, func(evidence.Event) {})
	if err == nil || !strings.Contains(err.Error(), "the connection to the node's agent ended") {
		t.Errorf("error %v", err)
	}
	if left := a.left(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestANodeThatIsSlow: the time that counts is the node's, which an emulated one
// has less of than what waits for it.
func TestANodeThatIsSlow(t *testing.T) {
	r := &kubeRun{began: time.Now().Add(-time.Hour), course: newCourse(plan.Plan{}, true),
		sink: func(evidence.Event) {}}
	for _, seconds := range []int64{1, 1, 300} {
		r.emit(evidence.Event{AtNS: seconds * 1e9, Source: evidence.Sampler, Kind: evidence.Sample})
		least := time.Duration(seconds) * time.Second
		if got := r.now(); got < least || got > least+30*time.Minute {
			t.Errorf("an hour after it began the node is at %s, and it is taken to be at %s", least, got)
		}
	}
}

// TestAnAPIThatIsSilent: silence is evidence, and no error; the run goes on.
func TestAnAPIThatIsSilent(t *testing.T) {
	a, w := newPaperAPI(t)
	target, _ := onPaper(t, a, w)
	silent := 3
	old := corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "default", UID: "1"}, Reason: "Starting",
		InvolvedObject: corev1.ObjectReference{Kind: "Node", Name: "worker-1"}}
	a.events = []corev1.Event{old}
	a.admit = func(p *corev1.Pod) {
		oom := old
		oom.UID, oom.Reason = "2", "SystemOOM"
		about := corev1.ObjectReference{Kind: "Pod", Name: p.Name, Namespace: "oomlab",
			FieldPath: "spec.containers{main}"}
		a.events = append(a.events, oom, corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "oomlab", UID: "3"},
			Reason: "Evicted", InvolvedObject: about})
		p.Status.Phase = corev1.PodFailed
		p.Status.Reason = "Evicted"
		a.refuse = func(m, path string) (int, metav1.StatusReason, string) {
			if m == "GET" && strings.HasSuffix(path, "/pods") && silent > 0 {
				silent--
				return 503, metav1.StatusReasonServiceUnavailable, "etcd does not answer"
			}
			return 0, "", ""
		}
	}
	var events []evidence.Event
	err := target.Do(t.Context(), wire.Request{Plan: smallPlan(20 * time.Second)},
		func(e evidence.Event) { events = append(events, e) })
	if err != nil {
		t.Fatal(err)
	}
	at := func(k evidence.Kind) int {
		return slices.IndexFunc(events, func(e evidence.Event) bool { return e.Kind == k })
	}
	u, s, end := at(evidence.Unreachable), at(evidence.PodStatus), at(evidence.End)
	if u < 0 || events[u].N == 0 || !strings.Contains(events[u].Text, "etcd does not answer") {
		t.Errorf("of the silence is said %+v", events)
	}
	if s < 0 || events[s].Pod.Reason != "Evicted" || events[s].AtNS < 1e9 {
		t.Errorf("of the pod is said %+v", events)
	}
	var happened []string
	for _, e := range events {
		if e.Happened != nil {
			happened = append(happened, fmt.Sprintf("%s %s of %q, %s", e.Kind, e.Happened.Reason, e.Process,
				e.Happened.Container))
		}
	}
	slices.Sort(happened)
	if want := []string{`node_event SystemOOM of "", `, `pod_event Evicted of "web", main`}; !slices.Equal(happened,
		want) {
		t.Errorf("happened: %q, want %q; what was there before the run is not told of", happened, want)
	}
	if end != len(events)-1 || events[end].Text != "settled" {
		t.Errorf("the end is event %d of %d: %+v", end, len(events), events)
	}
	if left := a.left(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestAPodThatIsRefused: what the API refuses for good ends the run at once.
func TestAPodThatIsRefused(t *testing.T) {
	a, w := newPaperAPI(t)
	target, _ := onPaper(t, a, w)
	a.refuse = func(m, path string) (int, metav1.StatusReason, string) {
		if m == "POST" {
			return 403, metav1.StatusReasonForbidden, "exceeded quota: compute"
		}
		return 0, "", ""
	}
	begin := time.Now()
	err := target.Do(t.Context(), wire.Request{Plan: smallPlan(20 * time.Second)}, func(evidence.Event) {})
	if err == nil || !strings.Contains(err.Error(), "exceeded quota: compute") {
		t.Errorf("error %v", err)
	}
	if took := time.Since(begin); took > createWait/2 {
		t.Errorf("it took %s to hear what was said at once", took)
	}
}

// TestWhatPodsOnANodeRequest: those of others count, of all namespaces, unless they are
// over or elsewhere; who may not look is told nothing.
func TestWhatPodsOnANodeRequest(t *testing.T) {
	a, w := newPaperAPI(t)
	always := corev1.ContainerRestartPolicyAlways
	asks := func(memory, cpu string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceMemory: resource.MustParse(memory), corev1.ResourceCPU: resource.MustParse(cpu)}}
	}
	for name, p := range map[string]corev1.Pod{
		"apiserver": {Spec: corev1.PodSpec{NodeName: "worker-1", Containers: []corev1.Container{
			{Resources: asks("100Mi", "250m")}}}},
		"sidecar": {Spec: corev1.PodSpec{NodeName: "worker-1",
			InitContainers: []corev1.Container{{Resources: asks("10Mi", "50m"), RestartPolicy: &always},
				{Resources: asks("300Mi", "10m")}},
			Containers: []corev1.Container{{Resources: asks("20Mi", "100m")}},
			Overhead: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Mi"),
				corev1.ResourceCPU: resource.MustParse("3m")}}},
		"over": {Spec: corev1.PodSpec{NodeName: "worker-1", Containers: []corev1.Container{
			{Resources: asks("1Gi", "1")}}}, Status: corev1.PodStatus{Phase: corev1.PodFailed}},
		"elsewhere": {Spec: corev1.PodSpec{NodeName: "worker-2", Containers: []corev1.Container{
			{Resources: asks("1Gi", "1")}}}},
	} {
		a.pods[name] = p
	}
	config, err := w.Config()
	if err != nil {
		t.Fatal(err)
	}
	_, set, err := (&site{config: config}).client()
	if err != nil {
		t.Fatal(err)
	}
	got, err := requested(t.Context(), set, "worker-1")
	want := kubelet.Resources{Memory: (100 + 310 + 1) * kernel.MiB, MilliCPU: 250 + 150 + 3}
	if err != nil || got == nil || *got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	a.refuse = func(string, string) (int, metav1.StatusReason, string) {
		return 403, metav1.StatusReasonForbidden, "not yours"
	}
	if got, err := requested(t.Context(), set, "worker-1"); got != nil || err != nil {
		t.Errorf("%+v, %v for a user who may not list pods", got, err)
	}
}

// TestASlowAPIIsAskedAgain: what the API does not answer in time, or could not do just now,
// is asked for again; what was created though the answer was lost is there.
func TestASlowAPIIsAskedAgain(t *testing.T) {
	api, w := newPaperAPI(t)
	said := map[string]int{}
	api.refuse = func(method, path string) (int, metav1.StatusReason, string) {
		if method != http.MethodPost || path != "/api/v1/namespaces/oomlab/pods" {
			return 0, "", ""
		}
		switch said[path]++; said[path] {
		case 1:
			return 504, metav1.StatusReasonTimeout, "the request did not complete within the time that was given"
		case 2: // the first attempt had come through all the same
			return 409, metav1.StatusReasonAlreadyExists, "pods already exists"
		}
		return 0, "", ""
	}
	config, err := w.Config()
	if err != nil {
		t.Fatal(err)
	}
	r, err := resources.New(config)
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "one", Namespace: "oomlab"}}
	if err := create(t.Context(), r, pod, "pod one"); err != nil || said["/api/v1/namespaces/oomlab/pods"] != 2 {
		t.Errorf("%v after %v; want two attempts and no error", err, said)
	}
	said["/api/v1/namespaces/oomlab/pods"] = 1
	if err := create(t.Context(), r, pod, "pod one"); !apierrors.IsAlreadyExists(err) {
		t.Errorf("%v; want the error that another one has made it", err)
	}
}
