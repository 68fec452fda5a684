package compare

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/verdict"
)

// Fields are what runs can be put into columns by, beside the labels of their
// node (node.labels.KEY).
var Fields = []string{
	"kernel", "target", "node.name", "node.kernelVersion", "node.kubeletVersion", "node.containerRuntimeVersion",
	"node.osImage", "node.cgroupDriver", Runtime,
}

// Runtime is the field by which not the runs have columns, but the words of systemd, the
// engines, the kubelet and containerd; see [ByRuntime].
const Runtime = "runtime"

const labelField = "node.labels."

// KnownField reports whether runs can be put into columns by a field.
func KnownField(by string) bool {
	return slices.Contains(Fields, by) || strings.HasPrefix(by, labelField) && len(by) > len(labelField)
}

// ByRuntime is a run for each unit and container of it that a runtime has said something of:
// by what the kernel did to it, in the column of the runtime. A run that did not pass has none.
func ByRuntime(in verdict.Input, r verdict.Result) map[string][]Run {
	out := map[string][]Run{}
	if r.Verdict != verdict.Pass {
		return out
	}
	for _, o := range verdict.Overseers(in) {
		ob := observer{in: in, r: r, run: Run{Scenario: string(o.Fate), Release: r.Kernel.Release, Dir: r.Run}}
		ob.say(Verdict, "", string(r.Verdict))
		ob.say(Says, "", o.Says)
		ob.say(Misreports, "", cmp.Or(o.Misreport, "none"))
		out[o.By] = append(out[o.By], ob.run)
	}
	return out
}

// By is the value of a field in a run: the column that it belongs to. A run on no
// cluster has no node, and a node may lack a label; the error says so.
func By(in verdict.Input, by string) (string, error) {
	switch by {
	case "kernel":
		return in.Machine.Release, nil
	case "target":
		return in.Meta.Target, nil
	}
	n := in.Meta.Node
	if n == nil {
		return "", fmt.Errorf("%s ran on no cluster: it has no %s", in.Meta.Run, by)
	}
	value := map[string]string{
		"node.name": n.Name, "node.kernelVersion": in.Machine.Release, "node.kubeletVersion": n.KubeletVersion,
		"node.containerRuntimeVersion": n.Runtime, "node.osImage": n.OSImage, "node.cgroupDriver": n.CgroupDriver,
	}[by]
	if key, ok := strings.CutPrefix(by, labelField); ok {
		value = n.Labels[key]
	}
	if value == "" {
		return "", fmt.Errorf("%s: its node %s has no %s", in.Meta.Run, n.Name, by)
	}
	return value, nil
}
