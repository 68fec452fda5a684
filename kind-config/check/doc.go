// Package check holds the files of kind-config against the types of those who
// read them: kind, the kubelet and the API server. It is a module of its own, so
// that oomlab links none of it:
//
//	cd kind-config/check && go test .
package check
