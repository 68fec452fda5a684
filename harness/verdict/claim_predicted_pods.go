package verdict

import (
	"fmt"
	"maps"
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
)

// What was predicted of pods came true.
func init() {
	for i, k := range []struct {
		from  evidence.Source
		judge func(*account, *predict.Kube) Claim
	}{
		{evidence.API, (*account).predictedClasses}, {evidence.Runtime, (*account).predictedAdj},
		{evidence.Runtime, (*account).predictedLimits}, {evidence.API, (*account).predictedContainers},
		{evidence.API, (*account).predictedPods}, {evidence.API, (*account).predictedEvictions},
		{evidence.API, (*account).predictedMisreports},
	} {
		addClaim(claimKind{place: 240 + i, from: k.from, judge: func(a *account, _ scenario.Expect) []Claim {
			if p := a.in.Prediction.Kube; p != nil {
				return []Claim{k.judge(a, p)}
			}
			return nil
		}})
	}
}

// unlessEvicted is a claim about what becomes of pods. Where the prediction left open
// whether the kubelet looks in time, and it did and evicted others than predicted, the
// claim is about another course: what a pod held that is gone, the others could take.
func (a *account) unlessEvicted(c Claim) Claim {
	p, evicted := a.in.Prediction.Kube, a.api().evicted
	if c.Verdict != Fail || p == nil || p.Eviction != predict.Possible || slices.Equal(p.Evicted, evicted) {
		return c
	}
	return cannotTell(c.Name, c.Expected, "the kubelet looked in time and evicted "+list(evicted))
}

func (a *account) predictedEvictions(p *predict.Kube) Claim {
	got := a.api().evicted
	expected, ok := list(p.Evicted), slices.Equal(p.Evicted, got)
	if p.Eviction == predict.Possible {
		expected, ok = "depends on when the kubelet looks", true
	}
	return claim("prediction.evicted", expected, list(got), ok, a.withKubelet(evidence.API)...)
}

func (a *account) predictedMisreports(p *predict.Kube) Claim {
	got := slices.Sorted(maps.Keys(a.api().misreports))
	missing := slices.ContainsFunc(p.Misreports, func(m string) bool { return !slices.Contains(got, m) })
	extra := slices.ContainsFunc(got, func(m string) bool { return !slices.Contains(p.MayMisreport, m) })
	expected := nothing(p.Misreports)
	open := !slices.Equal(slices.Sorted(slices.Values(p.Misreports)), slices.Sorted(slices.Values(p.MayMisreport)))
	if open {
		expected = "some of " + nothing(p.MayMisreport)
	}
	ok := !extra && (open || !missing)
	return claim("prediction.misreports", expected, nothing(got), ok, evidence.API, evidence.BPF)
}

func (a *account) predictedClasses(p *predict.Kube) Claim {
	n, wrong := 0, []string(nil)
	for pod, class := range p.Classes {
		got := a.api().pod(pod).QOSClass
		if got == "" {
			continue
		}
		if n++; got != string(class) {
			wrong = append(wrong, fmt.Sprintf("%s is %s, not %s", pod, got, class))
		}
	}
	return every("prediction.qosClass", "as predicted", n, wrong, evidence.API)
}

func (a *account) predictedAdj(p *predict.Kube) Claim {
	n, wrong := 0, []string(nil)
	check := func(name string, want int) {
		for _, got := range a.agent().adjOf(name) {
			if n++; got != want {
				wrong = append(wrong, fmt.Sprintf("%s has %d, not %d", name, got, want))
			}
		}
	}
	for name, adj := range p.Adj {
		check(name, adj)
	}
	for name := range a.agent().cgroups {
		if kubelet.NameOf(name).Container == kubelet.Sandbox {
			check(name, kubelet.SandboxAdj)
		}
	}
	return every("prediction.oom_score_adj", "as predicted, sandboxes included", n, wrong, evidence.Agent)
}

// predictedLimits holds the cgroups that the kubelet has made against those of
// the plan.
func (a *account) predictedLimits(*predict.Kube) Claim {
	n, wrong := 0, []string(nil)
	for _, all := range a.agent().cgroups {
		for _, f := range all {
			want, ok := a.in.Plan.Cgroup(f.Plan)
			if !ok || f.Unread { // it was gone before anybody could read them
				continue
			}
			n++
			limit := func(file string, want, got *kernel.Bytes) {
				if !sameBytes(want, got, a.pageSize()) {
					wrong = append(wrong, fmt.Sprintf("%s of %s is %s, not %s",
						file, f.Plan, bytesText(got), bytesText(want)))
				}
			}
			limit("memory.max", want.Max, f.Max)
			// Without swap on the node the kubelet may leave it out.
			if limited := f.SwapMax != nil || a.in.Plan.On.SwapCapacity > 0; limited && want.SwapMax != nil {
				limit("memory.swap.max", want.SwapMax, f.SwapMax)
			}
			if got := f.OOMGroup; got != nil && *got != want.OOMGroup {
				wrong = append(wrong, fmt.Sprintf("memory.oom.group of %s is %t, not %t", f.Plan, *got, want.OOMGroup))
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

func (a *account) predictedContainers(p *predict.Kube) Claim {
	n, wrong := 0, []string(nil)
	for name, want := range p.Containers {
		said := a.api().containers[name]
		if !want.Sure || said == nil {
			continue
		}
		if n++; !a.api().show(name, want.Same) {
			wrong = append(wrong, fmt.Sprintf("%s is %s, not %s", name, said.last, want.Status))
		}
	}
	const expected = "state, reason, exit code and restarts as predicted"
	return a.unlessEvicted(every("prediction.containers", expected, n, wrong, evidence.API))
}

func (a *account) predictedPods(p *predict.Kube) Claim {
	n, wrong := 0, []string(nil)
	for pod, want := range p.Pods {
		got := a.api().pods[pod]
		if !want.Sure || got == nil {
			continue
		}
		if n++; got.Phase != want.Phase || got.Reason != want.Reason {
			is, not := words(got.Phase, got.Reason), words(want.Phase, want.Reason)
			wrong = append(wrong, fmt.Sprintf("%s is %s, not %s", pod, is, not))
		}
	}
	return a.unlessEvicted(every("prediction.pods", "phases as predicted", n, wrong, evidence.API))
}
