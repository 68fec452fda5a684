package scenario

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/stressor/profile"
)

var processName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)

// name collects what every name stands for.
func (v *validator) name() {
	v.processes, v.stands = map[string]*Process{}, map[string][]string{}
	for i := range v.s.Processes {
		p := &v.s.Processes[i]
		v.processes[p.Name] = p
		v.spoken = append(v.spoken, p.Name)
		all := []string{p.Name}
		if p.Copies > 1 {
			all = nil
			for i := range min(p.Copies, maxProcesses+1) {
				all = append(all, p.Name+"/"+strconv.Itoa(i+1))
			}
		}
		v.stands[p.Name] = all
		for _, one := range all {
			v.stands[one] = []string{one}
		}
	}
	v.nameKube()
}

// tooMany stops what would take long on a file that nobody means.
func (v *validator) tooMany() bool {
	n := 0
	for _, name := range v.spoken {
		n += len(v.stands[name])
	}
	if n > maxProcesses {
		v.problem(at("processes"), "", "more than %d processes, copies included", maxProcesses)
	}
	return n > maxProcesses
}

// refer checks names of processes. path is that of the list, or of the one
// name that stands for it.
func (v *validator) refer(names Names, path []string) {
	if v.unread("processes") || v.unread("pods") {
		return
	}
	for i, name := range names {
		if v.stands[name] != nil || v.inManifest(name) {
			continue
		}
		where := with(path, strconv.Itoa(i))
		if !v.said(where...) {
			where = path
		}
		if v.descendants(name, where) {
			continue
		}
		if of, copy, ok := strings.Cut(name, "/"); ok && v.stands[of] != nil && len(v.s.Pods) == 0 {
			hint := fmt.Sprintf("its copies are %s/1 to %s/%d", of, of, len(v.stands[of]))
			if len(v.stands[of]) == 1 {
				hint = fmt.Sprintf("it has no copies; write %s", of)
			}
			v.problem(where, hint, "process %q has no copy %q", of, copy)
			continue
		}
		v.problem(where, v.meant(name, v.spoken), "no process %q", name)
	}
}

// all is what the names stand for, each once.
func (v *validator) all(names []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, name := range names {
		for _, one := range v.stands[name] {
			if !seen[one] {
				seen[one] = true
				out = append(out, one)
			}
		}
	}
	return out
}

// of finds the process that an instance (NAME or NAME/2) is one of; nil for a
// container.
func (v *validator) of(instance string) *Process {
	if p := v.processes[instance]; p != nil {
		return p
	}
	name, _, _ := strings.Cut(instance, "/")
	return v.processes[name]
}

func (v *validator) process(p *Process) {
	path := at(p.section(), p.Name)
	longest := p.Name
	if p.Copies > 1 {
		longest += "/" + strconv.Itoa(p.Copies)
	}
	switch {
	case !processName.MatchString(p.Name):
		v.problem(path, "begin with a letter or a digit and go on with these, dots and dashes",
			"%q is not a name for a process", p.Name)
	case len(longest) > kernel.CommLen:
		v.problem(path, "take a shorter one", "%q is longer than the %d bytes that the kernel keeps of a name",
			longest, kernel.CommLen)
	}
	if p.Cgroup != "" {
		v.cgroup(p.Cgroup, with(path, "cgroup"))
		v.internal(p, path)
	}
	v.adj(p.OOMScoreAdj, with(path, "oom_score_adj"))
	v.oomAdj(p, with(path, "oom_adj"))
	v.refer(p.After, with(path, "after"))
	if p.Copies < 0 || p.Copies == 0 && v.said("processes", p.Name, "copies") {
		v.problem(with(path, "copies"), "", "%d copies are no process", p.Copies)
	}
	if p.Nice < -20 || p.Nice > 19 {
		v.problem(with(path, "nice"), "it goes from -20 to 19", "%d is not a nice value", p.Nice)
	}
	if p.UID < 0 {
		v.problem(with(path, "uid"), "", "%d is not a user id", p.UID)
	}
	if p.Threads < 0 || p.Threads > 4096 {
		v.problem(with(path, "threads"), "at most 4096", "%d is not a number of threads", p.Threads)
	}
	for i, sig := range p.Ignore {
		where := with(with(path, "ignore"), strconv.Itoa(i))
		switch {
		case kernel.SignalNumber(sig) == 0 || sig != strings.ToUpper(sig):
			v.problem(where, meantSignal(sig), "%q is not a signal", sig)
		case sig == "SIGKILL" || sig == "SIGSTOP":
			v.problem(where, "", "%s cannot be ignored", sig)
		}
	}
	v.program(p.Command, p.Do, path)
	if len(p.Command) > 0 && p.Threads > 0 {
		v.problem(with(path, "threads"), "", "only a stressor is told how many threads it has")
	}
}

