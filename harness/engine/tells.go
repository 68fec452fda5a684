package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// inspected is what inspect prints of one container: that of docker, of which podman's is a
// likeness. Each has words of its own for the runtime.
type inspected struct {
	ID    string `json:"Id"`
	Name  string
	State *struct {
		Status    string
		OOMKilled *bool
		Pid       *int
		ExitCode  *int
	}
	RestartCount *int
	OCIRuntime   string // podman
	HostConfig   *struct {
		Memory        *int64
		MemorySwap    *int64
		OomScoreAdj   *int
		Runtime       string // docker; podman: oci
		RestartPolicy *struct {
			Name              string
			MaximumRetryCount int
		}
	}
}

// Inspect is what an engine shows of a container.
type Inspect struct {
	ID    string
	Name  string
	Shows map[string]string // by name, each of Properties
}

// ParseInspect reads what docker inspect or podman inspect prints of one container.
func ParseInspect(text []byte) (Inspect, error) {
	var all []inspected
	if err := json.Unmarshal(text, &all); err != nil {
		return Inspect{}, fmt.Errorf("inspect: %w", err)
	}
	if len(all) != 1 {
		return Inspect{}, fmt.Errorf("inspect: %d containers, want 1", len(all))
	}
	c := all[0]
	s, h := c.State, c.HostConfig
	if c.ID == "" || s == nil || h == nil || s.Status == "" || s.OOMKilled == nil || s.Pid == nil ||
		s.ExitCode == nil || c.RestartCount == nil || h.Memory == nil || h.MemorySwap == nil || h.OomScoreAdj == nil ||
		h.RestartPolicy == nil {
		return Inspect{}, errors.New("inspect: it has not all of what is due")
	}
	out := Inspect{ID: c.ID, Name: strings.TrimPrefix(c.Name, "/"), Shows: map[string]string{
		Status: s.Status, OOMKilled: strconv.FormatBool(*s.OOMKilled), ExitCode: strconv.Itoa(*s.ExitCode),
		RestartCount: strconv.Itoa(*c.RestartCount), Pid: strconv.Itoa(*s.Pid),
		Memory: strconv.FormatInt(*h.Memory, 10), MemorySwap: strconv.FormatInt(*h.MemorySwap, 10),
		OomScoreAdj: strconv.Itoa(*h.OomScoreAdj), Runtime: h.Runtime,
	}}
	if c.OCIRuntime != "" {
		out.Shows[Runtime] = c.OCIRuntime[strings.LastIndexByte(c.OCIRuntime, '/')+1:]
	}
	policy := h.RestartPolicy
	if out.Shows[Restart] = policy.Name; policy.Name == "" {
		out.Shows[Restart] = RestartNo
	}
	if policy.MaximumRetryCount > 0 {
		out.Shows[Restart] += ":" + strconv.Itoa(policy.MaximumRetryCount)
	}
	return out, nil
}

// The events of a container that count here, as podman and docker call them.
const (
	Started   = "start"
	Restarted = "restart"
	OOM       = "oom"  // docker alone
	Died      = "died" // podman
	Dies      = "die"  // docker
)

// EventNames are all of them.
var EventNames = []string{Started, Restarted, OOM, Died, Dies}

// Event is one of an engine's events.
type Event struct {
	Name string `json:"name"`
	Code *int   `json:"exit_code,omitempty"` // of one that has ended
}

// toldEvent is an event as podman prints it, and as docker does, which has the exit code
// among the attributes. Both have more.
type toldEvent struct {
	Status            string
	ContainerExitCode *int
	Actor             struct{ Attributes map[string]string }
}

// ParseEvents reads the events of a container as an engine prints them, one JSON object a
// line, and keeps those that count, in the order in which they were printed.
func ParseEvents(text []byte) ([]Event, error) {
	var out []Event
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		var e toldEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("events: %q: %w", line, err)
		}
		if !slices.Contains(EventNames, e.Status) {
			continue
		}
		event := Event{Name: e.Status}
		if event.Ended() {
			event.Code = e.ContainerExitCode
			if code, ok := e.Actor.Attributes["exitCode"]; ok {
				n, err := strconv.Atoi(code)
				if err != nil {
					return nil, fmt.Errorf("events: %q: exit code %q", line, code)
				}
				event.Code = &n
			}
			if event.Code == nil {
				event.Code = new(int) // podman leaves out a zero
			}
		}
		out = append(out, event)
	}
	return out, nil
}

// Ended reports whether it says that the first process has ended.
func (e Event) Ended() bool { return e.Name == Died || e.Name == Dies }

// Names are those of events, in their order.
func Names(events []Event) string {
	var out []string
	for _, e := range events {
		out = append(out, e.Name)
	}
	return strings.Join(out, " ")
}
