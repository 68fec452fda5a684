//go:build e2e

package kube

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/payload"
	"github.com/oomlab/oomlab/harness/target/kube/image"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
)

// randomPods are drawn, and as many have to run.
const randomPods = 30

// TestAdjOfRandomPods creates random pods on a node of a VM cluster, whose
// requests go from nothing to twice the node, and reads the oom_score_adj of
// every container on the node.
//
// The kubelet does not admit a pod that requests more than the node's status says
// it can give, and one of them is shown to be refused. So the status is made to
// say more, as a client with that permission can: a real kubelet then works out the
// adjustment of real processes from the machine's memory, which is as it was.
func TestAdjOfRandomPods(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Minute)
	defer cancel()
	s, hello := bootNode(ctx, t)
	api, set, err := s.client()
	if err != nil {
		t.Fatal(err)
	}
	capacity, gates := hello.Node.MemoryCapacity, hello.Node.Gates()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, a node of %s", seed, capacity.Human())
	r := rand.New(rand.NewPCG(seed, 1))

	huge := s.randomPod("huge",
		kubelet.Pod{Containers: []kubelet.Container{{Name: "a", Requests: kubelet.Resources{Memory: 2 * capacity}}}})
	if err := api.Create(ctx, huge); err != nil {
		t.Fatal(err)
	}
	err = await(ctx, 2*time.Minute, "pod huge to be refused", func(ctx context.Context) error {
		var now corev1.Pod
		if err := api.Get(ctx, huge.Name, huge.Namespace, &now); err != nil {
			return err
		}
		rejected := strings.HasPrefix(now.Status.Message, kubelet.Rejected)
		if now.Status.Phase != corev1.PodFailed || now.Status.Reason != "OutOfmemory" || !rejected {
			return fmt.Errorf("it is %s %s %q", now.Status.Phase, now.Status.Reason, now.Status.Message)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	drawn := map[string]kubelet.Pod{}
	objects := map[string]*corev1.Pod{}
	for i := 0; len(drawn) < randomPods; i++ {
		name := fmt.Sprintf("random-%d", i)
		p := drawPod(r, capacity)
		object := s.randomPod(name, p)
		_, err := set.CoreV1().Pods(image.Namespace).Create(ctx, object,
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if apierrors.IsInvalid(err) && i < 10*randomPods {
			continue // the API server has rules about pods as a whole
		}
		if err != nil {
			t.Fatal(err)
		}
		drawn[name], objects[name] = kubelet.Default(p, gates), object
	}
	seen := watchAdj(ctx, t, s, drawn)
	raise := []byte(`{"status": {"allocatable": {"memory": "64Ti", "cpu": "1k", "pods": "500"}}}`)
	refused := 0
	err = await(ctx, 25*time.Minute, "every container's oom_score_adj", func(ctx context.Context) error {
		// The kubelet puts its node's status right every few seconds.
		if _, err := set.CoreV1().Nodes().Patch(ctx, s.node, types.MergePatchType, raise, metav1.PatchOptions{},
			"status"); err != nil {
			return err
		}
		var waiting []string
		for name, p := range drawn {
			var now corev1.Pod
			err := api.Get(ctx, name, image.Namespace, &now)
			switch {
			case apierrors.IsNotFound(err):
				err = api.Create(ctx, objects[name].DeepCopy())
				waiting = append(waiting, name)
			case err == nil && now.Status.Phase == corev1.PodFailed:
				refused++
				err = set.CoreV1().Pods(image.Namespace).Delete(ctx, name,
					metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
				waiting = append(waiting, name+" "+now.Status.Reason)
			case err == nil && !seen.all(name, p):
				waiting = append(waiting, name)
			}
			if err != nil {
				return err
			}
		}
		if len(waiting) > 0 {
			slices.Sort(waiting)
			return errors.New("not of " + strings.Join(waiting, ", "))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	containers, classes := 0, map[kubelet.Class]int{}
	for name, p := range drawn {
		classes[kubelet.ClassOf(p)]++
		for _, c := range slices.Concat(p.InitContainers, p.Containers) {
			containers++
			want := kubelet.OOMScoreAdj(p, c, capacity, gates)
			if got := seen.of(name + "/" + c.Name); got != want {
				t.Errorf("%s/%s has oom_score_adj %d; predicted is %d: %+v", name, c.Name, got, want, p)
			}
			if sandbox := seen.of(name + "/" + kubelet.Sandbox); sandbox != kubelet.SandboxAdj {
				t.Errorf("the sandbox of %s has oom_score_adj %d; predicted is %d", name, sandbox, kubelet.SandboxAdj)
			}
			t.Logf("%s/%s: requests %s of a pod's %s, %s: %d", name, c.Name, c.Requests.Memory.Human(),
				kubelet.Requests(p).Memory.Human(), kubelet.ClassOf(p), want)
		}
	}
	t.Logf("%d pods, %d containers, %v; %d refused while the status was right", len(drawn), containers, classes,
		refused)
	for _, class := range kubelet.Classes {
		if classes[kubelet.Class(class)] == 0 {
			t.Errorf("no pod was %s", class)
		}
	}
}

// bootNode restores a node like the one that most scenarios of the library use.
func bootNode(ctx context.Context, t *testing.T) (*site, wire.Hello) {
	agent, stressor, err := payload.Load()
	if err != nil {
		t.Fatal(err)
	}
	say := func(text string) { t.Log(text) }
	k, err := kernels.Resolve(ctx, "6.12", kernels.Options{Progress: say})
	if err != nil {
		t.Fatal(err)
	}
	c, err := OpenVM(ctx, VMOptions{Kernel: k, Memory: 2304 * kernel.MiB, Agent: agent, Stressor: stressor, Log: say})
	if err != nil {
		t.Fatal(err)
	}
	target := NewVM(c)
	t.Cleanup(func() {
		if err := target.Close(); err != nil {
			t.Error(err)
		}
	})
	hello, err := target.Hello(ctx)
	if err != nil {
		t.Fatal(err)
	}
	target.site.at.run = "random"
	return target.site, hello
}

// drawPod makes a pod whose containers can run: what has a limit has room for the
// stressor below it.
func drawPod(r *rand.Rand, capacity kernel.Bytes) kubelet.Pod {
	kind := r.IntN(8)
	p := kubelet.Pod{Name: "p", NodeCritical: kind == 0}
	const least = 64 * kernel.MiB
	amount := func() kernel.Bytes {
		switch r.IntN(6) {
		case 0:
			return 0
		case 1:
			return kernel.Bytes(r.Int64N(1 << 20))
		}
		return kernel.Bytes(r.Int64N(2 * int64(capacity)))
	}
	container := func(name string) kubelet.Container {
		c := kubelet.Container{Name: name}
		memory := amount()
		switch kind {
		case 1: // BestEffort
		case 2: // Guaranteed
			c.Limits = kubelet.Resources{Memory: max(least, memory), MilliCPU: 1000}
		default:
			c.Requests.Memory = memory
			if r.IntN(3) == 0 {
				c.Limits.Memory = max(least, memory+amount())
			}
		}
		return c
	}
	for i := range 1 + r.IntN(2) {
		p.Containers = append(p.Containers, container(string(rune('a'+i))))
	}
	for i := range r.IntN(3) {
		c := container(string(rune('i' + i)))
		c.Sidecar = r.IntN(2) == 0
		p.InitContainers = append(p.InitContainers, c)
	}
	if kind > 2 && r.IntN(3) == 0 {
		p.Requests.Memory = kubelet.Requests(kubelet.Default(p, kubelet.Gates{})).Memory + amount()
	}
	return p
}

// randomPod is the object of a drawn pod. Init containers wait long enough to be
// looked at.
func (s *site) randomPod(name string, p kubelet.Pod) *corev1.Pod {
	no := false
	out := &corev1.Pod{ObjectMeta: s.at.objectMeta(name), Spec: corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: &no, HostNetwork: true,
		TerminationGracePeriodSeconds: new(int64),
	}}
	if p.NodeCritical {
		out.Spec.PriorityClassName = "system-node-critical"
	}
	if of := amounts(p.Requests, p.Limits); of.Requests != nil || of.Limits != nil {
		out.Spec.Resources = &of
	}
	container := func(c kubelet.Container, steps ...string) corev1.Container {
		k := corev1.Container{
			Name: c.Name, Image: s.at.images.Stressor, ImagePullPolicy: corev1.PullNever,
			Resources: amounts(c.Requests, c.Limits),
			Command:   append([]string{image.StressorPath, "deadline=24h"}, steps...),
		}
		if c.Sidecar {
			always := corev1.ContainerRestartPolicyAlways
			k.RestartPolicy = &always
		}
		return k
	}
	for _, c := range p.InitContainers {
		if c.Sidecar {
			out.Spec.InitContainers = append(out.Spec.InitContainers, container(c, "hold"))
		} else {
			out.Spec.InitContainers = append(out.Spec.InitContainers, container(c, "sleep=5s", "exit=0"))
		}
	}
	for _, c := range p.Containers {
		out.Spec.Containers = append(out.Spec.Containers, container(c, "hold"))
	}
	s.at.pin(&out.Spec)
	return out
}

// seenAdj is what the node's agent read of containers' first processes.
type seenAdj struct {
	mu  sync.Mutex
	adj map[string]int
}

func (s *seenAdj) of(container string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.adj[container]
}

// all reports whether every container of a pod was read.
func (s *seenAdj) all(name string, p kubelet.Pod) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.ContainsFunc(slices.Concat(p.InitContainers, p.Containers), func(c kubelet.Container) bool {
		_, ok := s.adj[name+"/"+c.Name]
		return !ok
	})
}

// watchAdj has the node's agent watch the pods until the test ends.
func watchAdj(ctx context.Context, t *testing.T, s *site, pods map[string]kubelet.Pod) *seenAdj {
	names := map[string]string{}
	for name := range pods {
		names[name] = name
	}
	ctx, cancel := context.WithCancel(ctx)
	seen := &seenAdj{adj: map[string]int{}}
	begun, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		var once sync.Once
		watch := wire.Request{ID: watchID, Watch: &wire.Watch{DeadlineMS: time.Hour.Milliseconds(),
			Namespace: image.Namespace, Pods: names}}
		ended <- s.line.Ask(ctx, watch, func(e evidence.Event) {
			switch {
			case e.Kind == evidence.Begin && e.Source == evidence.Agent:
				once.Do(func() { close(begun) })
			case e.Kind == evidence.ContainerCgroup && e.Cgroup != nil && e.Cgroup.OOMScoreAdj != nil:
				seen.mu.Lock()
				seen.adj[e.Process] = *e.Cgroup.OOMScoreAdj
				seen.mu.Unlock()
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	select {
	case <-begun:
	case err := <-ended:
		ended <- err
		t.Fatalf("the agent's watch ended: %v", err)
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
	return seen
}
