package verdict

import (
	"cmp"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
)

// phases are those of a pod, in their order.
var phases = map[string]int{"Pending": 1, "Running": 2, "Succeeded": 3, "Failed": 3, "Unknown": 0}

// reasons are those of a node's conditions, by whether they are True.
var reasons = map[string]map[string]string{
	"MemoryPressure": {"True": "KubeletHasInsufficientMemory", "False": "KubeletHasSufficientMemory"},
	"DiskPressure":   {"True": "KubeletHasDiskPressure", "False": "KubeletHasNoDiskPressure"},
	"PIDPressure":    {"True": "KubeletHasInsufficientPID", "False": "KubeletHasSufficientPID"},
	"Ready":          {"True": "KubeletReady"},
}

// changes holds what the API server has passed on: phases and conditions that a kubelet
// gives and, on a cluster of oomlab's own, an event for each change, about the pods of the
// run and their containers, whole and well formed. Elsewhere others may add to pods what
// they like.
func (w *apiWitness) changes(a *account, found *findings) {
	timed := w.timed()
	ours := w.in.Plan.On.Ours && timed
	last := map[string]evidence.Event{}
	ids := map[string]kubelet.Status{}
	for _, e := range w.told {
		add := func(format string, args ...any) {
			found.add(StatusDiffers, "%s of %q: "+format, append([]any{e.Kind, e.Process}, args...)...)
		}
		key := string(e.Kind) + " " + e.Process
		if e.Condition != nil {
			key += e.Condition.Type
		}
		if e.Happened != nil {
			key += e.Happened.UID
		}
		before := last[key]
		last[key] = e
		before.AtNS = e.AtNS
		// of which node a condition is, it does not say
		if timed && e.Condition == nil && reflect.DeepEqual(before, e) {
			add("it was told twice, and nothing had changed")
		}
		switch {
		case e.Kind == evidence.ContainerStatus && e.Container != nil && timed:
			if !w.contains(e.Process) {
				add("no pod of the plan's has such a container")
			}
			if ours {
				w.shape(a, *e.Container, ids, add)
			}
		case e.Kind == evidence.PodStatus && e.Pod != nil:
			rank, ok := phases[e.Pod.Phase]
			if before.Pod != nil && rank < phases[before.Pod.Phase] && rank > 0 {
				add("it was %s, and then %s", before.Pod.Phase, e.Pod.Phase)
			}
			if e.Pod.Node == "" && e.Pod.Phase != "Pending" {
				add("it is %s on no node", e.Pod.Phase)
			}
			known := uuid.MatchString(e.Pod.UID) && w.hasPod(e.Process) && a.agent().uid(e.Process, e.Pod.UID)
			switch {
			case !ok || timed && (!known || e.Pod.QOSClass == ""):
				add("there is no such pod: phase %q, uid %q, class %q", e.Pod.Phase, e.Pod.UID, e.Pod.QOSClass)
			case ours && e.Pod.Node == "":
				add("it is on no node")
			}
		case e.Happened != nil && ours:
			w.happened(e, add)
		case e.Condition != nil:
			c := e.Condition
			if c.Type == "" || c.Status == "" {
				add("it has no type or no status")
			}
			if want := reasons[c.Type][c.Status]; want != "" && c.Reason != want && (ours || c.Reason != "") {
				add("it is %s for the reason %q", c.Status, c.Reason)
			}
		}
	}
}

// timed reports whether the statuses have times, as those of a real API server do.
func (w *apiWitness) timed() bool {
	return slices.ContainsFunc(w.told, func(e evidence.Event) bool {
		return e.Container != nil && e.Container.StartedAt != ""
	})
}

// complete: every kubelet tells of the conditions of its node, a kubelet of oomlab's own
// also, in Events, of the containers that it makes, and that it begins to evict
// (pkg/kubelet/eviction, managerImpl.synchronize()).
func (w *apiWitness) complete(a *account, found *findings) {
	if w.absent() != "" || !a.over() || !w.timed() {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(conditions)) {
		if _, ok := w.conditions[name]; !ok {
			found.add(StatusMissing, "the API never said whether the node has the condition %s", name)
		}
	}
	if !w.in.Plan.On.Ours {
		return
	}
	if len(w.podEvents) == 0 {
		found.add(StatusMissing, "containers were made, and there is no Event of any pod")
	}
	began := slices.ContainsFunc(slices.Collect(maps.Values(w.nodeEvents)), func(h evidence.Happened) bool {
		return h.Reason == kubelet.EvictionThresholdMet
	})
	for _, pod := range w.evicted {
		if !began && !w.keptOut(pod) {
			found.add(StatusMissing, "pod %s was evicted, and the node has no Event %s", pod,
				kubelet.EvictionThresholdMet)
		}
	}
}

// keptOut reports whether an evicted pod was never ranked: it was not let in, for the
// memory pressure of the node.
func (w *apiWitness) keptOut(pod string) bool {
	p := w.pods[pod]
	return p != nil && strings.HasPrefix(p.Message, kubelet.Rejected)
}

