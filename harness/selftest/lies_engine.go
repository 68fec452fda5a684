package selftest

import (
	"github.com/oomlab/oomlab/harness/engine"
	"github.com/oomlab/oomlab/harness/evidence"
)

func init() { lies[evidence.Engine] = (*liar).engine }

func (l *liar) engine() {
	shown := func(e evidence.Event) bool { return e.Kind == evidence.ContainerShown && e.Engine != nil }
	met := func(e evidence.Event) bool { return e.Kind == evidence.ContainerCgroup && e.Cgroup != nil }
	l.tell("a container was not told of", without(shown))
	l.tell("a container was told of twice", twice(shown))
	l.tell("another container", first(shown, func(e *evidence.Event) { e.Process += "x" }))
	l.tell("another container's ID", first(shown, func(e *evidence.Event) { e.Engine.ID += "0" }))
	l.tell("no events", first(shown, func(e *evidence.Event) { e.Engine.Events = nil }))
	l.tell("a start more", first(shown, func(e *evidence.Event) {
		e.Engine.Events = append(e.Engine.Events, engine.Event{Name: engine.Started})
	}))
	l.tell("an oom more", first(shown, func(e *evidence.Event) {
		for range 100 {
			e.Engine.Events = append(e.Engine.Events, engine.Event{Name: engine.OOM})
		}
	}))
	for name, to := range map[string]string{
		engine.Status: "paused", engine.ExitCode: "7", engine.RestartCount: "77", engine.Pid: "1",
		engine.Memory: "1", engine.MemorySwap: "1", engine.OomScoreAdj: "77", engine.Restart: "always",
		engine.Runtime: "youki",
	} {
		l.tell("another "+name, first(shown, func(e *evidence.Event) { e.Engine.Shows[name] = to }))
	}
	l.tell("another limit of the cgroup", first(met, func(e *evidence.Event) {
		if e.Cgroup.Max != nil {
			*e.Cgroup.Max++
		}
	}))
	l.tell("memory.oom.group", first(met, func(e *evidence.Event) { e.Cgroup.OOMGroup = nil }))
	l.tell("the cgroup of another process", first(met, func(e *evidence.Event) { e.Cgroup.PID++ }))
}
