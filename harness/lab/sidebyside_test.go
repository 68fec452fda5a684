package lab

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/verdict"
)

// paperLab runs nothing.
type paperLab func(ctx context.Context, j Job) (verdict.Result, error)

func (p paperLab) RunOne(ctx context.Context, j Job, onEvent func(evidence.Event)) (verdict.Result, error) {
	onEvent(evidence.Event{Kind: evidence.Begin})
	return p(ctx, j)
}

func (p paperLab) onCluster(s scenario.Scenario) bool { return s.NeedsKubelet() }

func tasksOf(l paperLab, names ...string) []Task {
	var out []Task
	for _, n := range names {
		out = append(out, Task{Lab: l, Job: Job{Scenario: scenario.Scenario{Name: n}}, Label: n})
	}
	return out
}

func result(word verdict.Verdict) verdict.Result { return verdict.Result{Verdict: word} }

// TestRunAllMakesEveryRun: one that has no result does not keep the others from
// being made, and its error names it.
func TestRunAllMakesEveryRun(t *testing.T) {
	broke := errors.New("no room")
	l := paperLab(func(_ context.Context, j Job) (verdict.Result, error) {
		switch j.Scenario.Name {
		case "b":
			return verdict.Result{}, broke
		case "c": // it has a verdict, and was not put back
			return result(verdict.Fail), broke
		}
		return result(verdict.Pass), nil
	})
	got := map[int]verdict.Verdict{}
	var mu sync.Mutex
	started, over, events := 0, 0, 0
	count := func(n *int) { mu.Lock(); *n++; mu.Unlock() }
	err := RunAll(t.Context(), tasksOf(l, "a", "b", "c", "d"), 3, Watch{
		Started: func(int, string) { count(&started) }, Over: func(int) { count(&over) },
		Event:  func(int, evidence.Event) { count(&events) },
		Result: func(i int, r verdict.Result) bool { got[i] = r.Verdict; return true },
	})
	if !errors.Is(err, broke) || err.Error() != "b: no room\nc: no room" && err.Error() != "c: no room\nb: no room" {
		t.Errorf("got %v", err)
	}
	if len(got) != 3 || got[0] != verdict.Pass || got[2] != verdict.Fail || got[3] != verdict.Pass {
		t.Errorf("results %v; want those of a, c and d", got)
	}
	if started != 4 || over != 4 || events != 4 {
		t.Errorf("%d started, %d over, %d events; want 4 of each", started, over, events)
	}
}

// TestRunAllStopsWhenItIsEnough: runs that are under way are cut short and show
// nothing, and nobody's error is the caller's.
func TestRunAllStopsWhenItIsEnough(t *testing.T) {
	underWay := make(chan struct{})
	l := paperLab(func(ctx context.Context, j Job) (verdict.Result, error) {
		if j.Scenario.Name == "fails" {
			<-underWay
			return result(verdict.Fail), nil
		}
		close(underWay)
		<-ctx.Done()
		return result(verdict.Broken), ctx.Err()
	})
	var shown []int
	err := RunAll(t.Context(), tasksOf(l, "fails", "cut short", "never started"), 2, Watch{
		Result: func(i int, r verdict.Result) bool { shown = append(shown, i); return r.Verdict == verdict.Pass },
	})
	if err != nil || !slices.Equal(shown, []int{0}) {
		t.Errorf("%v, shown %v; want no error and run 0 alone", err, shown)
	}
}

// TestRunAllIsInterrupted: no run is started any more, the one that is under way
// ends, and the error is the context's.
func TestRunAllIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	made := 0
	l := paperLab(func(ctx context.Context, _ Job) (verdict.Result, error) {
		made++
		cancel()
		<-ctx.Done()
		return result(verdict.Pass), nil
	})
	shown := 0
	err := RunAll(ctx, tasksOf(l, "a", "b", "c"), 1,
		Watch{Result: func(int, verdict.Result) bool { shown++; return true }})
	if !errors.Is(err, context.Canceled) || made != shown || made == 3 {
		t.Errorf("%v, %d made, %d shown; want what was under way and no more", err, made, shown)
	}
}

func TestSideBySide(t *testing.T) {
	plain := tasksOf(nil, "a", "b", "c")
	pods := tasksOf(nil, "a", "b", "c")
	pods[1].Job.Scenario.Targets = []scenario.Target{scenario.Kube}
	either := tasksOf(nil, "a", "b", "c")
	either[1].Lab = &Lab{o: Options{Target: scenario.Kube}}
	either[1].Job.Scenario.Targets = []scenario.Target{scenario.VM, scenario.Kube}
	for _, tt := range []struct {
		name  string
		tasks []Task
		asked int
		want  int
	}{
		{"as asked for", plain, 2, 2},
		{"no more than there are", plain, 8, 3},
		{"a cluster's node keeps the machine busy", pods, 0, 1},
		{"unless asked for", pods, 2, 2},
		{"where a VM would do, and a cluster was asked for", either, 0, 1},
		{"nothing", nil, 0, 1},
	} {
		if got := sideBySide(tt.tasks, tt.asked); got != tt.want {
			t.Errorf("%s: %d; want %d", tt.name, got, tt.want)
		}
	}
}
