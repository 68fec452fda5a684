package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/e2e-framework/klient/k8s/resources"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/target/kube/image"
)

// Where says which cluster is meant. The zero value is a VM cluster.
type Where struct {
	Kubeconfig, Context string // either makes it somebody else's cluster
	// Current makes it that of the kubeconfig's current context, if neither is given.
	Current   bool
	Namespace string // there; empty: oomlab
	// Node is the node to run on; empty: any that is ready.
	Node string
	// AllowNodeOOM are nodes that may run out of memory.
	AllowNodeOOM []string
	// Container has the node of a VM cluster be a container in its VM.
	Container bool
}

// VM reports whether it is a VM cluster of oomlab's own.
func (w Where) VM() bool { return w.Kubeconfig == "" && w.Context == "" && !w.Current }

func (w Where) String() string {
	switch {
	case w.VM() && w.Container:
		return "a VM cluster whose node is a container"
	case w.VM():
		return "a VM cluster"
	case w.Context != "":
		return "context " + w.Context
	case w.Kubeconfig == "":
		return "the current context"
	}
	return "kubeconfig " + w.Kubeconfig
}

// Config reads the kubeconfig. Its error is one of usage: nothing was asked of
// any cluster.
func (w Where) Config() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = w.Kubeconfig
	for _, file := range rules.GetLoadingPrecedence() {
		info, err := os.Stat(file) // clientcmd says what is wrong with a file that is not there
		if err == nil && (!info.Mode().IsRegular() || info.Size() > maxKubeconfig) {
			return nil, fmt.Errorf("%s: %s is not a regular file of at most %d bytes", w, file, maxKubeconfig)
		}
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules,
		&clientcmd.ConfigOverrides{CurrentContext: w.Context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w, err)
	}
	if plugin := config.ExecProvider; plugin != nil {
		if _, err := exec.LookPath(plugin.Command); err != nil {
			return nil, fmt.Errorf("%s: its credentials come from a program: %w", w, err)
		}
	}
	return config, nil
}

// maxKubeconfig is far more than a kubeconfig of hundreds of clusters takes.
const maxKubeconfig = 8 << 20

// Connect is a target on a cluster that is there already.
func Connect(ctx context.Context, w Where, agent, stressor []byte) (*Target, error) {
	config, err := w.Config()
	if err != nil {
		return nil, err
	}
	if w.Namespace == "" {
		w.Namespace = image.Namespace
	}
	images := image.NameImages(agent, stressor)
	return &Target{
		files: func() map[string]string { return nil },
		end:   func() error { return nil },
		open: func(ctx context.Context) (*site, wire.Hello, error) {
			return w.open(ctx, config, images)
		},
		look: func(ctx context.Context) (*kubelet.Node, error) { return w.look(ctx, config) },
	}, nil
}

// look asks the API what the node is and what its kubelet is set to. What the API does
// not tell now is asked for again once the agent is there.
func (w Where) look(ctx context.Context, config *rest.Config) (*kubelet.Node, error) {
	api, set, err := (&site{config: config}).client()
	if err != nil {
		return nil, err
	}
	node, err := w.pick(ctx, api)
	if err != nil {
		return nil, err
	}
	out := kubelet.Node{MayOOM: slices.Contains(w.AllowNodeOOM, node.Name)}
	if err := nodeFacts(ctx, set, node, &out); err != nil {
		return nil, nil
	}
	return &out, nil
}

// unscheduled is the label of a node whose cluster has no scheduler.
const unscheduled = "oomlab.dev/unscheduled"

// agentWait is for the agent's pod to run, its image being there already.
const agentWait = 3 * time.Minute

