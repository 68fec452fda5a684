package compare

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Aspect is one side of what a kernel does when it runs out of memory.
type Aspect string

// The aspects, in the order in which differences are shown. docs/comparing-kernels.md
// explains each.
const (
	Verdict    Aspect = "verdict"     // of the run
	Panicked   Aspect = "panic"       // the text of the panic
	Victims    Aspect = "victims"     // who was killed, whatever the order
	Order      Aspect = "order"       // in which they were killed
	Constraint Aspect = "constraint"  // what ran out, and the cgroup whose limit was hit
	Trigger    Aspect = "trigger"     // in whose context the OOM killer ran
	Exits      Aspect = "exit"        // how a process ended
	Status     Aspect = "status"      // what a cluster says of a container at the end
	Says       Aspect = "says"        // what a runtime says of a unit or a container at the end, with --by runtime
	Evicted    Aspect = "evicted"     // pods that a kubelet evicted, in order
	Misreports Aspect = "misreports"  // what a cluster says that was not so
	Adj        Aspect = "adj"         // oom_score_adj that a kubelet has set
	Decisions  Aspect = "decisions"   // how often a victim was chosen
	Logged     Aspect = "logged"      // "Killed process" lines of each victim
	Scan       Aspect = "scan"        // the order in which the candidates are looked at
	Reads      Aspect = "reads"       // which reading of the page counters oom_badness() sees
	Arithmetic Aspect = "arithmetic"  // whether the model's scores are the kernel's
	Points     Aspect = "points"      // of a candidate at the first decision
	Domain     Aspect = "domain"      // pages that oom_score_adj is scaled by
	Freed      Aspect = "freed"       // what the victims of the first decision held
	HostPoints Aspect = "points.host" // the same, when the whole machine ran out
	HostFreed  Aspect = "freed.host"
	CounterSet Aspect = "counters"   // which counters a file has
	Counter    Aspect = "counter"    // by how much one rose
	LogHead    Aspect = "log.head"   // "x invoked oom-killer: ..."
	LogCPU     Aspect = "log.cpu"    // "CPU: 0 UID: 0 PID: 1 Comm: x ..."
	LogStats   Aspect = "log.stats"  // names of the statistics of a memory cgroup
	LogMemory  Aspect = "log.memory" // names of the figures of the machine, its nodes and zones
	LogTable   Aspect = "log.table"  // columns of the task table
	LogLines   Aspect = "log.lines"  // other lines between the head and the kill
	LogSummary Aspect = "log.summary"
	LogKilled  Aspect = "log.killed" // "Killed process ..."
	Preempt    Aspect = "preemption" // how the kernel says it may be preempted
	Watched    Aspect = "ebpf"       // the tier that the eBPF programs reached
	Time       Aspect = "time"       // from the start to the first kill
)

// kind is how values of an aspect are compared and shown.
type kind int

const (
	word   kind = iota // one of a few
	line               // words in a row; the part that is not the same is shown
	set                // words; what was added and dropped is shown
	pages              // a number of pages
	count              // a number
	millis             // a duration
)

// about is what is known of an aspect beside its name.
type about struct {
	aspect Aspect
	kind   kind
	what   string // for a reader who sees the name for the first time
	// numbers: what is noise, absolute and as a part of the larger of the two
	slack float64
	part  float64
}