// program checks that a process has exactly one thing to do, and that it makes
// sense.
func (v *validator) program(command []string, do []Step, path []string) {
	switch {
	case len(command) > 0 && len(do) > 0:
		v.problem(path, "do is for the stressor, command for a program of your own", "has both do and command")
	case len(command) == 0 && len(do) == 0:
		v.problem(path, "write do: [{touch: 64Mi}, hold] or command: [program, argument]", "has nothing to do")
	case len(do) > 64:
		v.problem(with(path, "do"), "", "%d steps are more than the 64 that a stressor is given", len(do))
	case len(command) > 0 && command[0] == "":
		v.problem(with(path, "command"), "", "the program has no name")
	default:
		v.steps(do, with(path, "do"))
	}
}

func (v *validator) steps(do []Step, path []string) {
	var held kernel.Bytes
	forked := map[string]bool{}
	for i, s := range do {
		where := with(path, strconv.Itoa(i))
		v.step(s, where)
		row := s.Op.Row()
		switch {
		case row.Last && i < len(do)-1:
			v.problem(where, "make it the last step", "nothing after %s is ever done", s.Op)
		case row.Memory == profile.HeldMemory && s.Size > held:
			v.problem(where, "", "%s: %s are more than the %s that are held by then", s.Op, s.Size, held)
		case s.Op == profile.Fork && forked[s.Name]:
			v.problem(where, "give a second child a name of its own", "%q is forked twice", s.Name)
		case s.Op == profile.Fork:
			forked[s.Name] = true
		case s.Op == profile.Wait && !forked[s.Name] && !v.wrong(path...):
			v.problem(where, fmt.Sprintf("write {fork: %s} before it", s.Name),
				"%q was not forked before it is waited for", s.Name)
		}
		held = s.hold(held)
	}
}

// step checks the values of one step, which a generated scenario may have got
// wrong; [Parse] has reported what it could not read.
func (v *validator) step(s Step, path []string) {
	row := s.Op.Row()
	if row.Op == "" {
		v.problem(path, meant(string(s.Op), opNames()), "no step is called %q", s.Op)
		return
	}
	needs := row.Amount
	missing := needs == profile.Size && s.Size <= 0 || needs == profile.Rate && s.Rate <= 0 ||
		needs == profile.Name && s.Name == "" || needs == profile.Duration && s.Duration <= 0
	switch {
	case missing:
		v.problem(path, fmt.Sprintf("write {%s: %s}", s.Op, stepExample[needs]), "%s needs a %s", s.Op, needs)
	case row.Required && s.Rate <= 0:
		v.problem(path, fmt.Sprintf("write {%s: 64Mi, rate: 32Mi/s}", s.Op), "%s needs a rate", s.Op)
	case needs == profile.Duration && s.Duration > maxWithin:
		v.problem(path, "", "%v is longer than a run may last (%v)", s.Duration, maxWithin)
	case s.Content != "" && !slices.Contains(profile.Contents, s.Content):
		v.problem(path, meant(s.Content, profile.Contents), "%q is not what pages can hold", s.Content)
	case s.Code < 0 || s.Code > 255:
		v.problem(path, "it goes from 0 to 255", "%d is not an exit code", s.Code)
	}
}

