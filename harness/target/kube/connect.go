package kube

import (
	"context"
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
	names, err = removePods(ctx, set, w.Namespace, OwnLabel+"="+Own+","+RunLabel)
	if err == nil && made {
		names = append(names, "namespace "+w.Namespace)
		err = removeNamespace(ctx, set, w.Namespace)
	}
	return names, err
}

// clear deletes everything that bears the label of the site's run, and looks again.
func (s *site) clear(ctx context.Context) error {
	if s.at.run == "" {
		return nil // nothing was created for it
	}
	_, set, err := s.client()
	if err != nil {
		return err
	}
	_, err = removePods(ctx, set, s.at.namespace, OwnLabel+"="+Own+","+RunLabel+"="+s.at.run)
	return err
}

// removePods deletes the pods that bear the labels, and returns when a second listing
// shows none. It says what there was.
func removePods(ctx context.Context, set kubernetes.Interface, namespace, selector string) (names []string, err error) {
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
	return names, err
}

func removeNamespace(ctx context.Context, set kubernetes.Interface, name string) error {
	err := set.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
