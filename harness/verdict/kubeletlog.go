package verdict

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
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

var (
	loggedOOM     = regexp.MustCompile(`"Got sys oom event" event=\{"Pid":([0-9]+),`)
	loggedRanking = regexp.MustCompile(`"Eviction manager: pods ranked for eviction" pods=\["([^"]+)"`)
	loggedUnable  = regexp.MustCompile(`"Eviction manager: failed to synchronize" err="(.*)"`)
	loggedEvicted = regexp.MustCompile(`"Eviction manager: pod is evicted successfully" pod="([^"]+)"`)
)

func (j *joined) readKubeletLog() kubeletLog {
	l := kubeletLog{
		read: strings.HasPrefix(j.in.Tier.Hooks["kubelet"], "attached"), loud: j.in.Plan.On.Ours, ooms: map[int]bool{},
	}
	for _, e := range j.in.Events {
		if e.Kind != evidence.KubeletLine {
			continue
		}
		if m := loggedOOM.FindStringSubmatch(e.Text); m != nil {
			if pid, err := strconv.Atoi(m[1]); err == nil {
				l.ooms[pid] = true
			}
		}
		if m := loggedUnable.FindStringSubmatch(e.Text); m != nil {
			l.unable = m[1]
		}
		for _, f := range []struct {
			line *regexp.Regexp
			to   *[]string
		}{{loggedRanking, &l.ranked}, {loggedEvicted, &l.evicted}} {
			if m := f.line.FindStringSubmatch(e.Text); m != nil {
				if pod := j.podOfAPI(m[1]); pod != "" {
					*f.to = append(*f.to, pod)
				}
			}
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
		m := systemOOM.FindStringSubmatch(h.Message)
		if h.Reason != "SystemOOM" || m == nil || !l.loud {
			continue
		}
		if pid, err := strconv.Atoi(m[2]); err == nil && global[pid] && !l.ooms[pid] {
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
