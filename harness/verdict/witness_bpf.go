package verdict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
)

// bpfWitness is the eBPF programs: the victims at tier 1, every decision and its
// kills at tier 2, every candidate with the kernel's own score at tier 3.
type bpfWitness struct {
	bystander
	in        Input
	seq       uint64 // of the last event
	gaps      []string
	events    []evidence.Event // with the plan's names of cgroups
	decisions []*decision
	marks     []evidence.Event
	exits     []evidence.Event
	processes map[int]int // thread -> process, of those that were killed
}

// What is found of the eBPF programs' record.
const (
	NoWitness     Kind = "no-witness"      // eBPF or the kernel log was not there to see
	BPFIncomplete Kind = "bpf-incomplete"  // an event of the eBPF programs is missing from its sequence
	BPFWithoutLog Kind = "bpf-without-log" // eBPF saw a kill that the log does not name
	BPFRepeated   Kind = "bpf-repeated"    // one victim was marked twice
	BPFDiffers    Kind = "bpf-differs"     // an event of the eBPF programs contradicts another one, or the plan
)

func init() {
	addWitness(10, func(in Input) witness { return &bpfWitness{in: in, processes: map[int]int{}} })
}

func (a *account) bpf() *bpfWitness { return witnessOf[*bpfWitness](a) }

func (*bpfWitness) source() evidence.Source { return evidence.BPF }

// tier is what the eBPF programs reached in this run.
func (w *bpfWitness) tier() int { return w.in.Tier.Tier }

// absent is why there is no eBPF program, as its loader said.
func (w *bpfWitness) absent() string {
	if w.tier() >= 1 {
		return ""
	}
	for _, hook := range []string{"eBPF", "mark_victim"} {
		if why := w.in.Tier.Hooks[hook]; why != "" {
			first, _, _ := strings.Cut(why, "\n")
			return "no eBPF program was attached: " + strings.TrimPrefix(first, "no: ")
		}
	}
	return "no eBPF program was attached"
}

func (w *bpfWitness) hear(e evidence.Event) {
	if e.Source != evidence.BPF || e.Kind == evidence.Lost {
		return
	}
	if e.OOM == nil {
		w.gaps = append(w.gaps, fmt.Sprintf("%s at %d ns tells nothing", e.Kind, e.AtNS))
		return
	}
	next := e.OOM.Seq
	if e.OOM.FirstSeq != 0 {
		next = e.OOM.FirstSeq
	}
	if next != w.seq+1 {
		w.gaps = append(w.gaps, fmt.Sprintf("event %d follows event %d", next, w.seq))
	}
	w.seq = e.OOM.Seq
	w.events = append(w.events, e)
}

// read files every event under the decision that it belongs to.
func (w *bpfWitness) read(a *account) {
	byID := map[uint64]*decision{}
	for i := range w.events {
		w.events[i].OOM = a.cgroups.translate(w.events[i].OOM)
		e := w.events[i]
		switch e.Kind {
		case evidence.MarkVictim:
			w.marks = append(w.marks, e)
		case evidence.TaskExit:
			w.exits = append(w.exits, e)
		case evidence.GivenUp:
			continue
		}
		id := e.OOM.Decision
		if id == 0 {
			continue
		}
		d := byID[id]
		if d == nil {
			d = &decision{number: id, atNS: e.AtNS, current: e.OOM.Current}
			byID[id] = d
			w.decisions = append(w.decisions, d)
		}
		d.add(e)
	}
}

// translate gives the kernel's records the names that plans have for cgroups.
func (c *cgroups) translate(o *evidence.OOM) *evidence.OOM {
	out := *o
	if o.Task != nil {
		t := *o.Task
		t.Cgroup = c.recorded(t.Cgroup)
		out.Task = &t
	}
	if o.Control != nil {
		ctl := *o.Control
		ctl.Memcg = c.recorded(ctl.Memcg)
		out.Control = &ctl
	}
	return &out
}

