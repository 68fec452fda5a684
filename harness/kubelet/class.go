package kubelet

// Class is Kubernetes' word for how sure a pod is of its resources.
type Class string

// The classes, as the API writes them.
const (
	Guaranteed Class = "Guaranteed"
	Burstable  Class = "Burstable"
	BestEffort Class = "BestEffort"
)

// Classes are all of them.
var Classes = []string{string(Guaranteed), string(Burstable), string(BestEffort)}

// ClassOf follows ComputePodQOS of pkg/apis/core/v1/helper/qos for a pod that
// has its defaults: Guaranteed when every container limits both CPU and memory
// and the requests are the limits, BestEffort when none names either, Burstable
// otherwise. Pod-level resources, where there are any, decide alone.
func ClassOf(p Pod) Class {
	if p.Requests != (Resources{}) || p.Limits != (Resources{}) {
		if complete(p.Limits) && p.Requests == p.Limits {
			return Guaranteed
		}
		return Burstable
	}
	var requested, limited Resources
	guaranteed := true
	for _, c := range append(append([]Container{}, p.Containers...), p.InitContainers...) {
		requested, limited = requested.plus(c.Requests), limited.plus(c.Limits)
		guaranteed = guaranteed && complete(c.Limits)
	}
	switch {
	case requested == (Resources{}) && limited == (Resources{}):
		return BestEffort
	case guaranteed && requested == limited:
		return Guaranteed
	}
	return Burstable
}

func complete(r Resources) bool { return r.Memory > 0 && r.MilliCPU > 0 }
