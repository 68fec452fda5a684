package vm

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/plan"
)

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
