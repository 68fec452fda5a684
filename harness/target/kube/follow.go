package kube

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/e2e-framework/klient/k8s/resources"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
)

// follower asks the API what it shows of a run, over and over, and tells of what
// changed. It asks rather than watches: on a node that thrashes connections
// break, and what was missed must not be.
type follower struct {
	api    *resources.Resources // in the namespace of the pods
	nodeAt *resources.Resources // in that of events about nodes
	at     placing
	pods   map[string]string // the plan's names by the API's
	nodes  []string
	emit   func(evidence.Event)
	silent time.Time // since when the API has not answered; zero: it does
	last   error

	containers map[string]kubelet.Status
	states     map[string]evidence.PodState
	happened   map[string]evidence.Happened
	conditions map[string]evidence.ConditionState
	base       bool // what there is now was there before
}

func newFollower(api, nodeAt *resources.Resources, at placing, pods map[string]string, nodes []string,
	emit func(evidence.Event)) *follower {
	return &follower{
		api: api, nodeAt: nodeAt, at: at, pods: pods, nodes: nodes, emit: emit,
		containers: map[string]kubelet.Status{}, states: map[string]evidence.PodState{},
		happened: map[string]evidence.Happened{}, conditions: map[string]evidence.ConditionState{},
	}
}

// begin takes note of the events that were there before the run.
func (f *follower) begin(ctx context.Context) error {
	f.base = true
	err := f.events(ctx)
	f.base = false
	return err
}

// ask asks once. An API that does not answer is told of when it does again, or
// by leave.
func (f *follower) ask(ctx context.Context) error {
	begin := time.Now()
	err := f.all(ctx)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		if f.silent.IsZero() {
			f.silent = begin
		}
		f.last = err
	default:
		f.leave()
	}
	return err
}

// leave tells of a silence that is over, or that nobody waits for any more.
func (f *follower) leave() {
	if f.silent.IsZero() {
		return
	}
	f.emit(evidence.Event{
		Source: evidence.API, Kind: evidence.Unreachable, Text: f.last.Error(),
		N: uint64(time.Since(f.silent).Milliseconds()),
	})
	f.silent = time.Time{}
}

func (f *follower) all(ctx context.Context) error {
	var pods corev1.PodList
	if err := f.api.List(ctx, &pods, resources.WithLabelSelector(RunLabel+"="+f.at.run)); err != nil {
		return err
	}
	here := map[string]bool{}
	for _, p := range pods.Items {
		if name, ok := f.pods[p.Name]; ok {
			here[name] = true
			f.pod(name, p)
		}
	}
	for name, s := range f.states {
		if !here[name] && !s.Deleted {
			s.Deleted = true
			f.states[name] = s
			f.emit(evidence.Event{Source: evidence.API, Kind: evidence.PodStatus, Process: name, Pod: &s})
		}
	}
	for _, name := range f.nodes {
		var node corev1.Node
		if err := f.api.Get(ctx, name, "", &node); err != nil {
			return err
		}
		for _, c := range node.Status.Conditions {
			s := evidence.ConditionState{Type: string(c.Type), Status: string(c.Status), Reason: c.Reason}
			if f.conditions[name+s.Type] != s {
				f.conditions[name+s.Type] = s
				f.emit(evidence.Event{Source: evidence.API, Kind: evidence.NodeCondition, Condition: &s})
			}
		}
	}
	return f.events(ctx)
}

func (f *follower) pod(name string, p corev1.Pod) {
	s := evidence.PodState{
		Phase: string(p.Status.Phase), Reason: p.Status.Reason, Message: p.Status.Message,
		QOSClass: string(p.Status.QOSClass), Node: p.Spec.NodeName, UID: string(p.UID),
	}
	if f.states[name] != s {
		f.states[name] = s
		f.emit(evidence.Event{Source: evidence.API, Kind: evidence.PodStatus, Process: name, Pod: &s})
	}
	for _, all := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for _, c := range all {
			s := containerState(c)
			key := name + "/" + c.Name
			if old, known := f.containers[key]; known && reflect.DeepEqual(old, s) {
				continue
			}
			f.containers[key] = s
			f.emit(evidence.Event{Source: evidence.API, Kind: evidence.ContainerStatus, Process: key, Container: &s})
		}
	}
}

func containerState(c corev1.ContainerStatus) kubelet.Status {
	s := oneState(c.State)
	s.RestartCount = int(c.RestartCount)
	if s.ID == "" {
		s.ID = c.ContainerID
	}
	if c.LastTerminationState.Terminated != nil {
		last := oneState(c.LastTerminationState)
		s.Last = &last
	}
	return s
}

func oneState(c corev1.ContainerState) kubelet.Status {
	switch {
	case c.Running != nil:
		return kubelet.Status{State: kubelet.Running, StartedAt: stamp(c.Running.StartedAt)}
	case c.Terminated != nil:
		t := c.Terminated
		code := int(t.ExitCode)
		return kubelet.Status{
			State: kubelet.Terminated, Reason: t.Reason, ExitCode: &code, Signal: int(t.Signal), Message: t.Message,
			ID: t.ContainerID, StartedAt: stamp(t.StartedAt), FinishedAt: stamp(t.FinishedAt),
		}
	case c.Waiting != nil:
		return kubelet.Status{State: kubelet.Waiting, Reason: c.Waiting.Reason, Message: c.Waiting.Message}
	}
	return kubelet.Status{State: kubelet.Waiting}
}

func stamp(t metav1.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// events tells of Event objects about the run's pods, and about its nodes since
// it began.
func (f *follower) events(ctx context.Context) error {
	var all, ofNodes corev1.EventList
	if err := f.api.List(ctx, &all); err != nil {
		return err
	}
	if err := f.nodeAt.List(ctx, &ofNodes, resources.WithFieldSelector("involvedObject.kind=Node")); err != nil {
		return err
	}
	for _, e := range append(all.Items, ofNodes.Items...) {
		kind, process := evidence.NodeEvent, ""
		switch e.InvolvedObject.Kind {
		case "Pod":
			name, ours := f.pods[e.InvolvedObject.Name]
			if !ours || e.InvolvedObject.Namespace != f.at.namespace {
				continue
			}
			kind, process = evidence.PodEvent, name
		case "Node":
			if !slices.Contains(f.nodes, e.InvolvedObject.Name) {
				continue
			}
		default:
			continue
		}
		h := evidence.Happened{
			Reason: e.Reason, Type: e.Type, Message: e.Message, Container: containerOf(e.InvolvedObject.FieldPath),
			From: e.Source.Component, UID: string(e.UID), Count: max(int(e.Count), 1),
			FirstAt: stamp(e.FirstTimestamp), LastAt: stamp(e.LastTimestamp),
		}
		if f.happened[h.UID] == h {
			continue
		}
		f.happened[h.UID] = h
		if f.base {
			continue
		}
		f.emit(evidence.Event{Source: evidence.API, Kind: kind, Process: process, Happened: &h})
	}
	return nil
}

// containerOf is the NAME of spec.containers{NAME}.
func containerOf(fieldPath string) string {
	_, rest, ok := strings.Cut(fieldPath, "{")
	if !ok {
		return ""
	}
	return strings.TrimSuffix(rest, "}")
}
