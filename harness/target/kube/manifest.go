package kube

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/target/kube/image"
	"github.com/oomlab/oomlab/stressor/profile"
)

// placing says what a run's pods have beside what the plan says.
type placing struct {
	namespace, run string // run is the value of RunLabel
	suffix         string // makes names of two runs differ
	node           string // where pods go that name no node; empty: anywhere
	images         image.Images
	// hostNetwork: the node has no network for pods.
	hostNetwork bool
	// schedule: the cluster's own scheduler puts pods on the node.
	schedule bool
}

// pin puts a pod on the run's node unless it names another.
func (l placing) pin(spec *corev1.PodSpec) {
	switch {
	case spec.NodeName != "":
	case l.schedule:
		selector := maps.Clone(spec.NodeSelector)
		if selector == nil {
			selector = map[string]string{}
		}
		selector[corev1.LabelHostname] = l.node
		spec.NodeSelector = selector
	default:
		spec.NodeName = l.node
	}
}

// name is what the API calls a pod of the plan.
func (l placing) name(pod string) string { return pod + "-" + l.suffix }

// podObject is the pod to create.
func (l placing) podObject(p plan.Pod, processes map[string]plan.Process) (*corev1.Pod, error) {
	out := &corev1.Pod{}
	if len(p.Manifest) > 0 {
		if err := json.Unmarshal(p.Manifest, out); err != nil {
			return nil, fmt.Errorf("pod %s: its manifest: %w", p.Name, err)
		}
	} else {
		l.fill(out, p, processes)
	}
	out.Name, out.GenerateName, out.Namespace = l.name(p.Name), "", l.namespace
	labels := map[string]string{RunLabel: l.run, OwnLabel: Own}
	maps.Copy(labels, out.Labels)
	labels[RunLabel], labels[OwnLabel] = l.run, Own
	out.Labels = labels
	if p.NodeName != "" {
		out.Spec.NodeName = p.NodeName
	}
	l.pin(&out.Spec)
	if l.hostNetwork {
		out.Spec.HostNetwork = true
	}
	return out, nil
}

func (l placing) fill(out *corev1.Pod, p plan.Pod, processes map[string]plan.Process) {
	no, grace := false, int64(1)
	out.Spec = corev1.PodSpec{
		RestartPolicy:                 corev1.RestartPolicy(p.RestartPolicy),
		PriorityClassName:             p.PriorityClassName,
		NodeSelector:                  p.NodeSelector,
		AutomountServiceAccountToken:  &no,
		EnableServiceLinks:            &no,
		TerminationGracePeriodSeconds: &grace,
	}
	if of := amounts(p.Spec.Requests, p.Spec.Limits); of.Requests != nil || of.Limits != nil {
		out.Spec.Resources = &of
	}
	for _, group := range []struct {
		from  []plan.Container
		rules []kubelet.Container
		to    *[]corev1.Container
	}{
		{p.InitContainers, p.Spec.InitContainers, &out.Spec.InitContainers},
		{p.Containers, p.Spec.Containers, &out.Spec.Containers},
	} {
		for i, c := range group.from {
			*group.to = append(*group.to, l.container(c, group.rules[i], processes[c.Process]))
		}
	}
}

func (l placing) container(c plan.Container, rules kubelet.Container, p plan.Process) corev1.Container {
	out := corev1.Container{
		Name: c.Name, Image: c.Image, Command: c.Command, Args: c.Args,
		Resources: amounts(rules.Requests, rules.Limits), ImagePullPolicy: corev1.PullIfNotPresent,
		TerminationMessagePolicy: corev1.TerminationMessageReadFile,
	}
	if c.Sidecar {
		always := corev1.ContainerRestartPolicyAlways
		out.RestartPolicy = &always
	}
	if c.Image != "" {
		return out
	}
	out.Image = l.images.Stressor
	out.Args = stressorArgs(c.Name, p)
	// Who takes memory stands back for who holds it; see the stressor's turns.
	out.SecurityContext = &corev1.SecurityContext{
		Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_NICE"}},
	}
	return out
}

// stressorArgs make a container's stressor of the image's program. On the node
// processes are told apart by their cgroup and their name, so that of a child
// need not hold its container's.
func stressorArgs(container string, p plan.Process) []string {
	launch := p.Launch
	launch.Comm, launch.OOMScoreAdj = container[:min(len(container), profile.CommLen)], nil
	return []string{"pod", launch.Line(), shorten(p.Profile, p.Name+"/").Line()}
}

// shorten takes a prefix off the names of all children.
func shorten(p profile.Profile, prefix string) profile.Profile {
	steps := make([]profile.Step, len(p.Steps))
	for i, s := range p.Steps {
		s.Name = strings.TrimPrefix(s.Name, prefix)
		steps[i] = s
	}
	p.Steps = steps
	if len(p.Children) > 0 {
		children := make(map[string]profile.Profile, len(p.Children))
		for name, child := range p.Children {
			child.Name = strings.TrimPrefix(child.Name, prefix)
			children[strings.TrimPrefix(name, prefix)] = shorten(child, prefix)
		}
		p.Children = children
	}
	return p
}

func amounts(requests, limits kubelet.Resources) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: list(requests), Limits: list(limits)}
}

func list(r kubelet.Resources) corev1.ResourceList {
	out := corev1.ResourceList{}
	if r.Memory > 0 {
		out[corev1.ResourceMemory] = *resource.NewQuantity(int64(r.Memory), resource.BinarySI)
	}
	if r.MilliCPU > 0 {
		out[corev1.ResourceCPU] = *resource.NewMilliQuantity(r.MilliCPU, resource.DecimalSI)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// objectMeta is that of everything beside pods that a run creates.
func (l placing) objectMeta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: name, Namespace: l.namespace, Labels: map[string]string{RunLabel: l.run, OwnLabel: Own},
	}
}
