// Package selftest shows that the judge can be trusted: it makes every witness of
// a recorded run lie, one lie at a time, and turns every claim of the scenario
// into its opposite. A judge that still says pass is worthless.
package selftest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/verdict"
)

// Lie is a recorded run in which one witness was made to lie.
type Lie struct {
	Witness evidence.Source // who was made to lie
	Name    string          // what was done: "wrong pid in a kill line"
	Input   verdict.Input
}

// Lies makes every witness that was there in a run lie, in every way that the run has
// something for.
func Lies(in verdict.Input) []Lie {
	l := liar{in: in}
	for _, w := range verdict.Witnesses(in) {
		if lies[w] != nil {
			l.witness = w
			lies[w](&l)
		}
	}
	return l.lies
}

// lies are told by each witness; a file lies_*.go has those of one of them, and adds
// them here.
var lies = map[evidence.Source]func(*liar){}

// liar collects the lies about one run.
type liar struct {
	in      verdict.Input
	witness evidence.Source
	lies    []Lie
}

// change corrupts events; nil: there is nothing to corrupt.
type change func([]evidence.Event) []evidence.Event

// tell applies a change to a copy of the events.
func (l *liar) tell(name string, how change) {
	if events := how(clone(l.in.Events)); events != nil {
		in := l.in
		in.Events = events
		l.lies = append(l.lies, Lie{l.witness, name, in})
	}
}

// clone goes through JSON, which is what a record on disk is anyway.
func clone(events []evidence.Event) []evidence.Event {
	out := make([]evidence.Event, len(events))
	for i, e := range events {
		data, err := json.Marshal(e)
		if err == nil {
			err = json.Unmarshal(data, &out[i])
		}
		if err != nil {
			panic(fmt.Sprintf("event %d is not JSON: %v", i, err)) // it came from JSON
		}
	}
	return out
}

// wanted selects events.
type wanted func(evidence.Event) bool

func kind(k evidence.Kind) wanted {
	return func(e evidence.Event) bool { return e.Kind == k }
}

// strangerPID is a pid that no recorded run has.
const strangerPID = 4194301

var sigkill = kernel.SignalNumber("SIGKILL")

// at does something at the first event that is wanted.
func at(want wanted, do func(events []evidence.Event, i int) []evidence.Event) change {
	return func(events []evidence.Event) []evidence.Event {
		i := slices.IndexFunc(events, want)
		if i < 0 {
			return nil
		}
		return do(events, i)
	}
}

// first edits the first event that is wanted, last the last one.
func first(want wanted, edit func(*evidence.Event)) change {
	return at(want, func(events []evidence.Event, i int) []evidence.Event {
		edit(&events[i])
		return events
	})
}

func last(want wanted, edit func(*evidence.Event)) change {
	return func(events []evidence.Event) []evidence.Event {
		for i := len(events) - 1; i >= 0; i-- {
			if want(events[i]) {
				edit(&events[i])
				return events
			}
		}
		return nil
	}
}

// without drops the first event that is wanted, none all of them; twice repeats the
// first.
func without(want wanted) change {
	return at(want, func(events []evidence.Event, i int) []evidence.Event { return slices.Delete(events, i, i+1) })
}

func none(want wanted) change {
	return func(events []evidence.Event) []evidence.Event {
		before := len(events)
		if events = slices.DeleteFunc(events, want); len(events) == before {
			return nil
		}
		return events
	}
}

func twice(want wanted) change {
	return at(want, func(events []evidence.Event, i int) []evidence.Event {
		return slices.Insert(events, i, events[i])
	})
}

// atEnd inserts an event just before the end of the run.
func atEnd(e evidence.Event) change {
	return at(kind(evidence.End), func(events []evidence.Event, i int) []evidence.Event {
		e.AtNS = events[i].AtNS
		return slices.Insert(events, i, e)
	})
}

// lost says that the witness lost events.
func (l *liar) lost() change {
	return atEnd(evidence.Event{Source: l.witness, Kind: evidence.Lost, N: 1, Text: "selftest"})
}

// rewrite replaces what stands between two marks in a log line.
func rewrite(before, after, with string) func(*evidence.Event) {
	return func(e *evidence.Event) {
		head, rest, ok := strings.Cut(e.Log.Text, before)
		i := strings.Index(rest, after)
		if ok && i >= 0 {
			e.Log.Text = head + before + with + rest[i:]
		}
	}
}
