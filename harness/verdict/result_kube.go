package verdict

import (
	"encoding/json"
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
)

// Kube is what a cluster said of a run.
type Kube struct {
	Node       KubeNode        `json:"node"`
	Pods       []KubePod       `json:"pods"`
	Containers []KubeContainer `json:"containers"`
	Domain     string          `json:"domain,omitempty"` // of the first kill
	Evicted    []string        `json:"evicted"`
	// Events are those of pods and of the node ("node"), by reason.
	Events map[string]map[string]int64 `json:"events"`
	// Pressure are the conditions of the node that were True at some time, Ready
	// left out.
	Pressure   []string    `json:"pressure"`
	Misreports []Misreport `json:"misreports"`
	Outages    []string    `json:"outages,omitempty"` // when the API did not answer
}

// KubeNode names what ran the pods.
type KubeNode struct {
	Name           string            `json:"name"`
	KubeletVersion string            `json:"kubeletVersion"`
	Runtime        string            `json:"containerRuntimeVersion"`
	KernelVersion  string            `json:"kernelVersion"`
	OSImage        string            `json:"osImage,omitempty"`
	Labels         map[string]string `json:"labels,omitempty"`
}

// KubePod is one pod: what was predicted, and what the API said.
type KubePod struct {
	Pod            string `json:"pod"`
	Class          string `json:"qosClass"`
	PredictedClass string `json:"predicted_qosClass"`
	Phase          string `json:"phase"`
	Reason         string `json:"reason,omitempty"`
	Predicted      string `json:"predicted_phase,omitempty"`
}

// KubeContainer is one container: what was predicted, and what was seen.
type KubeContainer struct {
	Container    string
	Adj          *int
	PredictedAdj int
	Max          *kernel.Bytes
	Status       kubelet.Status
	// Predicted is the status in words; Open says that it depended on timing.
	Predicted string
	Open      bool
	// OOMKills are the victims in the container, life by life.
	OOMKills [][]string
}

// shownContainer is a KubeContainer in JSON, where its status has the API's own
// keys.
type shownContainer struct {
	Container    string        `json:"container"`
	Adj          *int          `json:"oom_score_adj"`
	PredictedAdj int           `json:"predicted_oom_score_adj"`
	Max          *kernel.Bytes `json:"memory.max,omitempty"`
	State        string        `json:"state"`
	Reason       string        `json:"reason,omitempty"`
	ExitCode     *int          `json:"exitCode,omitempty"`
	RestartCount int           `json:"restartCount"`
	LastState    *shownEnd     `json:"lastState,omitempty"`
	Predicted    string        `json:"predicted,omitempty"`
	Open         bool          `json:"open,omitempty"`
	OOMKills     [][]string    `json:"oom_kills"`
}

type shownEnd struct {
	Reason   string `json:"reason"`
	ExitCode *int   `json:"exitCode"`
}

// MarshalJSON implements json.Marshaler.
func (k KubeContainer) MarshalJSON() ([]byte, error) {
	s := k.Status
	out := shownContainer{k.Container, k.Adj, k.PredictedAdj, k.Max, s.State, s.Reason, s.ExitCode, s.RestartCount, nil,
		k.Predicted, k.Open, k.OOMKills}
	if s.Last != nil {
		out.LastState = &shownEnd{s.Last.Reason, s.Last.ExitCode}
	}
	return json.Marshal(out)
}

// UnmarshalJSON implements json.Unmarshaler.
func (k *KubeContainer) UnmarshalJSON(data []byte) error {
	var in shownContainer
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	s := kubelet.Status{State: in.State, Reason: in.Reason, ExitCode: in.ExitCode, RestartCount: in.RestartCount}
	if in.LastState != nil {
		s.Last = &kubelet.Status{Reason: in.LastState.Reason, ExitCode: in.LastState.ExitCode}
	}
	*k = KubeContainer{in.Container, in.Adj, in.PredictedAdj, in.Max, s, in.Predicted, in.Open, in.OOMKills}
	return nil
}

// Misreport is something that Kubernetes said and the kernel did not do.
type Misreport struct {
	Name      string `json:"name"`
	Detail    string `json:"detail"`
	Predicted bool   `json:"predicted"`
}

// kube is what a cluster said; nil where there was none.
func (a *account) kube() *Kube {
	w, on := a.api(), a.in.Plan.On
	if w.absent() != "" {
		return nil
	}
	p := a.in.Prediction.Kube
	if p == nil {
		p = &predict.Kube{}
	}
	out := &Kube{
		Node: KubeNode{
			Name: on.Name, KubeletVersion: on.KubeletVersion, Runtime: on.Runtime, KernelVersion: a.in.Machine.Release,
			OSImage: on.OSImage, Labels: on.Labels,
		},
		Domain: a.domain(), Evicted: append([]string{}, w.evicted...), Events: map[string]map[string]int64{},
		Pods: []KubePod{}, Containers: []KubeContainer{}, Pressure: []string{}, Misreports: []Misreport{},
		Outages: w.outages,
	}
	note := func(of string, all map[string]evidence.Happened) {
		for _, h := range all {
			if out.Events[of] == nil {
				out.Events[of] = map[string]int64{}
			}
			out.Events[of][h.Reason] += int64(max(1, h.Count))
		}
	}
	note("node", w.nodeEvents)
	for pod, all := range w.podEvents {
		note(pod, all)
	}
	for _, name := range sortedKeys(w.conditions) {
		if w.conditions[name] && name != "Ready" {
			out.Pressure = append(out.Pressure, name)
		}
	}
	for _, name := range sortedKeys(w.misreports) {
		predicted := slices.Contains(p.MayMisreport, name)
		out.Misreports = append(out.Misreports, Misreport{name, w.misreports[name], predicted})
	}
	for _, pod := range a.in.Plan.Pods {
		got, want := w.pod(pod.Name), p.Pods[pod.Name]
		out.Pods = append(out.Pods, KubePod{
			Pod: pod.Name, Class: got.QOSClass, PredictedClass: string(pod.Class), Phase: got.Phase, Reason: got.Reason,
			Predicted: words(want.Phase, want.Reason),
		})
		for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
			out.Containers = append(out.Containers, a.kubeContainer(c, p))
		}
	}
	return out
}

func (a *account) kubeContainer(planned plan.Container, p *predict.Kube) KubeContainer {
	k := KubeContainer{Container: planned.Process, PredictedAdj: planned.OOMScoreAdj, OOMKills: [][]string{}}
	if all := a.agent().adjOf(planned.Process); len(all) > 0 {
		k.Adj = &all[len(all)-1]
	}
	if planned.Max > 0 {
		limit := planned.Max
		k.Max = &limit
	}
	if said := a.api().containers[planned.Process]; said != nil {
		k.Status = said.last
	}
	if end, ok := p.Containers[planned.Process]; ok {
		k.Predicted, k.Open = end.Status.String(), !end.Sure
	}
	lives := a.livesOf(planned.Process)
	for i := range lives {
		names := []string{}
		for _, kill := range a.killedIn(planned.Process, i, lives) {
			names = append(names, kill.Victim.Process)
		}
		k.OOMKills = append(k.OOMKills, names)
	}
	return k
}
