package verdict

import (
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/predict"
)

// kubeletLog is what the kubelet wrote into its log about memory.
type kubeletLog struct {
	read bool // somebody read it
	// loud: the kubelet was started by oomlab, at a verbosity (-v=1 or more) at
	// which it writes of OOMs of the node.
	loud    bool
	ooms    map[int]bool // pids
	ranked  []string     // pods that came first when one was to be evicted
	evicted []string     // pods that it was done with
	unable  string       // why it could not look whether somebody has to be evicted
}

func (j *joined) readKubeletLog() kubeletLog {
	l := kubeletLog{
		read: strings.HasPrefix(j.in.Tier.Hooks["kubelet"], "attached"), loud: j.in.Plan.On.Ours, ooms: map[int]bool{},
	}
	for _, e := range j.in.Events {
		if e.Kind != evidence.KubeletLine {
			continue
		}
		line := kubelet.ParseLine(e.Text)
		if line.OOM != 0 {
			l.ooms[line.OOM] = true
		}
		if line.Unable != "" {
			l.unable = line.Unable
		}
		if pod := j.podOfAPI(line.Ranked); pod != "" {
			l.ranked = append(l.ranked, pod)
		}
		if pod := j.podOfAPI(line.Evicted); pod != "" {
			l.evicted = append(l.evicted, pod)
		}
	}
	return l
}

// podOfAPI is the plan's pod that the API calls NAMESPACE/POD-TOKEN; empty: it is
// none of the run's.
func (j *joined) podOfAPI(name string) string {
	_, name, _ = strings.Cut(name, "/")
	i := strings.LastIndexByte(name, '-')
	if i < 0 {
		return ""
	}
	for _, p := range j.in.Plan.Pods {
		if p.Name == name[:i] {
			return p.Name
		}
	}
	return ""
}

// checkKubeletLog holds the kubelet's log against what the kubelet has told the
// API, and against the kernel.
func (j *joined) checkKubeletLog(global map[int]bool) {
	l := j.cluster.log
	for pid := range l.ooms {
		if !global[pid] {
			j.disagree(LogAlone, "the kubelet's log tells of an OOM of the node that killed pid %d; the kernel knows of none", pid)
		}
	}
	for _, pod := range l.evicted {
		if !slices.Contains(j.cluster.evicted, pod) {
			j.disagree(LogAlone, "the kubelet's log says that it has evicted pod %s; the API does not", pod)
		}
	}
	if p := j.in.Prediction.Kube; l.unable != "" && p != nil && p.Eviction != predict.Impossible && len(j.cluster.evicted) == 0 {
		j.disagree(CannotEvict, "the kubelet did not look whether a pod has to be evicted: %s", l.unable)
	}
	if !l.read {
		return
	}
	for _, h := range j.cluster.nodeEvents {
		_, pid, ok := kubelet.SystemOOMVictim(h.Message)
		if h.Reason == kubelet.SystemOOM && ok && l.loud && global[pid] && !l.ooms[pid] {
			j.disagree(LogSilent, "SystemOOM names pid %d; the kubelet's log does not", pid)
		}
	}
	for _, pod := range j.cluster.evicted {
		// One that was kept out for the node's memory pressure was never ranked.
		if p := j.cluster.pods[pod]; p != nil && strings.HasPrefix(p.Message, "Pod was rejected") {
			continue
		}
		if !slices.Contains(l.ranked, pod) && !slices.Contains(l.evicted, pod) {
			j.disagree(LogSilent, "the API says that pod %s was evicted; the kubelet's log does not", pod)
		}
	}
}

// witnesses adds the kubelet's log to those who tell of a thing, if it was read.
func (l kubeletLog) witnesses(sources ...evidence.Source) []evidence.Source {
	if l.read {
		sources = append(sources, evidence.Kubelet)
	}
	return sources
}
