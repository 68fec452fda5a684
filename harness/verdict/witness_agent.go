package verdict

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/stressor/profile"
)

// agentWitness is the agent: what it did and when the run was over, and what it read
// of the cgroups that a node's kubelet and runtime have made.
type agentWitness struct {
	bystander
	in     Input
	begin  int64
	begins int
	// beginText is what the agent says it began with.
	beginText string
	end       int64
	ended     bool
	late      []evidence.Event // what was recorded after the end
	did       []string
	stopping  []evidence.Event
	spawned   map[int]int64
	steps     bool // not every recording keeps them
	endText   string
	down      string // the machine went down: how and why
	failures  []string
	cgroups   map[string][]evidence.CgroupFacts // by process or pod
	nameless  int                               // containers of which nothing is told
	rankings  []evidence.Event
}

// What is found of the agent's record.
const (
	NoEnd       Kind = "no-end"       // the record stops before the run ended
	AgentFailed Kind = "agent-failed" // a step of the plan could not be carried out
	NeverReady  Kind = "never-ready"  // a process did not finish its steps in time
	NotStarted  Kind = "not-started"  // a process or an action of the plan was left out
	UnknownLife Kind = "unknown-life" // something is told of a process that was never started
	// ContainerDiffers: what is told of one container contradicts itself.
	ContainerDiffers Kind = "container-differs"
	HoldDiffers      Kind = "hold-differs" // a process holds something else than it was told to
	NotRead          Kind = "not-read"     // nothing was read of a process that the plan asks to read
	ReadDiffers      Kind = "read-differs" // what was read of /proc contradicts itself or what the process held
	ForkDiffers      Kind = "fork-differs" // what is told of what programs have started contradicts itself or others
	CallDiffers      Kind = "call-differs" // what is told of a step that was refused memory contradicts the rest
)

func init() {
	addWitness(80, func(in Input) witness {
		return &agentWitness{in: in, spawned: map[int]int64{}, cgroups: map[string][]evidence.CgroupFacts{}}
	})
}

func (a *account) agent() *agentWitness { return witnessOf[*agentWitness](a) }

func (*agentWitness) source() evidence.Source { return evidence.Agent }

func (w *agentWitness) hear(e evidence.Event) {
	if w.ended && e.Source != evidence.Console {
		w.late = append(w.late, e)
	}
	switch e.Kind {
	case evidence.Begin:
		w.begin, w.beginText = e.AtNS, e.Text
		w.begins++
	case evidence.Step:
		w.steps = true // or the run is of a model that keeps them
	case evidence.Spawned, evidence.Forked:
		w.spawned[e.PID] = e.AtNS
	case evidence.Did:
		w.did = append(w.did, e.Text)
	case evidence.Stopping:
		w.stopping = append(w.stopping, e)
	case evidence.End:
		w.ended, w.endText, w.end = true, e.Text, e.AtNS
	case evidence.Down:
		w.down = e.Text
	case evidence.Failure:
		w.failures = append(w.failures, e.Text)
	case evidence.Ranked:
		w.rankings = append(w.rankings, e)
	case evidence.ContainerCgroup:
		if e.Cgroup == nil {
			w.nameless++
			break
		}
		w.cgroups[e.Process] = append(w.cgroups[e.Process], *e.Cgroup)
	}
}

// met is what the agent has told of a container.
type met struct {
	process string
	facts   evidence.CgroupFacts
}

// container is the last that was told of a container, by its id; nil: nothing.
func (w *agentWitness) container(id string) *met {
	if id == "" {
		return nil
	}
	for process, all := range w.cgroups {
		for i := len(all) - 1; i >= 0; i-- {
			if all[i].ID == id {
				return &met{process, all[i]}
			}
		}
	}
	return nil
}

// adjOf is the oom_score_adj of a container's first process, in each of its lives.
func (w *agentWitness) adjOf(container string) []int {
	var out []int
	for _, f := range w.cgroups[container] {
		if f.OOMScoreAdj != nil {
			out = append(out, *f.OOMScoreAdj)
		}
	}
	return out
}

