package kubelet

import (
	"fmt"
	"strings"
)

// The states of a container, and the reasons that matter here.
const (
	Waiting    = "waiting"
	Running    = "running"
	Terminated = "terminated"

	OOMKilled        = "OOMKilled"
	Completed        = "Completed"
	Error            = "Error"
	PodInitializing  = "PodInitializing"
	CrashLoopBackOff = "CrashLoopBackOff"
)

// The phases of a pod, the reason of one that the kubelet evicted, and how the
// message begins of one that it did not admit (rejectPod of pkg/kubelet).
const (
	PodPending   = "Pending"
	PodRunning   = "Running"
	PodSucceeded = "Succeeded"
	PodFailed    = "Failed"

	Evicted  = "Evicted"
	Rejected = "Pod was rejected"
)

// SystemOOM is the reason of the event by which the kubelet reports an OOM of the
// whole node.
const SystemOOM = "SystemOOM"

// Status is one entry of containerStatuses: what the API says of a container, or
// will say.
type Status struct {
	State        string `json:"state"`               // waiting, running, terminated
	Reason       string `json:"reason,omitempty"`    // of that state
	ExitCode     *int   `json:"exit_code,omitempty"` // terminated
	Signal       int    `json:"signal,omitempty"`
	Message      string `json:"message,omitempty"`
	RestartCount int    `json:"restart_count"`
	ID           string `json:"id,omitempty"`          // containerd://…
	StartedAt    string `json:"started_at,omitempty"`  // RFC 3339, by the node's clock
	FinishedAt   string `json:"finished_at,omitempty"` //
	// Last is lastState.terminated: how it ended before it was started again.
	Last *Status `json:"last,omitempty"`
}

// String writes a status for a reader.
func (s Status) String() string {
	out := strings.TrimSpace(s.State + " " + s.Reason)
	if out == "" {
		out = "none"
	}
	if s.ExitCode != nil {
		out += fmt.Sprintf(" (%d)", *s.ExitCode)
	}
	if s.RestartCount > 0 {
		out += fmt.Sprintf(", restartCount %d", s.RestartCount)
	}
	if s.Last != nil {
		out += ", before that " + Status{Reason: s.Last.Reason, ExitCode: s.Last.ExitCode}.String()
	}
	return out
}

// Same reports whether two statuses say the same of a container and of its last
// end.
func (s Status) Same(o Status) bool {
	return s.State == o.State && s.RestartCount == o.RestartCount && s.SameEnd(o) &&
		(s.Last == nil) == (o.Last == nil) && (s.Last == nil || s.Last.SameEnd(*o.Last))
}

// SameEnd reports whether two ends have the same reason and exit code.
func (s Status) SameEnd(o Status) bool {
	return s.Reason == o.Reason && (s.ExitCode == nil) == (o.ExitCode == nil) &&
		(s.ExitCode == nil || *s.ExitCode == *o.ExitCode)
}

// Ends is how many lives of the container have ended.
func (s Status) Ends() int {
	if s.State == Terminated || s.State == Waiting && s.Last != nil {
		return s.RestartCount + 1
	}
	return s.RestartCount
}

// Failed reports whether a container that has terminated did not succeed.
func (s Status) Failed() bool { return s.ExitCode == nil || *s.ExitCode != 0 }
