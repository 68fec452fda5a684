package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/e2e-framework/klient/k8s/resources"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/target/kube/image"
)

// Cluster is one that is there already. What runs need there is made for the first of
// them and stays for the next: the namespace, where there is none, and a pod of the agent
// on each node. To make and to delete a pod takes an emulated node longer than a run does.
// Each run starts an agent of its own in that pod.
type Cluster struct {
	where  Where
	config *rest.Config
	images image.Images

	exec func(ctx context.Context, set *kubernetes.Clientset, at placing) (agentLine, wire.Hello, error)

	mu        sync.Mutex
	namespace bool               // it was made, and is deleted in the end
	agents    map[string]placing // agents' pods by the names of their nodes
}

// Connect reads the kubeconfig of a cluster. Nothing is asked of it yet.
func Connect(w Where, agent, stressor []byte) (*Cluster, error) {
	config, err := w.Config()
	if err != nil {
		return nil, err
	}
	if w.Namespace == "" {
		w.Namespace = image.Namespace
	}
	c := &Cluster{where: w, config: config, images: image.NameImages(agent, stressor), agents: map[string]placing{}}
	c.exec = c.execAgent
	return c, nil
}

// agentLine is the line to an agent that lives as long as the line.
type agentLine interface {
	line
	close()
}

// Target is a target on a node; on any that is ready if the name is empty. A node
// carries out one run at a time.
func (c *Cluster) Target(node string) *Target {
	w := c.where
	w.Node = node
	return &Target{
		files: func() map[string]string { return nil },
		end:   func() error { return nil },
		open:  func(ctx context.Context) (*site, wire.Hello, error) { return c.open(ctx, w) },
		look:  func(ctx context.Context) (*kubelet.Node, error) { return w.look(ctx, c.config) },
	}
}

// Close deletes the pods of the agents, and the namespace if it was made.
func (c *Cluster) Close() error {
	c.mu.Lock()
	nodes := slices.Collect(maps.Keys(c.agents))
	c.mu.Unlock()
	var errs []error
	for _, node := range nodes {
		errs = append(errs, c.dismiss(context.Background(), node))
	}
	return errors.Join(errs...)
}

// agentWait is for the agent's pod to run, its image being there already.
const agentWait = 3 * time.Minute

// open sets up a node for one run: an agent in its pod there. Where no agent answers,
// nothing of it is left.
func (c *Cluster) open(ctx context.Context, w Where) (_ *site, hello wire.Hello, err error) {
	s := &site{config: c.config}
	api, set, err := s.client()
	if err != nil {
		return nil, hello, err
	}
	node, err := w.pick(ctx, api)
	if err != nil {
		return nil, hello, err
	}
	s.node = node.Name
	s.at = c.placing(node)
	var line agentLine
	if at, there := c.agent(s.node); there {
		// such a pod may have ended with its node's memory, or been deleted by anybody
		if line, hello, err = c.start(ctx, api, set, at, contactWait); err != nil {
			if err = c.dismiss(ctx, s.node); err != nil {
				return nil, hello, err
			}
		}
	}
	if line == nil {
		line, hello, err = c.engage(ctx, api, set, s.at)
	}
	if err != nil {
		return nil, hello, err
	}
	s.line = line
	s.close = func(ctx context.Context) error {
		line.close()
		return s.clear(ctx)
	}
	if hello.Node != nil {
		hello.Node.MayOOM = slices.Contains(w.AllowNodeOOM, s.node)
	}
	return s, hello, nil
}

// placing is for one run on a node.
func (c *Cluster) placing(node corev1.Node) placing {
	at := placing{namespace: c.where.Namespace, images: c.images, node: node.Name, suffix: token()}
	_, at.hostNetwork = node.Labels[unscheduled]
	at.schedule = !at.hostNetwork
	return at
}

func (c *Cluster) agent(node string) (at placing, there bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, there = c.agents[node]
	return at, there
}

// engage makes a pod of the agent on a run's node, and starts an agent in it.
func (c *Cluster) engage(ctx context.Context, api *resources.Resources, set *kubernetes.Clientset,
	at placing) (_ agentLine, hello wire.Hello, err error) {
	at.run = label("agent", at.suffix)
	defer func() {
		if err != nil {
			err = errors.Join(err, c.dismiss(ctx, at.node))
		}
	}()
	if err := c.place(ctx, api, at); err != nil {
		return nil, hello, err
	}
	return c.start(ctx, api, set, at, agentWait)
}

// place makes a pod of the agent.
func (c *Cluster) place(ctx context.Context, api *resources.Resources, at placing) error {
	if err := c.settle(ctx, api, at); err != nil {
		return err
	}
	if err := create(ctx, api, at.agentPod(), "the agent's pod"); err != nil {
		return fmt.Errorf("the agent's pod: %w", err)
	}
	return nil
}

// settle makes the namespace where there is none, and notes that it is used for a node.
func (c *Cluster) settle(ctx context.Context, api *resources.Resources, at placing) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.agents[at.node] = at
	made, err := at.makeNamespace(ctx, api)
	if made {
		c.namespace = true
	}
	return err
}

// start starts an agent in its pod once that runs, which may take a while.
func (c *Cluster) start(ctx context.Context, api *resources.Resources, set *kubernetes.Clientset,
	at placing, within time.Duration) (_ agentLine, hello wire.Hello, err error) {
	if err := at.awaitAgent(ctx, api, within); err != nil {
		return nil, hello, err
	}
	return c.exec(ctx, set, at)
}

