package explain

import (
	"slices"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
	"github.com/oomlab/oomlab/harness/plaintext"
)

// Explanation is one OOM report and what follows from it. The JSON keys are an
// interface. What the kernel did not print is left out.
type Explanation struct {
	At            string `json:"at,omitempty"`
	Host          string `json:"host,omitempty"`
	KernelFormat  string `json:"kernel_format,omitempty"`
	KernelRelease string `json:"kernel_release,omitempty"`

	Constraint string         `json:"constraint,omitempty"` // CONSTRAINT_MEMCG
	Global     *bool          `json:"global,omitempty"`     // the machine, not a cgroup
	OOMMemcg   string         `json:"oom_memcg,omitempty"`
	TaskMemcg  string         `json:"task_memcg,omitempty"`
	Trigger    oomlog.Trigger `json:"trigger"`
	// Outcome is what the log shows of the end: killed, chosen (the kill is not
	// shown), exiting (the chosen one was gone already), nobody, or unknown.
	Outcome string `json:"outcome"`
	// Chosen is whom the kernel chose, where no kill is shown.
	Chosen *Chosen `json:"chosen,omitempty"`
	// Victim is the first process that was killed; nil: see Outcome.
	Victim *oomlog.KillLine `json:"victim,omitempty"`
	// Kills are all processes that were killed, the victim first.
	Kills     []oomlog.KillLine `json:"kills"`
	GroupPath string            `json:"group_path,omitempty"`
	// Kubernetes is what the cgroup paths say of pod and container.
	Kubernetes *Kubernetes `json:"kubernetes,omitempty"`
	// Owner is who the victim's cgroup belongs to, LimitOwner whose limit was hit.
	Owner      *Owner `json:"owner,omitempty"`
	LimitOwner *Owner `json:"limit_owner,omitempty"`
	// LimitHit is the counter that was full: memory, or with cgroup v1 memory+swap.
	// A counter far below its limit is not full; then LimitNote says so.
	LimitHit  string `json:"limit_hit,omitempty"`
	LimitNote string `json:"limit_note,omitempty"`
	// PanicOnOOM is vm.panic_on_oom, as a panic tells it.
	PanicOnOOM *int `json:"panic_on_oom,omitempty"`

	PageSize     kernel.Bytes `json:"page_size"`
	PageSizeFrom string       `json:"page_size_from"` // how it is known
	// TotalPages is the size of the domain that oom_score_adj is a share of. Nil:
	// it is not known, but lies in TotalRange.
	TotalPages *kernel.Pages `json:"total_pages,omitempty"`
	TotalRange Range         `json:"total_pages_range"`
	TotalFrom  string        `json:"total_pages_from"` // how it is known, or why not

	// Ranking is the task table, the highest score first; among equals the one
	// that the kernel prefers.
	Ranking []Ranked `json:"ranking"`
	// ReplayedVictimPID is whom the model chooses from the table.
	ReplayedVictimPID *int `json:"replayed_victim_pid,omitempty"`
	// Agrees says whether that is whom the kernel chose, for some size of the
	// domain that is possible. Nil: the log does not have what that takes.
	Agrees *bool `json:"agrees,omitempty"`
	// Follows are the sizes of the domain for which the kernel's choice is the
	// model's; nil: for none, or it does not depend on a size.
	Follows *Range `json:"follows_for_total_pages,omitempty"`
	// Disagreement is why model and kernel differ, as far as the log tells.
	Disagreement string `json:"disagreement,omitempty"`

	// Twice is what the report says twice of the victim, compared.
	Twice []Twice `json:"said_twice,omitempty"`
	// RootNote is what is assumed of root where kernels favour it (up to 4.16).
	RootNote string `json:"root_note,omitempty"`

	Memory *Memory `json:"memory,omitempty"`

	NoKillable bool     `json:"no_killable,omitempty"`
	Panic      string   `json:"panic,omitempty"`
	Suppressed *uint64  `json:"suppressed_callbacks,omitempty"`
	Complete   bool     `json:"complete"`
	Missing    []string `json:"missing"`
	Capped     []string `json:"capped,omitempty"`
	// Why is the reason in a few sentences.
	Why string `json:"why"`

	// Race are victims of earlier reports that had not given back their memory when
	// this one was made; nil: none are seen.
	Race *Race `json:"race,omitempty"`

	// Saved is the least that would have let the victim live through this moment.
	Saved  *Saved  `json:"would_have_saved,omitempty"`
	WhatIf *WhatIf `json:"what_if,omitempty"`

	report *oomlog.Report
	replay replay
}

