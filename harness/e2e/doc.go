// Package e2e runs every scenario of the library under Ginkgo, one entry each,
// for CI: labels select them, JUnit reports them, and each entry carries its
// verdict. Judging stays in package verdict; no matcher looks inside a verdict.
//
// The suite is built with the tag e2e, because it boots virtual machines:
//
//	go tool ginkgo run --tags e2e ./harness/e2e -- -oomlab.target vm -oomlab.kernel 6.12
//
// Labels are the targets a scenario can run on (local, vm, kube), its directory (memcg,
// system, qos, kube) and, if it needs one, userland. Scenarios with pods run on a VM
// cluster, whose node image make node-image makes, or on the cluster of
// -oomlab.kubeconfig.
package e2e
