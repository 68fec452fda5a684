package lab

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/oomlab/oomlab/harness"
	"github.com/oomlab/oomlab/harness/chaos"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target"
	"github.com/oomlab/oomlab/harness/target/vm"
	"github.com/oomlab/oomlab/harness/verdict"
)

// ChaosOptions say which random scenarios are run.
type ChaosOptions struct {
	Seed   uint64
	Domain chaos.Domain
	// Count bounds the scenarios, Kills the OOM kills and Duration the time;
	// 0 is no bound. One of them must be given.
	Count    int
	Kills    int
	Duration time.Duration
	// Findings bounds the disagreements that are looked for; 0 is no bound.
	Findings int
	// Shrink makes the scenarios that show a disagreement smaller.
	Shrink bool
	// Rules are how the model scores; zero: as the kernel does.
	Rules predict.Rules
	// Ended is told of every scenario that was judged, one at a time.
	Ended func(ChaosRun)
	// Found is told of every disagreement that was kept.
	Found func(ChaosFinding)
	// Record keeps the run directory of every scenario, not only of those that
	// show something.
	Record bool
	// Dir is where run directories are made; empty: chaos-SEED below the lab's.
	Dir string
}

// ChaosRun is one random scenario that was judged, or refused or skipped.
type ChaosRun struct {
	Index    int
	Scenario scenario.Scenario
	Input    verdict.Input
	Result   verdict.Result
	Tally    chaos.Tally
}

// ChaosFinding is a scenario that shows a disagreement.
type ChaosFinding = chaos.Finding

// ChaosSummary is what a kernel has shown.
type ChaosSummary = chaos.Summary

// errRefused is why a scenario is not carried out: the kernel would look for
// victims forever.
var errRefused = errors.New("nobody would be left to be killed")

// sessionPlans is how many plans a guest carries out before a fresh one takes
// its place.
const sessionPlans = 200

// Chaos runs random scenarios on the lab's kernel, several guests side by side,
// and judges each. The scenarios are the same on every machine; which guest
// runs which is not. A cancelled context ends it, and what was shown by then is
// returned with the context's error.
func (l *Lab) Chaos(ctx context.Context, o ChaosOptions) (ChaosSummary, error) {
	if o.Count <= 0 && o.Kills <= 0 && o.Duration <= 0 {
		return ChaosSummary{}, errors.New("chaos: neither a count of scenarios or kills nor a duration was given")
	}
	k, err := l.Kernel(ctx)
	if err != nil {
		return ChaosSummary{}, err
	}
	c := &chaosRun{lab: l, o: o, began: time.Now()}
	if c.o.Dir == "" {
		c.o.Dir = filepath.Join(l.o.RunsDir, fmt.Sprintf("chaos-%d", o.Seed))
	}
	c.summary = ChaosSummary{
		Kernel: k.Release, Seed: o.Seed, Domain: o.Domain, Asked: l.o.Kernel,
		Started: c.began.UTC().Format(time.RFC3339), Findings: []ChaosFinding{},
	}
	var wg sync.WaitGroup
	for range l.guests() {
		wg.Go(func() {
			if err := c.work(ctx); err != nil {
				c.fail(err)
			}
		})
	}
	wg.Wait()
	c.summary.Seconds = time.Since(c.began).Seconds()
	return c.summary, errors.Join(c.failed, ctx.Err())
}

// mostGuests run a campaign side by side, whatever is asked for.
const mostGuests = 4

// guests is how many guests run a campaign side by side.
func (l *Lab) guests() int {
	n := l.o.Parallel
	if n <= 0 {
		var err error
		if n, err = vm.FitHere(chaos.Memory); err != nil {
			n = 1
		}
	}
	return max(1, min(n, mostGuests))
}

// chaosRun is shared by the workers.
type chaosRun struct {
	lab   *Lab
	o     ChaosOptions
	began time.Time

	mu      sync.Mutex
	next    int
	found   int // disagreements, those that are still being made smaller included
	summary ChaosSummary
	failed  error
}

func (c *chaosRun) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = errors.Join(c.failed, err)
}

// take is the index of the next scenario; false when there was enough.
func (c *chaosRun) take() (int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.o
	if o.Count > 0 && c.next >= o.Count || o.Kills > 0 && c.summary.Tally.Kills >= o.Kills ||
		o.Duration > 0 && time.Since(c.began) >= o.Duration || o.Findings > 0 && c.found >= o.Findings ||
		c.failed != nil {
		return 0, false
	}
	c.next++
	return c.next - 1, true
}

