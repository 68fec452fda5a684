package verdict

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/stressor/profile"
)

// cluster is what the witnesses of a cluster tell of a run.
type cluster struct {
	paths      map[string]string // a cgroup of the node -> its name in plans
	cgroups    map[string][]evidence.CgroupFacts
	containers map[string]*told
	pods       map[string]*evidence.PodState
	uids       map[string]string // of pods
	podEvents  map[string]map[string]evidence.Happened
	nodeEvents map[string]evidence.Happened
	conditions map[string]bool // was it ever True
	evicted    []string
	oomEvents  map[string]int // TaskOOM, by container id
	outages    []string
	misreports map[string]string // name -> where
	log        kubeletLog
}

// told is what the API said of one container.
type told struct {
	last kubelet.Status
	// ends are how its lives ended, by restart count.
	ends map[int]kubelet.Status
}

// ofCluster reports whether the run was one of pods on a cluster.
func (in Input) ofCluster() bool { return in.Plan.On != nil }

func (j *joined) readCluster() {
	c := &cluster{
		paths: map[string]string{}, cgroups: map[string][]evidence.CgroupFacts{}, containers: map[string]*told{},
		pods: map[string]*evidence.PodState{}, uids: map[string]string{}, podEvents: map[string]map[string]evidence.Happened{},
		nodeEvents: map[string]evidence.Happened{}, conditions: map[string]bool{}, oomEvents: map[string]int{}, misreports: map[string]string{},
	}
	j.cluster = c
	c.log = j.readKubeletLog()
	for _, e := range j.in.Events {
		switch {
		case e.Kind == evidence.ContainerCgroup && e.Cgroup != nil:
			c.paths[e.Cgroup.Path] = e.Cgroup.Plan
			c.cgroups[e.Process] = append(c.cgroups[e.Process], *e.Cgroup)
		case e.Kind == evidence.TaskOOM:
			c.oomEvents[e.Text]++
		case e.Kind == evidence.ContainerStatus && e.Container != nil:
			c.status(e.Process, *e.Container)
		case e.Kind == evidence.PodStatus && e.Pod != nil:
			c.pods[e.Process] = e.Pod
			if e.Pod.Reason == kubelet.Evicted && !slices.Contains(c.evicted, e.Process) {
				c.evicted = append(c.evicted, e.Process)
			}
		case e.Kind == evidence.PodEvent && e.Happened != nil:
			if c.podEvents[e.Process] == nil {
				c.podEvents[e.Process] = map[string]evidence.Happened{}
			}
			c.podEvents[e.Process][key(e)] = *e.Happened
		case e.Kind == evidence.NodeEvent && e.Happened != nil:
			c.nodeEvents[key(e)] = *e.Happened
		case e.Kind == evidence.NodeCondition && e.Condition != nil:
			c.conditions[e.Condition.Type] = c.conditions[e.Condition.Type] || e.Condition.Status == "True"
		case e.Kind == evidence.Unreachable:
			c.outages = append(c.outages, fmt.Sprintf("%d ms: %s", e.N, e.Text))
		}
	}
}

// key is what a later state of the same Event object replaces an earlier one by.
func key(e evidence.Event) string {
	if e.Happened.UID != "" {
		return e.Happened.UID
	}
	return e.Happened.Reason + "\x00" + e.Happened.Message
}

