package trace

import (
	"math"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
)

// Options say what there is to put together.
type Options struct {
	PageSize kernel.Bytes
	// Reads is which counters oom_badness() reads; the RSS that is shown is the same.
	Reads kernel.BadnessReads
	// BPF, Status: the eBPF programs are attached, and tell a status of each victim.
	BPF, Status bool
	// Log: the kernel log is read.
	Log bool
	// Tier of the eBPF programs. Below 2 the log alone tells what ran out.
	Tier int
	// Wait is how long a kill waits for what else there is to tell of it: its end, its
	// lines in the kernel log. 0: only for what the line needs, and not for long.
	WaitNS int64
}

// logWaitNS is how long a kill waits for the kernel log to say what ran out, where
// eBPF does not.
const logWaitNS = 100e6

// maxWaiting bounds what is remembered of kills that are not complete.
const maxWaiting = 4096

// Assembler puts kills together. It is not for concurrent use.
type Assembler struct {
	o       Options
	waiting []*pending
	log     logState
	// of the decision that is under way
	decision uint64
	chosen   int // pid
	board    []Candidate
	again    int                // see Again
	seen     map[victimKey]bool // processes that were told, against a second mark
	flags    map[uint32]string  // gfp masks in words, as the kernel log has them
}

// pending is a kill that something is still missing of.
type pending struct {
	kill    Kill
	status  bool // who was killed is known in full
	exited  bool
	logged  bool
	until   int64 // AtNS after which it is told as it is
	control bool
}

// victimKey names a process for good.
type victimKey struct {
	pid   int
	start uint64
}

// New makes an Assembler.
func New(o Options) *Assembler {
	return &Assembler{o: o, seen: map[victimKey]bool{}, flags: map[uint32]string{}}
}

// Feed takes the next event and returns the kills that are complete with it.
func (a *Assembler) Feed(e evidence.Event) []Kill {
	switch e.Kind {
	case evidence.Badness:
		a.decide(e.OOM.Decision)
		if len(a.board) < oomlog.MaxTasks {
			a.board = append(a.board, a.candidate(e.OOM))
		}
	case evidence.KillDecision:
		a.decide(e.OOM.Decision)
		a.chosen = e.PID
	case evidence.MarkVictim:
		a.mark(e)
	case evidence.VictimStatus:
		a.status(e)
	case evidence.Signalled:
		return []Kill{a.signal(e)}
	case evidence.TaskExit:
		a.exit(e)
	case evidence.Record:
		return append(a.record(e), a.Due(e.AtNS)...)
	}
	return a.Due(e.AtNS)
}

// decide begins a decision, unless it is the one that is under way.
func (a *Assembler) decide(number uint64) {
	if number != a.decision {
		a.decision, a.chosen, a.board = number, 0, nil
	}
}

// Due returns the kills that are complete, or that waited long enough.
func (a *Assembler) Due(now int64) []Kill {
	var out []Kill
	keep := a.waiting[:0]
	for _, p := range a.waiting {
		if a.complete(p) || now >= p.until {
			out = append(out, p.kill)
		} else {
			keep = append(keep, p)
		}
	}
	clear(a.waiting[len(keep):])
	a.waiting = keep
	return out
}

// Close returns what is left.
func (a *Assembler) Close() []Kill { return a.Due(math.MaxInt64) }

// Waiting reports whether a kill waits for more.
func (a *Assembler) Waiting() bool { return len(a.waiting) > 0 }

func (a *Assembler) complete(p *pending) bool {
	if a.o.Status && !p.status {
		return false
	}
	if !p.control && a.o.Log && !p.logged {
		return false
	}
	return a.o.WaitNS == 0 || p.exited && (p.logged || !a.o.Log)
}

// Again is how often the kernel log told of the kill of a process that it had told of: the one
// that was chosen of a group is killed, logged and counted by itself and once more with its
// group (oom_kill_process() and oom_kill_memcg_member() in mm/oom_kill.c).
func (a *Assembler) Again() int { return a.again }

