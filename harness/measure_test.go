package harness

import (
	"reflect"
	"testing"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
)

// TestTree: a rehearsal tells which of the processes that a program starts grows, or why it
// does not.
func TestTree(t *testing.T) {
	const page = kernel.DefaultPageSize
	fork := func(n, parent int, at int64) evidence.Event {
		return evidence.Event{AtNS: at, Source: evidence.Agent, Kind: evidence.Forked,
			Process: plan.Descendant("app", n), PID: 100 + n, Program: &evidence.Program{Parent: parent}}
	}
	exit := func(n, signal int, held kernel.Bytes, at int64) evidence.Event {
		held *= page
		return evidence.Event{AtNS: at, Source: evidence.Wait, Kind: evidence.Exited,
			Process: plan.Descendant("app", n), PID: 100 + n,
			Exit: &evidence.ExitStatus{Signal: signal, MaxRSS: &held, By: evidence.ByProcessEvents}}
	}
	kills := func(n int64) evidence.Event {
		return evidence.Event{Source: evidence.Counters, Kind: evidence.Reading, Counter: &evidence.CounterFile{
			When: "after", Cgroup: "/cage", File: evidence.FileMemoryEvents,
			Values: map[string]int64{evidence.CounterOOMKill: n}}}
	}
	timing := &predict.Tree{Grower: 3, Unsure: "several of them started others, in an order that depends on timing"}
	for _, tt := range []struct {
		name   string
		events []evidence.Event
		want   *predict.Tree
	}{
		{"nobody was killed", []evidence.Event{fork(1, 50, 1), exit(1, 0, 7, 2), kills(0)}, nil},
		{"it started nobody", []evidence.Event{kills(1)}, nil},
		{"who was there beside it", []evidence.Event{fork(1, 50, 1), exit(1, 0, 7, 2), fork(2, 50, 3), fork(3, 50, 4),
			exit(3, 9, 900, 5), exit(2, 0, 80, 6), fork(4, 50, 7), exit(4, 0, 5, 8), kills(1)},
			&predict.Tree{Grower: 3, Others: []predict.Relative{{Number: 2, Held: 80}}}},
		{"a shell that waits for what it has started", []evidence.Event{fork(1, 50, 1), fork(2, 101, 2),
			exit(2, 9, 900, 5), exit(1, 0, 80, 6), kills(1)},
			&predict.Tree{Grower: 2, Others: []predict.Relative{{Number: 1, Held: 80}}}},
		{"two that start others", []evidence.Event{fork(1, 50, 1), fork(2, 50, 2), fork(3, 101, 3), exit(3, 9, 900, 5),
			exit(1, 0, 80, 6), exit(2, 0, 80, 6), kills(1)}, timing},
		{"two were killed", []evidence.Event{fork(1, 50, 1), fork(2, 50, 2), exit(1, 9, 900, 5), exit(2, 9, 900, 6),
			kills(2)}, &predict.Tree{Unsure: "2 kills took 2 of them"}},
		{"the program itself was killed", []evidence.Event{fork(1, 50, 1), exit(1, 0, 9, 5), kills(1)},
			&predict.Tree{Unsure: "1 kills took 0 of them"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tree(tt.events, "app", "/cage")
			if got != nil && got.Unsure != "" {
				got.Others = nil
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}
