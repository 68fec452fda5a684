// Package judge says whether an experiment that somebody else runs killed what it was meant
// to kill: a chaos tool's memory hog, a load test, a script.
//
// Such an experiment has no prediction, and its processes are nobody's children here, so that
// their wait status is not to be had. What is left is held against itself: eBPF, the kernel log
// and the counter oom_kill of /proc/vmstat must tell of the same kills, pid by pid, and none
// of them may have lost one. Then the victims are held against what was expected.
//
// After the fact, the log and the counter since the machine was started are left.
//
// It is pure.
package judge

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/trace"
	"github.com/oomlab/oomlab/harness/verdict"
)

// Experiment is what was watched.
type Experiment struct {
	// Command is the command line of --during; empty: there was none.
	Command string `json:"command,omitempty"`
	// Since is when it began, in RFC 3339, where nobody watched and this is what was left.
	Since string `json:"since,omitempty"`
	// Unknown says what of that time nobody can tell any more.
	Unknown []string `json:"unknown,omitempty"`
	// Ended says how the command ended, such as "exit status 0"; empty: it did not.
	Ended string `json:"ended,omitempty"`
	// Interrupted: it was watched for less than was asked for.
	Interrupted bool `json:"interrupted,omitempty"`
	// Seconds that the command took, or that it was watched where there was none, or since it began.
	Seconds float64 `json:"seconds"`
	// Kills of the kernel, in their order.
	Kills []Kill `json:"kills"`
	// Signals are those that userspace OOM daemons sent, and SIGKILL and SIGTERM that
	// processes of the command were sent by others; null: nobody watched.
	Signals []trace.Kill `json:"signals"`
	// SignalsCut is how many signals on this machine were not looked at, for there were too many.
	SignalsCut int `json:"signals_cut,omitempty"`
	// Witnesses that tell of kills, each by itself.
	Witnesses []Witness `json:"witnesses"`
}

// Kill is one of the kernel's.
type Kill struct {
	trace.Kill
	// Own: the victim was started by the command, or by what it started; null: it cannot be
	// told, or there was no command.
	Own *bool `json:"own"`
	// Expected: the expectation covers it.
	Expected bool `json:"expected"`
}

// Witness tells of kills by itself.
type Witness struct {
	Name string `json:"name"`
	// PIDs that it told of, of the initial PID namespace; null: it only counts.
	PIDs []int `json:"pids"`
	// Kills that it counted.
	Kills int `json:"kills"`
	// Twice is how many of them it counts twice, as the kernel does with the first of a group.
	Twice int `json:"twice,omitempty"`
	// Uncertain is how many it may have more or less, for the time when it was read.
	Uncertain int `json:"uncertain,omitempty"`
	// Lost is how many of its events did not arrive.
	Lost uint64 `json:"lost,omitempty"`
	// Error says why it told nothing, or not all; empty: it did.
	Error string `json:"error,omitempty"`
}

// Expectation says who is to be killed.
type Expectation struct {
	// Victims are patterns of which each kill must match one, and each must match a kill;
	// none: what the command started. See [Check].
	Victims []string
	// Least and Most kills; Most -1: any number.
	Least, Most int
}

// Judgement is the verdict and why.
type Judgement struct {
	Verdict verdict.Verdict `json:"verdict"`
	// Reasons, the first of which decided.
	Reasons []string `json:"reasons"`
	Experiment
}

// Check says what is wrong with a pattern of victims: the absolute path of a cgroup, which
// means those below it too, a pod as NAMESPACE/NAME, or the name of a process. Wildcards are
// those of path.Match.
func Check(pattern string) error {
	if pattern == "" {
		return errors.New("it is empty")
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return err
	}
	switch parts := strings.Split(pattern, "/"); {
	case parts[0] == "":
	case len(parts) > 2 || len(parts) == 2 && parts[1] == "":
		return errors.New("it is neither the path of a cgroup, which begins with /, nor a NAMESPACE/NAME")
	case len(parts) == 1 && !strings.ContainsAny(pattern, `*?[\\`) && len(pattern) > kernel.CommLen:
		return fmt.Errorf("the kernel keeps %d bytes of the name of a process", kernel.CommLen)
	}
	return nil
}

// matches reports whether a victim is what a pattern means.
func matches(pattern string, p trace.Process) bool {
	switch {
	case strings.HasPrefix(pattern, "/"):
		pattern = strings.TrimSuffix(pattern, "/")
		depth := strings.Count(pattern, "/")
		parts := strings.Split(p.Cgroup, "/")
		return len(parts) > depth && match(pattern, strings.Join(parts[:depth+1], "/"))
	case strings.Contains(pattern, "/"):
		return p.Pod != "" && match(pattern, p.Namespace+"/"+p.Pod)
	}
	return match(pattern, p.Comm)
}

// unnamed are patterns of which it cannot be told whether they cover a kill that nothing else does.
func (j Judgement) unnamed(patterns []string) []string {
	var out []string
	for _, p := range patterns {
		what := "the cgroup"
		if !strings.HasPrefix(p, "/") {
			what = "the pod"
		}
		var whose []Kill
		for _, k := range j.Kills {
			v := k.Victim
			lost := v.Cgroup == "" || v.CgroupCut || what == "the pod" && v.Kubernetes != nil && v.Pod == ""
			if !k.Expected && lost && strings.Contains(p, "/") {
				whose = append(whose, k)
			}
		}
		if n := len(whose); n > 0 {
			out = append(out, fmt.Sprintf("no witness has %s of %s, the first of them %s, so that it cannot be told "+
				"whether %s covers them", what, plaintext.Count(n, "victim"), name(whose[0].Victim), p))
		}
	}
	return out
}

