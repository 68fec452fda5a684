package reproduce

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/oomlog"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
)

// Options say how a scenario is made.
type Options struct {
	// Name is the scenario's; empty: reproduced.
	Name string
	// Source says in the scenario where it comes from: "report 2 of kern.log".
	Source string
	// PageSize of the machine that wrote the log; 0: what the report shows, or
	// else 4096.
	PageSize kernel.Bytes
	// Scale is the N of 1/N; 0: chosen.
	Scale float64
}

// Result is a scenario and what it stands for.
type Result struct {
	Scenario scenario.Scenario
	// Text is the file.
	Text []byte
	// Victim is the process that stands for the reported victim, and of whom.
	Victim string
	Of     oomlog.KillLine
	// Names say which reported process each of the scenario's stands for.
	Names map[string]explain.Ranked
	// Notes say what is not as it was.
	Notes []string
	// Prediction for a VM of the size that the scenario needs.
	Prediction predict.Prediction
}

// ErrImpossible is wrapped by the errors of reports that no scenario can be
// made of.
var ErrImpossible = errors.New("cannot be reproduced")

func impossible(format string, args ...any) error {
	return fmt.Errorf("this kill %w: %s", ErrImpossible, fmt.Sprintf(format, args...))
}

// attempts are how many times the margins are widened before a prediction that
// stays unsure is accepted.
const attempts = 5

// Scenario makes a scenario of a report. The error says what the report lacks;
// it wraps [ErrImpossible].
func Scenario(r oomlog.Report, o Options) (Result, error) {
	if o.Name == "" {
		o.Name = "reproduced"
	}
	in, err := read(r, o)
	if err != nil {
		return Result{}, err
	}
	var best Result
	for try := range attempts {
		d, err := in.design(try)
		if err != nil {
			if best.Text != nil {
				return best, nil
			}
			return Result{}, err
		}
		got, err := d.result()
		if err != nil {
			return Result{}, err
		}
		sure := got.certain()
		if best.Text == nil || sure {
			best = got
		}
		if sure {
			return best, nil
		}
	}
	if k := best.Prediction.Killed; len(k) == 0 || k[0] != best.Victim {
		return Result{}, impossible("in no scaled copy of it does the model choose the same victim; "+
			"the best kills [%s]", strings.Join(k, ", "))
	}
	best.Notes = append(best.Notes, "The prediction is not sure: "+best.Prediction.Unsure+".")
	return best, nil
}

// certain reports whether the reported victim is killed first on every course.
func (r Result) certain() bool {
	if r.Prediction.Open || len(r.Prediction.Orders) == 0 {
		return false
	}
	return !slices.ContainsFunc(r.Prediction.Orders, func(o []string) bool {
		return len(o) == 0 || o[0] != r.Victim
	})
}

// input is what a report says, as far as a scenario needs it.
type input struct {
	o      Options
	r      oomlog.Report
	e      explain.Explanation
	victim explain.Ranked
	others []explain.Ranked // by score
	// total is the size of the domain in the machine's pages, swap the part of
	// it that is swap.
	total, swap kernel.Pages
	cgroup      bool // a memory cgroup, not a machine
	notes       []string
}

