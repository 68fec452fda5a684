package agent

import (
	"context"
	"errors"
	"sync"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/observe"
)

// A session is what carrying out a plan and watching pods have in common: one
// order of events, the names of processes, and readings before and after.
type session struct {
	agent *Agent
	paths *paths
	sink  func(evidence.Event)

	mu    sync.Mutex     // of what follows, and of sink
	over  bool           // nothing is passed on any more
	names map[int]string // pid -> process, those that have ended included
	pids  map[int]int    // the kernel's -> the agent's, where they differ
}

// A watched is what a session is about: the processes of a plan, or pods.
type watched interface {
	// observed takes what the observers deliver, from their goroutines.
	observed(evidence.Event)
	// begin takes first readings of its own, before the Begin event.
	begin()
	// wait returns when there is nothing more to wait for, and how it ended. All
	// that had happened by then has been delivered.
	wait(ctx context.Context) (end string)
	// conclude takes last readings of its own, before the End event.
	conclude()
}

// alone calls do unless something else is being carried out.
func (a *Agent) alone(do func() error) error {
	if !a.busy.CompareAndSwap(false, true) {
		return errors.New("agent: another plan is being carried out")
	}
	defer a.busy.Store(false)
	return do()
}

// carryOut observes w from its first readings to its last. Without a period in
// the options no samples are taken.
func (s *session) carryOut(ctx context.Context, w watched, title string, c *observe.Counters,
	o observe.SamplerOptions) error {
	var sampler *observe.Sampler
	if o.Period > 0 {
		var err error
		if sampler, err = observe.OpenSampler(o); err != nil {
			return err
		}
	}
	stop := func() {
		s.agent.observers.stop()
		if sampler != nil {
			sampler.Close()
		}
	}
	err := s.agent.observers.start(w.observed)
	if err == nil {
		err = c.Read("before", s.emit)
	}
	if err != nil {
		stop()
		return err
	}
	w.begin()
	s.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.Begin, Text: title})
	if sampler != nil {
		sampler.Start(s.emit)
	}
	end := w.wait(ctx)
	stop()
	if err := c.Read("after", s.emit); err != nil {
		s.failure(err.Error())
	}
	w.conclude()
	s.finish(end)
	return nil
}

// emit passes an event on, stamped if it has no time of its own.
func (s *session) emit(ev evidence.Event) {
	if ev.AtNS == 0 {
		ev.AtNS = monotonic()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.sink(ev)
	}
}

// finish emits the End event, after which nothing is emitted any more.
func (s *session) finish(end string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sink(evidence.Event{AtNS: monotonic(), Source: evidence.Agent, Kind: evidence.End, Text: end})
	s.over = true
}

// failure says that the agent could not do something that was asked for.
func (s *session) failure(text string) {
	s.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.Failure, Text: text})
}

// drain waits for the observers; one that does not deliver is a failure of the
// session, which makes its verdict broken.
func (s *session) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), drainDeadline)
	defer cancel()
	if err := s.agent.observers.drain(ctx); err != nil {
		s.failure("drain: " + err.Error())
	}
}

// reportAlive says what a process holds that has not ended.
func (s *session) reportAlive(name string, pid int) {
	if status := s.agent.usage(pid); status != nil && status.State != "Z" {
		s.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.Alive, Process: name, PID: pid, Status: status})
	}
}

// name is the process that a pid is or was; empty: none that is known.
func (s *session) name(pid int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[pid]
}

// know remembers which process a pid is.
func (s *session) know(pid int, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[pid] = name
}

// pidOf is the pid of a process's newest life that was seen.
func (s *session) pidOf(process string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	newest := 0
	for pid, name := range s.names {
		if name == process && pid > newest {
			newest = pid
		}
	}
	return newest
}

// resolve puts paths in the place of the numbers by which the kernel knows
// cgroups, and gives an event the pid of the task that it is about.
func (s *session) resolve(ev *evidence.Event) {
	if ev.OOM == nil {
		return
	}
	s.paths.fill(ev.OOM)
	s.learn(ev.OOM.Current)
	if t := ev.OOM.Task; t != nil {
		s.learn(t.TaskID)
	}
	if t := ev.OOM.Task; t != nil && ev.PID == 0 {
		ev.PID = t.TGID
	}
}

// learn remembers what the agent's pid of a task is.
func (s *session) learn(id evidence.TaskID) {
	if !s.agent.within || id.NSTGID == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pids == nil {
		s.pids = map[int]int{}
	}
	s.pids[id.TGID] = id.NSTGID
}

// own is the agent's pid of a process that the kernel names; 0: it is not known, or in
// none of the agent's namespaces.
func (s *session) own(pid int) int {
	if !s.agent.within {
		return pid
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pids[pid]
}
