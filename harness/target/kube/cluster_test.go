package kube

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
)

func (l *paperLine) close() {}

// withAgents is a cluster on a paper API where every pod runs, and says which agents were
// started by the names of their pods.
func withAgents(t *testing.T) (a *paperAPI, c *Cluster, started *[]string) {
	t.Helper()
	a, w := newPaperAPI(t)
	a.admit = func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		}}
	}
	c, err := Connect(w, []byte("agent"), []byte("stressor"))
	if err != nil {
		t.Fatal(err)
	}
	started = &[]string{}
	c.exec = func(_ context.Context, _ *kubernetes.Clientset, at placing) (agentLine, wire.Hello, error) {
		*started = append(*started, at.agentName())
		return newPaperLine(), wire.Hello{Node: &kubelet.Node{}}, nil
	}
	return a, c, started
}

// run carries out a plan on a node of the cluster, to its end.
func run(t *testing.T, c *Cluster, node string) {
	t.Helper()
	target := c.Target(node)
	p := smallPlan(50 * time.Millisecond)
	if err := target.Do(t.Context(), wire.Request{Plan: p}, func(evidence.Event) {}); err != nil {
		t.Fatal(err)
	}
	if err := target.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRunsShareThePodOfAnAgent: the next run on a node finds the pod and the namespace of
// the one before and starts an agent of its own there; the last to leave deletes both.
func TestRunsShareThePodOfAnAgent(t *testing.T) {
	a, c, started := withAgents(t)
	run(t, c, "")
	run(t, c, "worker-1")
	if n := *started; len(n) != 2 || n[0] != n[1] {
		t.Errorf("agents were started in %q", n)
	}
	left := a.left()
	slices.Sort(left)
	if want := []string{"namespace oomlab", "pod " + (*started)[0]}; !slices.Equal(left, want) {
		t.Errorf("between runs there are %q; want %q", left, want)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if left := a.left(); len(left) > 0 {
		t.Errorf("in the end there are %q", left)
	}
}

// TestAnAgentsPodThatIsGone: one that somebody has deleted, that has ended or in which no
// agent answers is replaced by another.
func TestAnAgentsPodThatIsGone(t *testing.T) {
	for name, spoil := range map[string]func(a *paperAPI, c *Cluster, pod string){
		"deleted": func(a *paperAPI, _ *Cluster, pod string) { delete(a.pods, pod) },
		"deleted with its namespace": func(a *paperAPI, c *Cluster, pod string) {
			delete(a.pods, pod)
			delete(a.namespaces, c.where.Namespace)
		},
		"ended": func(a *paperAPI, _ *Cluster, pod string) {
			p := a.pods[pod]
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{
				State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "OOMKilled"}},
			}}
			a.pods[pod] = p
		},
		"silent": func(_ *paperAPI, c *Cluster, pod string) {
			exec := c.exec
			c.exec = func(ctx context.Context, set *kubernetes.Clientset, at placing) (agentLine, wire.Hello, error) {
				if at.agentName() == pod {
					return nil, wire.Hello{}, errors.New("no agent answers")
				}
				return exec(ctx, set, at)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, c, started := withAgents(t)
			run(t, c, "")
			first := (*started)[0]
			a.mu.Lock()
			spoil(a, c, first)
			a.mu.Unlock()
			run(t, c, "")
			if n := *started; len(n) != 2 || n[0] == n[1] {
				t.Errorf("agents were started in %q", n)
			}
			if left := a.left(); slices.Contains(left, "pod "+first) {
				t.Errorf("there are %q", left)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if left := a.left(); len(left) > 0 {
				t.Errorf("in the end there are %q", left)
			}
		})
	}
}

// TestANamespaceOfOtherNodes: a node whose agent does not start takes the namespace with
// it only if no other node is used, and one that was there before is never deleted.
func TestANamespaceOfOtherNodes(t *testing.T) {
	for name, there := range map[string]bool{"made by a run": false, "there before": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, c, _ := withAgents(t)
			if there {
				a.namespaces["oomlab"] = corev1.Namespace{}
			}
			second := a.node
			second.Name = "worker-2"
			a.more = append(a.more, second)
			run(t, c, "worker-1")
			c.exec = func(context.Context, *kubernetes.Clientset, placing) (agentLine, wire.Hello, error) {
				return nil, wire.Hello{}, errors.New("no agent answers")
			}
			if _, err := c.Target("worker-2").Hello(t.Context()); err == nil ||
				!strings.Contains(err.Error(), "no agent answers") {
				t.Errorf("error %v", err)
			}
			if left := a.left(); len(left) != 2 || !slices.Contains(left, "namespace oomlab") {
				t.Errorf("left are %q", left)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			want := []string(nil)
			if there {
				want = []string{"namespace oomlab"}
			}
			if left := a.left(); !slices.Equal(left, want) {
				t.Errorf("in the end there are %q; want %q", left, want)
			}
		})
	}
}
