package agent

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/observe"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/probe"
	"github.com/oomlab/oomlab/stressor/profile"
)

// Hello says what the machine is and how much of it can be watched. What can
// only be learnt by doing is done: a cgroup is made, a few idle stressors are
// started in it and measured, and everything is put back.
//
// A machine on which that is not possible is not an error; its abilities say
// what it lacks. An error means that the machine could not be read at all.
func (a *Agent) Hello(ctx context.Context) (wire.Hello, error) {
	tier := a.observers.tier()
	o := probe.Options{Tier: tier.Tier, Hooks: tier.Hooks, HostOOM: a.hostOOM}
	o.CgroupErr = a.measure(ctx, &o)
	if ctx.Err() != nil {
		return wire.Hello{}, ctx.Err()
	}
	if o.Badness == "" && o.CgroupErr == nil {
		a.measureBadness(ctx, &o)
	}
	m, err := probe.Machine(ctx, a.root, o)
	if err != nil {
		return wire.Hello{}, err
	}
	m.Userland = a.userland
	if a.own && a.observers.kmsgErr == nil { // the log of a machine of its own
		ahead, err := observe.LogAhead(a.root.Path("/dev/kmsg"))
		if err == nil && ahead.Abs() > logAhead {
			m.LogAheadNS = ahead.Nanoseconds()
		}
	}
	if a.observers.kmsgErr != nil {
		m.Abilities[kernel.AbilityKmsg] = kernel.Answer{Is: "no", Why: a.observers.kmsgErr.Error()}
	}
	m.Abilities[kernel.AbilityProcessEvents] = kernel.Answer{Is: "yes"}
	if err := a.procEventsErr; err != nil {
		m.Abilities[kernel.AbilityProcessEvents] = kernel.Answer{Is: "no", Why: err.Error()}
	}
	hello := wire.Hello{Protocol: wire.Protocol, Build: wire.Build(), Machine: m, Tier: tier, Files: a.files}
	if a.node != nil {
		hello.Node = a.node.facts(a.mount, a.hierarchy())
		hooks := map[string]string{"runtime": a.node.events, "kubelet": "no log is known"}
		if a.root.Has(a.node.o.KubeletLog) {
			hooks["kubelet"] = "attached: " + a.node.o.KubeletLog
		}
		maps.Copy(hooks, tier.Hooks)
		hello.Tier.Hooks = hooks
	}
	return hello, nil
}

// logAhead is a difference of clocks that is worth telling.
const logAhead = 100 * time.Millisecond

// measureWithin bounds one round of measuring: three processes that do almost
// nothing, on a machine that may be emulated.
const measureWithin = 60 * time.Second

// measurement is a plan of stressors that hold some pages each, the one called
// idle none, each in a cgroup of its own.
func (a *Agent) measurement(pages map[string]int64, order ...string) plan.Plan {
	p := plan.Plan{
		Base: uniqueBase("probe"), CgroupVersion: a.mount.Version,
		WithinMS: measureWithin.Milliseconds(), DeadlineMS: measureWithin.Milliseconds(),
	}
	for _, name := range order {
		prof := profile.Profile{Name: name, DeadlineMS: p.DeadlineMS}
		if n := pages[name]; n > 0 {
			prof.Steps = append(prof.Steps, profile.Step{Op: profile.Touch, Bytes: n * int64(os.Getpagesize())})
		}
		prof.Steps = append(prof.Steps, profile.Step{Op: profile.Hold})
		p.Cgroups = append(p.Cgroups, plan.Cgroup{Path: "/" + name})
		p.Processes = append(p.Processes, plan.Process{
			Name: name, Of: name, Cgroup: "/" + name,
			Launch:  profile.Launch{Comm: name, DeadlineMS: p.DeadlineMS},
			Profile: prof,
		})
	}
	return p
}

// measured carries a measurement out and calls inspect while all of its
// processes are ready. Its error is why the machine cannot carry out plans.
func (a *Agent) measured(ctx context.Context, p plan.Plan, inspect func(*run) error) error {
	var trouble, looked error
	err := a.carryOut(ctx, p, carry{
		sink: func(ev evidence.Event) {
			if ev.Kind == evidence.Failure {
				trouble = errors.Join(trouble, errors.New(ev.Text))
			}
		},
		settle: time.Millisecond,
		inspect: func(r *run) {
			if r.end != endSettled {
				looked = fmt.Errorf("%w: idle stressors were awaited for %s; the run ended: %s", probe.ErrUnfinished,
					measureWithin, r.end)
				return
			}
			for _, q := range r.procs {
				if q.state != ready {
					looked = fmt.Errorf("idle stressor %s ended instead of being ready", q.plan.Name)
					return
				}
			}
			looked = inspect(r)
		},
	})
	return errors.Join(err, looked, trouble)
}

