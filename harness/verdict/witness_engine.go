package verdict

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/engine"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
)

// engineWitness are the engines of containers: what they say of the plan's containers at
// the end.
type engineWitness struct {
	bystander
	in   Input
	told []evidence.Event
}

// What is found of engines. A misreport that was not predicted is a disagreement, too,
// under its own name (engine.Misreports).
const (
	EngineMissing Kind = "engine-missing" // nothing is told of a container, or something of one that there is not
	EngineDiffers Kind = "engine-differs" // an engine says what the kernel and the wait status contradict
)

func init() {
	addWitness(57, func(in Input) witness { return &engineWitness{in: in} })
}

func (a *account) engine() *engineWitness { return witnessOf[*engineWitness](a) }

func (*engineWitness) source() evidence.Source { return evidence.Engine }

func (w *engineWitness) absent() string {
	if len(w.in.Plan.Containers) == 0 {
		return "the plan has no containers of an engine"
	}
	return ""
}

func (w *engineWitness) hear(e evidence.Event) {
	if e.Kind == evidence.ContainerShown {
		w.told = append(w.told, e)
	}
}

// last is what was told of a container; nil: nothing.
func (w *engineWitness) last(container string) *evidence.ContainerState {
	for _, e := range slices.Backward(w.told) {
		if e.Process == container && e.Engine != nil {
			return e.Engine
		}
	}
	return nil
}

// shown is a property of what was told, the order of events among them.
func shown(s evidence.ContainerState, name string) string {
	if name == engine.Events {
		return engine.Names(s.Events)
	}
	return s.Shows[name]
}

// explains: with a container's first process its pid namespace ends, and all that is in it.
func (w *engineWitness) explains(a *account, l *life) bool {
	c, ok := w.in.Plan.Container(l.process)
	if !ok || l.process == c.Name {
		return false
	}
	first := a.lifeOf(c.Name)
	return first != nil && first.exit != nil
}

// tells reports whether an engine tells of a kill.
func (w *engineWitness) tells(_ *account, _ *Kill, l *life) bool {
	c, ok := w.in.Plan.Container(l.process)
	if !ok {
		return false
	}
	s := w.last(c.Name)
	return s != nil && s.Shows[engine.OOMKilled] == "true"
}

func (w *engineWitness) complete(a *account, found *findings) {
	times := map[string]int{}
	for _, e := range w.told {
		times[e.Process]++
		if e.Engine == nil || e.Source != evidence.Engine ||
			!slices.ContainsFunc(w.in.Plan.Containers, func(c plan.EngineContainer) bool {
				return c.Name == e.Process && c.Engine == e.Engine.Engine
			}) {
			found.add(EngineMissing, "%s of %q is told, which is no container of the plan's", e.Kind, e.Process)
			continue
		}
		for _, name := range engine.Properties {
			if _, ok := e.Engine.Shows[name]; !ok {
				found.add(EngineMissing, "%s of %s is not told", name, e.Process)
			}
		}
	}
	if !a.over() {
		return
	}
	for _, c := range w.in.Plan.Containers {
		if n := times[c.Name]; n != 1 {
			found.add(EngineMissing, "%s told %d times of %s at the end", c.Engine, n, c.Name)
		}
	}
}

// killsOf are the kills of a container's processes since a moment.
func (a *account) killsOf(c plan.EngineContainer, sinceNS int64) []Kill {
	return slices.DeleteFunc(slices.Clone(a.kills), func(k Kill) bool {
		of, ok := a.in.Plan.Container(k.Victim.Process)
		l := a.life(k.Victim.PID)
		return !ok || of.Name != c.Name || l == nil || l.diedNS != 0 && l.diedNS < sinceNS
	})
}

// agree holds what engines say against the kernel's kills and the ends of the processes.
func (w *engineWitness) agree(a *account, found *findings) {
	for _, c := range w.in.Plan.Containers {
		s, lives := w.last(c.Name), a.livesOf(c.Name)
		if s == nil || len(lives) == 0 {
			continue
		}
		w.settings(c, *s, found)
		w.made(a, c, *s, lives, found)
		if a.agent().endText != settled {
			continue // the engine may have more to do
		}
		l := lives[len(lives)-1]
		end := engine.End{Engine: c.Engine, Runtime: c.Runtime, Alive: l.alive, Lives: len(lives),
			Killed: len(a.killsOf(c, l.born)) > 0}
		if l.exit != nil {
			end.Signal, end.Code = l.exit.Signal, l.exit.Code
		}
		for _, d := range differ(end.Shows(), s.Shows, asShown) {
			found.add(EngineDiffers, "%s has %s, after what became of its processes", c.Name, d)
		}
		pid := "0"
		if l.alive {
			pid = strconv.Itoa(l.pid)
		}
		if is := s.Shows[engine.Pid]; is != pid {
			found.add(EngineDiffers, "%s has the first process %s at the end; it is %s", c.Name, is, pid)
		}
		w.events(a, c, *s, lives, found)
		w.misreported(a, c, *s, l, end, found)
	}
}

// asShown takes what inspect shows as it is.
func asShown(_, is string) string { return is }

// misreport names how OOMKilled misses what the kernel did in a container's last life;
// empty: it does not.
func (a *account) misreport(c plan.EngineContainer, s evidence.ContainerState, l *life) engine.Misreport {
	k := engine.Kills{Alive: l.alive}
	for _, kill := range a.killsOf(c, l.born) {
		k.First = k.First || kill.Victim.Process == c.Name
		k.Others = k.Others || kill.Victim.Process != c.Name
	}
	if l.exit != nil {
		k.Signal, k.Code = l.exit.Signal, l.exit.Code
	}
	return engine.Misreported(s.Shows[engine.OOMKilled] == "true", k)
}