// mark begins a kill.
func (a *Assembler) mark(e evidence.Event) {
	t := e.OOM.Task
	key := victimKey{t.TGID, t.StartNS}
	if t.StartNS != 0 && a.seen[key] {
		return // another thread of the same process
	}
	if len(a.seen) >= maxWaiting {
		clear(a.seen)
	}
	a.seen[key] = true
	wait := a.o.WaitNS
	if wait == 0 {
		wait = logWaitNS
	}
	p := &pending{until: e.AtNS + wait}
	p.kill = Kill{AtNS: e.AtNS, PageSize: a.o.PageSize, By: ByKernel, Source: FromBPF, Victim: a.process(*t),
		decision: e.OOM.Decision}
	trigger := Process{PID: e.OOM.Current.TGID, Comm: e.OOM.Current.Comm}
	if e.OOM.Current.PID != e.OOM.Current.TGID {
		trigger.Thread = e.OOM.Current.PID
	}
	p.kill.Trigger = &trigger
	if c := e.OOM.Control; c != nil {
		p.control = true
		a.control(&p.kill, *c)
	}
	if e.OOM.Decision != 0 && e.OOM.Decision == a.decision {
		p.kill.Group = a.chosen != 0 && a.chosen != t.TGID
		p.kill.Scoreboard = scoreboard(a.board)
		for _, c := range a.board {
			if c.PID == t.TGID && c.Points != nil {
				p.kill.Points = c.Points
			}
		}
	}
	if t.StartNS == 0 {
		p.status = true // the tracepoint told no more than a pid, and no status follows
	}
	a.wait(p)
}

func (a *Assembler) wait(p *pending) {
	if len(a.waiting) >= maxWaiting {
		a.waiting[0].until = math.MinInt64
	}
	a.waiting = append(a.waiting, p)
	if known := a.log.forget(p.kill.Victim.PID); known != nil {
		a.addLog(p, *known)
	}
}

// control adds struct oom_control.
func (a *Assembler) control(k *Kill, c evidence.OOMControl) {
	k.Constraint = c.Constraint
	k.Order, k.GFP, k.GFPFlags = &c.Order, &c.GFP, a.flags[c.GFP]
	k.Limit = &Limit{Kind: limitKind(c.Constraint, nil), Cgroup: c.Memcg, Pages: c.TotalPages}
	if !k.Group && c.ChosenPoints != 0 {
		points := c.ChosenPoints
		k.Points = &points
	}
}

// limitKind is what ran out, in a word.
func limitKind(constraint string, owner *explain.Owner) string {
	switch {
	case constraint == "none":
		return "machine"
	case constraint == "memcg" && owner != nil:
		return owner.Kind
	case constraint == "memcg":
		return "cgroup"
	}
	return constraint
}

// status adds who was killed and who asked.
func (a *Assembler) status(e evidence.Event) {
	for _, p := range slices.Backward(a.waiting) {
		k := &p.kill
		if p.status || k.Victim.PID != e.Killed.Victim.TGID {
			continue
		}
		p.status = true
		a.describe(k, *e.Killed)
		k.Asked = asked(*k)
		return
	}
}

// describe fills in what a status tells.
func (a *Assembler) describe(k *Kill, s evidence.Killed) {
	k.Victim = a.person(s.Victim)
	trigger := a.person(s.Trigger)
	if k.Trigger != nil {
		trigger.Thread = k.Trigger.Thread
	}
	k.Trigger = &trigger
	k.addresses = s.Stack
	if s.Domain != "" && k.Limit != nil {
		k.Limit.Cgroup, k.Limit.Owner = s.Domain, explain.OwnerOf(s.Domain)
		k.Limit.Kind = limitKind(k.Constraint, k.Limit.Owner)
	}
}

// asked says what asked for a kill of the kernel.
func asked(k Kill) string {
	switch {
	case k.Order != nil && *k.Order == -1:
		return AskedSysrq
	case k.Trigger != nil && strings.HasPrefix(k.Trigger.Comm, "kswapd") && k.Trigger.RSS == nil:
		return AskedKswapd
	case k.Constraint == "memcg" && k.Limit != nil && k.Limit.Cgroup != "" && k.Trigger != nil &&
		k.Trigger.Cgroup != "" && !k.Trigger.CgroupCut && !kernel.InCgroup(k.Trigger.Cgroup, k.Limit.Cgroup):
		return AskedLowered
	}
	return AskedAllocation
}

// signal is a kill by a process.
func (a *Assembler) signal(e evidence.Event) Kill {
	k := Kill{AtNS: e.AtNS, PageSize: a.o.PageSize, By: ByProcess, Source: FromBPF, Asked: AskedSignal,
		Signal: kernel.SignalName(e.Killed.Signal)}
	a.describe(&k, *e.Killed)
	k.Daemon = isDaemon(k.Trigger)
	return k
}

