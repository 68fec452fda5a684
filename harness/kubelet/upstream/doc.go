// Package upstream holds the rules of package kubelet against the kubelet's own
// code. It is a module of its own, because k8s.io/kubernetes is large:
//
//	cd harness/kubelet/upstream && go test -record ../testdata/v1.36.3.jsonl .
//
// The vectors that it records are tested wherever oomlab is.
package upstream