// status files what the API says of a container under the life that it is about.
func (c *cluster) status(name string, s kubelet.Status) {
	t := c.containers[name]
	if t == nil {
		t = &told{ends: map[int]kubelet.Status{}}
		c.containers[name] = t
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

// inPlan names a cgroup of the node as plans do; what is none of the run's gets a
// leading "//".
func (c *cluster) inPlan(path string) string {
	if path == "" {
		return ""
	}
	for p := path; p != ""; p = p[:strings.LastIndexByte(p, '/')] {
		if name, ok := c.paths[p]; ok {
			return strings.TrimSuffix(name, "/") + path[len(p):]
		}
	}
	return "/" + path
}

// localize gives the kernel's records the names that plans have for cgroups.
func (c *cluster) localize(o *evidence.OOM) *evidence.OOM {
	out := *o
	if o.Task != nil {
		t := *o.Task
		t.Cgroup = c.inPlan(t.Cgroup)
		out.Task = &t
	}
	if o.Control != nil {
		ctl := *o.Control
		ctl.Memcg = c.inPlan(ctl.Memcg)
		out.Control = &ctl
	}
	return &out
}

// settleLives works out how processes in containers ended from those who can
// tell: a container's first process the runtime, which writes signals as codes
// above 128; every victim eBPF; and whoever was in the container when its first
// process ended has ended with it.
func settleLives(all []*life, in Input) {
	if !in.ofCluster() {
		return
	}
	for _, l := range all {
		if l.exit == nil && l.task != nil {
			exit := *l.task
			if n := exit.Code - 128; n > 0 && n < 65 && !exitsWith(l.plan, exit.Code) {
				exit.Signal, exit.Code = n, 0
			}
			l.exit = &exit
		}
		if k := l.kernelExit; l.exit == nil && k != nil {
			l.exit = &evidence.ExitStatus{Code: *k >> 8 & 0xff, Signal: *k & 0x7f, By: "ebpf"}
		}
	}
	for _, l := range all {
		if l.exit != nil || l.alive || kubelet.NameOf(l.process).First() {
			continue
		}
		var leader *life
		for _, o := range all {
			if o.process == kubelet.ContainerOf(l.process) && o.born <= l.born {
				leader = o
			}
		}
		if leader != nil && leader.exit != nil {
			l.exit = &evidence.ExitStatus{Signal: sigkill, By: "pid namespace"}
			l.diedNS, l.zapped = leader.diedNS, true
		}
	}
}

// exitsWith reports whether a process is told to exit with that code.
func exitsWith(p plan.Process, code int) bool {
	for _, s := range p.Profile.Steps {
		if s.Op == profile.Exit && s.Code == code {
			return true
		}
	}
	return false
}

// endedByKubelet reports whether the kubelet had a reason to end a process: its
// pod was evicted or, for a sidecar, there was nothing left to serve.
func (j *joined) endedByKubelet(l *life) bool {
	if !j.in.ofCluster() {
		return false
	}
	pod := kubelet.NameOf(l.process).Pod
	if slices.Contains(j.cluster.evicted, pod) {
		return true
	}
	for _, p := range j.in.Plan.Pods {
		if p.Name != pod {
			continue
		}
		sidecar := slices.ContainsFunc(p.InitContainers, func(c plan.Container) bool { return c.Sidecar && c.Process == kubelet.ContainerOf(l.process) })
		over := !slices.ContainsFunc(p.Containers, func(c plan.Container) bool {
			o := byName(j.lives, c.Process)
			return o == nil || o.exit == nil
		})
		return sidecar && over
	}
	return false
}

// containerLives are the lives of a container's first process, in order.
func (j *joined) containerLives(container string) []*life {
	var out []*life
	for _, l := range j.lives {
		if l.process == container {
			out = append(out, l)
		}
	}
	return out
}

// killedIn are the OOM kills in a container during one life of it: until its
// first process ended or, for the victim of a group, along with it.
func (j *joined) killedIn(container string, of int, lives []*life) []Kill {
	var out []Kill
	for _, k := range j.kills {
		l := byPID(j.lives, k.Victim.PID)
		if l == nil || kubelet.ContainerOf(l.process) != container {
			continue
		}
		n := 0
		for i, leader := range lives {
			if leader.born <= l.born {
				n = i
			}
		}
		if n == of {
			out = append(out, k)
		}
	}
	return out
}

// clusterSources adds the runtime, the API and the kubelet's log to those who
// tell of a kill.
func (j *joined) clusterSources(k *Kill) {
	if j.cluster == nil {
		return
	}
	name := kubelet.ContainerOf(k.Victim.Process)
	for _, f := range j.cluster.cgroups[name] {
		if j.cluster.oomEvents[f.ID] > 0 {
			k.Sources = withSource(k.Sources, evidence.Runtime)
		}
	}
	if j.cluster.log.ooms[k.Victim.PID] {
		k.Sources = withSource(k.Sources, evidence.Kubelet)
	}
	if said := j.cluster.containers[name]; said != nil {
		for _, end := range said.ends {
			if end.Reason == kubelet.OOMKilled {
				k.Sources = withSource(k.Sources, evidence.API)
			}
		}
	}
}

// checkCluster holds what the cluster says against what the kernel did.
func (j *joined) checkCluster() {
	if !j.in.ofCluster() {
		return
	}
	for _, p := range j.in.Plan.Pods {
		for _, c := range slices.Concat(p.InitContainers, p.Containers) {
			j.checkContainer(c.Process)
		}
	}
	j.checkRuntime()
	j.checkNodeEvents()
	p := j.in.Prediction.Kube
	for name, where := range j.cluster.misreports {
		if p == nil || !slices.Contains(p.MayMisreport, name) {
			j.disagree(Discord(name), "%s", where)
		}
	}
}

func (j *joined) misreport(name kubelet.Misreport, format string, args ...any) {
	if _, ok := j.cluster.misreports[string(name)]; !ok {
		j.cluster.misreports[string(name)] = fmt.Sprintf(format, args...)
	}
}

// checkContainer compares the API's account of each life of a container with the
// kernel's and the runtime's.
func (j *joined) checkContainer(name string) {
	lives, said := j.containerLives(name), j.cluster.containers[name]
	if said == nil {
		if len(lives) > 0 {
			j.disagree(NoWitness, "the API never said anything of %s", name)
		}
		return
	}
	pod := kubelet.NameOf(name).Pod
	if slices.Contains(j.cluster.evicted, pod) {
		return // what is said of an evicted pod's containers is made up
	}
	earlier := 0
	for i, l := range lives {
		kills := j.killedIn(name, i, lives)
		leader := slices.ContainsFunc(kills, func(k Kill) bool { return k.Victim.PID == l.pid })
		end, ended := said.ends[i]
		who := fmt.Sprintf("%s, life %d", name, i+1)
		switch {
		case l.exit == nil && l.alive:
			if len(kills) > 0 && said.last.State == kubelet.Running && said.last.RestartCount == i {
				j.misreport(kubelet.KillUnseen, "%s: %s was killed, and the container is running", who, victimsOf(kills))
			}
		case l.exit != nil && !ended:
			if i == len(lives)-1 {
				j.disagree(StatusMissing, "%s ended with %s; the API never said so", who, status(*l.exit))
			}
		case l.exit != nil:
			j.checkEnd(who, *l, end, kills, leader, earlier)
		case ended:
			j.disagree(ExitDiffers, "%s: the API says that it ended with exit code %s; nobody saw it end", who, number(end.ExitCode))
		}
		earlier += len(kills)
	}
	if n := len(lives) - 1; n >= 0 && said.last.RestartCount != n {
		j.disagree(RestartsDiffer, "the API says that %s was started again %d times; it lived %d times", name, said.last.RestartCount, n+1)
	}
}

func victimsOf(kills []Kill) string {
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

// checkEnd names what is wrong with the API's account of one end.
func (j *joined) checkEnd(who string, l life, end kubelet.Status, kills []Kill, leader bool, earlier int) {
	code := l.exit.Code
	if l.exit.Signal != 0 {
		code = 128 + l.exit.Signal
	}
	if end.ExitCode == nil || *end.ExitCode != code {
		j.disagree(ExitDiffers, "%s ended with %s; the API says exit code %s", who, status(*l.exit), number(end.ExitCode))
		return
	}
	oomKilled := end.Reason == kubelet.OOMKilled
	switch {
	case oomKilled && leader, !oomKilled && len(kills) == 0:
		// as it was
	case oomKilled && len(kills) == 0 && earlier > 0:
		j.misreport(kubelet.OOMKilledEarlier, "%s: OOMKilled with exit code %d, but only an earlier life had a kill", who, code)
	case oomKilled && len(kills) == 0:
		j.misreport(kubelet.OOMKilledForNothing, "%s: OOMKilled with exit code %d, and nobody in it was killed", who, code)
	case oomKilled && code == 143: // exited with it, or died of SIGTERM
		j.misreport(kubelet.OOMKilledExit143, "%s: OOMKilled for %s, and its first process ended with 143", who, victimsOf(kills))
	case oomKilled && l.exit.Signal != 0:
		j.misreport(kubelet.OOMKilledEarlier, "%s: OOMKilled for %s, but its first process died of %s, which was not the OOM killer's", who, victimsOf(kills), status(*l.exit))
	case oomKilled && code == 0:
		j.misreport(kubelet.OOMKilledExit0, "%s: OOMKilled for %s, and its first process exited with 0", who, victimsOf(kills))
	case oomKilled:
		j.misreport(kubelet.OOMKilledExitOwn, "%s: OOMKilled for %s, and its first process exited with %d", who, victimsOf(kills), code)
	case leader:
		j.misreport(kubelet.KilledButError, "%s: its first process was OOM-killed, and the reason is %s", who, orNone(end.Reason))
	default:
		j.misreport(kubelet.KillUnseen, "%s: %s was killed, and the reason is %s", who, victimsOf(kills), orNone(end.Reason))
	}
}

// checkRuntime: the runtime tells of OOM kills in containers that had some. It
// may miss one; what comes of that is seen in the container's status.
func (j *joined) checkRuntime() {
	ids := map[string]string{}
	for process, all := range j.cluster.cgroups {
		for _, f := range all {
			if f.ID != "" {
				ids[f.ID] = process
			}
		}
	}
	for id, n := range j.cluster.oomEvents {
		process, ours := ids[id]
		if !ours {
			continue
		}
		killed := slices.ContainsFunc(j.kills, func(k Kill) bool {
			return kubelet.ContainerOf(k.Victim.Process) == process
		})
		if !killed {
			j.disagree(RuntimeWithoutKill, "the runtime told of %d OOM kills in %s; the kernel killed nobody there", n, process)
		}
	}
}

// checkNodeEvents: the kubelet reports node-wide OOMs, each with its victim, and
// no others.
func (j *joined) checkNodeEvents() {
	global := map[int]bool{}
	for _, k := range j.kills {
		if k.Constraint == "none" {
			global[k.Victim.PID] = true
		}
	}
	seen := false
	for _, h := range j.cluster.nodeEvents {
		if h.Reason != kubelet.SystemOOM {
			continue
		}
		seen = true
		if comm, pid, ok := kubelet.SystemOOMVictim(h.Message); ok && !global[pid] {
			j.disagree(EventWithoutKill, "SystemOOM names %s, pid %d, which no OOM of the whole node killed", comm, pid)
		}
	}
	j.checkKubeletLog(global)
	if len(global) > 0 && !seen {
		j.misreport(kubelet.NoSystemOOM, "%d processes were killed for the whole node, and there is no SystemOOM event", len(global))
	}
}