// hold is what a stressor holds after the step, when it held that much before.
func (s Step) hold(held kernel.Bytes) kernel.Bytes {
	if s.Op == profile.Free {
		return max(0, held-s.Size)
	}
	if s.Op.Row().Takes() {
		return held + s.Size
	}
	return held
}

// Peak is the most that a stressor holds at once of the memory that counts;
// bounded is false if it takes more and more.
func Peak(do []Step, counts func(profile.Row) bool) (peak kernel.Bytes, bounded bool) {
	var held kernel.Bytes
	for _, s := range do {
		row := s.Op.Row()
		switch {
		case row.Unbounded():
			return peak, false
		case row.Takes() && !counts(row):
			continue
		}
		held = s.hold(held)
		peak = max(peak, held)
	}
	return peak, true
}

// order refuses processes that wait for each other.
func (v *validator) order() {
	edges := map[string][]string{}
	for _, p := range v.s.Processes {
		waits := p.After
		if p.Parent != "" {
			waits = append(slices.Clip(waits), p.Parent)
		}
		edges[p.Name] = v.roots(waits)
	}
	for _, p := range v.s.Pods {
		edges[p.Name] = v.roots(p.After)
	}
	const visiting, done = 1, 2
	state := map[string]int{}
	var walk func(name string, trail []string)
	walk = func(name string, trail []string) {
		trail = append(trail, name)
		state[name] = visiting
		for _, next := range edges[name] {
			switch state[next] {
			case visiting:
				cycle := trail[slices.Index(trail, next):]
				where := at("processes", next, "after")
				if len(v.s.Pods) > 0 {
					where = at("pods", next, "after")
				} else if len(v.processes[next].After) == 0 {
					where[2] = "parent"
				}
				v.problem(where, "one of them must start first", "%s waits for %s", next,
					strings.Join(append(slices.Clip(cycle[1:]), next), ", which waits for "))
			case 0:
				walk(next, trail)
			}
		}
		state[name] = done
	}
	for _, name := range v.spoken {
		if _, ok := edges[name]; ok && state[name] == 0 {
			walk(name, nil)
		}
	}
}

// roots are the processes, or pods, that names belong to.
func (v *validator) roots(names []string) []string {
	var out []string
	for _, name := range names {
		if v.stands[name] == nil {
			continue
		}
		if v.processes[name] == nil {
			name = kubelet.NameOf(name).Pod
		}
		out = append(out, name)
	}
	return out
}

// family checks that forks and parents tell the same story, and what a forked
// process cannot have.
func (v *validator) family() {
	for i := range v.s.Processes {
		p := &v.s.Processes[i]
		path := at(p.section(), p.Name)
		for j, s := range p.Do {
			if s.Op != profile.Fork && s.Op != profile.Wait || s.Name == "" {
				continue
			}
			where := with(with(path, "do"), strconv.Itoa(j))
			child := v.processes[s.Name]
			switch {
			case child == nil:
				v.refer(Names{s.Name}, where)
				if v.stands[s.Name] != nil {
					v.problem(where, "name the process, not its copy", "%q is one of several copies", s.Name)
				}
			case s.Op == profile.Fork && child.Parent != p.Name && !v.wrong("processes", child.Name, "parent"):
				v.problem(where, fmt.Sprintf("write parent: %s at %s", p.Name, child.Name),
					"%q does not name %q as its parent", child.Name, p.Name)
			}
		}
		if p.Parent == "" {
			if p.SharesMemoryWith != "" {
				v.problem(with(path, "shares_memory_with"), fmt.Sprintf("write parent: %s too", p.SharesMemoryWith),
					"only a process that is forked can share its parent's memory")
			}
			continue
		}
		v.child(p, path)
	}
}