// evictions: why a pod was evicted its status and its Event say in the same words, and
// those tell what the pod's containers request (pkg/kubelet/eviction, evictionMessage()).
func (w *apiWitness) evictions(found *findings) {
	for _, pod := range w.evicted {
		said := w.pod(pod).Message
		for _, h := range w.podEvents[pod] {
			same := h.Message == said || w.keptOut(pod) && strings.HasSuffix(said, h.Message)
			if h.Reason == kubelet.Evicted && !same {
				found.add(StatusDiffers, "pod %s was evicted for %q, and its Event says %q", pod, said, h.Message)
			}
		}
		e := kubelet.ParseEviction(said)
		if e.Available != nil && (*e.Available >= *e.Threshold || *e.Available < 0) {
			found.add(StatusDiffers, "pod %s was evicted with %s of %s available; the threshold is %s", pod,
				*e.Available, e.Resource, *e.Threshold)
		}
		i := slices.IndexFunc(w.in.Plan.Pods, func(p plan.Pod) bool { return p.Name == pod })
		for _, c := range e.Containers {
			if i < 0 || e.Resource != "memory" {
				continue
			}
			want, ok := w.in.Plan.Pods[i].Spec.MemoryRequest(c.Container)
			if !ok || c.Request != want || c.Usage <= want {
				found.add(StatusDiffers, "pod %s was evicted for its container %s, which used %s of %s; it requests %s",
					pod, c.Container, c.Usage, c.Request, want)
			}
		}
	}
}

func (w *apiWitness) hasPod(name string) bool {
	return slices.ContainsFunc(w.in.Plan.Pods, func(p plan.Pod) bool { return p.Name == name })
}

func (w *apiWitness) contains(process string) bool {
	return slices.ContainsFunc(w.in.Plan.Pods, func(p plan.Pod) bool {
		return slices.ContainsFunc(slices.Concat(p.InitContainers, p.Containers), func(c plan.Container) bool {
			return c.Process == process
		})
	})
}

// uid reports whether a pod's cgroup is named by that uid; a pod without a cgroup may
// have any.
func (w *agentWitness) uid(pod, uid string) bool {
	for _, f := range w.cgroups[pod] {
		if !strings.Contains(strings.ReplaceAll(f.Path, "_", "-"), uid) {
			return false
		}
	}
	return true
}

var containerName = regexp.MustCompile(`^containerd://[0-9a-f]{64}$`)

// shape: a status has what its state has, and one container has one beginning and end.
func (w *apiWitness) shape(a *account, s kubelet.Status, ids map[string]kubelet.Status, add func(string, ...any)) {
	if s.Last != nil {
		w.shape(a, *s.Last, ids, add)
	}
	unknown := s.Reason == "ContainerStatusUnknown" // made up of one that is gone
	began, ended := time.Time{}, time.Time{}
	bad := false
	for _, of := range []struct {
		text string
		to   *time.Time
	}{{s.StartedAt, &began}, {s.FinishedAt, &ended}} {
		if of.text != "" {
			at, err := time.Parse(time.RFC3339, of.text)
			*of.to, bad = at, bad || err != nil
		}
	}
	switch {
	case bad, s.StartedAt != "" && s.FinishedAt != "" && ended.Before(began):
		add("it lasted from %q to %q", s.StartedAt, s.FinishedAt)
	case s.State == kubelet.Running && (s.StartedAt == "" || s.FinishedAt != "" || s.ExitCode != nil || s.ID == ""),
		s.State == kubelet.Waiting && (s.StartedAt != "" || s.FinishedAt != "" || s.ExitCode != nil),
		s.State == kubelet.Terminated && (s.ExitCode == nil || s.Reason == ""),
		s.State == kubelet.Terminated && !unknown && (s.StartedAt == "" || s.FinishedAt == "" || s.ID == ""),
		s.ID != "" && !containerName.MatchString(s.ID):
		add("a container that is %q, %q, began at %q, ended at %q, is %q", s.State, s.Reason, s.StartedAt, s.FinishedAt,
			s.ID)
	}
	if s.ID == "" || s.State == kubelet.Waiting || unknown {
		return
	}
	if was, ok := ids[s.ID]; ok && (was.StartedAt != s.StartedAt || was.State == kubelet.Terminated &&
		(s.State != kubelet.Terminated || *cmp.Or(was.ExitCode, new(int)) != *cmp.Or(s.ExitCode, new(int)))) {
		add("container %s began or ended otherwise before", s.ID)
	}
	ids[s.ID] = s
}

// happened: the kubelet is the only one on such a node that makes Events.
func (w *apiWitness) happened(e evidence.Event, add func(string, ...any)) {
	h := e.Happened
	first, err := time.Parse(time.RFC3339, h.FirstAt)
	latest, err2 := time.Parse(time.RFC3339, h.LastAt)
	began, err3 := time.Parse(time.RFC3339, w.in.Meta.Started)
	const day = 24 * time.Hour
	switch {
	case h.From != "kubelet" || h.Count < 1 || !uuid.MatchString(h.UID) || h.Type != "Normal" && h.Type != "Warning",
		err != nil || err2 != nil || latest.Before(first):
		add("an Event from %q, of type %q, %d times, from %q to %q", h.From, h.Type, h.Count, h.FirstAt, h.LastAt)
	case e.Kind == evidence.PodEvent && !w.hasPod(e.Process),
		h.Container != "" && !w.contains(e.Process+"/"+h.Container):
		add("the plan has no such pod, or no container %q in it", h.Container)
	case err3 == nil && e.Kind == evidence.PodEvent && (first.Sub(began).Abs() > day || latest.Sub(began).Abs() > day):
		add("it happened at %s; the run began at %s", h.FirstAt, w.in.Meta.Started)
	}
}