func (w *agentWitness) complete(a *account, found *findings) {
	for _, text := range w.failures {
		found.add(AgentFailed, "%s", text)
	}
	if why := w.in.Meta.Error; why != "" && why != Interrupted {
		found.add(AgentFailed, "%s", why)
	}
	if w.begins != 1 && !w.interrupted() {
		found.add(NoEnd, "the record has %d begins of a run", w.begins)
	}
	for _, e := range w.late {
		found.add(TimeDiffers, "%s of %s was recorded after the end of the run", e.Kind, e.Source)
	}
	switch {
	case w.interrupted():
		found.add(NoEnd, "the run was interrupted")
	case w.down != "":
		if w.in.Scenario.Expect.Panic == "" {
			found.add(NoEnd, "%s", w.down)
		}
		w.told(a, found)
	case !w.ended:
		found.add(NoEnd, "the record stops before the run ended")
	case w.endText != settled && w.endText != "within" && w.endText != "deadline":
		found.add(NoEnd, "the run ended with %q", w.endText)
	default:
		w.ready(a, found)
	}
}

// Interrupted is how a run ends that its user interrupted: for the agent, and as
// the error of a run whose agent could not say so any more.
const Interrupted = "interrupted"

func (w *agentWitness) interrupted() bool {
	return w.endText == Interrupted || w.in.Meta.Error == Interrupted
}

// cutShort says why no claim can be told: what an interrupted run has not shown
// might have come, and what it has shown might not have lasted.
func (w *agentWitness) cutShort() string {
	if !w.interrupted() {
		return ""
	}
	return "the run was interrupted"
}

// agree holds what the agent tells of processes against the plan.
func (w *agentWitness) agree(a *account, found *findings) {
	if w.in.Plan.On == nil && w.endText == settled {
		for _, p := range w.in.Plan.Processes {
			if a.lifeOf(p.Name) == nil {
				found.add(NotStarted, "%s was never started", p.Name)
			}
		}
		w.actions(found)
		w.stops(a, found)
	}
	w.told(a, found)
	w.facts(a, found)
	w.ranks(a, found)
	w.descendants(a, found)
	w.lineage(a, found)
}

// actions: every action of the plan is carried out, and those that come due together in the
// plan's order.
func (w *agentWitness) actions(found *findings) {
	if n := len(w.in.Plan.During); n != len(w.did) {
		found.add(NotStarted, "the plan has %d actions; %d were carried out", n, len(w.did))
	}
	for _, text := range w.did {
		if !slices.ContainsFunc(w.in.Plan.During, func(d plan.During) bool { return d.String() == text }) {
			found.add(NotStarted, "%q was carried out, which is no action of the plan's", text)
		}
	}
	for i, d := range w.in.Plan.During {
		at := slices.Index(w.did, d.String())
		if at < 0 {
			found.add(NotStarted, "%q is an action of the plan's, and was not carried out", d.String())
			continue
		}
		if i == 0 {
			continue
		}
		before := w.in.Plan.During[i-1]
		if slices.Equal(before.After, d.After) && before.DelayMS == d.DelayMS &&
			slices.Index(w.did, before.String()) > at {
			found.add(TimeDiffers, "%q was carried out before %q, which comes first in the plan", d.String(),
				before.String())
		}
	}
}

// stops: what is stopped by its overseer lives by then, and what the action comes after was
// ready.
func (w *agentWitness) stops(a *account, found *findings) {
	asked := map[string]int{}
	for _, e := range w.stopping {
		asked[e.Process]++
		i := slices.IndexFunc(w.in.Plan.During, func(d plan.During) bool { return slices.Contains(d.Stop, e.Process) })
		if i < 0 {
			found.add(NotStarted, "%q was about to be stopped, which the plan does not say", e.Process)
			continue
		}
		l := a.lifeOf(e.Process)
		if due, _ := a.reached(w.in.Plan.During[i].After); l == nil || e.AtNS < l.born ||
			l.diedNS != 0 && l.diedNS < e.AtNS || e.AtNS < due {
			found.add(TimeDiffers, "%s was about to be stopped at %d ns, when it was not there or that was not due yet",
				e.Process, e.AtNS)
		}
		w.alone(e, w.in.Plan.During[i].String(), found)
	}
	for _, d := range w.in.Plan.During {
		for _, name := range d.Stop {
			if n := asked[name]; n != 1 {
				found.add(NotStarted, "%s was about to be stopped %d times; once is due", name, n)
			}
		}
	}
}