func (v *validator) child(p *Process, path []string) {
	parent := v.processes[p.Parent]
	where := with(path, "parent")
	if parent == nil {
		v.refer(Names{p.Parent}, where)
		return
	}
	if !slices.ContainsFunc(parent.Do, func(s Step) bool { return s.Op == profile.Fork && s.Name == p.Name }) &&
		!v.wrong("processes", parent.Name, "do") {
		hint := fmt.Sprintf("write {fork: %s} among the steps of %s", p.Name, parent.Name)
		if len(parent.Command) > 0 {
			hint = "only a stressor forks on demand"
		}
		v.problem(where, hint, "%q never forks %q", parent.Name, p.Name)
	}
	if p.SharesMemoryWith != "" && (len(p.Do) != 1 || p.Do[0].Op != profile.Hold || p.Threads > 0) {
		v.problem(with(path, "do"), "write do: [hold]; its memory is its parent's, and is taken there",
			"a process that shares its parent's memory only holds")
	}
	if p.SharesMemoryWith != "" && p.SharesMemoryWith != p.Parent {
		v.problem(with(path, "shares_memory_with"), fmt.Sprintf("write %s", p.Parent),
			"memory is shared with the parent, which is %q", p.Parent)
	}
	if copies := max(1, parent.Copies); max(1, p.Copies) != copies {
		v.problem(with(path, "copies"), fmt.Sprintf("write copies: %d; each copy of %s forks one", copies,
			parent.Name), "%q has %d", parent.Name, copies)
	}
	for _, f := range []struct {
		key   string
		given bool
	}{
		{"command", len(p.Command) > 0}, {"after", len(p.After) > 0}, {"respawn", p.Respawn != 0},
		{"nice", p.Nice != 0}, {"uid", p.UID != 0}, {"ignore", len(p.Ignore) > 0},
	} {
		if f.given {
			v.problem(with(path, f.key), "set it at its parent, or start it without one",
				"a forked process has no %s of its own", f.key)
		}
	}
}

// livelock refuses a cgroup that is over its limit with nobody to kill: the
// charge fails, the page fault is retried forever, and every round prints a
// whole report (mem_cgroup_out_of_memory, mm/memcontrol.c).
func (v *validator) livelock() {
	for _, c := range v.s.Cgroups {
		swaps := v.s.System.Swap != nil && (c.MemorySwapMax == nil || *c.MemorySwapMax > 0)
		if !c.limited() || swaps {
			continue
		}
		if p := v.unkillable(c); p != nil {
			v.problem(at(p.section(), p.Name, "oom_score_adj"), fmt.Sprintf("let one process in %s have more than "+
				"-1000", c.Path),
				"%s goes over its %s with nobody in it to kill: all are at -1000, and the kernel would try forever",
				c.Path, c.MemoryMax)
		}
	}
}

// unkillable is the process that takes the cgroup over its limit when none in
// it may be killed; nil if one may, or if the limit is kept.
func (v *validator) unkillable(c Cgroup) *Process {
	var total kernel.Bytes
	var over *Process
	for i := range v.s.Processes {
		p := &v.s.Processes[i]
		if !kernel.InCgroup(p.Cgroup, c.Path) {
			continue
		}
		if p.ScoreAdj() != -1000 || len(p.Command) > 0 || v.readjusted(p.Name) || v.wrong("processes", p.Name) {
			return nil
		}
		// Page cache is dropped or written back, and huge pages are not charged.
		peak, bounded := Peak(p.Do, profile.Row.Charged)
		total += peak * kernel.Bytes(max(1, p.Copies))
		if over == nil && (!bounded || total > *c.MemoryMax) {
			over = p
		}
	}
	return over
}

// readjusted reports whether the process's oom_score_adj changes on the way.
func (v *validator) readjusted(name string) bool {
	for _, d := range v.s.During {
		for who := range d.OOMScoreAdj {
			if of, _, _ := strings.Cut(who, "/"); of == name || who == name {
				return true
			}
		}
	}
	return false
}
