package verdict

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
)

// apiWitness is the API server: what the kubelet has told it of pods, containers and
// its node.
type apiWitness struct {
	bystander
	in         Input
	containers map[string]*statuses
	pods       map[string]*evidence.PodState
	podEvents  map[string]map[string]evidence.Happened
	nodeEvents map[string]evidence.Happened
	conditions map[string]bool // was it ever True
	evicted    []string
	outages    []string
	told       []evidence.Event
	// misreports are what it said that the kernel did not do: name -> where.
	misreports map[string]string
	found      findings
}

// statuses are what the API said of one container.
type statuses struct {
	last kubelet.Status
	ends map[int]kubelet.Status // how its lives ended, by restart count
}

// What is found of the API. A misreport that was not predicted is a disagreement,
// too, under its own name (kubelet.Misreports).
const (
	StatusMissing    Kind = "status-missing"     // a container ended, and the API never said so
	RestartsDiffer   Kind = "restarts-differ"    // the API counts other restarts than there were
	StatusDiffers    Kind = "status-differs"     // what the API says of one thing contradicts itself
	EventWithoutKill Kind = "event-without-kill" // SystemOOM names a process that no such OOM killed
)

func init() {
	addWitness(70, func(in Input) witness {
		return &apiWitness{
			in: in, containers: map[string]*statuses{}, pods: map[string]*evidence.PodState{},
			podEvents: map[string]map[string]evidence.Happened{}, nodeEvents: map[string]evidence.Happened{},
			conditions: map[string]bool{}, misreports: map[string]string{},
		}
	})
}

func (a *account) api() *apiWitness { return witnessOf[*apiWitness](a) }

func (*apiWitness) source() evidence.Source { return evidence.API }

func (w *apiWitness) absent() string {
	if w.in.Plan.On == nil {
		return "there is no API server here"
	}
	return ""
}

func (w *apiWitness) hear(e evidence.Event) {
	if e.Source == evidence.API {
		w.told = append(w.told, e)
	}
	switch {
	case e.Kind == evidence.ContainerStatus && e.Container != nil:
		w.status(e.Process, *e.Container)
	case e.Kind == evidence.PodStatus && e.Pod != nil:
		w.pods[e.Process] = e.Pod
		if e.Pod.Reason == kubelet.Evicted && !slices.Contains(w.evicted, e.Process) {
			w.evicted = append(w.evicted, e.Process)
		}
	case e.Kind == evidence.PodEvent && e.Happened != nil:
		if w.podEvents[e.Process] == nil {
			w.podEvents[e.Process] = map[string]evidence.Happened{}
		}
		w.podEvents[e.Process][eventKey(e)] = *e.Happened
	case e.Kind == evidence.NodeEvent && e.Happened != nil:
		w.nodeEvents[eventKey(e)] = *e.Happened
	case e.Kind == evidence.NodeCondition && e.Condition != nil:
		w.conditions[e.Condition.Type] = w.conditions[e.Condition.Type] || e.Condition.Status == "True"
	case e.Kind == evidence.Unreachable:
		w.outages = append(w.outages, fmt.Sprintf("%d ms: %s", e.N, e.Text))
	}
}

// eventKey is what a later state of the same Event object replaces an earlier one by.
func eventKey(e evidence.Event) string {
	if e.Happened.UID != "" {
		return e.Happened.UID
	}
	return e.Happened.Reason + "\x00" + e.Happened.Message
}

// status files what the API says of a container under the life that it is about.
func (w *apiWitness) status(name string, s kubelet.Status) {
	t := w.containers[name]
	if t == nil {
		t = &statuses{ends: map[int]kubelet.Status{}}
		w.containers[name] = t
	}
	t.last = s
	switch {
	case s.State == kubelet.Terminated:
		t.ends[s.RestartCount] = s
	case s.Last != nil && s.State == kubelet.Waiting: // not started again yet
		t.ends[s.RestartCount] = *s.Last
	}
	if s.Last != nil && s.State != kubelet.Waiting && s.RestartCount > 0 {
		t.ends[s.RestartCount-1] = *s.Last
	}
}