// work runs scenarios one after the other, in guests of its own.
func (c *chaosRun) work(ctx context.Context) error {
	g := &guest{lab: c.lab}
	defer g.end()
	for ctx.Err() == nil {
		i, more := c.take()
		if !more {
			return nil
		}
		s := chaos.Generate(c.o.Seed, i, c.o.Domain)
		run, err := c.judge(ctx, g, i, s)
		if ctx.Err() != nil {
			return nil // the caller knows
		}
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.summary.Tally.Add(run.Tally)
		c.found += run.Tally.Disagreements
		if c.o.Ended != nil {
			c.o.Ended(run)
		}
		c.mu.Unlock()
		if run.Tally.Disagreements+run.Tally.Broken > 0 || c.o.Record && run.Tally.Refused+run.Tally.Skipped == 0 {
			if err := c.keep(ctx, g, run); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
	return nil
}

// judge runs one scenario.
func (c *chaosRun) judge(ctx context.Context, g *guest, index int, s scenario.Scenario) (ChaosRun, error) {
	run := ChaosRun{Index: index, Scenario: s}
	lacks, err := g.ready(ctx, s)
	if err != nil {
		return run, err
	}
	if swap := s.System.Swap; lacks != nil || g.machines[g.now].diskless && swap != nil && swap.Kind != "zram" {
		run.Tally = chaos.Tally{Skipped: 1}
		return run, nil
	}
	run.Input, err = harness.Attempt(ctx, g.session, s, harness.Options{
		Name: fmt.Sprintf("c%d", g.plans), Seed: int64(c.o.Seed), Rules: c.o.Rules, Ranks: true,
		Predicted: func(p predict.Prediction) error {
			if p.NoVictim || p.Panic != "" {
				return errRefused
			}
			return nil
		},
	})
	if errors.Is(err, errRefused) {
		run.Tally = chaos.Tally{Refused: 1}
		return run, nil
	}
	if errors.Is(err, target.ErrUnsupported) { // huge pages of another size
		run.Tally = chaos.Tally{Skipped: 1}
		return run, nil
	}
	if err != nil {
		return run, fmt.Errorf("%s: %w", s.Name, err)
	}
	run.Result = verdict.Judge(run.Input)
	run.Tally = chaos.Count(run.Input.Prediction, run.Result)
	if run.Input.Meta.Error != "" || run.Result.Verdict == verdict.Broken || chaos.Exhausts(s) {
		g.close() // whatever state it is in, the next one begins clean
	}
	return run, nil
}

// keep writes the run directory of a scenario and, if it shows something and
// that was asked for, makes it smaller first.
func (c *chaosRun) keep(ctx context.Context, g *guest, run ChaosRun) error {
	attempts := 0
	shows := run.Tally.Disagreements+run.Tally.Broken > 0
	if c.o.Shrink && run.Tally.Disagreements > 0 {
		want := failed(run.Result)
		small, err := chaos.Minimize(run.Scenario, func(s scenario.Scenario) (bool, error) {
			attempts++
			again, err := c.judge(ctx, g, run.Index, s)
			if err != nil {
				return false, err
			}
			if again.Tally.Disagreements == 0 || !overlap(failed(again.Result), want) {
				return false, nil
			}
			run = again
			return true, nil
		})
		if err != nil {
			return err
		}
		run.Scenario = small
	}
	dir := filepath.Join(c.o.Dir, fmt.Sprintf("%s-%s-%05d", c.summary.Kernel, c.o.Domain, run.Index))
	if shows {
		chaos.Promise(&run.Input.Scenario, run.Input.Prediction)
	}
	if _, err := harness.Keep(dir, run.Input); err != nil {
		return err
	}
	if !shows {
		return nil
	}
	f := ChaosFinding{
		Index: run.Index, Scenario: filepath.Join(dir, verdict.ScenarioFile), Verdict: string(run.Result.Verdict),
		Reason: run.Result.Reason, Processes: len(run.Input.Plan.Processes), Attempts: attempts,
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.summary.Findings = append(c.summary.Findings, f)
	if c.o.Found != nil {
		c.o.Found(f)
	}
	return nil
}

// failed are the claims of the model that do not hold.
func failed(r verdict.Result) map[string]bool {
	out := map[string]bool{}
	for _, c := range r.Claims {
		if c.Verdict == verdict.Fail {
			out[c.Name] = true
		}
	}
	return out
}

func overlap(a, b map[string]bool) bool {
	for name := range a {
		if b[name] {
			return true
		}
	}
	return false
}

// guest is one worker's session, opened when it is needed, on the machine that the next
// scenario needs.
type guest struct {
	lab     *Lab
	session *vm.Session
	plans   int
	// machines are the VMs that sessions are copies of, by what they have; now is that of
	// the session.
	machines map[string]machine
	now      string
}

// machine is a VM, or why there is none.
type machine struct {
	vm *vm.VM
	// diskless: the kernel comes without the modules that a swap disk takes.
	diskless bool
	err      error // the kernel lacks what it takes
}

// ready makes sure that there is a guest for one more plan, or says what the kernel lacks.
func (g *guest) ready(ctx context.Context, s scenario.Scenario) (lacks error, err error) {
	needs := chaos.Guest(s)
	key := fmt.Sprint(needs.Needs.CPUs, needs.System.Nodes, needs.System.Disk != nil)
	if g.plans++; g.session != nil && g.plans < sessionPlans && key == g.now {
		return nil, nil
	}
	g.close()
	m, there := g.machines[key]
	if !there {
		if m, err = g.open(ctx, needs); err != nil {
			return nil, err
		}
		if g.machines == nil {
			g.machines = map[string]machine{}
		}
		g.machines[key] = m
	}
	if m.err != nil {
		return m.err, nil
	}
	g.now = key
	g.session, err = m.vm.Session(ctx)
	return nil, err
}

// open makes a VM. What the kernel lacks for it is not an error of the campaign's.
func (g *guest) open(ctx context.Context, needs scenario.Scenario) (machine, error) {
	try := func(s scenario.Scenario) (*vm.VM, error) {
		o, err := g.lab.vmOptions(ctx, s, "")
		if err != nil {
			return nil, err
		}
		return vm.Open(ctx, o)
	}
	v, err := try(needs)
	if !errors.Is(err, target.ErrUnsupported) {
		return machine{vm: v}, err
	}
	if needs.System.Swap == nil {
		return machine{err: err}, nil
	}
	needs.System.Swap = nil
	v, err = try(needs) // if it was not the disk, this says the same
	return machine{vm: v, diskless: true}, err
}

// end ends the guest for good.
func (g *guest) end() {
	g.close()
	for _, m := range g.machines {
		if m.vm != nil {
			m.vm.Close() // its directory is a temporary one
		}
	}
}

// close ends the guest; the next plan gets a fresh one.
func (g *guest) close() {
	if g.session != nil {
		g.session.Close() // a QEMU that does not end is left to the kernel
	}
	g.session, g.plans = nil, 1
}
