package verdict

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
)

// expectedOfCluster are the author's claims about a cluster.
func (j *joined) expectedOfCluster(e scenario.Expect) []Claim {
	if !j.in.ofCluster() {
		return nil
	}
	c := j.cluster
	var out []Claim
	if e.Domain != "" {
		out = append(out, claim("domain", e.Domain, orNone(string(j.domain())), string(j.domain()) == e.Domain, evidence.BPF, evidence.Kmsg))
	}
	for _, pod := range slices.Sorted(maps.Keys(e.QoSClass)) {
		got := c.classOf(pod)
		out = append(out, claim("qosClass "+pod, e.QoSClass[pod], orNone(got), got == e.QoSClass[pod], evidence.API))
	}
	for _, name := range slices.Sorted(maps.Keys(e.OOMScoreAdj)) {
		got, ok := c.adjOf(name)
		out = append(out, claim("oom_score_adj "+name, e.OOMScoreAdj[name].Text, adjText(got), ok && !slices.ContainsFunc(got, func(a int) bool { return !e.OOMScoreAdj[name].Holds(int64(a)) }), evidence.Agent))
	}
	for _, name := range slices.Sorted(maps.Keys(e.Containers)) {
		out = append(out, c.containerClaim(name, e.Containers[name]))
	}
	for _, pod := range slices.Sorted(maps.Keys(e.Pods)) {
		want := e.Pods[pod]
		got := c.phaseOf(pod)
		ok := (want.Phase == "" || got.Phase == want.Phase) && (want.Reason == "" || got.Reason == want.Reason)
		out = append(out, claim("pods "+pod, words(want.Phase, want.Reason), words(got.Phase, got.Reason), ok, evidence.API))
	}
	for _, pod := range slices.Sorted(maps.Keys(e.PodEvents)) {
		for _, reason := range slices.Sorted(maps.Keys(e.PodEvents[pod])) {
			out = append(out, counted("podEvents "+pod+" "+reason, e.PodEvents[pod][reason], count(c.podEvents[pod], reason), evidence.API))
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(e.NodeEvents)) {
		sources := []evidence.Source{evidence.API}
		if reason == "SystemOOM" && c.log.loud {
			sources = c.log.witnesses(sources...)
		}
		out = append(out, counted("nodeEvents "+reason, e.NodeEvents[reason], count(c.nodeEvents, reason), sources...))
	}
	for _, name := range slices.Sorted(maps.Keys(e.NodeConditions)) {
		got, known := c.conditions[name]
		observed := map[bool]string{true: "was True", false: "never True"}
		text := observed[got]
		if !known {
			text = "not seen"
		}
		out = append(out, claim("nodeConditions "+name, observed[e.NodeConditions[name]], text, known && got == e.NodeConditions[name], evidence.API))
	}
	if e.Evicted != nil {
		out = append(out, claim("evicted", list(*e.Evicted), list(c.evicted), slices.Equal(c.evicted, *e.Evicted), c.log.witnesses(evidence.API)...))
	}
	if e.Misreports != nil {
		got, want := slices.Sorted(maps.Keys(c.misreports)), slices.Sorted(slices.Values(*e.Misreports))
		out = append(out, claim("misreports", nothing(want), nothing(got), slices.Equal(got, want), evidence.API, evidence.BPF))
	}
	return out
}

func nothing(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func words(all ...string) string {
	var out []string
	for _, w := range all {
		if w != "" {
			out = append(out, w)
		}
	}
	return orNone(strings.Join(out, " "))
}

// domain is whose limit the first kill was about.
func (j *joined) domain() kubelet.Domain {
	if len(j.kills) == 0 {
		return ""
	}
	return kubelet.DomainOf(j.kills[0].Constraint, j.kills[0].OOMMemcg)
}

func (c *cluster) classOf(pod string) string {
	if p := c.pods[pod]; p != nil {
		return p.QOSClass
	}
	return ""
}

// adjOf is the oom_score_adj of a container's first process, in each of its
// lives.
func (c *cluster) adjOf(container string) ([]int, bool) {
	var out []int
	for _, f := range c.cgroups[container] {
		if f.OOMScoreAdj != nil {
			out = append(out, *f.OOMScoreAdj)
		}
	}
	return out, len(out) > 0
}

func adjText(all []int) string {
	if len(all) == 0 {
		return "not read"
	}
	var out []string
	for _, a := range all {
		if s := strconv.Itoa(a); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return strings.Join(out, ", ")
}

func (c *cluster) phaseOf(pod string) evidence.PodState {
	if p := c.pods[pod]; p != nil {
		return *p
	}
	return evidence.PodState{}
}

// count is how often an event of a reason came, by the count of each object.
func count(all map[string]evidence.Happened, reason string) int64 {
	var n int64
	for _, h := range all {
		if h.Reason == reason {
			n += int64(max(1, h.Count))
		}
	}
	return n
}

func counted(name string, want scenario.Num, got int64, sources ...evidence.Source) Claim {
	return claim(name, want.Text, strconv.FormatInt(got, 10), want.Holds(got), sources...)
}

func (c *cluster) containerClaim(name string, want scenario.ContainerClaim) Claim {
	said := c.containers[name]
	if said == nil {
		return claim("containers "+name, want.String(), "the API never said anything of it", false, evidence.API)
	}
	return claim("containers "+name, want.String(), said.last.String(), want.Holds(said.last), evidence.API)
}

// modelOfCluster are the claims of the prediction about a cluster.
func (j *joined) modelOfCluster() []Claim {
	p := j.in.Prediction.Kube
	if !j.in.ofCluster() || p == nil {
		return nil
	}
	out := []Claim{j.predictedClasses(p), j.predictedAdj(p), j.predictedLimits(), j.onCourse(j.predictedContainers(p)), j.onCourse(j.predictedPods(p))}
	expected := list(p.Evicted)
	ok := slices.Equal(p.Evicted, j.cluster.evicted)
	if p.Eviction == predict.Possible {
		expected, ok = "depends on when the kubelet looks", true
	}
	out = append(out, claim("prediction.evicted", expected, list(j.cluster.evicted), ok, j.cluster.log.witnesses(evidence.API)...))
	got := slices.Sorted(maps.Keys(j.cluster.misreports))
	missing := slices.ContainsFunc(p.Misreports, func(m string) bool { return !slices.Contains(got, m) })
	extra := slices.ContainsFunc(got, func(m string) bool { return !slices.Contains(p.MayMisreport, m) })
	open := !equalSets(p.Misreports, p.MayMisreport)
	expected = nothing(p.Misreports)
	if open {
		expected = "some of " + nothing(p.MayMisreport)
	}
	return append(out, claim("prediction.misreports", expected, nothing(got), !extra && (open || !missing), evidence.API, evidence.BPF))
}

// evictedInstead says that the kubelet evicted others than predicted where the
// prediction left open whether it looks in time; empty: it did not. What a pod held
// that is gone, the others could take, and what becomes of it is another course.
func (j *joined) evictedInstead() string {
	p := j.in.Prediction.Kube
	if !j.in.ofCluster() || p == nil || p.Eviction != predict.Possible || slices.Equal(p.Evicted, j.cluster.evicted) {
		return ""
	}
	return "the kubelet looked in time and evicted " + list(j.cluster.evicted)
}

// onCourse is a claim about what becomes of pods, which nobody has made for a course
// with another eviction.
func (j *joined) onCourse(c Claim) Claim {
	if why := j.evictedInstead(); c.Verdict == Fail && why != "" {
		return cannotTell(c.Name, c.Expected, why)
	}
	return c
}

func equalSets(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// every is a claim about many of a kind: the first that is wrong is named.
func every(name, expected string, n int, wrong []string, sources ...evidence.Source) Claim {
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return claim(name, expected, more(wrong[0], len(wrong)-1), false, sources...)
	}
	if n == 0 {
		return cannotTell(name, expected, "nothing was read")
	}
	return claim(name, expected, fmt.Sprintf("%d of %d", n, n), true, sources...)
}

func (j *joined) predictedClasses(p *predict.Kube) Claim {
	n, wrong := 0, []string(nil)
	for pod, class := range p.Classes {
		got := j.cluster.classOf(pod)
		if got == "" {
			continue
		}
		if n++; got != string(class) {
			wrong = append(wrong, fmt.Sprintf("%s is %s, not %s", pod, got, class))
		}
	}
	return every("prediction.qosClass", "as predicted", n, wrong, evidence.API)
}

func (j *joined) predictedAdj(p *predict.Kube) Claim {
	n, wrong := 0, []string(nil)
	for name, adj := range p.Adj {
		all, _ := j.cluster.adjOf(name)
		for _, got := range all {
			if n++; got != adj {
				wrong = append(wrong, fmt.Sprintf("%s has %d, not %d", name, got, adj))
			}
		}
	}
	for name, all := range j.cluster.cgroups {
		if !strings.HasSuffix(name, "/"+kubelet.Sandbox) {
			continue
		}
		for _, f := range all {
			if f.OOMScoreAdj == nil {
				continue
			}
			if n++; *f.OOMScoreAdj != kubelet.SandboxAdj {
				wrong = append(wrong, fmt.Sprintf("%s has %d, not %d", name, *f.OOMScoreAdj, kubelet.SandboxAdj))
			}
		}
	}
	return every("prediction.oom_score_adj", "as predicted, sandboxes included", n, wrong, evidence.Agent)
}

// predictedLimits holds the cgroups that the kubelet has made against those of
// the plan.
func (j *joined) predictedLimits() Claim {
	n, wrong := 0, []string(nil)
	for _, all := range j.cluster.cgroups {
		for _, f := range all {
			want, ok := j.in.Plan.Cgroup(f.Plan)
			if !ok {
				continue
			}
			n++
			if !sameBytes(want.Max, f.Max, j.pageSize()) {
				wrong = append(wrong, fmt.Sprintf("memory.max of %s is %s, not %s", f.Plan, bytesText(f.Max), bytesText(want.Max)))
			}
			// Without swap on the node the kubelet may leave it out.
			limited := f.SwapMax != nil || j.in.Plan.On.SwapCapacity > 0
			if limited && want.SwapMax != nil && !sameBytes(want.SwapMax, f.SwapMax, j.pageSize()) {
				wrong = append(wrong, fmt.Sprintf("memory.swap.max of %s is %s, not %s", f.Plan, bytesText(f.SwapMax), bytesText(want.SwapMax)))
			}
			if f.OOMGroup != nil && *f.OOMGroup != want.OOMGroup {
				wrong = append(wrong, fmt.Sprintf("memory.oom.group of %s is %t, not %t", f.Plan, *f.OOMGroup, want.OOMGroup))
			}
		}
	}
	return every("prediction.cgroups", "limits and groups as predicted", n, wrong, evidence.Agent)
}

// sameBytes compares limits as the kernel keeps them, in whole pages.
func sameBytes(a, b *kernel.Bytes, page kernel.Bytes) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a/page == *b/page
}

func bytesText(b *kernel.Bytes) string {
	if b == nil {
		return "max"
	}
	return b.String()
}

func (j *joined) predictedContainers(p *predict.Kube) Claim {
	n, wrong := 0, []string(nil)
	for name, want := range p.Containers {
		said := j.cluster.containers[name]
		if !want.Sure || said == nil {
			continue
		}
		if n++; !showsEnd(want, said.last) {
			wrong = append(wrong, fmt.Sprintf("%s is %s, not %s", name, said.last, want.Status))
		}
	}
	return every("prediction.containers", "state, reason, exit code and restarts as predicted", n, wrong, evidence.API)
}

// showsEnd reports whether the API says what was predicted of a container.
func showsEnd(want predict.ContainerEnd, got kubelet.Status) bool {
	if want.BackOff && got.State == kubelet.Waiting && got.Reason == kubelet.CrashLoopBackOff && got.Last != nil {
		// the moment before it is started again
		return want.RestartCount == got.RestartCount && want.SameEnd(*got.Last)
	}
	return want.Same(got)
}

func (j *joined) predictedPods(p *predict.Kube) Claim {
	n, wrong := 0, []string(nil)
	for pod, want := range p.Pods {
		got := j.cluster.pods[pod]
		if !want.Sure || got == nil {
			continue
		}
		if n++; got.Phase != want.Phase || got.Reason != want.Reason {
			wrong = append(wrong, fmt.Sprintf("%s is %s, not %s", pod, words(got.Phase, got.Reason), words(want.Phase, want.Reason)))
		}
	}
	return every("prediction.pods", "phases as predicted", n, wrong, evidence.API)
}