// alone: actions are carried out one after the other, so that none is while another one's
// process is being stopped. The agent tells of one when the next may have begun.
func (w *agentWitness) alone(stopping evidence.Event, action string, found *findings) {
	for _, e := range w.in.Events {
		if e.Kind != evidence.Did {
			continue
		}
		if e.Text == action {
			return
		}
		if e.AtNS > stopping.AtNS+lateNS {
			found.add(TimeDiffers, "%q was carried out at %d ns, while %s was being stopped", e.Text, e.AtNS,
				stopping.Process)
		}
	}
}

// title is what the agent begins a run with; empty: nobody knows.
func (w *agentWitness) title() string {
	if w.in.Plan.On == nil {
		return w.in.Plan.Scenario
	}
	for _, f := range w.cgroups[""] {
		return "watching " + f.Path
	}
	return ""
}

// told holds what was told of the run and of its processes against the plan and the
// clock, in a run that its machine may have gone down in.
func (w *agentWitness) told(a *account, found *findings) {
	if want := w.title(); want != "" && w.beginText != want || w.in.Meta.Scenario != w.in.Plan.Scenario {
		found.add(PlanDiffers, "run.json is of %q, plan.json of %q, and the agent began with %q", w.in.Meta.Scenario,
			w.in.Plan.Scenario, w.beginText)
	}
	w.lives(a, found)
	w.unread(a, found)
	w.order(a, found)
	w.due(a, found)
}

// lives: every event of a process is about one that was started, and lies within its
// life.
func (w *agentWitness) lives(a *account, found *findings) {
	heard := map[*life]map[evidence.Kind]int{}
	last := map[*life]int64{}
	var acted int64
	for _, e := range w.in.Events {
		if e.Kind == evidence.Did {
			acted = max(acted, e.AtNS)
		}
	}
	for _, e := range w.in.Events {
		switch e.Kind {
		case evidence.Spawned, evidence.Ready, evidence.Step, evidence.Alive, evidence.Exited, evidence.Failed,
			evidence.ProcRead, evidence.Forked, evidence.Named:
		default:
			continue
		}
		l := a.lifeAs(e.PID, e.Process)
		if l == nil || l.plan.Name == "" {
			found.add(UnknownLife, "%s of %s (pid %d), which was never started", e.Kind, e.Process, e.PID)
			continue
		}
		if e.Kind == evidence.Step && l.plan.IsCommand() {
			continue // what a program of the user's own prints, read when there is time
		}
		if heard[l] == nil {
			heard[l] = map[evidence.Kind]int{}
		}
		w.once(a, l, e, heard[l], found)
		if e.Source == evidence.Stressor && w.in.Plan.On == nil {
			if e.AtNS < last[l] {
				found.add(TimeDiffers, "%s of %s was told before what it had done earlier", e.Kind, l)
			}
			last[l] = e.AtNS
		}
		switch {
		case e.Kind == evidence.Alive && e.AtNS < acted: // who is alive is looked for when all is over
			found.add(TimeDiffers, "%s was alive at the end, at %d ns, and an action was carried out later", l, e.AtNS)
		case e.AtNS < l.born && e.Kind != evidence.Spawned && l.plan.Parent == "" && w.in.Plan.On == nil:
			found.add(TimeDiffers, "%s of %s came before it was started", e.Kind, l)
		case l.exit != nil && l.diedNS != 0 && e.AtNS > l.diedNS && e.Kind != evidence.Alive && w.in.Plan.On == nil:
			found.add(TimeDiffers, "%s of %s came after its end", e.Kind, l)
		}
		switch e.Kind {
		case evidence.Failed:
			w.failed(l, e, heard[l][evidence.Step], found)
			continue
		case evidence.ProcRead:
			w.procRead(a, l, e, found)
			continue
		}
		w.holds(a, l, e, found)
	}
}

