// Package verdict judges a run: it joins what the witnesses saw, kill by kill,
// holds it against the claims of the scenario and against the prediction, and
// says one of four words.
//
// It is pure. A run directory judged again, anywhere, gives the same result
// byte for byte.
//
// A witness is a type, and a file: witness_bpf.go, witness_kmsg.go and so on. It says
// what it hears of a run's events, whether it was there, of which kills it tells, and
// what it contradicts. What all of them say together is the [account]. A claim is a
// row, and a file: claim_killed.go and so on. It has a key of `expect:`, how it is
// judged, and its inversion.
//
// A process counts as OOM-killed when its wait status is SIGKILL and a kernel-side
// record names its pid; 137 alone proves nothing, and neither does a missing report,
// which the kernel rate-limits. Two witnesses that contradict each other make the
// verdict broken, and the contradiction has a name ([Kind]); what the kernel is known
// to count or print twice, or not at all, is part of what is expected and not
// tolerated by loose comparison.
package verdict
