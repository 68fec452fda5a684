package verdict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
)

// runtimeLies make the container runtime and the node's agent lie about
// containers.
func (c *corrupter) runtimeLies() {
	ended := func(code int) func(evidence.Event) bool {
		return func(e evidence.Event) bool {
			return e.Kind == evidence.TaskEnded && e.Exit != nil && e.Exit.Code == code && !c.evicted(e)
		}
	}
	c.try(evidence.Runtime, "137 became exit code 1", func(e []evidence.Event) []evidence.Event {
		return first(e, ended(137), func(e *evidence.Event) { e.Exit.Code = 1 })
	})
	c.try(evidence.Runtime, "an exit came twice", func(e []evidence.Event) []evidence.Event {
		return twice(e, kind(evidence.TaskEnded))
	})
	c.try(evidence.Runtime, "an OOM kill that there was not", func(e []evidence.Event) []evidence.Event {
		i := slices.IndexFunc(e, func(a evidence.Event) bool {
			return a.Kind == evidence.ContainerCgroup && a.Cgroup != nil && a.Cgroup.ID != "" && !slices.ContainsFunc(e, func(b evidence.Event) bool {
				return b.Kind == evidence.TaskOOM && b.Process == a.Process
			})
		})
		if i < 0 {
			return nil
		}
		at := slices.IndexFunc(e, kind(evidence.End))
		return slices.Insert(e, at, evidence.Event{AtNS: e[at].AtNS, Source: evidence.Runtime, Kind: evidence.TaskOOM, Process: e[i].Process, Text: e[i].Cgroup.ID})
	})
	facts := func(e evidence.Event) bool {
		return e.Kind == evidence.ContainerCgroup && e.Cgroup != nil && e.Cgroup.OOMScoreAdj != nil
	}
	c.try(evidence.Agent, "another oom_score_adj", func(e []evidence.Event) []evidence.Event {
		return first(e, facts, func(e *evidence.Event) { *e.Cgroup.OOMScoreAdj-- })
	})
	// What is no container's, such as a sandbox, is set to whatever the runtime likes.
	planned := func(e evidence.Event) bool {
		if !facts(e) {
			return false
		}
		_, ok := c.in.Plan.Cgroup(e.Cgroup.Plan)
		return ok
	}
	c.try(evidence.Agent, "another memory.max", func(e []evidence.Event) []evidence.Event {
		return first(e, func(e evidence.Event) bool { return planned(e) && e.Cgroup.Max != nil }, func(e *evidence.Event) { *e.Cgroup.Max *= 2 })
	})
	if c.in.Plan.On.SwapCapacity > 0 {
		c.try(evidence.Agent, "no memory.swap.max", func(e []evidence.Event) []evidence.Event {
			return first(e, func(e evidence.Event) bool { return planned(e) && e.Cgroup.SwapMax != nil }, func(e *evidence.Event) { e.Cgroup.SwapMax = nil })
		})
	}
	c.try(evidence.Agent, "another memory.oom.group", func(e []evidence.Event) []evidence.Event {
		return first(e, func(e evidence.Event) bool { return planned(e) && e.Cgroup.OOMGroup != nil }, func(e *evidence.Event) { *e.Cgroup.OOMGroup = !*e.Cgroup.OOMGroup })
	})
}

// evicted reports whether an event is about a pod that was evicted, of whose
// containers anything may be said.
func (c *corrupter) evicted(e evidence.Event) bool {
	return slices.ContainsFunc(c.in.Events, func(p evidence.Event) bool {
		return p.Kind == evidence.PodStatus && p.Pod != nil && p.Pod.Reason == evictedReason && len(e.Process) > len(p.Process) && e.Process[:len(p.Process)+1] == p.Process+"/"
	})
}

// kubeletLies make the kubelet's log lie, where it was read.
func (c *corrupter) kubeletLies() {
	if !strings.HasPrefix(c.in.Tier.Hooks["kubelet"], "attached") {
		return
	}
	c.try(evidence.Kubelet, "its log tells of nothing", func(e []evidence.Event) []evidence.Event {
		told := slices.ContainsFunc(e, func(e evidence.Event) bool {
			return e.Kind == evidence.KubeletLine && (loggedOOM.MatchString(e.Text) && c.in.Plan.On.Ours || loggedRanking.MatchString(e.Text) || loggedEvicted.MatchString(e.Text))
		})
		if !told {
			return nil
		}
		return slices.DeleteFunc(e, kind(evidence.KubeletLine))
	})
	line := func(text string) func([]evidence.Event) []evidence.Event {
		return func(e []evidence.Event) []evidence.Event {
			i := slices.IndexFunc(e, kind(evidence.End))
			if i < 0 {
				return nil
			}
			return slices.Insert(e, i, evidence.Event{AtNS: e[i].AtNS, Source: evidence.Kubelet, Kind: evidence.KubeletLine, Text: text})
		}
	}
	c.try(evidence.Kubelet, "an OOM of the node that there was not", line(fmt.Sprintf(`oom_watcher_linux.go:84] "Got sys oom event" event={"Pid":%d,"ProcessName":"stranger"}`, strangerPID)))
	if k := c.in.Prediction.Kube; k != nil && k.Eviction != "never" && len(k.Evicted) == 0 {
		c.try(evidence.Kubelet, "it cannot evict", line(`eviction_manager.go:217] "Eviction manager: failed to synchronize" err="eviction manager: no disk"`))
	}
	for _, p := range c.in.Plan.Pods {
		if !slices.ContainsFunc(c.in.Events, func(e evidence.Event) bool {
			return e.Process == p.Name && c.evicted(evidence.Event{Process: p.Name + "/"})
		}) {
			c.try(evidence.Kubelet, "an eviction that there was not", line(`eviction_manager.go:635] "Eviction manager: pod is evicted successfully" pod="oomlab/`+p.Name+`-0123abcd"`))
			break
		}
	}
}