// once: a process is started, ready and alive at the end once each, and its steps come
// one after the other.
func (w *agentWitness) once(a *account, l *life, e evidence.Event, heard map[evidence.Kind]int, found *findings) {
	n := heard[e.Kind]
	heard[e.Kind]++
	once := w.in.Plan.On != nil && len(a.livesOf(l.process)) == 1 // in a container's log
	switch {
	case e.Kind == evidence.Step && w.in.Plan.On == nil && e.Text != fmt.Sprintf("step %d done", n),
		e.Kind == evidence.Step && once && int(e.N) != n:
		found.add(TimeDiffers, "%s says %q, %d, where its step %d is due", l, e.Text, e.N, n)
	case e.Kind == evidence.Ready && (w.steps || w.in.Meta.Model > 0) && !l.plan.IsCommand() &&
		(w.in.Plan.On == nil || once) &&
		heard[evidence.Step] != stepsOf(l.plan):
		found.add(TimeDiffers, "%s was ready after %d of its %d steps", l, heard[evidence.Step], stepsOf(l.plan))
	case e.Kind != evidence.Step && e.Kind != evidence.Exited && e.Kind != evidence.Named && n > 0:
		found.add(UnknownLife, "%s of %s was told %d times", e.Kind, l, n+1)
	}
}

// stepsOf is how many steps a stressor says that it has done when it is ready.
func stepsOf(p plan.Process) int {
	return len(slices.DeleteFunc(slices.Clone(p.Profile.Steps), func(s profile.Step) bool {
		return s.Op == profile.Hold || s.Op == profile.Exit
	}))
}

// lifeAs is the last life of a process with that pid.
func (a *account) lifeAs(pid int, process string) *life {
	for i := len(a.lives) - 1; i >= 0; i-- {
		if l := a.lives[i]; l.pid == pid && l.process == process {
			return l
		}
	}
	return nil
}

// holds: a stressor holds what its steps so far have told it to.
func (w *agentWitness) holds(a *account, l *life, e evidence.Event, found *findings) {
	if e.Kind == evidence.Alive {
		w.alive(a, l, e.Status, found)
		return
	}
	if l.plan.IsCommand() && e.Kind == evidence.Ready && w.in.Plan.On == nil {
		w.quiet(a, l, e.Status, found)
	}
	if l.plan.IsCommand() || e.Kind != evidence.Ready && e.Kind != evidence.Step {
		return
	}
	steps := l.plan.Profile.Steps
	if e.Kind == evidence.Step {
		n := int(e.N) // of a container's log
		if _, err := fmt.Sscanf(e.Text, "step %d done", &n); err != nil && w.in.Plan.On == nil || n < 0 ||
			n >= len(steps) {
			found.add(HoldDiffers, "%s says %q; it has %d steps", l, e.Text, len(steps))
			return
		}
		steps = steps[:n+1]
	}
	told := w.amount(steps)
	held := e.Held
	if held == nil && e.Kind == evidence.Step && w.in.Plan.On != nil {
		return // a container's log has it at the end
	}
	if held == nil {
		if e.Kind == evidence.Ready && w.in.Plan.On == nil {
			found.add(HoldDiffers, "%s was ready, and does not say what it holds", l)
		}
		held = &evidence.Holding{}
	}
	switch {
	case held.Told != told:
		found.add(HoldDiffers, "%s says at %q that it was told to hold %s; its steps say %s", l, e.Kind, held.Told,
			told)
	case e.Kind == evidence.Step && (held.Resident != 0 || held.Overhead != 0):
		found.add(HoldDiffers, "%s has measured what it holds before it was ready", l)
	case e.Kind == evidence.Ready && (held.Overhead <= 0 && !sharer(l.plan, w.in.Plan) || held.Resident > told):
		found.add(HoldDiffers, "%s was ready with %s resident of %s, and %s beside it", l, held.Resident, told,
			held.Overhead)
	case held.Overhead%a.pageSize() != 0 || held.Resident%a.pageSize() != 0:
		found.add(HoldDiffers, "%s was ready with %d bytes resident, and %d beside it, which are no pages", l,
			held.Resident, held.Overhead)
	case e.Kind == evidence.Ready && held.Resident != told && !a.reclaimable(steps):
		found.add(HoldDiffers, "%s was ready with %s resident of %s that nothing takes back", l, held.Resident, told)
	}
}

// sharer reports whether a process uses the memory of its parent.
func sharer(p plan.Process, in plan.Plan) bool {
	parent, ok := in.Process(p.Parent)
	return ok && sharesMemory(p, parent)
}