// awaitAgent waits for the agent's pod to run.
func (l placing) awaitAgent(ctx context.Context, api *resources.Resources, within time.Duration) error {
	return await(ctx, within, "the agent's pod on node "+l.node, func(ctx context.Context) error {
		var now corev1.Pod
		if err := api.Get(ctx, l.agentName(), l.namespace, &now); err != nil {
			return lasting(err)
		}
		return runs(now)
	})
}

// execAgent starts the agent's program in the agent's pod.
func (c *Cluster) execAgent(ctx context.Context, set *kubernetes.Clientset, at placing) (agentLine, wire.Hello, error) {
	l, err := openExec(ctx, c.config, set, at.namespace, at.agentName(),
		[]string{image.AgentPath, "node", hostRoot, image.StressorPath})
	if err != nil {
		return nil, wire.Hello{}, err
	}
	hello, err := l.hello(ctx, agentWait)
	if err != nil {
		l.close()
		return nil, hello, err
	}
	return l, hello, nil
}

// dismiss deletes the agent's pod on a node, and the namespace if that was made and no
// other node is used.
func (c *Cluster) dismiss(ctx context.Context, node string) error {
	at, there := c.agent(node)
	if !there {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWait)
	defer cancel()
	s := &site{config: c.config, at: at}
	_, set, err := s.client()
	if err == nil {
		err = s.clear(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.agents, node)
	if err == nil && len(c.agents) == 0 && c.namespace {
		c.namespace = false
		err = removeNamespace(ctx, set, at.namespace)
	}
	return err
}

// namespaceWait is how long a namespace may take to be gone that is being terminated.
const namespaceWait = 2 * time.Minute

// makeNamespace makes the namespace if it is not there.
func (l placing) makeNamespace(ctx context.Context, api *resources.Resources) (made bool, err error) {
	var ns corev1.Namespace
	// a namespace controller takes seconds to empty one that an earlier run has deleted
	err = await(ctx, namespaceWait, "namespace "+l.namespace+" to be gone", func(ctx context.Context) error {
		ns = corev1.Namespace{}
		err := api.Get(ctx, l.namespace, "", &ns)
		switch {
		case err != nil:
			return lasting(err)
		case ns.DeletionTimestamp != nil:
			return errors.New("it is being terminated")
		}
		return nil
	})
	if err == nil {
		return false, nil
	}
	if !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
		return false, fmt.Errorf("namespace %s: %w", l.namespace, err)
	}
	if apierrors.IsForbidden(err) {
		return false, nil // a user who may not look may still use it
	}
	object := namespaceObject(l.namespace)
	object.Labels[RunLabel] = l.run
	if err := create(ctx, api, object, "the namespace"); err != nil {
		return false, fmt.Errorf("namespace %s: %w", l.namespace, err)
	}
	return true, nil
}

// hostRoot is where the agent's pod has the node's file system.
const hostRoot = "/host"

func (l placing) agentName() string { return "oomlab-agent-" + l.suffix }

// agentPod is the agent on a node. Its own program only waits: the agent is
// started by exec, whose streams are the line to it.
func (l placing) agentPod() *corev1.Pod {
	yes, no, grace := true, false, int64(1)
	directory := corev1.HostPathDirectory
	pod := &corev1.Pod{
		ObjectMeta: l.objectMeta(l.agentName()),
		Spec: corev1.PodSpec{
			HostPID: true, HostNetwork: l.hostNetwork, RestartPolicy: corev1.RestartPolicyNever,
			AutomountServiceAccountToken: &no, TerminationGracePeriodSeconds: &grace,
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Volumes: []corev1.Volume{{Name: "host", VolumeSource: corev1.VolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: "/", Type: &directory},
			}}},
			Containers: []corev1.Container{{
				Name: agentContainer, Image: l.images.Agent, ImagePullPolicy: corev1.PullIfNotPresent,
				Command: []string{image.StressorPath, "deadline=24h", "hold"},
				// What it does is what a privileged program is for: it reads the
				// kernel's log and loads eBPF programs.
				SecurityContext: &corev1.SecurityContext{Privileged: &yes},
				VolumeMounts:    []corev1.VolumeMount{{Name: "host", MountPath: hostRoot}},
			}},
		},
	}
	l.pin(&pod.Spec)
	return pod
}

const agentContainer = "agent"

// runs says why a pod does not run; nil: it does.
func runs(p corev1.Pod) error {
	for _, c := range p.Status.ContainerStatuses {
		switch w := c.State.Waiting; {
		case c.State.Running != nil:
			return nil
		case w != nil && strings.Contains(w.Reason, "Image"):
			// No registry has it: there is nothing to wait for.
			return forGood{fmt.Errorf("the agent's pod: %s: %s; load oomlab's images into the cluster, "+
				"as oomlab cluster images --help says", w.Reason, c.Image)}
		case w != nil:
			return errors.New(w.Reason)
		case c.State.Terminated != nil:
			return forGood{fmt.Errorf("the agent's pod ended: %s", c.State.Terminated.Reason)}
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return fmt.Errorf("%s: %s", c.Reason, c.Message)
		}
	}
	if p.Status.Phase == corev1.PodFailed {
		return forGood{fmt.Errorf("the agent's pod: %s: %s", p.Status.Reason, p.Status.Message)}
	}
	return errors.New("phase " + string(p.Status.Phase))
}
