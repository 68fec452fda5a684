package kubelet

// Restart is after which ends of a container the kubelet starts it again.
type Restart string

// The rules, as plans write them.
const (
	RestartNever     Restart = ""
	RestartOnFailure Restart = "failure"
	RestartOnEnd     Restart = "end"
)

// RestartOf follows the pod's restartPolicy (ShouldContainerBeRestarted of
// pkg/kubelet/container): init containers are started again until they succeed,
// sidecars whatever the pod's policy is.
func RestartOf(policy string, init, sidecar bool) Restart {
	switch {
	case sidecar:
		return RestartOnEnd
	case policy == "Never":
		return RestartNever
	case init || policy == "OnFailure":
		return RestartOnFailure
	}
	return RestartOnEnd
}

// After reports whether a container is started again after an end.
func (r Restart) After(failed bool) bool { return r == RestartOnEnd || r == RestartOnFailure && failed }
