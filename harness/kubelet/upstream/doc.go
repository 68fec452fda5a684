// Package upstream holds the rules of package kubelet against the kubelet's own
// code. It is a module of its own, because k8s.io/kubernetes is large:
//
//	cd harness/kubelet/upstream && OOMLAB_UPDATE=1 go test .
//
// The vectors that it records in ../testdata are tested wherever oomlab is.
package upstream