func read(r oomlog.Report, o Options) (*input, error) {
	e := explain.Explain(r, explain.Options{PageSize: o.PageSize})
	o.PageSize = e.PageSize
	in := &input{o: o, r: r, e: e, cgroup: r.Global != nil && !*r.Global}
	switch {
	case r.PanicText != "" || r.NoKillable:
		return nil, impossible("nobody was killed, the kernel found nobody or panicked")
	case e.Outcome == explain.WasOnly:
		return nil, impossible("the kernel chose %q (pid %d), and the log does not show that it was killed",
			e.Chosen.Comm,
			e.Chosen.PID)
	case e.Victim == nil:
		return nil, impossible("the log does not show who was killed")
	case e.Agrees != nil && !*e.Agrees:
		return nil, impossible("the kernel's choice does not follow from its own table. %s", e.Disagreement)
	}
	found := false
	for _, k := range e.Ranking {
		switch {
		case k.Killed && k.Origin:
			return nil, impossible("%q (pid %d) was chosen before all scores, because it emptied swap or undid KSM "+
				"(OOM_FLAG_ORIGIN); no step of a scenario does either", k.Comm, k.PID)
		case k.Killed && k.PointsMin == nil && k.Points == nil && k.Never == "":
			return nil, impossible("the log gives no scores. %s", e.Disagreement)
		case k.Killed:
			in.victim, found = k, true
		case k.Never == "":
			in.others = append(in.others, k)
		}
	}
	if !found {
		v := *e.Victim
		if v.AnonRSSKB == nil {
			return nil, impossible("the log has neither a task table nor the victim's size")
		}
		in.victim = fromKillLine(v, o.PageSize)
		in.others = nil
		in.note("The report has no task table: the victim is alone.")
	}
	if in.victim.FromKillLine {
		in.note("The row of %s is missing; its kill line stands for it.", in.victim.Comm)
	}
	if v := e.Victim; v.SacrificeChild {
		in.note("%s (pid %d) was chosen and its child died in its place; kernels from 5.1 on kill whom they choose.",
			in.victim.Comm, in.victim.PID)
	}
	if file := in.filePages(); file > 0 {
		in.note("Of what %s held, %s were pages of files. They are anonymous memory here: "+
			"page cache would be given back under pressure.",
			in.victim.Comm, file.Bytes(o.PageSize).Human())
	}
	if err := in.checkAdj(); err != nil {
		return nil, err
	}
	in.size()
	in.noteFree()
	switch r.Constraint {
	case "CONSTRAINT_CPUSET", "CONSTRAINT_MEMORY_POLICY":
		in.note("The shortage was of some memory nodes (%s); here it is of the whole machine.", r.Constraint)
	}
	return in, nil
}

// checkAdj refuses adjustments that no kernel takes (OOM_SCORE_ADJ_MIN and _MAX):
// the log was damaged, or was never a kernel's.
func (in *input) checkAdj() error {
	check := func(comm string, adj int) error {
		if adj < -1000 || adj > 1000 {
			return impossible("the log gives %q an oom_score_adj of %d; they go from -1000 to 1000", comm, adj)
		}
		return nil
	}
	errs := []error{check(in.victim.Comm, in.victim.Adj)}
	for _, k := range in.others {
		errs = append(errs, check(k.Comm, k.Adj))
	}
	if t := in.r.Trigger; t.Adj != nil {
		errs = append(errs, check(t.Comm, *t.Adj))
	}
	for _, err := range errs {
		if err != nil {
			return err // one is enough to distrust the log
		}
	}
	return nil
}

func (in *input) note(format string, args ...any) {
	in.notes = append(in.notes, fmt.Sprintf(format, args...))
}

// filePages is how much of the victim's memory was pages of files, if that was
// an eighth or more.
func (in *input) filePages() kernel.Pages {
	file := kernel.Pages(0)
	switch v := in.e.Victim; {
	case in.victim.RSSFile != nil:
		file = *in.victim.RSSFile
	case v.FileRSSKB != nil:
		file = kernel.Pages(min(*v.FileRSSKB, 1<<50) * 1024 / uint64(in.o.PageSize))
	}
	if file < in.victim.RSS/8 {
		return 0
	}
	return file
}

// pageTables is how much of a process's page tables is more than one of its size has: one
// page for 512 that are mapped. 0: less than a sixteenth of what it held.
func (in *input) pageTables(k explain.Ranked) kernel.Pages {
	perTable := kernel.Pages(in.o.PageSize / 8)
	extra := k.PgTables - (k.RSS+k.Swap)/perTable
	if extra < 64 || extra < held(k)/16 {
		return 0
	}
	return extra
}