// Range are the amounts from Min to Max, both included. Max nil: no upper end.
type Range struct {
	Min kernel.Pages  `json:"min"`
	Max *kernel.Pages `json:"max,omitempty"`
}

// Ranked is one row of the task table with its score. Amounts are in pages, as
// they enter the score.
type Ranked struct {
	Rank     int          `json:"rank"`
	PID      int          `json:"pid"`
	Comm     string       `json:"comm"`
	RSS      kernel.Pages `json:"rss"`
	Swap     kernel.Pages `json:"swapents"`
	PgTables kernel.Pages `json:"pgtables"`
	Adj      int          `json:"oom_score_adj"`
	// AdjPoints is what the adjustment adds to the score.
	AdjPoints *int64 `json:"adj_points,omitempty"`
	// RootBonus is what kernels up to 4.16 take off for root.
	RootBonus int64 `json:"root_bonus,omitempty"`
	// Points is the score; nil with Never, or when it depends on a size of the
	// domain that is not known: then PointsMin and PointsMax are its bounds, as
	// far as there are any.
	Points    *int64 `json:"points,omitempty"`
	PointsMin *int64 `json:"points_min,omitempty"`
	PointsMax *int64 `json:"points_max,omitempty"`
	// Origin: chosen before all scores, because it empties swap or undoes KSM
	// (OOM_FLAG_ORIGIN).
	Origin bool `json:"origin,omitempty"`
	// FromKillLine: its row is missing; this is what its kill line says, which has
	// no swap.
	FromKillLine bool `json:"from_kill_line,omitempty"`
	// Never: the kernel does not consider it, for this reason.
	Never  string `json:"never,omitempty"`
	Killed bool   `json:"killed,omitempty"`

	UID      int64         `json:"uid"`
	TotalVM  kernel.Pages  `json:"total_vm"`
	RSSAnon  *kernel.Pages `json:"rss_anon,omitempty"`
	RSSFile  *kernel.Pages `json:"rss_file,omitempty"`
	RSSShmem *kernel.Pages `json:"rss_shmem,omitempty"`
}

// Options say what a log cannot.
type Options struct {
	PageSize kernel.Bytes // of the machine; 0: what the report shows, or else 4096
	WhatIf   []Change     // who would have been killed had this been different
}

// Explainer explains the reports of one log, in their order: whom an earlier
// report killed is passed over by a later one. The zero Explainer is ready.
type Explainer struct {
	Options Options
	dead    []death
	at      int
	// pids has a bit for each pid that is in dead, and perhaps for others: most
	// processes are not.
	pids [64]uint64
	// owners are those of paths that reports have named; a log has few.
	owners map[string]*Owner
}

// bit is where a pid's bit is.
func bit(pid int) (word int, mask uint64) { return pid >> 6 & 63, 1 << (pid & 63) }

// death is a process that an earlier report killed.
type death struct {
	pid   int
	comm  string
	at    string
	memcg string       // whose limit was hit
	anon  kernel.Pages // what it had then; 0: not known
}

// What an Explainer remembers at most.
const (
	maxDead       = 512
	maxOwnerPaths = 256
)

// owner is OwnerOf.
func (x *Explainer) owner(path string) *Owner {
	o, known := x.owners[path]
	if known {
		return o
	}
	if x.owners == nil || len(x.owners) >= maxOwnerPaths {
		x.owners = make(map[string]*Owner)
	}
	o = OwnerOf(path)
	x.owners[path] = o
	return o
}

