package verdict

import (
	"fmt"
	"maps"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/oomlog"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
)

// The model's arithmetic is the kernel's, in every run.
func init() {
	for i, judge := range []func(*account) []Claim{
		(*account).replayedPoints, (*account).replayedChoice, (*account).replayedLog,
	} {
		addClaim(claimKind{place: 230 + i, whole: true, judge: func(a *account, _ scenario.Expect) []Claim {
			return judge(a)
		}})
	}
}

// replayed is a claim about n replays; wrong is one that gives something else.
func replayed(name, expected string, n int, wrong, observed string, source evidence.Source) []Claim {
	if n == 0 {
		return nil
	}
	if wrong != "" {
		return []Claim{claim(name, expected, wrong, false, source)}
	}
	return []Claim{claim(name, expected, fmt.Sprintf("%d of %d %s", n, n, observed), true, source)}
}

// replayedPoints: every score that the kernel computed is ours, to the page.
func (a *account) replayedPoints() []Claim {
	const expected = "equal to the page"
	n, wrong, unknown := 0, "", ""
	for i, board := range a.scoreboards() {
		for _, row := range board {
			n++
			if row.unexplained {
				unknown = fmt.Sprintf("%s[%d]", row.Comm, row.PID)
			} else if !equal(row.Points, row.Replayed) {
				wrong = fmt.Sprintf("decision %d, %s[%d]: the kernel %s, replayed %s",
					i+1, row.Comm, row.PID, points(row.Points), points(row.Replayed))
			}
		}
	}
	if n == 0 && len(a.kills) > 0 {
		return []Claim{cannotTell("replay.points", expected, a.blind())}
	}
	if unknown != "" && wrong == "" {
		return []Claim{cannotTell("replay.points", expected, "the record does not say why the kernel refused "+unknown)}
	}
	return replayed("replay.points", expected, n, wrong, "scores are", evidence.BPF)
}

func equal(a, b *int64) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

func points(p *int64) string {
	if p == nil {
		return "refuses"
	}
	return fmt.Sprint(*p)
}

// replayedChoice: given the kernel's candidates in its order, the model
// chooses whom the kernel chose.
func (a *account) replayedChoice() []Claim {
	n, wrong := 0, ""
	for i, d := range a.bpf().decisions {
		if len(d.rows) == 0 || d.chosen == nil || !d.byScore() {
			continue
		}
		n++
		c := a.choice(d)
		if c < 0 || d.rows[c].Task == nil || d.rows[c].Task.TGID != d.chosen.TGID {
			wrong = fmt.Sprintf("decision %d: the kernel chose %s[%d], the model another",
				i+1, d.chosen.Comm, d.chosen.TGID)
		}
	}
	return replayed("replay.choice", "the model's choice is the kernel's", n, wrong, "are", evidence.BPF)
}

// replayedLog: given the log's own table and the size of the domain as the log
// prints it, the model chooses whom the summary names. The table does not say
// who was reaped (MMF_OOM_SKIP); but as long as a victim is neither reaped nor
// gone, the scan is given up and nothing is printed. The table is printed after the
// choice, and what has grown in between may have come to lead it.
func (a *account) replayedLog() []Claim {
	n, wrong := 0, ""
	reaped := map[int]bool{}
	for _, r := range a.kmsg().reports {
		before := maps.Clone(reaped)
		for _, k := range r.Kills {
			reaped[k.PID] = true
		}
		if !r.Complete || r.ContextPID == nil || r.AllocatingTask || len(r.Tasks) == 0 {
			continue
		}
		n++
		candidates := r.Candidates(a.pageSize())
		tasks := make([]predict.Task, len(candidates))
		for i, c := range candidates {
			tasks[i] = predict.Task{
				RSS: c.RSS, Swap: c.Swap, PgTables: c.PgTables, Adj: c.Adj,
				Skip: before[c.PID] || before[r.Tasks[i].TGID],
			}
		}
		c, _ := predict.Choose(tasks, a.logTotal(r), a.rules())
		if c >= 0 && (candidates[c].PID == *r.ContextPID || r.Tasks[c].TGID == *r.ContextPID) {
			continue
		}
		if c >= 0 {
			if grows, _ := a.moving(r.Tasks[c].TGID, a.chosenAt(&r)); grows {
				n-- // it cannot be told
				continue
			}
		}
		wrong = fmt.Sprintf("the log says %s[%d], its table another", r.ContextComm, *r.ContextPID)
	}
	return replayed("replay.log", "the log's table gives its victim", n, wrong, "do", evidence.Kmsg)
}

// chosenAt is when the victim of a report was chosen, by eBPF's clock where it told.
func (a *account) chosenAt(r *oomlog.Report) int64 {
	at := a.kmsg().at(r)
	for _, d := range a.bpf().decisions {
		if d.names(*r.ContextPID) && d.atNS > at-drift(at) && d.atNS < at+drift(at) {
			return d.atNS
		}
	}
	return at
}