func (w *bpfWitness) join(a *account) {
	for _, d := range w.decisions {
		for i, o := range d.kills {
			w.processes[o.Task.PID] = o.Task.TGID
			if o.Task.MM == nil {
				continue // it was gone already
			}
			k := a.killed(w.kill(a, o.Task, d.current, d.atNS))
			k.from(evidence.BPF)
			if d.control != nil {
				k.Constraint, k.OOMMemcg = d.control.Constraint, d.control.Memcg
				total := d.control.TotalPages
				k.TotalPages = &total
			}
			if i > 0 && d.chosen != nil && o.Task.TGID != d.chosen.TGID {
				k.Group = w.groupOf(a, d)
			}
			w.score(a, k, d, o.Task)
		}
	}
	for _, e := range w.marks {
		t := e.OOM.Task
		if t == nil {
			continue
		}
		w.processes[t.PID] = t.TGID
		if a.kill(t.TGID) == nil && (w.tier() >= 2 || !a.kmsg().names(t.PID, t.TGID)) {
			continue // marked because it was dying anyway; nobody killed it
		}
		a.killed(w.kill(a, t, e.OOM.Current, e.AtNS)).from(evidence.BPF)
	}
}

func (w *bpfWitness) kill(a *account, t *evidence.Task, current evidence.TaskID, atNS int64) Kill {
	k := Kill{
		Victim:      Victim{Process: a.name(t.TGID), PID: t.TGID, Comm: t.Comm, Cgroup: t.Cgroup},
		Trigger:     Trigger{Process: a.name(current.TGID), PID: current.TGID, Comm: current.Comm},
		OOMScoreAdj: t.Adj, AtMS: a.ms(atNS),
	}
	if t.MM != nil {
		c := a.counts(t.MM)
		k.RSS = &RSS{Anon: c.Anon, File: c.File, Shmem: c.Shmem, Swap: c.Swap,
			PgTables: kernel.Pages(t.MM.PgTables / a.pageSize())}
	}
	return k
}

// groupOf is the cgroup whose memory.oom.group the decision honoured: the
// highest with the knob set between the victim and the domain.
func (w *bpfWitness) groupOf(a *account, d *decision) string {
	path := d.chosen.Cgroup
	if l := a.life(d.chosen.TGID); l != nil {
		path = l.plan.Cgroup
	}
	domain := "" // of the whole machine
	if d.control != nil {
		domain = d.control.Memcg
	}
	best := ""
	for _, c := range w.in.Plan.Cgroups {
		inside := domain == "" || kernel.InCgroup(c.Path, domain) // mem_cgroup_get_oom_group() ends there
		if c.OOMGroup && inside && kernel.InCgroup(path, c.Path) && (best == "" || len(c.Path) < len(best)) {
			best = c.Path
		}
	}
	return best
}

// score gives a kill the kernel's points and ours. The chosen task has those
// of the decision; the rest of its group was scored on the way there.
func (w *bpfWitness) score(a *account, k *Kill, d *decision, t *evidence.Task) {
	if k.Replayed != nil || d.control == nil {
		return
	}
	for _, row := range d.rows {
		if row.Task != nil && row.Task.TGID == t.TGID && row.Points != nil {
			p := *row.Points
			k.Points = &p
			k.Replayed = a.replay(row.Task, d.total(row))
			return
		}
	}
	k.Replayed = a.replay(t, d.control.TotalPages)
}

// total is the size of the domain that a candidate was scored with.
func (d *decision) total(row *evidence.OOM) kernel.Pages {
	if row.TotalPages != nil {
		return kernel.Pages(*row.TotalPages)
	}
	if d.control != nil {
		return d.control.TotalPages
	}
	return 0
}

// killed reports whether a process was among those that the decision killed.
func (d *decision) killed(tgid int) bool {
	return slices.ContainsFunc(d.kills, func(o *evidence.OOM) bool { return o.Task.TGID == tgid })
}

// attempts counts calls of __oom_kill_process() for a process. Each prints a
// line, if only that the process is already exiting.
func (w *bpfWitness) attempts(tgid int) int {
	n := 0
	for _, d := range w.decisions {
		for _, o := range d.kills {
			if o.Task.TGID == tgid {
				n++
			}
		}
	}
	return n
}

