package selftest

import (
	"fmt"
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/predict"
)

// evicted reports whether a pod, or the pod of a container, was evicted: of its
// containers anything may be said.
func (l *liar) evicted(name string) bool {
	return slices.ContainsFunc(l.in.Events, func(e evidence.Event) bool {
		return e.Kind == evidence.PodStatus && e.Pod != nil && e.Pod.Reason == kubelet.Evicted &&
			e.Process == kubelet.NameOf(name).Pod
	})
}

func init() { lies[evidence.API] = (*liar).api }

// api makes the API server lie about how containers ended, in the ways that real
// ones did.
func (l *liar) api() {
	for _, code := range []int{0, 1, 143} {
		l.tell(fmt.Sprintf("137 became exit code %d", code), func(e []evidence.Event) []evidence.Event {
			return l.ends(e, kubelet.OOMKilled, func(s *kubelet.Status) bool {
				if *s.ExitCode != 137 {
					return false
				}
				*s.ExitCode = code
				return true
			})
		})
	}
	for _, r := range [][2]string{{kubelet.OOMKilled, kubelet.Error}, {kubelet.Completed, kubelet.OOMKilled}} {
		l.tell(r[0]+" became "+r[1], func(e []evidence.Event) []evidence.Event {
			return l.ends(e, r[0], func(s *kubelet.Status) bool { s.Reason = r[1]; return true })
		})
	}
	l.tell("no end of a container was told", func(e []evidence.Event) []evidence.Event {
		return none(e, func(e evidence.Event) bool {
			s := e.Container
			return s != nil && !l.evicted(e.Process) && (s.ExitCode != nil || s.Last != nil)
		})
	})
	runs := func(e evidence.Event) bool {
		return e.Container != nil && e.Container.State == kubelet.Running && !l.evicted(e.Process) && l.stays(e.Process)
	}
	l.tell("a restart too many", func(e []evidence.Event) []evidence.Event {
		return last(e, runs, func(e *evidence.Event) { e.Container.RestartCount++ })
	})
	l.tell("a running container is waiting", func(e []evidence.Event) []evidence.Event {
		return last(e, runs, func(e *evidence.Event) {
			e.Container.State, e.Container.Reason = kubelet.Waiting, "ContainerCreating"
		})
	})
	l.tell("another phase", func(e []evidence.Event) []evidence.Event {
		return last(e, kind(evidence.PodStatus), func(e *evidence.Event) { e.Pod.Phase, e.Pod.Reason = "Unknown", "" })
	})
	l.tell("another QoS class", func(e []evidence.Event) []evidence.Event {
		return last(e, kind(evidence.PodStatus), func(e *evidence.Event) { e.Pod.QOSClass = "Unknown" })
	})
	if k := l.in.Prediction.Kube; k != nil && k.Eviction == predict.Impossible {
		l.tell("a pod was evicted that was not", func(e []evidence.Event) []evidence.Event {
			return last(e, func(e evidence.Event) bool { return e.Kind == evidence.PodStatus && e.Pod.Reason == "" },
				func(e *evidence.Event) { e.Pod.Phase, e.Pod.Reason = kubelet.PodFailed, kubelet.Evicted })
		})
	}
	l.systemOOM()
}

// systemOOM is what is said of an OOM of the whole node.
func (l *liar) systemOOM() {
	oom := func(e evidence.Event) bool {
		return e.Kind == evidence.NodeEvent && e.Happened != nil && e.Happened.Reason == kubelet.SystemOOM
	}
	stranger := fmt.Sprintf("System OOM encountered, victim process: stranger, pid: %d", strangerPID)
	l.tell("SystemOOM is missing", func(e []evidence.Event) []evidence.Event { return none(e, oom) })
	l.tell("SystemOOM names a stranger", func(e []evidence.Event) []evidence.Event {
		return first(e, oom, func(e *evidence.Event) { e.Happened.Message = stranger })
	})
	l.tell("SystemOOM for nothing", func(e []evidence.Event) []evidence.Event {
		if slices.ContainsFunc(e, oom) {
			return nil
		}
		return atEnd(e, evidence.Event{Source: evidence.API, Kind: evidence.NodeEvent,
			Happened: &evidence.Happened{Reason: kubelet.SystemOOM, Count: 1, Message: stranger}})
	})
}

// ends changes every account of an end that has a reason: as the state, and later
// as the state before.
func (l *liar) ends(
	e []evidence.Event, reason string, change func(*kubelet.Status) bool,
) []evidence.Event {
	changed := false
	for i := range e {
		s := e[i].Container
		if e[i].Kind != evidence.ContainerStatus || s == nil || l.evicted(e[i].Process) {
			continue
		}
		for _, end := range []*kubelet.Status{s, s.Last} {
			if end != nil && end.ExitCode != nil && end.Reason == reason {
				changed = change(end) || changed
			}
		}
	}
	if !changed {
		return nil
	}
	return e
}

// stays reports whether a container is alive at the end: what is said of it then
// is all there is.
func (l *liar) stays(process string) bool {
	return slices.ContainsFunc(l.in.Events, func(e evidence.Event) bool {
		return e.Kind == evidence.Alive && e.Process == process
	})
}
