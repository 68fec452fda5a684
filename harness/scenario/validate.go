package scenario

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
)

// maxWithin keeps a typing error from making a run that lasts all night.
const maxWithin = 10 * time.Minute

// maxDuring bounds the things that are done while a scenario runs.
const maxDuring = 64

// Validate checks a scenario that was not read from a file, such as a
// generated one, by the rules that [Parse] goes by. The error is a *[Problems]
// whose entries name paths instead of lines.
func (s Scenario) Validate() error {
	v := validator{decoder: &decoder{file: s.Name}, s: &s}
	v.scenario()
	return problems(v.found)
}

// validator checks what a scenario means. What could not be read is left
// alone: one mistake is one problem.
type validator struct {
	*decoder
	s     *Scenario
	found []Problem

	processes map[string]*Process
	cgroups   map[string]*Cgroup
	// stands is what a name stands for: itself, its copies, the containers of
	// a pod. spoken are the names that a hint may suggest.
	stands map[string][]string
	spoken []string
	// manifests are the pods whose containers only a manifest names.
	manifests map[string]bool
	// badTree: there are problems with the cgroups.
	badTree bool
}

func (v *validator) problem(path []string, hint, what string, args ...any) {
	if len(v.found) < enough && !v.wrong(path...) {
		v.found = append(v.found, newProblem(v.file, v.find(path), path, hint, what, args...))
	}
}

// meant is a hint, as long as it will be shown: looking for it takes time.
func (v *validator) meant(got string, known []string) string {
	if len(v.found) > maxProblems {
		return ""
	}
	return meant(got, known)
}

func at(path ...string) []string { return path }

func (v *validator) scenario() {
	s := v.s
	if s.APIVersion != APIVersion {
		v.problem(at("apiVersion"), "write apiVersion: "+APIVersion, "%q is not a version that is read here",
			s.APIVersion)
	}
	if s.Kind != Kind {
		v.problem(at("kind"), "write kind: "+Kind, "%q is not a kind of file that is read here", s.Kind)
	}
	if strings.TrimSpace(s.Summary) == "" {
		v.problem(at("summary"), "say in one sentence what happens", "is missing")
	} else if strings.Contains(strings.TrimSpace(s.Summary), "\n") {
		v.problem(at("summary"), "the arithmetic belongs into because", "has more than one line")
	}
	v.claim()
	v.targets()
	v.needs()
	v.system()
	v.layCgroups()
	v.units()
	v.engineContainers()
	v.name()
	if v.tooMany() {
		return
	}
	for i := range s.Processes {
		v.process(&s.Processes[i])
	}
	v.order()
	v.family()
	v.kube()
	if len(s.During) > maxDuring {
		v.problem(at("during"), "", "%d entries are more than the %d that are carried out", len(s.During), maxDuring)
		return
	}
	for i := range s.During {
		v.during(i, s.During[i])
	}
	v.livelock()
	v.disk()
	v.tmpfs()
	v.nodes()
	v.machine()
	v.expect()
}

// claim checks the statement that the scenario answers.
func (v *validator) claim() {
	c := v.s.Claim
	if c == nil {
		return
	}
	for _, field := range []struct{ key, text, hint string }{
		{"statement", c.Statement, "write the sentence as people say it"},
		{"made", c.Made, "name the manual page or the articles that say so"},
	} {
		if strings.TrimSpace(field.text) == "" {
			v.problem(at("claim", field.key), field.hint, "is missing")
		}
	}
	for _, field := range []struct{ key, text string }{
		{"statement", c.Statement}, {"made", c.Made}, {"when", c.When}, {"formerly", c.Formerly},
	} {
		if strings.Contains(strings.TrimSpace(field.text), "\n") {
			v.problem(at("claim", field.key), "the arithmetic belongs into because", "has more than one line")
		}
	}
	switch {
	case c.Answer == "":
		v.problem(at("claim", "answer"), "write what a run that passes shows: true or false", "is missing")
	case !slices.Contains(Answers, string(c.Answer)):
		v.problem(at("claim", "answer"), "write true or false; what holds on some kernels only takes two scenarios "+
			"with needs: {kernel: ...}", "%q is not an answer", c.Answer)
	}
}

