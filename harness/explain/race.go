package explain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

// Race is a kill beside an earlier one whose victim had not given its memory back:
// mem_cgroup_scan_tasks() passes over a process whose threads have all begun to exit
// (css_task_iter_advance() in kernel/cgroup/cgroup.c), though it is still charged. Who
// fails to charge then, on another processor, has the next in rank killed.
type Race struct {
	// Victims are those whom reports before this one killed and who were still leaving.
	Victims []Leaving `json:"victims"`
	// Charged is the anonymous memory that was charged and that no process of the table has.
	Charged kernel.Pages `json:"charged_pages"`
}

// Leaving is a victim that had not given back its memory.
type Leaving struct {
	PID  int          `json:"pid"`
	Comm string       `json:"comm"`
	At   string       `json:"at,omitempty"`
	Anon kernel.Pages `json:"anon_pages"` // what it had when it was killed
}

// longestExit is how long a victim may take to leave, in seconds. Kills that are further
// apart are no race.
const longestExit = 10

// leastRace is how much memory has to be missing in the table before somebody who is
// leaving is said to have it. It may have given back most of it by the time of the report.
const leastRace = kernel.MiB

// raced finds the victims of earlier reports, in the same cgroup, whose memory was still
// charged in this one.
func (x *Explainer) raced(e Explanation) *Race {
	if e.Global == nil || *e.Global || e.Victim == nil || e.Memory == nil || e.Memory.Anon == nil ||
		len(e.Ranking) == 0 {
		return nil
	}
	charged := *e.Memory.Anon
	for _, r := range e.Ranking {
		if r.RSSAnon != nil {
			charged -= *r.RSSAnon
		} else {
			charged -= r.RSS
		}
	}
	out := Race{Charged: charged}
	missing, least := charged, leastRace.Pages(e.PageSize)
	for i := 0; i < len(x.dead) && missing >= least; i++ {
		d := x.dead[(x.at+len(x.dead)-1-i)%len(x.dead)] // the latest first
		if d.memcg != e.OOMMemcg || !soon(d.at, e.At) {
			break
		}
		if d.anon == 0 || missing < max(least, d.anon/16) ||
			slices.ContainsFunc(e.Ranking, func(r Ranked) bool { return r.PID == d.pid }) {
			continue
		}
		missing -= d.anon
		out.Victims = append(out.Victims, Leaving{d.pid, d.comm, d.at, d.anon})
	}
	if out.Victims == nil {
		return nil
	}
	slices.Reverse(out.Victims)
	return &out
}

// soon reports whether a process that was killed at one time may still be leaving at
// another; times that cannot be compared may be any.
func soon(killed, now string) bool {
	a, errA := strconv.ParseFloat(killed, 64)
	b, errB := strconv.ParseFloat(now, 64)
	return errA != nil || errB != nil || b >= a && b-a <= longestExit
}

// text says it in words.
func (r *Race) text(e *Explanation) string {
	who := make([]string, len(r.Victims))
	for i, v := range r.Victims {
		who[i] = process(v.Comm, v.PID)
	}
	pronoun, their := "was", "its"
	if len(who) > 1 {
		pronoun, their = "were", "their"
	}
	return fmt.Sprintf("%s had been killed before and %s still leaving: %s were charged that no process of the "+
		"table has. On another processor that memory was asked for before %s exit had freed it, and this kill came "+
		"of it.", strings.Join(who, " and "), pronoun, e.bytes(r.Charged), their)
}
