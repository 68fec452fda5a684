package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/lab"
	"github.com/oomlab/oomlab/harness/target/vm"
	"github.com/oomlab/oomlab/harness/verdict"
)

// task is one run to make, in the lab of its kernel.
type task struct {
	lab   *lab.Lab
	job   lab.Job
	label string // for who watches
}

// sideBySide is how many runs may go on at once: as many as asked for, or as
// many VMs as the machine has room for. A cluster's node in a VM keeps a machine
// busy by itself.
func sideBySide(tasks []task, asked int) int {
	memory := 512 * kernel.MiB
	pods := false
	for _, t := range tasks {
		memory = max(memory, t.job.Scenario.Needs.Memory)
		pods = pods || len(t.job.Scenario.Pods) > 0
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

// carryOut makes all runs, several at once, and hands each result to ended as it
// arrives, one at a time, with the screen held still. It returns the first
// errors; runs that are under way then still end. A cancelled context starts no
// more.
func carryOut(ctx context.Context, tasks []task, parallel int, l *live, event func(int, evidence.Event), ended func(int, verdict.Result)) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	next := make(chan int)
	for range sideBySide(tasks, parallel) {
		wg.Go(func() {
			for i := range next {
				t := tasks[i]
				l.start(i, t.label)
				r, err := t.lab.RunOne(ctx, t.job, func(e evidence.Event) {
					l.event(i, e)
					if event != nil {
						event(i, e)
					}
				})
				l.end(i)
				mu.Lock()
				if err != nil {
					failed = errors.Join(failed, fmt.Errorf("%s: %w", t.label, err))
				}
				if err == nil || r.Verdict != "" {
					l.print(func() { ended(i, r) })
				}
				mu.Unlock()
			}
		})
	}
	for i := range tasks {
		select {
		case next <- i:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	wg.Wait()
	return errors.Join(failed, ctx.Err())
}