func (v *validator) targets() {
	if len(v.s.Targets) == 0 {
		v.problem(at("targets"), "write some of "+strings.Join(TargetNames(Targets...), ", "), "there is none")
	}
	for i, t := range v.s.Targets {
		if !slices.Contains(Targets, t) {
			v.problem(at("targets", strconv.Itoa(i)), meant(string(t), TargetNames(Targets...)),
				"no target is called %q", t)
		} else if slices.Contains(v.s.Targets[:i], t) {
			v.problem(at("targets", strconv.Itoa(i)), "", "%q is named twice", t)
		}
	}
	for _, t := range v.s.Targets {
		if t.Traits().Kubelet && len(v.s.Pods) == 0 && !v.unread("pods") {
			v.problem(at("targets"), fmt.Sprintf("write pods, or leave %s out", t), "%s runs pods, and there are none",
				t)
		}
		if t.Traits().Here && v.s.Expect.Panic != "" {
			v.problem(at("targets"), "write targets: [vm]", "a scenario that expects a panic would take this "+
				"machine down")
		}
	}
}

func (v *validator) needs() {
	n := v.s.Needs
	if n.CPUs < 0 || n.CPUs > 4096 {
		v.problem(at("needs", "cpus"), "", "%d is not a number of CPUs", n.CPUs)
	}
	if n.Kernel != "" {
		if _, err := kernel.Satisfies(kernel.Version{Major: 6}, n.Kernel); err != nil {
			v.problem(at("needs", "kernel"), `write a comparison such as ">= 5.17"`, "%q is not a range of kernels",
				n.Kernel)
		}
	}
	if n.Cgroup < 0 || n.Cgroup > 2 {
		v.problem(at("needs", "cgroup"), "write 1 or 2", "%d is not a version of cgroups", n.Cgroup)
	}
	for i, a := range n.Abilities {
		if !slices.Contains(abilities, string(a)) {
			v.problem(at("needs", "abilities", strconv.Itoa(i)), meant(string(a), abilities),
				"no ability is called %q", a)
		}
	}
	v.userland()
}

var abilities = []string{
	string(kernel.AbilityRoot), string(kernel.AbilityMemcg), string(kernel.AbilityOOMGroup),
	string(kernel.AbilityMemoryHigh),
	string(kernel.AbilitySwap), string(kernel.AbilityNegativeAdj), string(kernel.AbilityKmsg),
	string(kernel.AbilitySysrq),
	string(kernel.AbilityHostOOM), string(kernel.AbilityBTF), string(kernel.AbilityTracepoints),
	string(kernel.AbilityKprobes),
	string(kernel.AbilityFreeze), string(kernel.AbilityProcessEvents),
}

var (
	swapKinds = []string{"disk", "zram", "file"}
	sysctlKey = regexp.MustCompile(`^[a-z0-9_]+(\.[A-Za-z0-9_-]+)+$`)
)

func (v *validator) system() {
	v.sysctls(v.s.System.Sysctls, at("system", "sysctls"))
	v.overcommit()
	if swap := v.s.System.Swap; swap != nil {
		if swap.Size <= 0 {
			v.problem(at("system", "swap", "size"), "write size: 256Mi", "there is none")
		}
		if swap.Kind != "" && !slices.Contains(swapKinds, swap.Kind) {
			v.problem(at("system", "swap", "kind"), meant(swap.Kind, swapKinds), "%q is not a kind of swap", swap.Kind)
		}
	}
}

func (v *validator) sysctls(m map[string]string, path []string) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		switch {
		case !sysctlKey.MatchString(key):
			v.problem(with(path, key), "write it as sysctl(8) does: vm.panic_on_oom", "%q is not the name of a sysctl",
				key)
		case strings.ContainsAny(m[key], "\n\r"):
			v.problem(with(path, key), "", "%q has more than one line", m[key])
		case slices.Contains([]string{kernel.NrHugepages, kernel.NrOvercommitHugepages}, key) &&
			!isCount(m[key]):
			v.problem(with(path, key), "write how many huge pages there are: 64", "%q is not a number of pages", m[key])
		}
	}
}

func isCount(text string) bool {
	_, err := strconv.ParseUint(strings.TrimSpace(text), 10, 63)
	return err == nil
}