// daemons are programs that kill when memory gets short, by the name that the kernel
// keeps, and units whose processes do.
var daemons = []string{"systemd-oomd", "earlyoom", "nohang", "oomd", "kubelet", "lmkd", "low-memory-monitor",
	"low-memory-mon"}

func isDaemon(p *Process) bool {
	if p == nil {
		return false
	}
	unit := ""
	if p.Owner != nil && p.Owner.By == "systemd" {
		unit = p.Owner.Name
	}
	return slices.Contains(daemons, p.Comm) || slices.Contains(daemons, unit)
}

func (a *Assembler) exit(e evidence.Event) {
	for _, p := range slices.Backward(a.waiting) {
		if !p.exited && p.kill.Victim.PID == e.PID {
			p.exited = true
			after := e.AtNS - p.kill.AtNS
			p.kill.ExitedNS = &after
			return
		}
	}
}

// process is a task as it is shown.
func (a *Assembler) process(t evidence.Task) Process {
	out := Process{PID: t.TGID, Comm: t.Comm, cgroupID: t.CgroupID, StartNS: t.StartNS}
	if t.PID != t.TGID {
		out.Thread = t.PID
	}
	if t.StartNS != 0 {
		out.UID, out.Adj = &t.UID, &t.Adj
	}
	if t.MM == nil {
		return out
	}
	c := a.counts(t.MM)
	size := func(p kernel.Pages) *kernel.Bytes {
		b := max(p, 0).Bytes(a.o.PageSize)
		return &b
	}
	out.Anon, out.File, out.Shmem, out.Swap = size(c.Anon), size(c.File), size(c.Shmem), size(c.Swap)
	rss := *out.Anon + *out.File + *out.Shmem
	out.RSS, out.PgTables, out.TotalVM = &rss, &t.MM.PgTables, size(t.MM.TotalVM)
	return out
}

func (a *Assembler) counts(mm *evidence.MM) evidence.Counts {
	if a.o.Reads == kernel.ReadsExact && !mm.ExactUnknown {
		return mm.Exact
	}
	return mm.Batched
}

func (a *Assembler) person(p evidence.Person) Process {
	out := a.process(p.Task)
	out.Cgroup, out.CgroupCut, out.Threads = p.Cgroup, p.PathCut, p.Threads
	out.ParentPID, out.ParentComm = p.Parent.TGID, p.Parent.Comm
	out.Args, out.ArgsCut = p.Args, p.ArgsCut
	if p.MM != nil && out.RSS != nil {
		hwm := max(p.HWM.Bytes(a.o.PageSize), *out.RSS)
		out.HWM = &hwm
	}
	out.Own(out.Cgroup)
	return out
}

// Own sets the cgroup, and what its path tells.
func (p *Process) Own(path string) {
	p.Cgroup = path
	p.Owner = explain.OwnerOf(path)
	if p.Owner != nil {
		p.Kubernetes = explain.DecodeCgroup(path)
	}
}

// CgroupID is the kernel's number for the process's memory cgroup; 0: not told.
func (p *Process) CgroupID() uint64 { return p.cgroupID }

// Addresses are those of the kernel's stack, the innermost call first.
func (k *Kill) Addresses() []uint64 { return k.addresses }

func (a *Assembler) candidate(o *evidence.OOM) Candidate {
	c := Candidate{PID: o.Task.TGID, Comm: o.Task.Comm, Points: o.Points, Adj: o.Task.Adj, Note: o.Message}
	if o.Points != nil && *o.Points == math.MinInt64 {
		c.Points, c.Note = nil, "never chosen"
	}
	if mm := o.Task.MM; mm != nil {
		n := a.counts(mm)
		c.RSS, c.Swap, c.PgTables = max(n.Anon, 0)+max(n.File, 0)+max(n.Shmem, 0), max(n.Swap, 0), mm.PgTables
	}
	return c
}

// scoreboard orders candidates: the highest score first, those without one last. Equal
// ones stay in the order of the scan turned round, because the last of them is chosen.
func scoreboard(board []Candidate) []Candidate {
	if len(board) == 0 {
		return nil
	}
	out := slices.Clone(board)
	slices.Reverse(out)
	slices.SortStableFunc(out, func(x, y Candidate) int {
		return kernel.HighestFirst(x.Points, y.Points)
	})
	return out
}
