package selftest

import (
	"fmt"
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/predict"
)

func init() { lies[evidence.Kubelet] = (*liar).kubelet }

func (l *liar) kubelet() {
	l.tell("its log tells of nothing", func(e []evidence.Event) []evidence.Event {
		told := slices.ContainsFunc(e, func(e evidence.Event) bool {
			line := kubelet.ParseLine(e.Text)
			oom := line.OOM != 0 && l.in.Plan.On.Ours
			return e.Kind == evidence.KubeletLine && (oom || line.Ranked != "" || line.Evicted != "")
		})
		if !told {
			return nil
		}
		return none(e, kind(evidence.KubeletLine))
	})
	line := func(text string) func([]evidence.Event) []evidence.Event {
		return func(e []evidence.Event) []evidence.Event {
			return atEnd(e, evidence.Event{Source: evidence.Kubelet, Kind: evidence.KubeletLine, Text: text})
		}
	}
	l.tell("an OOM of the node that there was not", line(fmt.Sprintf(
		`oom_watcher_linux.go:84] "Got sys oom event" event={"Pid":%d,"ProcessName":"stranger"}`, strangerPID)))
	if k := l.in.Prediction.Kube; k != nil && k.Eviction != predict.Impossible && len(k.Evicted) == 0 {
		l.tell("it cannot evict", line(
			`eviction_manager.go:217] "Eviction manager: failed to synchronize" err="eviction manager: no disk"`))
	}
	for _, p := range l.in.Plan.Pods {
		if !l.evicted(p.Name) {
			const evicted = `eviction_manager.go:635] "Eviction manager: pod is evicted successfully" pod="oomlab/%s-0123abcd"`
			l.tell("an eviction that there was not", line(fmt.Sprintf(evicted, p.Name)))
			break
		}
	}
}