// misreported: no surprise is what was predicted, and what a program of the user's own made
// of a kill, which nobody predicts. A course that is open says nothing of containers: there it
// is what follows from the end that was seen.
func (w *engineWitness) misreported(a *account, c plan.EngineContainer, s evidence.ContainerState, l *life,
	end engine.End, found *findings) {
	m := a.misreport(c, s, l)
	if m == "" || l.plan.IsCommand() || a.in.Prediction.Misreports(c.Name, m) ||
		a.in.Prediction.Open && slices.Contains(end.MayMisreport(), m) {
		return
	}
	found.add(Kind(m), "%s: OOMKilled is %s, with exit code %s", c.Name, s.Shows[engine.OOMKilled],
		s.Shows[engine.ExitCode])
}

// events: every start and every end has an event, in their order, with the exit code.
func (w *engineWitness) events(a *account, c plan.EngineContainer, s evidence.ContainerState, lives []*life,
	found *findings) {
	var ends []*life
	starts, ooms := 0, 0
	died := engine.Died
	if c.Engine == engine.Docker {
		died = engine.Dies
	}
	for _, l := range lives {
		if !l.alive {
			ends = append(ends, l)
		}
	}
	n := 0
	for _, e := range s.Events {
		switch {
		case e.Name == engine.Started:
			starts++
		case e.Name == engine.OOM:
			ooms++
		case e.Name == died:
			if n >= len(ends) || starts <= n {
				break
			}
			if l := ends[n]; l.exit != nil && (e.Code == nil || *e.Code != engine.Code(l.exit.Signal, l.exit.Code)) {
				found.add(EngineDiffers, "an event of %s says that it %s with %s; %s ended with %d", c.Name, e.Name,
					code(e.Code), l, engine.Code(l.exit.Signal, l.exit.Code))
			}
			n++
		case e.Name != engine.Restarted || c.Restart == "":
			found.add(EngineDiffers, "%s has an event %q, which %s does not have", c.Name, e.Name, c.Engine)
		}
	}
	if starts != len(lives) || n != len(ends) {
		found.add(EngineDiffers, "the events of %s are %s; it was started %d times and ended %d times", c.Name,
			engine.Names(s.Events), len(lives), len(ends))
	}
	if all := len(a.killsOf(c, 0)); ooms > all || c.Engine == engine.Podman && ooms > 0 {
		found.add(EngineDiffers, "%s has %d events oom; there were %d kills", c.Name, ooms, all)
	}
}

// code is an exit code that there may not be.
func code(n *int) string {
	if n == nil {
		return "no exit code"
	}
	return strconv.Itoa(*n)
}

// settings: the engine shows the flags that it was run with.
func (w *engineWitness) settings(c plan.EngineContainer, s evidence.ContainerState, found *findings) {
	restart := c.Restart
	if restart == "" {
		restart = engine.RestartNo
	}
	for name, want := range map[string]string{
		engine.Memory:      strconv.FormatInt(int64(c.Memory), 10),
		engine.MemorySwap:  strconv.FormatInt(int64(c.MemorySwap), 10),
		engine.OomScoreAdj: strconv.Itoa(c.OOMScoreAdj), engine.Restart: restart, engine.Runtime: c.Runtime,
	} {
		if is := s.Shows[name]; is != want {
			found.add(EngineDiffers, "%s has %s %q; it was run with %q", c.Name, name, is, want)
		}
	}
}

// made holds what the agent has read of a container's cgroup, in each of its lives, against
// the engine's word and the flags.
func (w *engineWitness) made(a *account, c plan.EngineContainer, s evidence.ContainerState, lives []*life,
	found *findings) {
	facts := a.agent().cgroups[c.Name]
	if len(facts) != len(lives) {
		found.add(EngineDiffers, "%d cgroups are told of %s, which was started %d times", len(facts), c.Name,
			len(lives))
		return
	}
	set, _ := w.in.Plan.Cgroup(c.Cgroup)
	differs := func(a, b *kernel.Bytes) bool { return (a == nil) != (b == nil) || a != nil && *a != *b }
	for i, f := range facts {
		top, _, _ := strings.Cut(strings.TrimPrefix(f.Path, "/"), "/")
		switch {
		case f.PID != lives[i].pid || f.Plan != c.Cgroup:
			found.add(EngineDiffers, "the cgroup of pid %d is told as %s, that of %s", f.PID, f.Plan, lives[i])
		case f.ID != s.ID || f.ID == "" || !strings.Contains(top, f.ID) || path.Clean(f.Path) != f.Path:
			found.add(EngineDiffers, "%s is in the cgroup %s of container %s; its engine calls it %s", lives[i], f.Path,
				f.ID, s.ID)
		case differs(f.Max, set.Max) || differs(f.SwapMax, set.SwapMax):
			found.add(EngineDiffers, "the cgroup of %s has other limits than its flags say", lives[i])
		case f.OOMScoreAdj == nil || *f.OOMScoreAdj != c.OOMScoreAdj:
			found.add(EngineDiffers, "%s was not started with oom_score_adj %d", lives[i], c.OOMScoreAdj)
		case f.OOMGroup == nil || *f.OOMGroup != set.OOMGroup:
			found.add(EngineDiffers, "memory.oom.group of %s is otherwise than its flags say", lives[i])
		}
	}
}