// Explain explains the next report of the log.
func (x *Explainer) Explain(r oomlog.Report) Explanation {
	e := explain(r, x.Options, x)
	if e.Race = x.raced(e); e.Race != nil {
		e.Why += " " + plaintext.Escape(e.Race.text(&e))
	}
	for _, k := range r.Killed() {
		d := death{pid: k.PID, comm: k.Comm, at: r.At, memcg: r.OOMMemcg}
		if k.AnonRSSKB != nil {
			d.anon = (kernel.Bytes(min(*k.AnonRSSKB, 1<<52)) * kernel.KiB).Pages(e.PageSize)
		}
		word, mask := bit(k.PID)
		x.pids[word] |= mask
		if len(x.dead) < maxDead {
			x.dead = append(x.dead, d)
			continue
		}
		x.dead[x.at] = d
		x.at = (x.at + 1) % maxDead
	}
	return e
}

// Clone is an Explainer that knows the same and goes its own way: to ask about a report
// once more.
func (x *Explainer) Clone() Explainer {
	c := *x
	c.dead, c.owners = slices.Clone(x.dead), nil
	return c
}

// killedBefore reports whether the log told of the process's death before.
func (x *Explainer) killedBefore(pid int, comm string) (at string, ok bool) {
	if word, mask := bit(pid); x.pids[word]&mask == 0 {
		return "", false
	}
	for _, d := range x.dead {
		if d.pid == pid && d.comm == comm {
			return d.at, true
		}
	}
	return "", false
}

// Explain explains one report by itself.
func Explain(r oomlog.Report, o Options) Explanation {
	return explain(r, o, &Explainer{})
}

func explain(r oomlog.Report, o Options, x *Explainer) Explanation {
	from := "told"
	if o.PageSize <= 0 {
		if o.PageSize, from = pageSize(r); from == "" {
			o.PageSize, from = kernel.DefaultPageSize, "not known; most machines have this"
		}
	}
	r = oneProcess(r, o.PageSize)
	e := Explanation{
		At: r.At, Host: r.Host, KernelFormat: r.KernelFormat, KernelRelease: r.KernelRelease,
		Constraint: r.Constraint, Global: r.Global, OOMMemcg: r.OOMMemcg, TaskMemcg: r.TaskMemcg,
		Trigger: r.Trigger, Kills: r.Killed(), GroupPath: r.GroupPath, Kubernetes: kubernetesOf(r),
		PageSize: o.PageSize, PageSizeFrom: from, NoKillable: r.NoKillable, Panic: r.PanicText,
		Suppressed: r.SuppressedCallbacks,
		Complete:   r.Complete, Missing: r.Missing, Capped: r.Capped, report: &r,
	}
	if len(e.Kills) > 0 {
		e.Victim = &e.Kills[0]
	}
	if e.Kills == nil {
		e.Kills = []oomlog.KillLine{}
	}
	e.Outcome, e.Chosen = outcome(r)
	e.Owner, e.PanicOnOOM = x.owner(victimPath(r)), panicOnOOM(r)
	if e.LimitOwner = e.Owner; r.OOMMemcg != victimPath(r) {
		e.LimitOwner = x.owner(r.OOMMemcg)
	}
	e.LimitHit, e.LimitNote = limitHit(r, o.PageSize)
	if e.Missing == nil {
		e.Missing = []string{}
	}
	total := totalOf(r, o.PageSize)
	e.TotalPages, e.TotalRange, e.TotalFrom = total.pages, total.rng, total.from
	e.replay = newReplay(r, o.PageSize, x.killedBefore)
	e.settle()
	e.judge()
	e.twice()
	if len(e.replay.rows) > 0 {
		e.RootNote = e.replay.root.why
	}
	e.Ranking = e.replay.ranking(e.TotalPages, e.TotalRange, e.Scored())
	if e.Memory = memoryOf(r, o.PageSize); e.Memory != nil {
		e.Memory.Free = e.freeZones()
	}
	e.Saved = e.saved()
	e.Why = e.why()
	if len(o.WhatIf) > 0 {
		w := e.whatIf(o.WhatIf)
		e.WhatIf = &w
	}
	return e
}
