package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	kubeletv1 "k8s.io/kubelet/config/v1beta1"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
)

// nodeFacts reads what a node's kubelet is set to: from the node's status, and
// from the kubelet itself through the API server.
func nodeFacts(ctx context.Context, set kubernetes.Interface, node corev1.Node, into *kubelet.Node) error {
	n := into
	n.Name, n.Labels = node.Name, node.Labels
	info := node.Status.NodeInfo
	n.KubeletVersion, n.Runtime, n.OSImage = info.KubeletVersion, info.ContainerRuntimeVersion, info.OSImage
	n.MemoryCapacity = kernel.Bytes(node.Status.Capacity.Memory().Value())
	n.Allocatable = kernel.Bytes(node.Status.Allocatable.Memory().Value())
	n.AllocatableCPU = node.Status.Allocatable.Cpu().MilliValue()
	if info.Swap != nil && info.Swap.Capacity != nil {
		n.SwapCapacity = kernel.Bytes(*info.Swap.Capacity)
	}
	var err error
	if n.Requested, err = requested(ctx, set, node.Name); err != nil {
		return err
	}
	raw, err := set.CoreV1().RESTClient().Get().Resource("nodes").Name(node.Name).
		SubResource("proxy").Suffix("configz").DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("the kubelet's configuration, /api/v1/nodes/%s/proxy/configz: %w", node.Name, err)
	}
	var answer struct {
		Config kubeletv1.KubeletConfiguration `json:"kubeletconfig"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("the kubelet's configuration of %s: %w", node.Name, err)
	}
	c := answer.Config
	n.CgroupDriver = c.CgroupDriver
	n.SingleProcessOOMKill = c.SingleProcessOOMKill != nil && *c.SingleProcessOOMKill
	n.EvictionHard = maps.Clone(c.EvictionHard)
	n.EnforceNodeAllocatable = c.EnforceNodeAllocatable
	n.SwapBehavior, n.FeatureGates = c.MemorySwap.SwapBehavior, c.FeatureGates
	for _, r := range []struct {
		from map[string]string
		to   *kernel.Bytes
	}{{c.SystemReserved, &n.SystemReserved}, {c.KubeReserved, &n.KubeReserved}} {
		text, ok := r.from["memory"]
		if !ok {
			continue
		}
		if *r.to, err = kernel.ParseBytes(text); err != nil {
			return fmt.Errorf("the kubelet's configuration of %s: reserved memory: %w", node.Name, err)
		}
	}
	return nil
}

// requested sums up what the pods on a node request; nil: who asks may not look into all
// namespaces.
func requested(ctx context.Context, set kubernetes.Interface, node string) (*kubelet.Resources, error) {
	pods, err := set.CoreV1().Pods(metav1.NamespaceAll).List(ctx,
		metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the pods on node %s: %w", node, err)
	}
	out := &kubelet.Resources{}
	for _, p := range pods.Items {
		if p.Spec.NodeName != node || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		of := kubelet.Requests(rulesOf(p.Spec))
		out.Memory += of.Memory + kernel.Bytes(p.Spec.Overhead.Memory().Value())
		out.MilliCPU += of.MilliCPU + p.Spec.Overhead.Cpu().MilliValue()
	}
	return out, nil
}

// rulesOf are a pod's requests as the kubelet's rules take them. The API server has
// filled in what follows from limits.
func rulesOf(spec corev1.PodSpec) kubelet.Pod {
	requests := func(r corev1.ResourceRequirements) kubelet.Resources {
		memory, cpu := r.Requests.Memory(), r.Requests.Cpu()
		return kubelet.Resources{Memory: kernel.Bytes(memory.Value()), MilliCPU: cpu.MilliValue()}
	}
	var out kubelet.Pod
	if spec.Resources != nil {
		out.Requests = requests(*spec.Resources)
	}
	for _, c := range spec.InitContainers {
		out.InitContainers = append(out.InitContainers, kubelet.Container{Requests: requests(c.Resources),
			Sidecar: c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways})
	}
	for _, c := range spec.Containers {
		out.Containers = append(out.Containers, kubelet.Container{Requests: requests(c.Resources)})
	}
	return out
}