// open sets up a cluster for one run: a namespace where there is none, and an
// agent on the node. What it made is gone when it fails.
func (w Where) open(ctx context.Context, config *rest.Config,
	images image.Images) (_ *site, hello wire.Hello, err error) {
	s := &site{config: config, at: placing{namespace: w.Namespace, images: images, suffix: token()}}
	s.at.run = label("agent", s.at.suffix)
	api, set, err := s.client()
	if err != nil {
		return nil, hello, err
	}
	node, err := w.pick(ctx, api)
	if err != nil {
		return nil, hello, err
	}
	s.node, s.at.node = node.Name, node.Name
	_, s.at.hostNetwork = node.Labels[unscheduled]
	s.at.schedule = !s.at.hostNetwork
	madeNamespace := false
	s.close = func(ctx context.Context) error {
		if s.line != nil {
			s.line.(*execLine).close()
		}
		return s.clear(ctx, madeNamespace)
	}
	defer func() {
		if err != nil {
			cleared, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWait)
			defer cancel()
			err = errors.Join(err, s.close(cleared))
		}
	}()
	if madeNamespace, err = s.namespace(ctx, api); err != nil {
		return nil, hello, err
	}
	pod := s.agentPod()
	if err := create(ctx, api, pod, "the agent's pod"); err != nil {
		return nil, hello, fmt.Errorf("the agent's pod: %w", err)
	}
	err = await(ctx, agentWait, "the agent's pod on node "+node.Name, func(ctx context.Context) error {
		var now corev1.Pod
		if err := api.Get(ctx, pod.Name, pod.Namespace, &now); err != nil {
			return err
		}
		return runs(now)
	})
	if err != nil {
		return nil, hello, err
	}
	l, err := openExec(ctx, config, set, pod.Namespace, pod.Name,
		[]string{image.AgentPath, "node", hostRoot, image.StressorPath})
	if err != nil {
		return nil, hello, err
	}
	s.line = l
	if hello, err = l.hello(ctx, agentWait); err != nil {
		return nil, hello, err
	}
	if hello.Node != nil {
		hello.Node.MayOOM = slices.Contains(w.AllowNodeOOM, node.Name)
	}
	return s, hello, nil
}

// CheckSelector says what is wrong with a selector of nodes.
func CheckSelector(selector string) error {
	_, err := labels.Parse(selector)
	return err
}

// Nodes are the names of the nodes whose labels match a selector.
func (w Where) Nodes(ctx context.Context, selector string) ([]string, error) {
	config, err := w.Config()
	if err != nil {
		return nil, err
	}
	_, set, err := (&site{config: config}).client()
	if err != nil {
		return nil, err
	}
	all, err := set.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w, err)
	}
	var out []string
	for _, n := range all.Items {
		out = append(out, n.Name)
	}
	return out, nil
}

// contactWait is how long a cluster may be silent before there is none.
const contactWait = 20 * time.Second

// pick finds the node to run on.
func (w Where) pick(ctx context.Context, api *resources.Resources) (corev1.Node, error) {
	var all corev1.NodeList
	err := await(ctx, contactWait, "the cluster's nodes", func(ctx context.Context) error {
		return lasting(api.List(ctx, &all))
	})
	if err != nil {
		return corev1.Node{}, fmt.Errorf("%s: %w", w, err)
	}
	var names, others []string
	for _, n := range all.Items {
		names = append(names, n.Name)
		switch {
		case w.Node != "" && n.Name != w.Node, w.Node == "" && n.Spec.Unschedulable:
			continue
		}
		if arch := n.Status.NodeInfo.Architecture; arch != "" && arch != runtime.GOARCH {
			if w.Node != "" {
				return n, fmt.Errorf("%s: node %s is of %s, and the agent in this oomlab is for %s; "+
					"use the oomlab for %s", w, n.Name, arch, runtime.GOARCH, arch)
			}
			others = append(others, arch)
			continue
		}
		if ready(n) {
			return n, nil
		}
		if w.Node != "" {
			return n, fmt.Errorf("%s: node %s is not Ready", w, n.Name)
		}
	}
	if w.Node != "" {
		return corev1.Node{}, fmt.Errorf("%s: there is no node %s; there are %s", w, w.Node, strings.Join(names, ", "))
	}
	if len(others) > 0 {
		return corev1.Node{}, fmt.Errorf("%s: no node that is Ready is of %s, which the agent in this oomlab is for; "+
			"use the oomlab for %s", w, runtime.GOARCH, others[0])
	}
	return corev1.Node{}, fmt.Errorf("%s: no node is Ready and open to pods; there are %s",
		w, strings.Join(names, ", "))
}

