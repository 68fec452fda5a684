package verdict

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
	"github.com/oomlab/oomlab/harness/predict"
)

// numberOf is a signal's number.
func numberOf(signal string) int { return kernel.SignalNumber(signal) }

// modelClaims hold for every run: what was predicted came true, nobody else
// was killed, and the model's arithmetic is the kernel's.
func (j *joined) modelClaims() []Claim {
	p := j.in.Prediction
	if p.Panic != "" {
		return []Claim{claim("prediction.panic", p.Panic, orNone(j.log.panic), j.log.panic == p.Panic, evidence.Console)}
	}
	out := []Claim{j.onCourse(j.predictedKills(p))}
	if len(j.kills) > 0 && len(p.Killed) > 0 {
		k := j.kills[0]
		p = j.course(p)
		out = append(out, claim("prediction.constraint", limitOf(p.Constraint, p.OOMMemcg), limitOf(k.Constraint, k.OOMMemcg),
			p.Constraint == k.Constraint && p.OOMMemcg == k.OOMMemcg, evidence.BPF, evidence.Kmsg))
		out = append(out, claim("prediction.trigger", strings.Join(p.Trigger, " or "), trigger(k.Trigger),
			slices.Contains(p.Trigger, triggeredBy(k)), evidence.BPF, evidence.Kmsg))
		out = append(out, j.onCourse(j.predictedScores(p)))
	}
	out = append(out, j.collateral(), j.replayedPoints(), j.replayedChoice(), j.replayedLog())
	return slices.DeleteFunc(out, func(c Claim) bool { return c.Name == "" })
}

// triggeredBy is the trigger of a kill as a prediction calls it.
func triggeredBy(k Kill) string {
	if k.Trigger.Process == "" {
		return predict.Elsewhere
	}
	return k.Trigger.Process
}

func limitOf(constraint, memcg string) string {
	if memcg != "" {
		return constraint + " " + memcg
	}
	return orNone(constraint)
}

func (j *joined) predictedKills(p predict.Prediction) Claim {
	got := j.victims()
	ok := slices.ContainsFunc(p.Orders, func(o []string) bool { return slices.Equal(o, got) })
	if !ok && p.Open {
		ok = !slices.ContainsFunc(got, func(name string) bool { return !slices.Contains(p.Possible, name) })
	}
	expected := list(p.Killed)
	if p.Unsure != "" {
		expected = fmt.Sprintf("%s, or one of %d other orders", expected, len(p.Orders)-1)
		if p.Open {
			expected = "some of " + list(p.Possible)
		}
	}
	return claim("prediction.killed", expected, list(got), ok, j.killSources()...)
}

// course is the prediction with the first kill of the course that events took,
// where the prediction left several open.
func (j *joined) course(p predict.Prediction) predict.Prediction {
	k := j.kills[0]
	best := -1
	for _, s := range p.Firsts {
		likeness := 0
		for _, same := range []bool{s.Constraint == k.Constraint && s.OOMMemcg == k.OOMMemcg, s.Victims[0] == k.Victim.Process,
			k.TotalPages != nil && s.TotalPages == *k.TotalPages, j.withinBounds(s.Ranges) == "",
			slices.Contains(s.Trigger, triggeredBy(k))} {
			if same {
				likeness++
			}
		}
		if likeness > best {
			best = likeness
			p.Constraint, p.OOMMemcg, p.Trigger, p.Ranges, p.TotalPages = s.Constraint, s.OOMMemcg, s.Trigger, s.Ranges, s.TotalPages
		}
	}
	return p
}

// withinBounds says whose score at the first kill is out of its bounds; empty:
// nobody's.
func (j *joined) withinBounds(ranges map[string]predict.Range) string {
	boards := j.scoreboards()
	if len(boards) == 0 {
		return ""
	}
	for _, row := range boards[0] {
		bounds, ok := ranges[row.Process]
		if row.Process == "" || !ok || row.Points == nil {
			continue
		}
		if points := kernel.Pages(*row.Points); points < bounds.Lo || points > bounds.Hi {
			return fmt.Sprintf("%s has %d points, predicted %d to %d", row.Process, points, bounds.Lo, bounds.Hi)
		}
	}
	return ""
}

// predictedScores holds the kernel's own scores at the first kill against the
// predicted bounds.
func (j *joined) predictedScores(p predict.Prediction) Claim {
	boards := j.scoreboards()
	if len(boards) == 0 {
		return cannotTell("prediction.scores", "within the predicted bounds", j.blind())
	}
	n := 0
	for _, row := range boards[0] {
		if _, ok := p.Ranges[row.Process]; ok && row.Process != "" && row.Points != nil {
			n++
		}
	}
	if worst := j.withinBounds(p.Ranges); worst != "" {
		return claim("prediction.scores", "within the predicted bounds", worst, false, evidence.BPF)
	}
	return claim("prediction.scores", "within the predicted bounds", fmt.Sprintf("%d of %d are", n, n), true, evidence.BPF)
}

// blind says why there is no scoreboard.
func (j *joined) blind() string {
	return fmt.Sprintf("eBPF reached tier %d of 3 here; the kernel's scores cannot be seen", j.tier())
}

// collateral: nobody but the scenario's own processes was killed on the whole
// machine.
func (j *joined) collateral() Claim {
	var strangers []string
	for _, k := range j.kills {
		if k.Victim.Process == "" {
			strangers = append(strangers, fmt.Sprintf("%s[%d] in %s", k.Victim.Comm, k.Victim.PID, orNone(k.Victim.Cgroup)))
		}
	}
	return claim("collateral", "nobody else on the machine", list(strangers), len(strangers) == 0, evidence.BPF, evidence.Kmsg)
}

