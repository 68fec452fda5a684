package verdict

import (
	"regexp"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
)

// kubeletWitness is the kubelet's log: what it wrote about memory.
type kubeletWitness struct {
	bystander
	in      Input
	texts   []string
	lines   []kubelet.Line
	ooms    map[int]bool // pids
	ranked  []string     // pods that came first when one was to be evicted
	evicted []string     // pods that it was done with
	unable  string       // why it could not look whether a pod has to be evicted
}

// What the kubelet's log contradicts.
const (
	LogAlone    Kind = "kubelet-log-alone"    // it tells of an OOM or an eviction that nobody else knows of
	CannotEvict Kind = "kubelet-cannot-evict" // the kubelet's eviction manager fails
	LogSilent   Kind = "kubelet-log-silent"   // the kubelet told the API of what its log does not have
)

func init() {
	addWitness(60, func(in Input) witness { return &kubeletWitness{in: in, ooms: map[int]bool{}} })
}

func (a *account) kubelet() *kubeletWitness { return witnessOf[*kubeletWitness](a) }

func (*kubeletWitness) source() evidence.Source { return evidence.Kubelet }

func (w *kubeletWitness) absent() string {
	if !strings.HasPrefix(w.in.Tier.Hooks["kubelet"], "attached") {
		return "no kubelet's log was read"
	}
	return ""
}

// loud: the kubelet was started by oomlab, at a verbosity (-v=1 or more) at which it
// writes of OOMs of the node.
func (w *kubeletWitness) loud() bool { return w.in.Plan.On != nil && w.in.Plan.On.Ours }

func (w *kubeletWitness) hear(e evidence.Event) {
	if e.Kind == evidence.KubeletLine {
		w.texts = append(w.texts, e.Text)
		w.lines = append(w.lines, kubelet.ParseLine(e.Text))
	}
}

func (w *kubeletWitness) read(*account) {
	for _, line := range w.lines {
		if line.OOM != 0 {
			w.ooms[line.OOM] = true
		}
		if line.Unable != "" {
			w.unable = line.Unable
		}
		if pod := w.pod(line.Ranked); pod != "" {
			w.ranked = append(w.ranked, pod)
		}
		if pod := w.pod(line.Evicted); pod != "" {
			w.evicted = append(w.evicted, pod)
		}
	}
}

// pod is the plan's pod that the API calls NAMESPACE/POD-TOKEN; empty: it is none of
// the run's.
func (w *kubeletWitness) pod(name string) string {
	_, name, _ = strings.Cut(name, "/")
	i := strings.LastIndexByte(name, '-')
	if i < 0 || !slices.ContainsFunc(w.in.Plan.Pods, func(p plan.Pod) bool { return p.Name == name[:i] }) {
		return ""
	}
	return name[:i]
}

func (w *kubeletWitness) tells(_ *account, k *Kill, _ *life) bool { return w.ooms[k.Victim.PID] }

// agree holds the kubelet's log against what the kubelet has told the API, and
// against the kernel.
func (w *kubeletWitness) agree(a *account, found *findings) {
	w.written(found)
	api, global := a.api(), a.nodeKills()
	for pid := range w.ooms {
		if !global[pid] {
			found.add(LogAlone,
				"the kubelet's log tells of an OOM of the node that killed pid %d; the kernel knows of none", pid)
		}
	}
	for _, pod := range w.evicted {
		if !slices.Contains(api.evicted, pod) {
			found.add(LogAlone, "the kubelet's log says that it has evicted pod %s; the API does not", pod)
		}
	}
	p := w.in.Prediction.Kube
	if w.unable != "" && p != nil && p.Eviction != predict.Impossible && len(api.evicted) == 0 {
		found.add(CannotEvict, "the kubelet did not look whether a pod has to be evicted: %s", w.unable)
	}
	for _, h := range api.nodeEvents {
		_, pid, ok := kubelet.SystemOOMVictim(h.Message)
		if h.Reason == kubelet.SystemOOM && ok && w.loud() && global[pid] && !w.ooms[pid] {
			found.add(LogSilent, "SystemOOM names pid %d; the kubelet's log does not", pid)
		}
	}
	for _, pod := range api.evicted {
		if !api.keptOut(pod) && !slices.Contains(w.ranked, pod) && !slices.Contains(w.evicted, pod) {
			found.add(LogSilent, "the API says that pod %s was evicted; the kubelet's log does not", pod)
		}
	}
}

// klogLine is how lines begin that k8s.io/klog writes, with the pid of who wrote them.
var klogLine = regexp.MustCompile(`^[IWEF](\d{4}) \d\d:\d\d:\d\d\.\d{6} +(\d+) [\w.-]+:\d+\] `)

// written: one kubelet writes a line once, in the form of its logger.
func (w *kubeletWitness) written(found *findings) {
	pid := ""
	for i, text := range w.texts {
		m := klogLine.FindStringSubmatch(text)
		switch {
		case m == nil:
			found.add(LogAlone, "the kubelet's log has %q, which is no line of its", text)
		case w.loud() && pid != "" && m[2] != pid:
			found.add(LogAlone, "the kubelet's log is of process %s and of process %s", pid, m[2])
		case slices.Contains(w.texts[:i], text):
			found.add(LogAlone, "the kubelet's log has a line twice: %s", text)
		default:
			pid = m[2]
		}
	}
}

// withKubelet adds the kubelet's log to those who tell of a thing, if it was read.
func (a *account) withKubelet(sources ...evidence.Source) []evidence.Source {
	if a.kubelet().absent() == "" {
		sources = append(sources, evidence.Kubelet)
	}
	return sources
}

// nodeKills are the victims of OOMs of the whole node.
func (a *account) nodeKills() map[int]bool {
	out := map[int]bool{}
	for _, k := range a.kills {
		if k.Constraint == "none" {
			out[k.Victim.PID] = true
		}
	}
	return out
}