var aspects = []about{
	{Verdict, word, "verdict", 0, 0},
	{Panicked, word, "the kernel's panic", 0, 0},
	{Victims, word, "who is killed", 0, 0},
	{Order, word, "the order of the kills", 0, 0},
	{Constraint, word, "what ran out of memory", 0, 0},
	{Trigger, word, "who invokes the OOM killer", 0, 0},
	{Exits, word, "how a process ends", 0, 0},
	{Status, word, "what the API says of a container", 0, 0},
	{Says, word, "what a runtime says", 0, 0},
	{Evicted, word, "who is evicted", 0, 0},
	{Misreports, word, "what the API says that was not so", 0, 0},
	{Adj, count, "a container's oom_score_adj", 0, 0},
	{Decisions, word, "how often a victim is chosen", 0, 0},
	{Logged, word, "lines that tell of a kill", 0, 0},
	{Scan, word, "the order in which candidates are looked at", 0, 0},
	{Reads, word, "how oom_badness() reads page counters", 0, 0},
	{Arithmetic, word, "whether the model's scores are the kernel's", 0, 0},
	// Counters that are batched may be off by 64 pages for each thread and
	// counter, and a stressor has five threads.
	{Points, pages, "points of a candidate", 512, 0.02},
	{Domain, pages, "pages that oom_score_adj is scaled by", 0, 0.02},
	{Freed, pages, "what a kill gives back", 512, 0.02},
	// How much is left for processes when the kernel gives up depends on what it
	// holds itself, and on how long it tries.
	{HostPoints, pages, "points of a candidate, host-wide", 512, 0.10},
	{HostFreed, pages, "what a kill gives back, host-wide", 512, 0.10},
	{CounterSet, set, "counters that there are", 0, 0},
	{Counter, count, "by how much a counter rises", 0, 0},
	{LogHead, line, "first line of the report", 0, 0},
	{LogCPU, line, "line about the processor", 0, 0},
	{LogStats, set, "statistics of the cgroup in the log", 0, 0},
	{LogMemory, set, "figures of the machine in the log", 0, 0},
	{LogTable, set, "columns of the task table", 0, 0},
	{LogLines, set, "other lines of the report", 0, 0},
	{LogSummary, line, "summary line", 0, 0},
	{LogKilled, line, "line that tells of the kill", 0, 0},
	{Preempt, word, "preemption model", 0, 0},
	{Watched, word, "how much eBPF sees", 0, 0},
	{Time, millis, "time to the first kill", 2000, 0.5},
}

func (a Aspect) about() about {
	i := slices.IndexFunc(aspects, func(x about) bool { return x.aspect == a })
	if i < 0 {
		return about{aspect: a, what: string(a)} // of a baseline by another version
	}
	return aspects[i]
}

func (a Aspect) rank() int {
	return slices.IndexFunc(aspects, func(x about) bool { return x.aspect == a })
}

// What explains an aspect in a few words.
func (a Aspect) What() string { return a.about().what }

// gated reports whether a baseline checks the aspect. How long something takes
// says more about the machine than about the kernel.
func (a Aspect) gated() bool { return a != Time }

// write is a number as it is shown.
func (k kind) write(n float64) string {
	switch k {
	case millis:
		return fmt.Sprintf("%.1f s", n/1000)
	case pages:
		return fmt.Sprintf("%d pages", int64(n))
	}
	return strconv.FormatFloat(n, 'f', -1, 64)
}

// between separates the members of a set, which may have spaces in them.
const between = "\n"

// join makes a value of a set.
func join(members []string) string { return strings.Join(members, between) }

// delta shows what became of a set: +added -dropped.
func delta(from, to string) string {
	a, b := strings.Split(from, between), strings.Split(to, between)
	var out []string
	for _, w := range b {
		if w != "" && !slices.Contains(a, w) {
			out = append(out, "+"+w)
		}
	}
	for _, w := range a {
		if w != "" && !slices.Contains(b, w) {
			out = append(out, "-"+w)
		}
	}
	if len(out) == 0 {
		return "the same in another order"
	}
	if spaced := strings.Contains(from+to, " "); spaced {
		return strings.Join(out, "; ")
	}
	return strings.Join(out, " ")
}

// part shows where two lines are not the same, without what they begin and end
// with alike.
func part(from, to string) string {
	a, b := strings.Fields(from), strings.Fields(to)
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	switch {
	case len(a) == 0:
		return "+" + strings.Join(b, " ")
	case len(b) == 0:
		return "-" + strings.Join(a, " ")
	}
	return strings.Join(a, " ") + " -> " + strings.Join(b, " ")
}
