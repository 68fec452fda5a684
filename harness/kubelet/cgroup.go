package kubelet

import (
	"strings"
)

// Plans and claims name the cgroups of pods the same way on every node: as the
// cgroupfs driver lays them out, with the names of pods and containers where
// the node has ids.
//
//	/kubepods                           all pods
//	/kubepods/burstable                 a class; Guaranteed pods have none
//	/kubepods/burstable/podNAME         a pod
//	/kubepods/burstable/podNAME/main    a container
//	/                                   the node, where it is a container itself
const (
	Root     = "/kubepods"
	NodeRoot = "/"
)

// ClassCgroup is where pods of a class are.
func ClassCgroup(c Class) string {
	switch c {
	case Burstable:
		return Root + "/burstable"
	case BestEffort:
		return Root + "/besteffort"
	}
	return Root
}

// PodCgroup is the cgroup of a pod.
func PodCgroup(c Class, pod string) string { return ClassCgroup(c) + "/pod" + pod }

// ContainerCgroup is the cgroup of a container.
func ContainerCgroup(c Class, pod, container string) string {
	return PodCgroup(c, pod) + "/" + container
}

// Sandbox is the name of the container that holds a pod's namespaces (pause).
const Sandbox = "sandbox"

// Domain is the kind of limit that was hit, by what the kernel says of it.
type Domain string

// The domains, from the innermost.
const (
	InContainer Domain = "container"
	InPod       Domain = "pod"
	InKubepods  Domain = "kubepods"
	InNode      Domain = "node"
)

// Domains are all of them.
var Domains = []string{string(InContainer), string(InPod), string(InKubepods), string(InNode)}

// DomainOf says whose limit an OOM was about: by the kernel's constraint and the
// cgroup whose limit was hit, as plans name it. A class has no limit unless the
// kubelet is told qosReserved; it counts as kubepods. Empty: none of the node's.
func DomainOf(constraint, memcg string) Domain {
	rest, pods := strings.CutPrefix(memcg, Root)
	switch {
	case constraint == "none" || constraint == "memcg" && memcg == NodeRoot:
		return InNode
	case constraint != "memcg" || !pods || rest != "" && rest[0] != '/':
		return ""
	}
	for _, class := range []Class{Burstable, BestEffort} {
		rest = strings.TrimPrefix(rest, strings.TrimPrefix(ClassCgroup(class), Root))
	}
	switch strings.Count(rest, "/") {
	case 0:
		return InKubepods
	case 1:
		return InPod
	}
	return InContainer
}
