package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/observe"
	"github.com/oomlab/oomlab/harness/plan"
)

// Do carries out one plan and passes on every event as it happens, in order.
// When it returns, what the plan started has ended and what it changed is put
// back; an error says what could not be done or put back, and is a [*Refusal]
// if the machine lacks something. An interrupted run returns ctx's error, its
// End event says so.
//
// Do calls sink from several goroutines, but never twice at a time.
func (a *Agent) Do(ctx context.Context, req wire.Request, sink func(evidence.Event)) error {
	period := time.Duration(req.SampleMS) * time.Millisecond
	switch {
	case period == 0:
		period = 100 * time.Millisecond
	case period < 0:
		period = 0
	}
	return a.carryOut(ctx, req.Plan, carry{sink: sink, period: period})
}

// carry is how a plan is carried out, beside the plan.
type carry struct {
	sink   func(evidence.Event)
	period time.Duration // of the samples; 0: none
	settle time.Duration // 0: settleFor
	// inspect is called at the end, before the survivors are killed.
	inspect func(*run)
}

func (a *Agent) carryOut(ctx context.Context, p plan.Plan, c carry) error {
	return a.alone(func() error { return a.changed(ctx, p, c) })
}

// changed makes the machine what the plan wants, runs the plan's processes on it
// and puts everything back.
func (a *Agent) changed(ctx context.Context, p plan.Plan, c carry) (err error) {
	if a.mountErr != nil {
		return &Refusal{What: "a memory controller", Hint: a.mountErr.Error()}
	}
	if p.CgroupVersion != a.mount.Version {
		return fmt.Errorf("plan: made for cgroup v%d; this machine's memory controller is v%d",
			p.CgroupVersion, a.mount.Version)
	}
	if p.WithinMS <= 0 || p.DeadlineMS < p.WithinMS {
		return fmt.Errorf("plan: within %d ms and deadline %d ms; want 0 < within <= deadline",
			p.WithinMS, p.DeadlineMS)
	}
	mount := a.mount
	if p.Sliced() {
		if mount, err = unitsParent(a.root, mount); err != nil {
			return err
		}
	}
	t, err := plant(a.root, mount, p.Base, p.Cgroups)
	if err != nil {
		return err
	}
	if err := errors.Join(a.plantFreezer(t, p), a.plantCpuset(t, p)); err != nil {
		return err
	}
	if err := filesOnDisk(p); err != nil {
		return err
	}
	sw, err := planSwap(a.root, a.scratch, p.Base, p.Swap)
	if err != nil {
		return err
	}
	list, err := sysctlUndo(a.root, p)
	if err != nil {
		return err
	}
	trees, err := t.undo()
	if err != nil {
		return err
	}
	files, err := tmpfsUndo(p)
	if err != nil {
		return err
	}
	list = policyLast(a.root, slices.Concat(list, sw.undo(), trees, files))
	undo, err := writeUndo(a.scratch, p.Base, list)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, undo.undo()) }()

	if err := a.quietConsole(p); err != nil {
		return err
	}
	early, policy := parted(p.Sysctls)
	if err := setSysctls(a.root, early); err != nil {
		return err
	}
	if err := sw.on(); err != nil {
		return err
	}
	if err := t.make(); err != nil {
		return err
	}
	if err := setSysctls(a.root, policy); err != nil {
		return err
	}
	return a.observe(ctx, p, t, c)
}

// observe runs the plan's processes between two readings.
func (a *Agent) observe(ctx context.Context, p plan.Plan, t *tree, c carry) (err error) {
	paths := p.Lasting()
	counters, err := observe.OpenCounters(observe.CountersOptions{
		Root: string(a.root), Version: t.version, Base: t.base, Cgroups: paths,
	})
	if err != nil {
		return err
	}
	defer counters.Close()
	r := a.newRun(p, t, c)
	if err := r.follow(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.closeContainers(), r.closeUnits(), r.closeSlice()) }()
	err = r.carryOut(ctx, r, p.Scenario, counters, observe.SamplerOptions{
		Root: string(a.root), Version: t.version, Base: t.base, Cgroups: paths,
		Processes: r.living, Period: c.period,
	})
	if err != nil {
		return err
	}
	err = errors.Join(r.err, r.killSurvivors())
	if r.end == endInterrupted {
		err = errors.Join(ctx.Err(), err)
	}
	return err
}

// The console levels of kernel.printk, include/linux/kern_levels.h: all that is
// not debugging, or emergencies alone.
const (
	consoleAll   = "7"
	consoleQuiet = "1"
)

// quietConsole keeps the reports of a virtual machine's OOM kills off its
// console; the kernel log has them all. printk() waits for a serial line, byte
// by byte and in the middle of a kill, long enough for the first victim of a
// group to be gone before the second pass. A machine that is to panic says
// everything: nobody can read its log afterwards.
func (a *Agent) quietConsole(p plan.Plan) error {
	if os.Getpid() != 1 {
		return nil // not a machine of ours
	}
	level := consoleQuiet
	if p.ExpectPanic {
		level = consoleAll
	}
	return writeFile(a.root.Path("/proc/sys/kernel/printk"), level)
}

// plantFreezer finds the place of a second tree if the plan freezes on cgroup
// v1, where the freezer is a hierarchy of its own.
func (a *Agent) plantFreezer(t *tree, p plan.Plan) error {
	freezes := slices.ContainsFunc(p.During, func(d plan.During) bool { return d.Freeze != "" || d.Thaw != "" })
	if t.version != 1 || !freezes {
		return nil
	}
	dir, err := a.root.HierarchyV1("freezer")
	if err != nil {
		return &Refusal{What: "the cgroup v1 freezer", Hint: err.Error()}
	}
	t.freezer = filepath.Join(dir, p.Base)
	return nil
}

// plantCpuset finds the place of a tree of cpusets if the plan sets some on cgroup v1,
// where they are a hierarchy of their own.
func (a *Agent) plantCpuset(t *tree, p plan.Plan) error {
	if t.version != 1 || !plan.Cpusets(p.Cgroups) {
		return nil
	}
	dir, err := a.root.HierarchyV1("cpuset")
	if err != nil {
		return &Refusal{What: "cgroup v1 cpusets", Hint: err.Error()}
	}
	t.cpuset = filepath.Join(dir, p.Base)
	return nil
}