// apiLies make the API server lie about how containers ended, in the ways that
// real ones did.
func (c *corrupter) apiLies() {
	// every account of an end, as state and later as lastState
	ends := func(e []evidence.Event, reason string, change func(*evidence.ContainerState)) []evidence.Event {
		n := 0
		for i := range e {
			s := e[i].Container
			if e[i].Kind != evidence.ContainerStatus || s == nil || c.evicted(e[i]) {
				continue
			}
			for _, end := range []*evidence.ContainerState{s, s.Last} {
				if end != nil && end.ExitCode != nil && end.Reason == reason {
					change(end)
					n++
				}
			}
		}
		if n == 0 {
			return nil
		}
		return e
	}
	for _, code := range []int{0, 1, 143} {
		c.try(evidence.API, fmt.Sprintf("137 became exit code %d", code), func(e []evidence.Event) []evidence.Event {
			n := 0
			e = ends(e, "OOMKilled", func(s *evidence.ContainerState) {
				if *s.ExitCode == 137 {
					*s.ExitCode = code
					n++
				}
			})
			if n == 0 {
				return nil
			}
			return e
		})
	}
	c.try(evidence.API, "OOMKilled became Error", func(e []evidence.Event) []evidence.Event {
		return ends(e, "OOMKilled", func(s *evidence.ContainerState) { s.Reason = "Error" })
	})
	c.try(evidence.API, "Completed became OOMKilled", func(e []evidence.Event) []evidence.Event {
		return ends(e, "Completed", func(s *evidence.ContainerState) { s.Reason = "OOMKilled" })
	})
	c.try(evidence.API, "no end of a container was told", func(e []evidence.Event) []evidence.Event {
		all := slices.DeleteFunc(e, func(e evidence.Event) bool {
			s := e.Container
			return s != nil && !c.evicted(e) && (s.ExitCode != nil || s.Last != nil)
		})
		if len(all) == len(c.in.Events) {
			return nil
		}
		return all
	})
	last := func(e []evidence.Event, want func(evidence.Event) bool, change func(*evidence.Event)) []evidence.Event {
		for i := len(e) - 1; i >= 0; i-- {
			if want(e[i]) {
				change(&e[i])
				return e
			}
		}
		return nil
	}
	c.try(evidence.API, "a restart too many", func(e []evidence.Event) []evidence.Event {
		return last(e, func(e evidence.Event) bool {
			return e.Container != nil && e.Container.State == "running" && !c.evicted(e) && c.stays(e)
		},
			func(e *evidence.Event) { e.Container.RestartCount++ })
	})
	c.try(evidence.API, "a running container is waiting", func(e []evidence.Event) []evidence.Event {
		return last(e, func(e evidence.Event) bool {
			return e.Container != nil && e.Container.State == "running" && !c.evicted(e) && c.stays(e)
		},
			func(e *evidence.Event) { e.Container.State, e.Container.Reason = "waiting", "ContainerCreating" })
	})
	c.try(evidence.API, "another phase", func(e []evidence.Event) []evidence.Event {
		return last(e, kind(evidence.PodStatus), func(e *evidence.Event) { e.Pod.Phase, e.Pod.Reason = "Unknown", "" })
	})
	c.try(evidence.API, "another QoS class", func(e []evidence.Event) []evidence.Event {
		return last(e, kind(evidence.PodStatus), func(e *evidence.Event) { e.Pod.QOSClass = "Unknown" })
	})
	c.try(evidence.API, "a pod was evicted that was not", func(e []evidence.Event) []evidence.Event {
		if c.in.Prediction.Kube == nil || c.in.Prediction.Kube.Eviction != "never" {
			return nil
		}
		return last(e, func(e evidence.Event) bool { return e.Kind == evidence.PodStatus && e.Pod.Reason == "" }, func(e *evidence.Event) {
			e.Pod.Phase, e.Pod.Reason = "Failed", evictedReason
		})
	})
	oom := func(e evidence.Event) bool {
		return e.Kind == evidence.NodeEvent && e.Happened != nil && e.Happened.Reason == "SystemOOM"
	}
	c.try(evidence.API, "SystemOOM is missing", func(e []evidence.Event) []evidence.Event {
		all := slices.DeleteFunc(e, oom)
		if len(all) == len(c.in.Events) {
			return nil
		}
		return all
	})
	c.try(evidence.API, "SystemOOM names a stranger", func(e []evidence.Event) []evidence.Event {
		return first(e, oom, func(e *evidence.Event) {
			e.Happened.Message = fmt.Sprintf("System OOM encountered, victim process: stranger, pid: %d", strangerPID)
		})
	})
	c.try(evidence.API, "SystemOOM for nothing", func(e []evidence.Event) []evidence.Event {
		if slices.ContainsFunc(e, oom) {
			return nil
		}
		i := slices.IndexFunc(e, kind(evidence.End))
		if i < 0 {
			return nil
		}
		return slices.Insert(e, i, evidence.Event{AtNS: e[i].AtNS, Source: evidence.API, Kind: evidence.NodeEvent, Happened: &evidence.Happened{
			Reason: "SystemOOM", Count: 1, Message: fmt.Sprintf("System OOM encountered, victim process: stranger, pid: %d", strangerPID)}})
	})
}

// stays reports whether a container is alive at the end: what is said of it then
// is all there is.
func (c *corrupter) stays(e evidence.Event) bool {
	return slices.ContainsFunc(c.in.Events, func(a evidence.Event) bool { return a.Kind == evidence.Alive && a.Process == e.Process })
}