// scoreboards are the candidates of every decision that the kernel showed.
func (a *account) scoreboards() [][]Row {
	boards := [][]Row{}
	for _, d := range a.bpf().decisions {
		if len(d.rows) == 0 || d.chosen == nil {
			continue // the scan was given up: a victim was still on its way out
		}
		var board []Row
		choice := a.choice(d)
		for i, o := range d.rows {
			if o.Task == nil {
				continue
			}
			chosen := d.chosen.TGID == o.Task.TGID
			board = append(board, Row{
				Process: a.name(o.Task.TGID), PID: o.Task.TGID, Comm: o.Task.Comm, Adj: o.Task.Adj,
				Chosen: chosen, Instead: i == choice && !chosen, unexplained: a.unexplained(o),
				Points: finite(o.Points), Replayed: finite(a.replay(o.Task, d.total(o))),
			})
		}
		boards = append(boards, board)
	}
	return boards
}

func (w *bpfWitness) complete(a *account, found *findings) {
	for _, gap := range w.gaps {
		found.add(BPFIncomplete, "%s", gap)
	}
	if why := w.absent(); why != "" {
		if a.over() || w.tier() > 0 {
			found.add(NoWitness, "%s", why)
		}
		return
	}
	w.reached(found)
	if a.over() {
		w.delivered(a, found)
	}
}

// agree: the log names every victim, and the kernel marks each of them once.
func (w *bpfWitness) agree(a *account, found *findings) {
	marks, marked := map[int]int{}, map[int]bool{}
	for _, e := range w.marks {
		if e.OOM.Task != nil {
			marks[e.OOM.Task.PID]++
			marked[e.OOM.Task.TGID] = true
		}
	}
	for pid, n := range marks {
		if n > 1 {
			found.add(BPFRepeated, "pid %d was marked as a victim %d times", pid, n)
		}
	}
	for _, k := range a.kills {
		if !slices.Contains(k.Sources, evidence.BPF) {
			continue
		}
		if k.Logged == 0 {
			found.add(BPFWithoutLog, "eBPF saw %s killed, the log does not name it", k.Victim)
		}
		if !marked[k.Victim.PID] {
			found.add(BPFIncomplete, "%s was killed and never marked as a victim", k.Victim)
		}
	}
	w.checkEvents(a, found)
	for _, d := range w.decisions {
		w.check(a, d, found)
	}
}

// attached reports whether a hook is there.
func (w *bpfWitness) attached(hook string) bool {
	how, ok := w.in.Tier.Hooks[hook]
	return ok && !strings.HasPrefix(how, "no")
}

// reached: the tier is what the hooks give.
func (w *bpfWitness) reached(found *findings) {
	for hook, tier := range map[string]int{"mark_victim": 1, "oom_kill_process": 2, "oom_badness": 3} {
		if w.attached(hook) != (w.tier() >= tier) {
			found.add(BPFIncomplete, "eBPF reached tier %d, and %s is %q", w.tier(), hook, w.in.Tier.Hooks[hook])
		}
	}
}

// delivered: decisions are told without a gap, and the end of each victim that was seen
// to end.
func (w *bpfWitness) delivered(a *account, found *findings) {
	var before uint64
	for _, e := range w.events {
		var scans uint64
		switch e.Kind {
		case evidence.GivenUp:
			if scans = e.N; scans == 0 || e.OOM.Seq < e.OOM.FirstSeq+2*scans-1 {
				found.add(BPFIncomplete, "%d scans given up in events %d to %d", scans, e.OOM.FirstSeq, e.OOM.Seq)
			}
		case evidence.OutOfMemory:
			scans = 1
		default:
			continue
		}
		if before != 0 && e.OOM.Decision != before+scans {
			found.add(BPFIncomplete, "decision %d follows decision %d", e.OOM.Decision, before)
		}
		before = e.OOM.Decision
	}
	if w.tier() < 2 {
		for _, e := range w.events {
			if e.OOM.Decision != 0 {
				found.add(BPFDiffers, "eBPF reached tier %d, and tells of a decision", w.tier())
			}
		}
	}
	for _, e := range w.marks {
		if e.OOM.Task == nil || !w.attached("sched_process_exit") {
			continue
		}
		l := a.life(e.OOM.Task.TGID)
		told := slices.ContainsFunc(w.exits, func(x evidence.Event) bool {
			return x.OOM.Task != nil && x.OOM.Task.TGID == e.OOM.Task.TGID
		})
		if l != nil && l.exit != nil && !told {
			found.add(BPFIncomplete, "%s was marked as a victim and ended, and its end was not told", l)
		}
	}
}
