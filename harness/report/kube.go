package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/verdict"
)

// nodeText names a node and what runs on it.
func nodeText(n verdict.KubeNode) string {
	return fmt.Sprintf("%s: kubelet %s, %s", n.Name, n.KubeletVersion, n.Runtime)
}

// cluster shows what the API said, container by container, beside what was
// predicted and what the kernel did.
func (p *page) cluster() {
	k := p.r.Kube
	if k == nil {
		return
	}
	p.section("pods")
	for _, pod := range k.Pods {
		text := fmt.Sprintf("%s, %s", orNothing(pod.Class), phaseText(pod))
		p.out = append(p.out, plaintext.Hang("  "+pod.Pod, text, podIndent(k), p.width())...)
		for _, c := range k.Containers {
			if kubelet.NameOf(c.Container).Pod == pod.Pod {
				p.container(c, podIndent(k))
			}
		}
	}
	p.line("")
	p.field("evicted", strings.Join(k.Evicted, ", "))
	p.field("pressure", strings.Join(k.Pressure, ", "))
	p.field("events", eventsText(k.Events))
	p.field("api down", strings.Join(k.Outages, "; "))
	if len(k.Misreports) > 0 {
		p.section("Kubernetes says otherwise")
		for _, m := range k.Misreports {
			as := "not predicted: "
			if m.Predicted {
				as = "as predicted: "
			}
			p.out = append(p.out, plaintext.Hang("  "+m.Name, as+m.Detail, 32, p.width())...)
		}
	}
}

// podIndent is where texts about pods begin.
func podIndent(k *verdict.Kube) int {
	longest := 0
	for _, pod := range k.Pods {
		longest = max(longest, plaintext.Width(pod.Pod))
	}
	return longest + 4
}

func phaseText(pod verdict.KubePod) string {
	got := strings.TrimSpace(pod.Phase + " " + pod.Reason)
	if pod.Predicted == "" || pod.Predicted == got {
		return orNothing(got)
	}
	return fmt.Sprintf("%s (predicted %s)", orNothing(got), pod.Predicted)
}

func (p *page) container(c verdict.KubeContainer, indent int) {
	text := kubelet.NameOf(c.Container).Container + ": " + adjText(c)
	if c.Max != nil {
		text += ", memory.max " + c.Max.String()
	}
	text += "; " + saysText(c)
	if kills := killsText(c); kills != "" {
		text += "; killed in it: " + kills
	}
	p.out = append(p.out, plaintext.Hang("", text, indent, p.width())...)
}

func adjText(c verdict.KubeContainer) string {
	switch {
	case c.Adj == nil:
		return fmt.Sprintf("oom_score_adj not read (predicted %d)", c.PredictedAdj)
	case *c.Adj != c.PredictedAdj:
		return fmt.Sprintf("oom_score_adj %d (predicted %d)", *c.Adj, c.PredictedAdj)
	}
	return fmt.Sprintf("oom_score_adj %d", *c.Adj)
}

func saysText(c verdict.KubeContainer) string {
	got := c.Status.String()
	switch {
	case c.Predicted == "" || c.Predicted == got:
		return got
	case c.Open:
		return got + " (left open)"
	}
	return fmt.Sprintf("%s (predicted %s)", got, c.Predicted)
}

// killsText lists the victims in a container, its lives parted by semicolons.
func killsText(c verdict.KubeContainer) string {
	any := false
	var lives []string
	for _, names := range c.OOMKills {
		any = any || len(names) > 0
		var short []string
		for _, name := range names {
			if name = kubelet.NameOf(name).Process; name == "" {
				name = "its first process"
			}
			short = append(short, name)
		}
		lives = append(lives, orNothing(strings.Join(short, " and ")))
	}
	if !any {
		return ""
	}
	return strings.Join(lives, ", then ")
}

func eventsText(all map[string]map[string]int64) string {
	var out []string
	for _, of := range slices.Sorted(maps.Keys(all)) {
		var reasons []string
		for _, reason := range slices.Sorted(maps.Keys(all[of])) {
			if n := all[of][reason]; n > 1 {
				reason += fmt.Sprintf(" x%d", n)
			}
			reasons = append(reasons, reason)
		}
		out = append(out, of+": "+strings.Join(reasons, ", "))
	}
	return strings.Join(out, "; ")
}

// clusterView is the same for a page.
type clusterView struct {
	Pods       []podView
	Facts      []pair
	Misreports []pair
}

type podView struct {
	Pod, Class, Phase string
	Containers        []containerView
}

type containerView struct {
	Name, Adj, Max, Says, Predicted, Kills string
}

func clusterOf(r verdict.Result) *clusterView {
	k := r.Kube
	if k == nil {
		return nil
	}
	v := &clusterView{Facts: tidy([]pair{
		{Name: "Node", Value: nodeText(k.Node)}, {Name: "Evicted", Value: strings.Join(k.Evicted, ", ")},
		{Name: "Pressure", Value: strings.Join(k.Pressure, ", ")}, {Name: "Events", Value: eventsText(k.Events)},
		{Name: "API down", Value: strings.Join(k.Outages, "; ")},
	})}
	for _, pod := range k.Pods {
		out := podView{Pod: pod.Pod, Class: orNothing(pod.Class), Phase: phaseText(pod)}
		for _, c := range k.Containers {
			if kubelet.NameOf(c.Container).Pod != pod.Pod {
				continue
			}
			limit := nothing
			if c.Max != nil {
				limit = c.Max.String()
			}
			predicted := c.Predicted
			if c.Open {
				predicted = "left open"
			}
			out.Containers = append(out.Containers, containerView{Name: kubelet.NameOf(c.Container).Container,
				Adj: strings.TrimPrefix(adjText(c), "oom_score_adj "),
				Max: limit, Says: c.Status.String(), Predicted: orNothing(predicted), Kills: orNothing(killsText(c))})
		}
		v.Pods = append(v.Pods, out)
	}
	for _, m := range k.Misreports {
		as := "Not predicted: "
		if m.Predicted {
			as = "As predicted: "
		}
		v.Misreports = append(v.Misreports, pair{Name: m.Name, Value: as + m.Detail})
	}
	return v
}
