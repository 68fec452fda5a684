package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
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
	if info.Swap != nil && info.Swap.Capacity != nil {
		n.SwapCapacity = kernel.Bytes(*info.Swap.Capacity)
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
