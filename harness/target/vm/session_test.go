package vm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/plan"
)

// One that stands still before it has begun can be told from one that stands still
// with a plan half done, and only the first one is replaced.
func TestAnIdleGuestIsReplaced(t *testing.T) {
	v := open(t, options(t, ""))
	v.beginWait = time.Second
	guests := 0
	v.onStart = func(*process) { guests++ }
	s, err := v.Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var events []evidence.Event
	ask := func(scenario string) error {
		events = nil
		req := wire.Request{Plan: plan.Plan{Scenario: scenario, DeadlineMS: 60_000}}
		return s.Do(t.Context(), req, func(e evidence.Event) { events = append(events, e) })
	}
	if err := ask("hang 1"); err != nil || len(events) != 1 || events[0].N != 2 || guests != 2 {
		t.Errorf("a guest that stands still once: %v, %+v, %d guests; want the second one's answer", err, events,
			guests)
	}
	if err := ask("hang"); !errors.Is(err, errIdle) || guests != 1+restores {
		t.Errorf("guests that all stand still: %v, %d of them; want %d and then an end", err, guests, 1+restores)
	}
}

func TestASessionKeepsItsGuest(t *testing.T) {
	v := open(t, options(t, ""))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	s, err := v.Session(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(scenario string) ([]evidence.Event, error) {
		var events []evidence.Event
		req := wire.Request{ID: 99, Plan: plan.Plan{Scenario: scenario, DeadlineMS: 20_000}}
		err := s.Do(ctx, req, func(e evidence.Event) { events = append(events, e) })
		return events, err
	}
	for want := range uint64(3) {
		events, err := ask("tick")
		if err != nil || len(events) != 1 || events[0].N != want+1 {
			t.Fatalf("tick %d: %v, %+v; a session must keep its guest", want+1, err, events)
		}
	}
	if events, err := ask("echo 5"); err != nil || len(events) != 5 {
		t.Errorf("echo after ticks: %v, %d events; want 5", err, len(events))
	}
	if _, err := ask("panic"); err == nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("a guest that panicked: %v; want the panic", err)
	}
	if _, err := ask("tick"); err == nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("a guest that is gone was asked again: %v; want what ended it", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := ask("tick"); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a session that is closed: %v; want that it is closed", err)
	}
	if events, err := do(t, v, "tick"); err != nil || len(events) != 1 || events[0].N != 1 {
		t.Errorf("after the session: %v, %+v; want a fresh guest", err, events)
	}
}
