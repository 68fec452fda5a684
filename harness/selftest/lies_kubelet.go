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
	if slices.ContainsFunc(l.in.Events, func(e evidence.Event) bool {
		line := kubelet.ParseLine(e.Text)
		oom := line.OOM != 0 && l.in.Plan.On.Ours
		return e.Kind == evidence.KubeletLine && (oom || line.Ranked != "" || line.Evicted != "")
	}) {
		l.tell("its log tells of nothing", none(kind(evidence.KubeletLine)))
	}
	line := func(format string, args ...any) change {
		text := fmt.Sprintf(format, args...)
		return atEnd(evidence.Event{Source: evidence.Kubelet, Kind: evidence.KubeletLine, Text: text})
	}
	l.tell("an OOM of the node that there was not", line(
		`oom_watcher_linux.go:84] "Got sys oom event" event={"Pid":%d,"ProcessName":"stranger"}`, strangerPID))
	if k := l.in.Prediction.Kube; k != nil && k.Eviction != predict.Impossible && len(k.Evicted) == 0 {
		l.tell("it cannot evict", line(
			`eviction_manager.go:217] "Eviction manager: failed to synchronize" err="eviction manager: no disk"`))
	}
	for _, p := range l.in.Plan.Pods {
		if !l.evicted(p.Name) {
			const text = `eviction_manager.go:635] "Eviction manager: pod is evicted successfully"` +
				` pod="oomlab/%s-0123abcd"`
			l.tell("an eviction that there was not", line(text, p.Name))
			break
		}
	}
}