// show reports whether what the API says last of a container is as it should be. Between an
// end and the next life it says first that the container has terminated and then that it
// waits for its back-off; the kubelet sends the later state only, where it comes to it before
// it has sent the first. Both say the same end, and either will do, of a container that is
// started again after such an end.
func (w *apiWitness) show(name string, as func(kubelet.Status) bool) bool {
	t := w.containers[name]
	if as(t.last) {
		return true
	}
	s := t.last
	if s.State != kubelet.Waiting || s.Reason != kubelet.CrashLoopBackOff || s.Last == nil {
		return false
	}
	pod := kubelet.NameOf(name).Pod
	i := slices.IndexFunc(w.in.Plan.Pods, func(p plan.Pod) bool { return p.Name == pod })
	if i < 0 || !w.in.Plan.Pods[i].Restart(name).After(s.Last.Failed()) {
		return false
	}
	end := *s.Last
	end.State, end.RestartCount, end.Last = kubelet.Terminated, s.RestartCount, nil
	if before, ok := t.ends[s.RestartCount-1]; ok {
		end.Last = &before
	}
	return as(end)
}

// pod is the last status of a pod; empty: the API never said anything of it.
func (w *apiWitness) pod(name string) evidence.PodState {
	if p := w.pods[name]; p != nil {
		return *p
	}
	return evidence.PodState{}
}

func (w *apiWitness) tells(_ *account, k *Kill, _ *life) bool {
	said := w.containers[kubelet.ContainerOf(k.Victim.Process)]
	if said == nil {
		return false
	}
	for _, end := range said.ends {
		if end.Reason == kubelet.OOMKilled {
			return true
		}
	}
	return false
}

// explains: the kubelet had a reason to end the process. Its pod was evicted or, for
// a sidecar, there was nothing left to serve.
func (w *apiWitness) explains(a *account, l *life) bool {
	name := kubelet.NameOf(l.process)
	if slices.Contains(w.evicted, name.Pod) {
		return true
	}
	i := slices.IndexFunc(w.in.Plan.Pods, func(p plan.Pod) bool { return p.Name == name.Pod })
	if i < 0 {
		return false
	}
	p := w.in.Plan.Pods[i]
	return slices.ContainsFunc(p.InitContainers, func(c plan.Container) bool {
		return c.Sidecar && c.Process == kubelet.ContainerOf(l.process)
	}) && !slices.ContainsFunc(p.Containers, func(c plan.Container) bool {
		o := a.lifeOf(c.Process)
		return o == nil || o.exit == nil
	})
}

// join holds what the API says against what the kernel did: what it misreports is
// part of the account.
func (w *apiWitness) join(a *account) {
	if !a.over() {
		return // it may yet have said it
	}
	for _, p := range w.in.Plan.Pods {
		for _, c := range slices.Concat(p.InitContainers, p.Containers) {
			w.container(a, c.Process)
		}
	}
	w.systemOOM(a)
}

func (w *apiWitness) agree(a *account, found *findings) {
	found.all = append(found.all, w.found.all...)
	w.changes(a, found)
	w.evictions(found)
	restarts, pods := map[string]int{}, map[string]evidence.PodState{}
	for _, e := range w.told {
		if e.AtNS > a.agent().end {
			found.add(TimeDiffers, "%s of %s lies outside of the run", e.Kind, cmp.Or(e.Process, "the node"))
		}
		switch e.Kind {
		case evidence.ContainerStatus:
			w.consistent(a, e, restarts[e.Process], found)
			if e.Container != nil {
				restarts[e.Process] = e.Container.RestartCount
			}
		case evidence.PodStatus:
			w.podAgain(e, pods[e.Process], found)
			if e.Pod != nil {
				pods[e.Process] = *e.Pod
			}
		case evidence.PodEvent, evidence.NodeEvent:
			if h := e.Happened; h == nil || h.Reason == "" || h.Count < 0 {
				found.add(StatusDiffers, "an event of %s has no reason or no count", cmp.Or(e.Process, "the node"))
			}
		case evidence.NodeCondition:
			w.condition(e.Condition, found)
		}
	}
	p := w.in.Prediction.Kube
	for name, where := range w.misreports {
		if p == nil || !slices.Contains(p.MayMisreport, name) {
			found.add(Kind(name), "%s", where)
		}
	}
}

