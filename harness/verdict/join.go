package verdict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/predict"
)

// decision is one choice of a victim, as the eBPF programs tell it.
type decision struct {
	id      uint64
	atNS    int64
	control *evidence.OOMControl
	current evidence.TaskID
	chosen  *evidence.Task
	points  *int64
	rows    []*evidence.OOM // oom_badness() of every candidate, in the kernel's order
	kills   []*evidence.OOM // attempts of __oom_kill_process(), repetitions included
	message string
}

// joined is a run as all its witnesses tell it.
type joined struct {
	in        Input
	lives     []*life
	decisions []*decision
	marks     []evidence.Event
	log       logFacts
	kills     []Kill
	counters  map[counterKey]BeforeAfter
	gone      map[counterKey]bool // counters that were removed before the end
	begin     int64
	ended     bool
	endText   string
	down      string // the machine went down: how and why
	discords  []Disagreement
	lost      LostCount
	cluster   *cluster // nil: no cluster
}

func (j *joined) disagree(name Discord, format string, args ...any) {
	j.discords = append(j.discords, Disagreement{name, fmt.Sprintf(format, args...)})
}

func join(in Input) *joined {
	j := &joined{in: in, lives: lives(in.Plan, in.Events), counters: map[counterKey]BeforeAfter{}, gone: map[counterKey]bool{}}
	settleLives(j.lives, in)
	if in.ofCluster() {
		j.readCluster()
	}
	byID := map[uint64]*decision{}
	var last uint64
	for _, e := range in.Events {
		switch {
		case e.Kind == evidence.Begin:
			j.begin = e.AtNS
		case e.Kind == evidence.End:
			j.ended, j.endText = true, e.Text
		case e.Kind == evidence.Down:
			j.down = e.Text
		case e.Kind == evidence.Failure:
			j.disagree(AgentFailed, "%s", e.Text)
		case e.Kind == evidence.Lost:
			j.lose(e)
		case e.Source == evidence.BPF && e.OOM != nil:
			next := e.OOM.Seq
			if e.OOM.FirstSeq != 0 {
				next = e.OOM.FirstSeq
			}
			if next != last+1 {
				j.disagree(BPFIncomplete, "event %d follows event %d", next, last)
			}
			last = e.OOM.Seq
			if j.cluster != nil {
				e.OOM = j.cluster.localize(e.OOM)
			}
			j.watch(e, byID)
		}
	}
	j.log = readLog(in.Events)
	j.readCounters()
	j.joinKills()
	return j
}

func (j *joined) lose(e evidence.Event) {
	n := max(1, e.N)
	switch e.Source {
	case evidence.BPF:
		j.lost.EBPF += n
	case evidence.Kmsg:
		j.lost.Kmsg += n
	}
	j.disagree(EventsLost, "%d of %s: %s", n, e.Source, e.Text)
}

// watch files an eBPF event under the decision that it belongs to.
func (j *joined) watch(e evidence.Event, byID map[uint64]*decision) {
	if e.Kind == evidence.MarkVictim {
		j.marks = append(j.marks, e)
	}
	id := e.OOM.Decision
	if id == 0 {
		return
	}
	d := byID[id]
	if d == nil {
		d = &decision{id: id, atNS: e.AtNS, current: e.OOM.Current}
		byID[id] = d
		j.decisions = append(j.decisions, d)
	}
	switch e.Kind {
	case evidence.Badness:
		d.rows = append(d.rows, e.OOM)
	case evidence.KillDecision:
		d.control, d.chosen, d.current, d.atNS = e.OOM.Control, e.OOM.Task, e.OOM.Current, e.AtNS
		d.points, d.message = e.OOM.Points, e.OOM.Message
	case evidence.Kill:
		if e.OOM.Task != nil {
			d.kills = append(d.kills, e.OOM)
		}
	}
}

// tier is what the eBPF programs reached in this run.
func (j *joined) tier() int { return j.in.Tier.Tier }

// name is the plan's name of a pid, and "" for a process that is not the
// scenario's.
func (j *joined) name(pid int) string {
	if l := byPID(j.lives, pid); l != nil {
		return l.process
	}
	return ""
}