// measure finds out what a new cgroup offers, what an idle stressor costs,
// whether a child's oom_score_adj can be lowered and, if eBPF gets that far,
// which counters oom_badness() reads.
func (a *Agent) measure(ctx context.Context, o *probe.Options) error {
	if a.mountErr != nil {
		return a.mountErr
	}
	// odd numbers of pages leave residues in batched counters
	pages, order := map[string]int64{"idle": 0}, []string{"idle"}
	for i, told := range []int64{37, 53, 5, 23, 43, 61} {
		name := "odd" + strconv.Itoa(i+1)
		pages[name], order = told, append(order, name)
	}
	p := a.measurement(pages, order...)
	return a.measured(ctx, p, func(r *run) error {
		files := a.root.CgroupFiles(relative(a.root, r.tree.dir("/idle")))
		o.Cgroup = &files
		idle := r.byName["idle"]
		var err error
		if o.Stressor, err = a.footprint(idle.pid); err != nil {
			return err
		}
		if o.Stressor.Charged, err = a.charged(r, pages); err != nil {
			return err
		}
		a.refine(&o.Stressor, r, pages)
		adj := a.root.Path("/proc", strconv.Itoa(idle.pid), "oom_score_adj")
		o.NegativeAdj = &kernel.Answer{Is: "yes"}
		switch err := writeFile(adj, "-1"); {
		case errors.Is(err, fs.ErrPermission):
			o.NegativeAdj = &kernel.Answer{Is: "no", Why: "lacks CAP_SYS_RESOURCE"}
		case err != nil:
			o.NegativeAdj = &kernel.Answer{Is: "unsure", Why: err.Error()}
		}
		pids := []int{idle.pid, r.byName["odd1"].pid, r.byName["odd2"].pid}
		if o.Badness, err = a.observers.badnessReads(ctx, pids); err != nil {
			o.Badness = a.weigh(pids[1:])
		}
		return nil
	})
}

// footprint measures the counters of one idle stressor.
func (a *Agent) footprint(pid int) (kernel.Footprint, error) {
	page := kernel.Bytes(os.Getpagesize())
	s, err := a.root.Status(pid)
	if err != nil {
		return kernel.Footprint{}, err
	}
	f := kernel.Footprint{Threads: s.Threads}
	for _, amount := range []struct {
		from *kernel.Bytes
		to   *kernel.Pages
	}{{s.RssAnon, &f.Anon}, {s.RssFile, &f.File}, {s.RssShmem, &f.Shmem}, {s.VmPTE, &f.PgTable}} {
		if amount.from == nil {
			return f, fmt.Errorf("/proc/%d/status lacks RssAnon, RssFile, RssShmem or VmPTE", pid)
		}
		*amount.to = amount.from.Pages(page)
	}
	stat, err := a.root.Stat(pid)
	if err != nil {
		return f, err
	}
	f.Virtual = stat.VSize.Pages(page)
	if committed, err := a.root.Committed(pid); err == nil { // not every kernel shows it
		f.Committed = committed.Pages(page)
	}
	return f, nil
}