var cgroupName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func (v *validator) layCgroups() {
	v.cgroups = map[string]*Cgroup{}
	before := len(v.found)
	all := map[string]bool{}
	for _, c := range v.s.Cgroups {
		all[c.Path] = true
	}
	for i := range v.s.Cgroups {
		c := &v.s.Cgroups[i]
		path := at("cgroups", c.Path)
		if c.Unit != "" {
			path = at("units", c.Unit)
		} else if c.Container != "" {
			path = at("containers", c.Container)
		}
		if what := badCgroup(c.Path); what != "" {
			v.problem(path, "write a path below the run's own cgroup, such as /lab/a", "%q %s", c.Path, what)
		} else if parent, ok := c.Parent(); ok && v.cgroups[parent] == nil {
			hint := fmt.Sprintf("write %s: {} before it; the order is that in which the kernel visits them", parent)
			if all[parent] {
				hint = fmt.Sprintf("move %s before it", parent)
			}
			v.problem(path, hint, "%q comes before its parent", c.Path)
		}
		v.cgroups[c.Path] = c
		v.knobs(*c, path)
	}
	v.badTree = len(v.found) > before
}

// Parent is the path of the cgroup above; false for one at the top.
func (c Cgroup) Parent() (string, bool) {
	i := strings.LastIndexByte(c.Path, '/')
	return c.Path[:max(i, 0)], i > 0
}

func badCgroup(path string) string {
	if !strings.HasPrefix(path, "/") {
		return "does not begin with a slash"
	}
	parts := strings.Split(path[1:], "/")
	if len(parts) > 16 || len(path) > 512 {
		return "is nested too deep"
	}
	for _, part := range parts {
		switch {
		case !cgroupName.MatchString(part) || len(part) > 64:
			return "is not a path of names made of letters, digits, dots, dashes and underscores"
		case slices.Contains([]string{"cgroup", "memory", "cpu", "cpuset", "io", "pids", "hugetlb", "rdma", "misc",
			"irq"}, strings.SplitN(part, ".", 2)[0]) && strings.Contains(part, "."):
			return "could be a file of the kernel's"
		}
	}
	return ""
}

func (v *validator) knobs(c Cgroup, path []string) {
	if g := c.MemoryOOMGroup; g != nil && *g != 0 && *g != 1 {
		v.problem(with(path, "memory.oom.group"), "write 0 or 1", "%d is neither on nor off", *g)
	}
	if c.MemoryMax != nil && *c.MemoryMax == 0 {
		v.problem(with(path, "memory.max"), "", "nothing can run in 0 bytes")
	}
	if !c.limited() {
		return
	}
	for _, knob := range []struct {
		key  string
		set  *kernel.Bytes
		what string
	}{
		{"memory.min", c.MemoryMin, "there is never so much to protect"},
		{"memory.low", c.MemoryLow, "there is never so much to protect"},
		{"memory.high", c.MemoryHigh, "it is never reached"},
	} {
		if knob.set != nil && *knob.set != Max && *knob.set > *c.MemoryMax {
			v.problem(with(path, knob.key), fmt.Sprintf("write at most %s", *c.MemoryMax),
				"%s is above memory.max: %s", *knob.set, knob.what)
		}
	}
}

// limited reports whether the cgroup has a finite memory.max.
func (c Cgroup) limited() bool { return c.MemoryMax != nil && *c.MemoryMax != Max }

// cgroup checks the name of a cgroup that something refers to.
func (v *validator) cgroup(name string, path []string) {
	if v.unread("cgroups") || v.unread("pods") || v.cgroups[name] != nil {
		return
	}
	if len(v.s.Pods) > 0 {
		if (name != kubelet.NodeRoot || !v.s.NeedsKubelet()) && !kernel.InCgroup(name, kubelet.Root) {
			v.problem(path, "write "+kubelet.PodCgroup(kubelet.Burstable, "NAME")+"; pods are below "+kubelet.Root,
				"no cgroup %q", name)
		}
		return
	}
	var known []string
	for _, c := range v.s.Cgroups {
		known = append(known, c.Path)
	}
	if cgroup := "/" + name; v.cgroups[cgroup] != nil {
		v.problem(path, fmt.Sprintf("did you mean %q?", cgroup), "no cgroup %q", name)
		return
	}
	v.problem(path, v.meant(name, known), "no cgroup %q", name)
}