func ready(n corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// namespaceWait is how long a namespace may take to be gone that is being terminated.
const namespaceWait = 2 * time.Minute

// namespace makes the namespace if it is not there.
func (s *site) namespace(ctx context.Context, api *resources.Resources) (made bool, err error) {
	var ns corev1.Namespace
	// a namespace controller takes seconds to empty one that an earlier run has deleted
	err = await(ctx, namespaceWait, "namespace "+s.at.namespace+" to be gone", func(ctx context.Context) error {
		ns = corev1.Namespace{}
		err := api.Get(ctx, s.at.namespace, "", &ns)
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
		return false, fmt.Errorf("namespace %s: %w", s.at.namespace, err)
	}
	if apierrors.IsForbidden(err) {
		return false, nil // a user who may not look may still use it
	}
	object := namespaceObject(s.at.namespace)
	object.Labels[RunLabel] = s.at.run
	if err := create(ctx, api, object, "the namespace"); err != nil {
		return false, fmt.Errorf("namespace %s: %w", s.at.namespace, err)
	}
	return true, nil
}

// hostRoot is where the agent's pod has the node's file system.
const hostRoot = "/host"

// agentPod is the agent on a node. Its own program only waits: the agent is
// started by exec, whose streams are the line to it.
func (s *site) agentPod() *corev1.Pod {
	yes, no, grace := true, false, int64(1)
	directory := corev1.HostPathDirectory
	pod := &corev1.Pod{
		ObjectMeta: s.at.objectMeta("oomlab-agent-" + s.at.suffix),
		Spec: corev1.PodSpec{
			HostPID: true, HostNetwork: s.at.hostNetwork, RestartPolicy: corev1.RestartPolicyNever,
			AutomountServiceAccountToken: &no, TerminationGracePeriodSeconds: &grace,
			Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Volumes: []corev1.Volume{{Name: "host", VolumeSource: corev1.VolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: "/", Type: &directory},
			}}},
			Containers: []corev1.Container{{
				Name: agentContainer, Image: s.at.images.Agent, ImagePullPolicy: corev1.PullIfNotPresent,
				Command: []string{image.StressorPath, "deadline=24h", "hold"},
				// What it does is what a privileged program is for: it reads the
				// kernel's log and loads eBPF programs.
				SecurityContext: &corev1.SecurityContext{Privileged: &yes},
				VolumeMounts:    []corev1.VolumeMount{{Name: "host", MountPath: hostRoot}},
			}},
		},
	}
	s.at.pin(&pod.Spec)
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

// clear deletes everything that bears the run's label, and looks again.
func (s *site) clear(ctx context.Context, namespace bool) error {
	_, set, err := s.client()
	if err != nil {
		return err
	}
	_, err = remove(ctx, set, s.at.namespace,
		OwnLabel+"="+Own+","+RunLabel+" in ("+strings.Join(s.at.runs(), ",")+")", namespace)
	return err
}

// Clean deletes everything of oomlab's in the namespace, of whatever run, and the
// namespace if a run has made it. It says what there was: pod NAME, namespace NAME.
func (w Where) Clean(ctx context.Context) (names []string, err error) {
	config, err := w.Config()
	if err != nil {
		return nil, err
	}
	if w.Namespace == "" {
		w.Namespace = image.Namespace
	}
	_, set, err := (&site{config: config}).client()
	if err != nil {
		return nil, err
	}
	ns, err := set.CoreV1().Namespaces().Get(ctx, w.Namespace, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
		return nil, fmt.Errorf("%s: %w", w, err)
	}
	made := err == nil && ns.Labels[OwnLabel] == Own && ns.Labels[RunLabel] != ""
	return remove(ctx, set, w.Namespace, OwnLabel+"="+Own+","+RunLabel, made)
}

// remove deletes the pods, and if asked the namespace, that bear the labels, and
// returns when a second listing shows none. It says what there was.
func remove(ctx context.Context, set kubernetes.Interface,
	namespace, selector string, ownNamespace bool) (names []string, err error) {
	list := metav1.ListOptions{LabelSelector: selector}
	grace := int64(0)
	err = await(ctx, leaveWait, "the pods with "+selector+" to be gone", func(ctx context.Context) error {
		pods, err := set.CoreV1().Pods(namespace).List(ctx, list)
		if err != nil {
			return err
		}
		for _, p := range pods.Items {
			if name := "pod " + p.Name; !slices.Contains(names, name) {
				names = append(names, name)
			}
			if p.DeletionTimestamp != nil {
				continue
			}
			err := set.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &grace})
			if err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
		if n := len(pods.Items); n > 0 {
			return fmt.Errorf("%d are there", n)
		}
		return nil
	})
	if err == nil && ownNamespace {
		err = set.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{})
		if err == nil {
			names = append(names, "namespace "+namespace)
		}
		if apierrors.IsNotFound(err) {
			err = nil
		}
	}
	return names, err
}