// adopt names victims that nobody announced by the container that they were in:
// a program of the user's own starts whom it likes.
func (j *joined) adopt(k *Kill) {
	if j.cluster == nil || k.Victim.Process != "" {
		return
	}
	for _, p := range j.in.Plan.Processes {
		if p.IsCommand() && p.Cgroup != "" && p.Cgroup == k.Victim.Cgroup {
			k.Victim.Process = p.Name
		}
	}
}

// joinKills makes one Kill of everything that was said about one victim, in the
// order in which the kernel killed.
func (j *joined) joinKills() {
	j.kills = []Kill{}
	index := map[int]int{} // tgid -> place in j.kills
	threads := map[int]int{}
	add := func(tgid int, k Kill) *Kill {
		if i, ok := index[tgid]; ok {
			return &j.kills[i]
		}
		index[tgid] = len(j.kills)
		j.kills = append(j.kills, k)
		return &j.kills[index[tgid]]
	}
	for _, d := range j.decisions {
		for i, o := range d.kills {
			threads[o.Task.PID] = o.Task.TGID
			if o.Task.MM == nil {
				continue // it was gone already
			}
			k := add(o.Task.TGID, j.fromBPF(o.Task, d.current, j.ms(d.atNS)))
			k.Sources = withSource(k.Sources, evidence.BPF)
			if d.control != nil {
				k.Constraint, k.OOMMemcg = d.control.Constraint, d.control.Memcg
				total := d.control.TotalPages
				k.TotalPages = &total
			}
			if i > 0 && d.chosen != nil && o.Task.TGID != d.chosen.TGID {
				k.Group = j.groupOf(d)
			}
			j.score(k, d, o.Task)
		}
	}
	for _, e := range j.marks {
		t := e.OOM.Task
		if t == nil {
			continue
		}
		threads[t.PID] = t.TGID
		if _, known := index[t.TGID]; !known && (j.tier() >= 2 || !j.log.names(t.PID, t.TGID)) {
			continue // marked because it was dying anyway; nobody killed it
		}
		k := add(t.TGID, j.fromBPF(t, e.OOM.Current, j.ms(e.AtNS)))
		k.Sources = withSource(k.Sources, evidence.BPF)
	}
	for i := range j.log.kills {
		l := &j.log.kills[i]
		l.tgid = l.pid
		if tgid, ok := threads[l.pid]; ok {
			l.tgid = tgid
		}
		k := add(l.tgid, Kill{Victim: Victim{Process: j.name(l.tgid), PID: l.tgid, Comm: l.comm}, AtMS: j.ms(l.atNS)})
		k.Logged++
		k.Sources = withSource(k.Sources, evidence.Kmsg)
		if r := l.report; r != nil {
			k.fillFrom(r, j)
		}
	}
	for _, e := range j.marks {
		if e.OOM.Task == nil {
			continue
		}
		// below tier 2 the mark has the counters, and the log the domain's size
		if i, ok := index[e.OOM.Task.TGID]; ok && j.kills[i].Replayed == nil && j.kills[i].TotalPages != nil {
			j.kills[i].Replayed = j.replay(e.OOM.Task, *j.kills[i].TotalPages)
		}
	}
	for i := range j.kills {
		k := &j.kills[i]
		l := byPID(j.lives, k.Victim.PID)
		if l == nil {
			j.adopt(k)
			continue
		}
		if k.Victim.Cgroup == "" {
			k.Victim.Cgroup = l.plan.Cgroup
		}
		if l.exit != nil && l.exit.Signal == sigkill {
			k.Sources = withSource(k.Sources, evidence.Wait)
			ms := j.ms(l.diedNS)
			k.ExitMS = &ms
		}
		if j.counted(l.plan.Cgroup) {
			k.Sources = withSource(k.Sources, evidence.Counters)
		}
		j.clusterSources(k)
	}
}

const sigkill = 9

func withSource(all []evidence.Source, s evidence.Source) []evidence.Source {
	if slices.Contains(all, s) {
		return all
	}
	return append(all, s)
}

func (j *joined) ms(atNS int64) int64 { return max(0, (atNS-j.begin)/1_000_000) }