func (v *validator) during(i int, d During) {
	path := at("during", strconv.Itoa(i))
	v.refer(d.After, with(path, "after"))
	n := 0
	for _, given := range []bool{
		d.Set != nil, d.OOMScoreAdj != nil, d.Signal != nil, d.Freeze != "", d.Thaw != "", d.Sysctls != nil,
		d.Sysrq != "", d.Swapoff, d.Stop != nil,
	} {
		if given {
			n++
		}
	}
	const actions = "set, oom_score_adj, signal, freeze, thaw, sysctls, sysrq, swapoff or stop"
	switch {
	case n == 0:
		v.problem(path, "write one of "+actions, "does nothing")
	case n > 1:
		v.problem(path, "write an entry for each; they are done in order", "does %d things at once", n)
	}
	if d.Delay > maxWithin {
		v.problem(with(path, "delay"), "", "%v is longer than a run may last (%v)", d.Delay, maxWithin)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Set)) {
		c, below := d.Set[name], with(with(path, "set"), name)
		v.cgroup(name, below)
		v.knobs(c, below)
		if c == (Cgroup{Path: c.Path}) {
			v.problem(below, "write a knob and its value, such as {memory.max: 64Mi}", "sets nothing")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.OOMScoreAdj)) {
		below := with(with(path, "oom_score_adj"), name)
		v.refer(Names{name}, below)
		v.adj(d.OOMScoreAdj[name], below)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Signal)) {
		below := with(with(path, "signal"), name)
		v.refer(Names{name}, below)
		if sig := d.Signal[name]; kernel.SignalNumber(sig) == 0 || sig != strings.ToUpper(sig) {
			v.problem(below, meantSignal(sig), "%q is not a signal", sig)
		}
	}
	for key, name := range map[string]string{"freeze": d.Freeze, "thaw": d.Thaw} {
		if name != "" {
			v.cgroup(name, with(path, key))
		}
	}
	v.sysctls(d.Sysctls, with(path, "sysctls"))
	if d.Sysrq != "" && d.Sysrq != "f" {
		v.problem(with(path, "sysrq"), "f calls the OOM killer; the other keys are not offered",
			"%q is not a key that is pressed here", d.Sysrq)
	}
	if d.Swapoff && v.s.System.Swap == nil {
		v.problem(with(path, "swapoff"), "set system.swap", "there is no swap to switch off")
	}
	for j, earlier := range v.s.During[:i+1] {
		for k, name := range earlier.Stop {
			if j < i && slices.Contains(d.Stop, name) || j == i && slices.Contains(d.Stop[:k], name) {
				v.problem(with(path, "stop"), "stop it once", "%q is stopped twice", name)
			}
		}
	}
	v.stops(d.Stop, with(path, "stop"))
}

// stops checks what is stopped by its overseer. One that may be started again is none: an
// overseer does not start it again then, and how often it was by then is a race.
func (v *validator) stops(names Names, path []string) {
	for _, name := range names {
		i := slices.IndexFunc(v.s.Processes, func(p Process) bool { return p.Name == name })
		switch {
		case i < 0 && (v.unread("units") || v.unread("containers")):
		case i < 0:
			v.refer(Names{name}, path)
		case v.s.Processes[i].Unit == "" && v.s.Processes[i].Container == "":
			v.problem(path, fmt.Sprintf("write signal: {%s: SIGTERM}", name), "%q is no unit and no container: nobody "+
				"stops it", name)
		case v.s.Processes[i].Container != "" && len(v.s.Processes[i].Do) > 0 &&
			!slices.Contains(v.s.Processes[i].Ignore, "SIGTERM"):
			v.problem(path, "write ignore: [SIGTERM]", "%q is the first process of a container, and the kernel keeps "+
				"SIGTERM from one that does not handle it", name)
		case v.s.Processes[i].Respawn != 0:
			v.problem(path, "let it be started once", "%q is started again when it has ended", name)
		}
	}
}

func (v *validator) adj(adj int, path []string) {
	if adj < -1000 || adj > 1000 {
		v.problem(path, "it goes from -1000 to 1000", "%d is not an oom_score_adj", adj)
	}
}