// consistent holds a container's status against those before and the agent's word.
func (w *apiWitness) consistent(a *account, e evidence.Event, restarts int, found *findings) {
	s := e.Container
	states := []string{kubelet.Waiting, kubelet.Running, kubelet.Terminated}
	switch {
	case s == nil || !slices.Contains(states, s.State), s.Last != nil && s.Last.State != "" &&
		s.Last.State != kubelet.Terminated:
		found.add(StatusDiffers, "%s has a state that there is not", e.Process)
	case s.RestartCount < restarts:
		found.add(StatusDiffers, "%s was started again %d times, and then %d times", e.Process, restarts,
			s.RestartCount)
	default:
		_, id, _ := strings.Cut(s.ID, "://")
		if f := a.agent().container(id); id != "" && f != nil && f.process != e.Process {
			found.add(StatusDiffers, "%s is container %s, which is %s's", e.Process, id, f.process)
		}
	}
}

// podAgain holds a pod's status against the one before.
func (w *apiWitness) podAgain(e evidence.Event, last evidence.PodState, found *findings) {
	p := e.Pod
	if p == nil {
		found.add(StatusDiffers, "nothing is told of pod %s", e.Process)
		return
	}
	for _, f := range []struct{ what, was, is string }{
		{"uid", last.UID, p.UID}, {"class", last.QOSClass, p.QOSClass}, {"node", last.Node, p.Node},
	} {
		if f.was != "" && f.was != f.is {
			found.add(StatusDiffers, "the %s of pod %s was %q and is %q", f.what, e.Process, f.was, f.is)
		}
	}
	if on := w.in.Plan.On.Name; on != "" && p.Node != "" && p.Node != on {
		found.add(StatusDiffers, "pod %s is on node %q; the plan is for %q", e.Process, p.Node, on)
	}
}

// conditions are those that a kubelet reports of its node, by what their reasons name.
var conditions = map[string]string{
	"Ready": "Ready", "MemoryPressure": "Memory", "DiskPressure": "Disk", "PIDPressure": "PID",
}

// condition: a node of oomlab's own has no other conditions than its kubelet's.
func (w *apiWitness) condition(c *evidence.ConditionState, found *findings) {
	if c == nil || !slices.Contains([]string{"True", "False", "Unknown"}, c.Status) {
		found.add(StatusDiffers, "a condition of the node has no status")
		return
	}
	names, ok := conditions[c.Type]
	if w.in.Plan.On.Ours && (!ok || c.Reason != "" && !strings.Contains(c.Reason, names)) {
		found.add(StatusDiffers, "the condition %s of the node is %s for the reason %q", c.Type, c.Status, c.Reason)
	}
}

func (w *apiWitness) misreport(name kubelet.Misreport, format string, args ...any) {
	if _, ok := w.misreports[string(name)]; !ok {
		w.misreports[string(name)] = fmt.Sprintf(format, args...)
	}
}

// killedIn are the OOM kills in a container during one life of it: until its
// first process ended or, for the victim of a group, along with it.
func (a *account) killedIn(container string, of int, lives []*life) []Kill {
	var out []Kill
	for _, k := range a.kills {
		l := a.life(k.Victim.PID)
		if l == nil || kubelet.ContainerOf(l.process) != container {
			continue
		}
		n := 0
		for i, first := range lives {
			if first.born <= l.born {
				n = i
			}
		}
		if n == of {
			out = append(out, k)
		}
	}
	return out
}