func match(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// Judge holds what was watched against itself, and then against what was expected.
func Judge(e Experiment, x Expectation) Judgement {
	j := Judgement{Experiment: e}
	j.Kills = slices.Clone(e.Kills)
	for i, k := range j.Kills {
		j.Kills[i].Expected = len(x.Victims) == 0 && e.Command != "" && k.Own != nil && *k.Own ||
			len(x.Victims) == 0 && e.Command == "" ||
			slices.ContainsFunc(x.Victims, func(p string) bool { return matches(p, k.Victim) })
	}
	broken := contradictions(e)
	for _, k := range e.Kills {
		if k.Own == nil && len(x.Victims) == 0 && e.Command != "" {
			broken = append(broken, "it cannot be told whether the command started "+name(k.Victim)+
				"; name the victims, or run this with CAP_NET_ADMIN in the initial namespaces")
		}
	}
	broken = append(broken, j.unnamed(x.Victims)...)
	if e.Interrupted {
		broken = append([]string{"interrupted; this is what was seen until then"}, broken...)
	}
	if len(broken) > 0 {
		j.Verdict, j.Reasons = verdict.Broken, broken
		return j
	}
	if failed := j.misses(x); len(failed) > 0 {
		j.Verdict, j.Reasons = verdict.Fail, failed
		return j
	}
	j.Verdict = verdict.Pass
	switch n := len(j.Kills); {
	case n == 0:
		j.Reasons = []string{"nobody was killed, as expected"}
	case e.Command != "" && len(x.Victims) == 0:
		j.Reasons = []string{fmt.Sprintf("%s, all of them of what the command started", plaintext.Count(n, "kill"))}
	default:
		j.Reasons = []string{fmt.Sprintf("%s, all of them expected", plaintext.Count(n, "kill"))}
	}
	if only := e.only(); only != "" {
		j.Reasons[0] += "; " + only + " alone tells of that"
	}
	return j
}

// only is the one witness that there is; empty: there are more.
func (e Experiment) only() string {
	name := ""
	for _, w := range e.Witnesses {
		if w.Error == "" && name != "" {
			return ""
		}
		if w.Error == "" {
			name = w.Name
		}
	}
	return name
}

// contradictions are those between the witnesses, and what any of them lacks.
func contradictions(e Experiment) []string {
	out := slices.Clone(e.Unknown)
	pids := map[string][]int{}
	var naming []string
	for _, w := range e.Witnesses {
		if w.Lost > 0 {
			out = append(out, fmt.Sprintf("%s lost %s", w.Name, plaintext.Count(int(min(w.Lost, 1<<31)), "event")))
		}
		if w.Error != "" {
			continue // it is shown, and takes no part
		}
		if w.PIDs != nil {
			naming = append(naming, w.Name)
			pids[w.Name] = slices.Sorted(slices.Values(w.PIDs))
		}
		if more := w.Kills - w.Twice - len(e.Kills); more < -w.Uncertain || more > w.Uncertain {
			out = append(out, fmt.Sprintf("%s tells of %s, and there were %d", w.Name,
				plaintext.Count(w.Kills-w.Twice, "kill"), len(e.Kills)))
		}
	}
	if len(naming) == 0 {
		return append(out, "no witness names the processes that were killed")
	}
	for _, name := range naming[1:] {
		if only := missing(pids[name], pids[naming[0]]); len(only) > 0 {
			out = append(out, fmt.Sprintf("%s tells of kills that %s does not: %s", name, naming[0], list(only)))
		}
		if only := missing(pids[naming[0]], pids[name]); len(only) > 0 {
			out = append(out, fmt.Sprintf("%s tells of kills that %s does not: %s", naming[0], name, list(only)))
		}
	}
	return out
}

// missing are those of a that are not in b; a pid that is there twice is two.
func missing(a, b []int) []int {
	left := slices.Clone(b)
	var out []int
	for _, pid := range a {
		if i := slices.Index(left, pid); i >= 0 {
			left = slices.Delete(left, i, i+1)
			continue
		}
		out = append(out, pid)
	}
	return out
}

func list(pids []int) string {
	const most = 8
	var out []string
	for _, pid := range pids[:min(len(pids), most)] {
		out = append(out, "pid "+strconv.Itoa(pid))
	}
	if more := len(pids) - most; more > 0 {
		out = append(out, fmt.Sprintf("%d more", more))
	}
	return strings.Join(out, ", ")
}

// misses are what the expectation does not cover, and what it asked for in vain.
func (j Judgement) misses(x Expectation) []string {
	var out []string
	for _, k := range j.Kills {
		if !k.Expected {
			out = append(out, fmt.Sprintf("%s was killed, which was not expected", name(k.Victim)))
		}
	}
	for _, p := range x.Victims {
		if !slices.ContainsFunc(j.Kills, func(k Kill) bool { return matches(p, k.Victim) }) {
			out = append(out, fmt.Sprintf("no victim matches %s", p))
		}
	}
	n := len(j.Kills)
	switch {
	case n < x.Least && n == 0 && len(x.Victims) == 0:
		out = append(out, "nobody was killed")
	case n < x.Least:
		out = append(out, fmt.Sprintf("%s, and at least %d were expected", plaintext.Count(n, "kill"), x.Least))
	case x.Most >= 0 && n > x.Most:
		out = append(out, fmt.Sprintf("%s, and at most %d were expected", plaintext.Count(n, "kill"), x.Most))
	}
	return out
}

// name is a process with its number and where it was.
func name(p trace.Process) string {
	text := fmt.Sprintf("%s[%d]", p.Comm, p.PID)
	switch {
	case p.Pod != "":
		text += " of pod " + p.Namespace + "/" + p.Pod
	case p.Cgroup != "":
		text += " in " + p.Cgroup
	}
	return text
}