// refine makes of what /proc says of one stressor what is true of most: by their
// own count, which walks page tables and so does not lag, the one in the middle of
// those with the fewest threads. On a busy host one in ten has a thread more, with
// nine pages, while a machine boots most of them may, and now and then one has four
// pages less; a snapshot that took it for what all have would be wrong for good.
// It also finds out how much of the pages that all stressors have in common
// oom_badness() reads where counters are batched: /proc/PID/stat shows the same
// batches, and anonymous pages, which come one by one, fill whole ones.
func (a *Agent) refine(f *kernel.Footprint, r *run, told map[string]int64) {
	page := kernel.Bytes(os.Getpagesize())
	var overheads, tables []kernel.Pages
	least := math.MaxInt
	for _, p := range r.procs {
		one, err := a.footprint(p.pid)
		if err != nil {
			return
		}
		if one.Threads < least {
			least, overheads, tables = one.Threads, nil, nil
		}
		if one.Threads == least {
			overheads, tables = append(overheads, p.overhead.Pages(page)), append(tables, one.PgTable)
		}
	}
	have := middle(overheads)
	if have < f.File+f.Shmem {
		return
	}
	f.Anon, f.Threads, f.PgTable = have-f.File-f.Shmem, least, middle(tables)
	batch := kernel.Pages(max(32, 2*runtime.NumCPU())) // percpu_counter_batch
	votes := map[kernel.Pages]int{}
	for _, p := range r.procs {
		s, err := a.root.Stat(p.pid)
		if err != nil {
			return
		}
		anon := p.overhead.Pages(page) - f.File - f.Shmem + kernel.Pages(told[p.plan.Name])
		votes[s.RSS-anon/batch*batch]++
	}
	for read, n := range votes {
		if n > len(r.procs)/2 && read <= f.File+f.Shmem {
			f.Batched = &read
		}
	}
}

// middle is the median; of two, the smaller one.
func middle[T cmp.Ordered](values []T) T {
	slices.Sort(values)
	return values[(len(values)-1)/2]
}

// charged is what a cgroup is charged with for an idle stressor: of several,
// each less the pages it was told to hold, the smallest. The others are charged
// with more than they have: each CPU takes up to 63 pages in advance
// (mm/memcontrol.c, MEMCG_CHARGE_BATCH), and the first to read the binary pays
// for its page cache.
func (a *Agent) charged(r *run, pages map[string]int64) (kernel.Pages, error) {
	least := kernel.Pages(math.MaxInt64)
	for name, told := range pages {
		file := filepath.Join(r.tree.dir("/"+name), "memory.current")
		if a.mount.Version == 1 {
			file = filepath.Join(r.tree.dir("/"+name), "memory.usage_in_bytes")
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %q is not a number of bytes", file, b)
		}
		least = min(least, kernel.Bytes(n).Pages(kernel.Bytes(os.Getpagesize()))-kernel.Pages(told))
	}
	return least, nil
}

// weigh asks /proc/PID/oom_score of each process until one of them tells;
// empty if none does.
func (a *Agent) weigh(pids []int) kernel.BadnessReads {
	if thread, ok, err := a.root.ThreadBatched(); err != nil || !ok {
		return ""
	} else if thread {
		return kernel.ReadsThreadBatched
	}
	m := kernel.Machine{PageSize: kernel.Bytes(os.Getpagesize())}
	if a.root.Memory(&m) != nil {
		return ""
	}
	for _, pid := range pids {
		if reads, err := a.root.MeasureBadness(pid, m); err == nil {
			return reads
		}
	}
	return ""
}

// weighLimit is how much memory measureBadness may take for a moment.
const weighLimit = 128 * kernel.MiB

// measureBadness tries stressors of sizes at which a step of oom_score is
// likely to fall between the two readings of their counters: around a
// thousandth of all memory (see probe.Telling). What it cannot find out it
// leaves open.
func (a *Agent) measureBadness(ctx context.Context, o *probe.Options) {
	page := kernel.Bytes(os.Getpagesize())
	m := kernel.Machine{PageSize: page}
	if a.root.Memory(&m) != nil {
		return
	}
	step := (m.MemTotal+m.SwapTotal).Pages(page)/1000 + 1
	idle := o.Stressor.RSS() + o.Stressor.PgTable
	for step < idle {
		step += (m.MemTotal+m.SwapTotal).Pages(page)/1000 + 1
	}
	if step.Bytes(page) > weighLimit {
		return
	}
	pages := map[string]int64{}
	var order []string
	for i, beyond := range []kernel.Pages{2, 7, 12, 17, 23, 29} {
		name := "weight" + strconv.Itoa(i+1)
		pages[name] = int64(max(step-idle+beyond, 1))
		order = append(order, name)
	}
	a.measured(ctx, a.measurement(pages, order...), func(r *run) error {
		var pids []int
		for _, p := range r.procs {
			pids = append(pids, p.pid)
		}
		o.Badness = a.weigh(pids)
		return nil
	})
}

// relative is a directory as probe.Root wants it: absolute on the machine that
// the root shows.
func relative(root probe.Root, dir string) string {
	rel, err := filepath.Rel(string(root), dir)
	if err != nil {
		return dir
	}
	return "/" + rel
}