// container compares the API's account of each life of a container with the
// kernel's and the runtime's.
func (w *apiWitness) container(a *account, name string) {
	lives, said := a.livesOf(name), w.containers[name]
	if said == nil {
		if len(lives) > 0 {
			w.found.add(NoWitness, "the API never said anything of %s", name)
		}
		return
	}
	if slices.Contains(w.evicted, kubelet.NameOf(name).Pod) {
		return // what is said of an evicted pod's containers is made up
	}
	earlier := 0
	for i, l := range lives {
		kills := a.killedIn(name, i, lives)
		end, ended := said.ends[i]
		who := fmt.Sprintf("%s, life %d", name, i+1)
		switch {
		case l.exit == nil && l.alive:
			if len(kills) > 0 && said.last.State == kubelet.Running && said.last.RestartCount == i {
				w.misreport(kubelet.KillUnseen, "%s: %s was killed, and the container is running", who, names(kills))
			}
		case l.exit != nil && !ended:
			if i == len(lives)-1 {
				w.found.add(StatusMissing, "%s ended with %s; the API never said so", who, status(*l.exit))
			}
		case l.exit != nil:
			w.end(who, *l, end, kills, earlier)
		case ended:
			w.found.add(ExitDiffers, "%s: the API says that it ended with exit code %s; nobody saw it end",
				who, number(end.ExitCode))
		}
		earlier += len(kills)
	}
	if n := len(lives) - 1; n >= 0 && said.last.RestartCount != n {
		w.found.add(RestartsDiffer, "the API says that %s was started again %d times; it lived %d times",
			name, said.last.RestartCount, n+1)
	}
}

func names(kills []Kill) string {
	var names []string
	for _, k := range kills {
		names = append(names, k.Victim.Process)
	}
	return strings.Join(names, ", ")
}

func number(n *int) string {
	if n == nil {
		return "none"
	}
	return strconv.Itoa(*n)
}

// end names what is wrong with the API's account of one end.
func (w *apiWitness) end(who string, l life, end kubelet.Status, kills []Kill, earlier int) {
	code := l.exit.Code
	if l.exit.Signal != 0 {
		code = 128 + l.exit.Signal
	}
	if end.ExitCode == nil || *end.ExitCode != code {
		w.found.add(ExitDiffers, "%s ended with %s; the API says exit code %s",
			who, status(*l.exit), number(end.ExitCode))
		return
	}
	oomKilled := end.Reason == kubelet.OOMKilled
	first := slices.ContainsFunc(kills, func(k Kill) bool { return k.Victim.PID == l.kernelPID })
	switch {
	case oomKilled && first, !oomKilled && len(kills) == 0:
		// as it was
	case oomKilled && len(kills) == 0 && earlier > 0:
		w.misreport(kubelet.OOMKilledEarlier, "%s: OOMKilled with exit code %d, but only an earlier life had a kill",
			who, code)
	case oomKilled && len(kills) == 0:
		w.misreport(kubelet.OOMKilledForNothing, "%s: OOMKilled with exit code %d, and nobody in it was killed",
			who, code)
	case oomKilled && code == 143: // exited with it, or died of SIGTERM
		w.misreport(kubelet.OOMKilledExit143, "%s: OOMKilled for %s, and its first process ended with 143",
			who, names(kills))
	case oomKilled && l.exit.Signal != 0:
		w.misreport(kubelet.OOMKilledEarlier,
			"%s: OOMKilled for %s, but its first process died of %s, which was not the OOM killer's",
			who, names(kills), status(*l.exit))
	case oomKilled && code == 0:
		w.misreport(kubelet.OOMKilledExit0, "%s: OOMKilled for %s, and its first process exited with 0",
			who, names(kills))
	case oomKilled:
		w.misreport(kubelet.OOMKilledExitOwn, "%s: OOMKilled for %s, and its first process exited with %d",
			who, names(kills), code)
	case first:
		w.misreport(kubelet.KilledButError, "%s: its first process was OOM-killed, and the reason is %s",
			who, orNone(end.Reason))
	default:
		w.misreport(kubelet.KillUnseen, "%s: %s was killed, and the reason is %s",
			who, names(kills), orNone(end.Reason))
	}
}

// systemOOM: the kubelet reports OOMs of the whole node, each with its victim, and
// no others.
func (w *apiWitness) systemOOM(a *account) {
	global, seen := a.nodeKills(), false
	for _, h := range w.nodeEvents {
		if h.Reason != kubelet.SystemOOM {
			continue
		}
		seen = true
		if comm, pid, ok := kubelet.SystemOOMVictim(h.Message); ok && !global[pid] {
			w.found.add(EventWithoutKill, "SystemOOM names %s, pid %d, which no OOM of the whole node killed",
				comm, pid)
		}
	}
	if len(global) > 0 && !seen {
		w.misreport(kubelet.NoSystemOOM,
			"%d processes were killed for the whole node, and there is no SystemOOM event", len(global))
	}
}