// noteFree says that the scaled machine runs out of memory for any request, where the
// reported one had some that this request could not have.
func (in *input) noteFree() {
	m := in.e.Memory
	if m == nil || m.Size == nil || in.cgroup {
		return
	}
	var kept kernel.Bytes
	for _, z := range m.Free {
		if z.Why != "" {
			kept += z.Free
		}
	}
	if kept > m.Size.Bytes(in.o.PageSize)/20 {
		in.note("%s were free there, and of no use to the request; here all memory is filled up.", kept.Human())
	}
	if order := in.r.Trigger.Order; order != nil && *order > 0 {
		in.note("The request was for a piece of order %d; here it is for single pages.", *order)
	}
}

// fromKillLine is a row of the table made of the "Killed process" line.
func fromKillLine(v oomlog.KillLine, pageSize kernel.Bytes) explain.Ranked {
	pages := func(kb *uint64) kernel.Pages {
		if kb == nil {
			return 0
		}
		return kernel.Pages(min(*kb, 1<<50) * 1024 / uint64(pageSize))
	}
	shmem := pages(v.ShmemRSSKB)
	k := explain.Ranked{PID: v.PID, Comm: v.Comm, RSS: pages(v.AnonRSSKB) + pages(v.FileRSSKB) + shmem,
		PgTables: pages(v.PgTablesKB), Killed: true, RSSShmem: &shmem}
	if v.Adj != nil {
		k.Adj = *v.Adj
	}
	return k
}

// size finds out how large the domain was, and how much of that was swap.
func (in *input) size() {
	in.total = in.e.Scored()
	swapped := in.victim.Swap
	for _, k := range in.others {
		swapped += k.Swap
	}
	limit := kernel.Pages(0)
	if m := in.e.Memory; m != nil && m.Size != nil {
		limit = *m.Size
	}
	u := in.r.Memcg
	switch {
	case in.cgroup && in.e.LimitHit == "memory+swap":
		in.bothLimits(u)
	case in.e.TotalPages != nil && !in.cgroup:
		if m := in.e.Memory; m != nil && m.TotalSwap != nil {
			in.swap = min(*m.TotalSwap, in.total)
		}
	case in.e.TotalPages != nil:
		in.swap = max(0, in.total-limit)
	case in.cgroup && limit > 0:
		// not printed: as much as was in use
		if u != nil && u.Swap != nil {
			swapped = max(0, kernel.Pages(min(u.Swap.UsageKB, 1<<50)*1024/uint64(in.o.PageSize)))
		}
		in.swap = max(0, swapped, in.total-limit)
		in.total = limit + in.swap
	}
	need := in.victim.RSS + in.victim.Swap + in.victim.PgTables
	if in.total < need {
		if in.total == 0 {
			in.note("The size of the domain is not printed; it is made as large as the processes.")
		}
		if !in.cgroup || in.total == 0 {
			in.total = need
		}
	}
	in.swap = min(in.swap, in.total)
}

// bothLimits takes the limit of memory and swap together that cgroup v1 has: the
// memory limit, and swap for the rest. Both are full when the sum is.
func (in *input) bothLimits(u *oomlog.MemcgUsage) {
	pages := func(kb uint64) kernel.Pages { return kernel.Pages(min(kb, 1<<50) * 1024 / uint64(in.o.PageSize)) }
	in.total = pages(u.MemorySwap.LimitKB)
	limit := in.total
	switch m := u.Memory; {
	case m == nil:
		in.note("The memory limit is not printed; all of the domain is made memory.")
	case m.Unlimited():
		limit = min(pages(m.UsageKB), in.total)
	default:
		limit = min(pages(m.LimitKB), in.total)
	}
	in.swap = in.total - limit
	in.note("The limit that was hit is the one of memory and swap together, %s. Here memory.max is %s and the rest "+
		"is swap.",
		in.total.Bytes(in.o.PageSize).Human(), limit.Bytes(in.o.PageSize).Human())
}

// within is how long a run may last. Emulated machines get more.
func (d *design) within() time.Duration {
	if d.swap > 0 {
		return 2 * time.Minute
	}
	return time.Minute
}
