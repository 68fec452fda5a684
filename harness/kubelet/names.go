package kubelet

import "strings"

// Name is what a pod, a container or a process in a container is called in a run:
// POD, POD/CONTAINER or POD/CONTAINER/PROCESS. A container's first process has the
// container's name.
type Name struct{ Pod, Container, Process string }

// NameOf reads a name.
func NameOf(s string) Name {
	var n Name
	n.Pod, s, _ = strings.Cut(s, "/")
	n.Container, n.Process, _ = strings.Cut(s, "/")
	return n
}

func (n Name) String() string {
	s := n.Pod
	for _, part := range []string{n.Container, n.Process} {
		if part != "" {
			s += "/" + part
		}
	}
	return s
}

// First reports whether the name is that of a container, and so of its first
// process.
func (n Name) First() bool { return n.Container != "" && n.Process == "" }

// ContainerOf is the container that a process is in: POD/CONTAINER.
func ContainerOf(process string) string {
	n := NameOf(process)
	n.Process = ""
	return n.String()
}
