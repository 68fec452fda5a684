package lab

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target/vm"
	"github.com/oomlab/oomlab/harness/verdict"
)

// runner makes one run; a [Lab] does.
type runner interface {
	RunOne(context.Context, Job, func(evidence.Event)) (verdict.Result, error)
	onCluster(scenario.Scenario) bool
}

// Task is one run to make, in the lab of its kernel.
type Task struct {
	Lab   runner
	Job   Job
	Label string // names the run for people
}

// Watch follows runs that are made side by side, by their index. Started, Event
// and Over may be called from several goroutines at once and may be nil; Result
// is called for one run at a time.
type Watch struct {
	Started func(i int, label string)
	Event   func(i int, e evidence.Event)
	Over    func(i int)
	// Result takes the result of a run. If it returns false, no more runs are
	// started, and those that are under way are cut short and show nothing.
	Result func(i int, r verdict.Result) (more bool)
}

// RunAll makes all runs, several at once: parallel of them, or as many as the
// machine has room for. It returns the errors of runs that have no result, or
// whose target could not be put back; the other runs are made all the same. A
// cancelled context starts no more.
func RunAll(ctx context.Context, tasks []Task, parallel int, w Watch) error {
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	enough := false // mu; Result wants no more
	next := make(chan int, len(tasks))
	for i := range tasks {
		next <- i
	}
	close(next)
	for range sideBySide(tasks, parallel) {
		wg.Go(func() {
			for i := range next {
				if ctx.Err() != nil {
					return
				}
				r, err := w.run(ctx, i, tasks[i])
				mu.Lock()
				if err != nil && !enough {
					failed = errors.Join(failed, fmt.Errorf("%s: %w", tasks[i].Label, err))
				}
				if (err == nil || r.Verdict != "") && !enough && !w.Result(i, r) {
					enough = true
					cancel()
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errors.Join(failed, outer.Err())
}

// run makes one run.
func (w Watch) run(ctx context.Context, i int, t Task) (verdict.Result, error) {
	if w.Started != nil {
		w.Started(i, t.Label)
	}
	if w.Over != nil {
		defer w.Over(i)
	}
	return t.Lab.RunOne(ctx, t.Job, func(e evidence.Event) {
		if w.Event != nil {
			w.Event(i, e)
		}
	})
}

// sideBySide is how many runs may go on at once: as many as asked for, or as
// many VMs as the machine has room for. A cluster's node in a VM keeps a machine
// busy by itself.
func sideBySide(tasks []Task, asked int) int {
	memory := 512 * kernel.MiB
	pods := false
	for _, t := range tasks {
		memory = max(memory, t.Job.Scenario.Needs.Memory)
		pods = pods || t.Lab.onCluster(t.Job.Scenario)
	}
	n := asked
	switch {
	case n > 0:
	case pods:
		n = 1
	default:
		var err error
		if n, err = vm.FitHere(memory); err != nil {
			n = 1
		}
	}
	return max(1, min(n, len(tasks)))
}