// replayedPoints: every score that the kernel computed is ours, to the page.
func (j *joined) replayedPoints() Claim {
	rows, wrong := 0, ""
	for i, board := range j.scoreboards() {
		for _, row := range board {
			rows++
			if !equal(row.Points, row.Replayed) {
				wrong = fmt.Sprintf("decision %d, %s[%d]: the kernel %s, replayed %s", i+1, row.Comm, row.PID, points(row.Points), points(row.Replayed))
			}
		}
	}
	if rows == 0 {
		if len(j.kills) == 0 {
			return Claim{}
		}
		return cannotTell("replay.points", "equal to the page", j.blind())
	}
	if wrong != "" {
		return claim("replay.points", "equal to the page", wrong, false, evidence.BPF)
	}
	return claim("replay.points", "equal to the page", fmt.Sprintf("%d of %d scores are", rows, rows), true, evidence.BPF)
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

// allocatingTask is the message of a kill that needed no score.
const allocatingTask = "oom_kill_allocating_task"

// replayedChoice: given the kernel's candidates in its order, the model
// chooses whom the kernel chose.
func (j *joined) replayedChoice() Claim {
	n, wrong := 0, ""
	for i, d := range j.decisions {
		if len(d.rows) == 0 || d.chosen == nil || strings.Contains(d.message, allocatingTask) {
			continue
		}
		n++
		tasks := make([]predict.Task, len(d.rows))
		for k, o := range d.rows {
			tasks[k] = j.task(o.Task)
		}
		c, _ := predict.Choose(tasks, rowTotal(d.rows[0], d), j.rules())
		if c < 0 || d.rows[c].Task == nil || d.rows[c].Task.TGID != d.chosen.TGID {
			wrong = fmt.Sprintf("decision %d: the kernel chose %s[%d], the model another", i+1, d.chosen.Comm, d.chosen.TGID)
		}
	}
	if n == 0 {
		return Claim{}
	}
	if wrong != "" {
		return claim("replay.choice", "the model's choice is the kernel's", wrong, false, evidence.BPF)
	}
	return claim("replay.choice", "the model's choice is the kernel's", fmt.Sprintf("%d of %d are", n, n), true, evidence.BPF)
}

func (j *joined) task(t *evidence.Task) predict.Task {
	if t == nil || t.MM == nil {
		return predict.Task{Skip: true}
	}
	c := j.read(t.MM)
	return predict.Task{RSS: c.File + c.Anon + c.Shmem, Swap: c.Swap, PgTables: t.MM.PgTables, Adj: t.Adj, Skip: t.MM.OOMSkip || t.MM.Gone}
}

// replayedLog: given the log's own table and the size of the domain as the log
// prints it, the model chooses whom the summary names. The table does not say
// who was reaped (MMF_OOM_SKIP); but as long as a victim is neither reaped nor
// gone, the scan is given up and nothing is printed.
func (j *joined) replayedLog() Claim {
	n, wrong := 0, ""
	reaped := map[int]bool{}
	for _, r := range j.log.reports {
		before := maps.Clone(reaped)
		for _, k := range r.Kills {
			reaped[k.PID] = true
		}
		if !r.Complete || r.ContextPID == nil || r.AllocatingTask || len(r.Tasks) == 0 {
			continue
		}
		n++
		candidates := r.Candidates(j.pageSize())
		tasks := make([]predict.Task, len(candidates))
		for i, c := range candidates {
			tasks[i] = predict.Task{RSS: c.RSS, Swap: c.Swap, PgTables: c.PgTables, Adj: c.Adj, Skip: before[c.PID] || before[r.Tasks[i].TGID]}
		}
		c, _ := predict.Choose(tasks, j.logTotal(r), j.rules())
		if c < 0 || candidates[c].PID != *r.ContextPID && r.Tasks[c].TGID != *r.ContextPID {
			wrong = fmt.Sprintf("the log says %s[%d], its table another", r.ContextComm, *r.ContextPID)
		}
	}
	if n == 0 {
		return Claim{}
	}
	if wrong != "" {
		return claim("replay.log", "the log's table gives its victim", wrong, false, evidence.Kmsg)
	}
	return claim("replay.log", "the log's table gives its victim", fmt.Sprintf("%d of %d do", n, n), true, evidence.Kmsg)
}

// logTotal is the size of a report's domain by what the log prints: the limit
// that was hit and the swap that comes on top, or the whole machine.
func (j *joined) logTotal(r oomlog.Report) kernel.Pages {
	m := j.in.Machine
	swap := m.SwapTotal
	if j.in.Plan.Swap != nil {
		swap += j.in.Plan.Swap.Size
	}
	if r.Memcg == nil || r.Memcg.Memory == nil {
		return kernel.Pages((m.MemTotal + swap) / j.pageSize())
	}
	limit := kernel.Bytes(r.Memcg.Memory.LimitKB) * kernel.KiB
	var swapMax *kernel.Bytes
	switch {
	case r.Memcg.Swap != nil && !r.Memcg.Swap.Unlimited():
		b := kernel.Bytes(r.Memcg.Swap.LimitKB) * kernel.KiB
		swapMax = &b
	case r.Memcg.MemorySwap != nil && !r.Memcg.MemorySwap.Unlimited():
		b := kernel.Bytes(r.Memcg.MemorySwap.LimitKB)*kernel.KiB - limit
		swapMax = &b
	}
	swappiness := 60
	if m.Sysctls["vm.swappiness"] == "0" {
		swappiness = 0
	}
	return predict.TotalPages(&limit, swapMax, swap, swappiness, j.pageSize())
}
