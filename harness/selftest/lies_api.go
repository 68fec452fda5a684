package selftest

import (
	"fmt"
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/predict"
)

func init() { lies[evidence.API] = (*liar).api }

// evicted reports whether a pod, or the pod of a container, was evicted: of its
// containers anything may be said.
func (l *liar) evicted(name string) bool {
	return slices.ContainsFunc(l.in.Events, func(e evidence.Event) bool {
		return e.Kind == evidence.PodStatus && e.Pod != nil && e.Pod.Reason == kubelet.Evicted &&
			e.Process == kubelet.NameOf(name).Pod
	})
}

// api makes the API server lie about how containers ended, in the ways that real
// ones did.
func (l *liar) api() {
	for _, code := range []int{0, 1, 143} {
		l.tell(fmt.Sprintf("137 became exit code %d", code), l.ends(kubelet.OOMKilled, func(s *kubelet.Status) bool {
			if *s.ExitCode != 137 {
				return false
			}
			*s.ExitCode = code
			return true
		}))
	}
	for _, r := range [][2]string{{kubelet.OOMKilled, kubelet.Error}, {kubelet.Completed, kubelet.OOMKilled}} {
		l.tell(r[0]+" became "+r[1], l.ends(r[0], func(s *kubelet.Status) bool { s.Reason = r[1]; return true }))
	}
	l.tell("no end of a container was told", none(func(e evidence.Event) bool {
		s := e.Container
		return s != nil && !l.evicted(e.Process) && (s.ExitCode != nil || s.Last != nil)
	}))
	runs := func(e evidence.Event) bool {
		return e.Container != nil && e.Container.State == kubelet.Running && !l.evicted(e.Process) && l.stays(e.Process)
	}
	l.tell("a restart too many", last(runs, func(e *evidence.Event) { e.Container.RestartCount++ }))
	l.tell("a running container is waiting", last(runs, func(e *evidence.Event) {
		e.Container.State, e.Container.Reason = kubelet.Waiting, "ContainerCreating"
	}))
	pod := kind(evidence.PodStatus)
	l.tell("another phase", last(pod, func(e *evidence.Event) { e.Pod.Phase, e.Pod.Reason = "Unknown", "" }))
	l.tell("another QoS class", last(pod, func(e *evidence.Event) { e.Pod.QOSClass = "Unknown" }))
	if k := l.in.Prediction.Kube; k != nil && k.Eviction == predict.Impossible {
		l.tell("a pod was evicted that was not", last(
			func(e evidence.Event) bool { return pod(e) && e.Pod.Reason == "" },
			func(e *evidence.Event) { e.Pod.Phase, e.Pod.Reason = kubelet.PodFailed, kubelet.Evicted }))
	}
	l.systemOOM()
}

// systemOOM is what is said of an OOM of the whole node.
func (l *liar) systemOOM() {
	oom := func(e evidence.Event) bool {
		return e.Kind == evidence.NodeEvent && e.Happened != nil && e.Happened.Reason == kubelet.SystemOOM
	}
	stranger := fmt.Sprintf("System OOM encountered, victim process: stranger, pid: %d", strangerPID)
	if slices.ContainsFunc(l.in.Events, oom) {
		l.tell("SystemOOM is missing", none(oom))
		l.tell("SystemOOM names a stranger", first(oom, func(e *evidence.Event) { e.Happened.Message = stranger }))
		return
	}
	l.tell("SystemOOM for nothing", atEnd(evidence.Event{Source: evidence.API, Kind: evidence.NodeEvent,
		Happened: &evidence.Happened{Reason: kubelet.SystemOOM, Count: 1, Message: stranger}}))
}

// ends changes every account of an end that has a reason: as the state, and later
// as the state before.
func (l *liar) ends(reason string, edit func(*kubelet.Status) bool) change {
	return func(events []evidence.Event) []evidence.Event {
		changed := false
		for _, e := range events {
			if e.Kind != evidence.ContainerStatus || e.Container == nil || l.evicted(e.Process) {
				continue
			}
			for _, end := range []*kubelet.Status{e.Container, e.Container.Last} {
				if end != nil && end.ExitCode != nil && end.Reason == reason {
					changed = edit(end) || changed
				}
			}
		}
		if !changed {
			return nil
		}
		return events
	}
}

// stays reports whether a container is alive at the end: what is said of it then
// is all there is.
func (l *liar) stays(process string) bool {
	return slices.ContainsFunc(l.in.Events, func(e evidence.Event) bool {
		return e.Kind == evidence.Alive && e.Process == process
	})
}