// anonymous is what steps take of anonymous memory, and keep.
func (w *agentWitness) anonymous(steps []profile.Step) kernel.Bytes {
	if slices.ContainsFunc(steps, func(s profile.Step) bool { return s.Op == profile.Free }) {
		return 0 // of which memory depends on the order
	}
	return w.amount(slices.DeleteFunc(slices.Clone(steps), func(s profile.Step) bool {
		return s.Op.Row().Memory != profile.AnonMemory
	}))
}

// amount is what steps take in all, in whole pages.
func (w *agentWitness) amount(steps []profile.Step) kernel.Bytes {
	page := max(1, w.in.Machine.PageSize)
	var sum kernel.Bytes
	for _, s := range steps {
		amount := (kernel.Bytes(s.Bytes) + page - 1) / page * page
		switch row := s.Op.Row(); {
		case row.Takes() && !row.Endless:
			sum += amount
		case s.Op == profile.Free:
			sum -= amount
		}
	}
	return sum
}

// reclaimable reports whether the kernel may take back what one of the steps took: pages
// of files, and shared memory where there is swap space for it.
func (a *account) reclaimable(steps []profile.Step) bool {
	return slices.ContainsFunc(steps, func(s profile.Step) bool {
		row := s.Op.Row()
		return row.Memory == profile.PageCache || row.InTmpfs() && a.swap() > 0
	})
}

// order: nothing that the agent and the processes tell lies outside of the run, and
// their times do not run backwards.
func (w *agentWitness) order(a *account, found *findings) {
	for _, e := range w.in.Events {
		// the kernel's start_time and the agent's word for it
		if o := e.OOM; e.Kind == evidence.Badness && o != nil && o.Task != nil && w.in.Plan.On == nil {
			if born := w.spawned[a.pids.agent(o.Task.TaskID)]; born != 0 && uint64(born) < o.Task.StartNS {
				found.add(TimeDiffers, "pid %d was said to be started before the kernel had made it", o.Task.TGID)
			}
		}
	}
	last := map[evidence.Source]evidence.Event{}
	for _, e := range w.in.Events {
		switch e.Source {
		case evidence.Agent, evidence.Stressor, evidence.Wait, evidence.Counters:
		default:
			continue
		}
		// what is there already is met before a watch begins
		early := e.Kind != evidence.Reading && e.Kind != evidence.ContainerCgroup
		if w.ended && e.AtNS > w.end || e.AtNS < w.begin && early {
			found.add(TimeDiffers, "%s of %s lies outside of the run", e.Kind, cmp.Or(e.Process, string(e.Source)))
		}
		// by several, each at its time; a fork at the kernel's, by an agent that has told of others meanwhile
		told := e.Source == evidence.Stressor || e.Source == evidence.Wait || e.Kind == evidence.Forked
		if before, ok := last[e.Source]; ok && e.AtNS < before.AtNS {
			if told {
				continue
			}
			found.add(TimeDiffers, "%s of %s was recorded after %s, which was later", e.Kind, e.Source, before.Kind)
		}
		// it looks who is alive when all files have been read; on a node, pod by pod
		if alive := last[evidence.Agent]; w.in.Plan.On == nil && e.Source == evidence.Counters &&
			alive.Kind == evidence.Alive && e.AtNS > alive.AtNS {
			found.add(TimeDiffers, "a counter was read after %s was said to be alive at the end", alive.Process)
		}
		last[e.Source] = e
	}
}

// ready: a process that neither ended nor finished its steps leaves open what it
// would have done, unless the scenario is about just that. Of a program of the
// user's own in a container nobody can say when it is ready.
func (w *agentWitness) ready(a *account, found *findings) {
	unseen := a.runtime().absent() == ""
	for _, l := range a.lives {
		open := slices.Contains(w.in.Plan.Throttled, l.process) || l.plan.Respawn < 0 || l.plan.Endless()
		if l.exit == nil && !l.ready && !open && l.of == "" && !(unseen && l.plan.IsCommand()) {
			found.add(NeverReady, "%s had not finished its steps after %d ms", l, w.in.Plan.WithinMS)
		}
	}
}
