package verdict

import (
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
)

// logFacts are what the kernel log says of the run.
type logFacts struct {
	records int
	reports []oomlog.Report
	kills   []logKill // "Killed process" lines, repetitions included
	// exiting counts the lines "is already exiting. Skip killing the task", by
	// pid: attempts that found nothing left to kill.
	exiting map[int]int
	panic   string
}

// logKill is one "Killed process" line.
type logKill struct {
	pid    int // as printed: of a thread with the memory
	tgid   int
	comm   string
	atNS   int64
	report *oomlog.Report // nil: the rate limit swallowed the rest of it
}

// names reports whether a line names one of the pids.
func (l logFacts) names(pids ...int) bool {
	for _, k := range l.kills {
		for _, pid := range pids {
			if k.pid == pid {
				return true
			}
		}
	}
	return false
}

// readLog parses the records of /dev/kmsg or, of a machine that went down
// before its agent could read them, of the console.
func readLog(events []evidence.Event) logFacts {
	source := evidence.Kmsg
	for _, e := range events {
		if e.Kind == evidence.Down {
			source = evidence.Console
		}
	}
	l := logFacts{exiting: map[int]int{}}
	var p oomlog.Parser
	for _, e := range events {
		if e.Kind != evidence.Record || e.Log == nil || e.Source != source || e.Log.Facility != 0 {
			continue
		}
		l.records++
		l.reports = append(l.reports, p.Feed(kernel.Record{
			Priority: e.Log.Priority, Seq: e.Log.Seq, USec: e.Log.USec, Cont: e.Log.Cont, Text: e.Log.Text,
		})...)
		if _, text, ok := strings.Cut(e.Log.Text, "Kernel panic - not syncing: "); ok && l.panic == "" {
			l.panic, _, _ = strings.Cut(text, "\n")
		}
	}
	l.reports = append(l.reports, p.Close()...)
	for i := range l.reports {
		r := &l.reports[i]
		for _, k := range r.Kills {
			if k.AlreadyExiting {
				l.exiting[k.PID]++
			}
			if k.Announced || k.AlreadyExiting {
				continue
			}
			kill := logKill{pid: k.PID, comm: k.Comm, atNS: nanoseconds(k.At)}
			if r.Constraint != "" || r.Trigger.Comm != "" {
				kill.report = r
			}
			l.kills = append(l.kills, kill)
		}
	}
	return l
}

// nanoseconds reads the log's own time, "6115.303887".
func nanoseconds(at string) int64 {
	seconds, err := strconv.ParseFloat(strings.TrimSpace(at), 64)
	if err != nil {
		return 0
	}
	return int64(seconds * 1e9)
}

// constraints maps the log's word to the scenario file's.
var constraints = map[string]string{
	"CONSTRAINT_NONE": "none", "CONSTRAINT_CPUSET": "cpuset",
	"CONSTRAINT_MEMORY_POLICY": "mempolicy", "CONSTRAINT_MEMCG": "memcg",
}

// fillFrom completes a kill with what only the log says, which is all there is
// below tier 2.
func (k *Kill) fillFrom(r *oomlog.Report, j *joined) {
	if k.Constraint == "" {
		k.Constraint = constraints[r.Constraint]
	}
	if k.OOMMemcg == "" && r.OOMMemcg != "" {
		k.OOMMemcg = j.below(r.OOMMemcg)
	}
	if k.TotalPages == nil {
		total := j.logTotal(*r)
		k.TotalPages = &total
	}
	if k.Trigger.Comm == "" {
		k.Trigger.Comm = r.Trigger.Comm
		if r.Trigger.PID != nil {
			k.Trigger.PID = *r.Trigger.PID
			k.Trigger.Process = j.name(k.Trigger.PID)
		}
	}
}

// below shortens a path that the kernel prints from the hierarchy's root to one
// below the run's base; paths outside get a leading "//".
func (j *joined) below(path string) string {
	if j.cluster != nil {
		return j.cluster.inPlan(path)
	}
	if _, rest, ok := strings.Cut(path, "/"+j.in.Plan.Base); ok && (rest == "" || rest[0] == '/') {
		if rest == "" {
			return "/"
		}
		return rest
	}
	return "/" + path
}