func (j *joined) fromBPF(t *evidence.Task, current evidence.TaskID, atMS int64) Kill {
	k := Kill{
		Victim:      Victim{Process: j.name(t.TGID), PID: t.TGID, Comm: t.Comm, Cgroup: t.Cgroup},
		Trigger:     Trigger{Process: j.name(current.TGID), PID: current.TGID, Comm: current.Comm},
		OOMScoreAdj: t.Adj, AtMS: atMS,
	}
	if t.MM != nil {
		c := j.read(t.MM)
		k.RSS = &RSS{Anon: c.Anon, File: c.File, Shmem: c.Shmem, Swap: c.Swap, PgTables: kernel.Pages(t.MM.PgTables / j.pageSize())}
	}
	return k
}

func (j *joined) pageSize() kernel.Bytes {
	if j.in.Machine.PageSize > 0 {
		return j.in.Machine.PageSize
	}
	return kernel.DefaultPageSize
}

// rules are how scores are replayed.
func (j *joined) rules() predict.Rules {
	r := j.in.Rules
	if r.PageSize <= 0 {
		r.PageSize = j.pageSize()
	}
	return r
}

// read picks the reading that oom_badness() used on this machine. Counters are
// clamped at zero, as get_mm_counter() does.
func (j *joined) read(mm *evidence.MM) evidence.Counts {
	c := mm.Batched
	if j.in.Machine.Badness == kernel.ReadsExact {
		c = mm.Exact
	}
	return evidence.Counts{File: max(0, c.File), Anon: max(0, c.Anon), Swap: max(0, c.Swap), Shmem: max(0, c.Shmem)}
}

// replay is our score of a task from the numbers that the kernel read.
func (j *joined) replay(t *evidence.Task, total kernel.Pages) *int64 {
	if t == nil || t.MM == nil {
		return nil
	}
	p := predict.Points(j.task(t), total, j.rules())
	return &p
}

// score gives a kill the kernel's points and ours. The chosen task has those
// of the decision; the rest of its group was scored on the way there.
func (j *joined) score(k *Kill, d *decision, t *evidence.Task) {
	if k.Replayed != nil || d.control == nil {
		return
	}
	for _, row := range d.rows {
		if row.Task != nil && row.Task.TGID == t.TGID && row.Points != nil {
			p := *row.Points
			k.Points = &p
			k.Replayed = j.replay(row.Task, rowTotal(row, d))
			return
		}
	}
	k.Replayed = j.replay(t, d.control.TotalPages)
}

func rowTotal(row *evidence.OOM, d *decision) kernel.Pages {
	if row.TotalPages != nil {
		return kernel.Pages(*row.TotalPages)
	}
	if d.control != nil {
		return d.control.TotalPages
	}
	return 0
}

// groupOf is the cgroup whose memory.oom.group the decision honoured: the
// highest with the knob set between the victim and the domain.
func (j *joined) groupOf(d *decision) string {
	path := d.chosen.Cgroup
	if l := byPID(j.lives, d.chosen.TGID); l != nil {
		path = l.plan.Cgroup
	}
	best := ""
	for _, c := range j.in.Plan.Cgroups {
		below := path == c.Path || strings.HasPrefix(path, c.Path+"/")
		if c.OOMGroup && below && (best == "" || len(c.Path) < len(best)) {
			best = c.Path
		}
	}
	return best
}

// scoreboards are the candidates of every decision that the kernel showed.
func (j *joined) scoreboards() [][]Row {
	boards := [][]Row{}
	for _, d := range j.decisions {
		if len(d.rows) == 0 || d.chosen == nil {
			continue // the scan was given up: a victim was still on its way out
		}
		var board []Row
		for _, o := range d.rows {
			if o.Task == nil {
				continue
			}
			row := Row{Process: j.name(o.Task.TGID), PID: o.Task.TGID, Comm: o.Task.Comm, Adj: o.Task.Adj,
				Chosen: d.chosen != nil && d.chosen.TGID == o.Task.TGID}
			row.Points = finite(o.Points)
			row.Replayed = finite(j.replay(o.Task, rowTotal(o, d)))
			board = append(board, row)
		}
		boards = append(boards, board)
	}
	return boards
}

// finite hides LONG_MIN, which is not a number of pages but a refusal.
func finite(p *int64) *int64 {
	if p == nil || *p == predict.Never {
		return nil
	}
	v := *p
	return &v
}
