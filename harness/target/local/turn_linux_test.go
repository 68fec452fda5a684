package local

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestTurn: one run at a time, the next as soon as it has ended, and what waits
// can be interrupted without standing in somebody's way afterwards.
func TestTurn(t *testing.T) {
	scratch := t.TempDir()
	first, err := Turn(t.Context(), scratch, func() { t.Error("the first one has nobody to wait for") })
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan struct{}, 2)
	wait := func() { waiting <- struct{}{} }

	ctx, cancel := context.WithCancel(t.Context())
	given := make(chan error, 1)
	go func() {
		_, err := Turn(ctx, scratch, wait)
		given <- err
	}()
	<-waiting
	cancel()
	if err := <-given; !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted, it returned %v", err)
	}

	got := make(chan error, 1)
	go func() {
		f, err := Turn(t.Context(), scratch, wait)
		if err == nil {
			err = f.Close()
		}
		got <- err
	}()
	<-waiting
	select {
	case err := <-got:
		t.Fatalf("two had their turn at once: %v", err)
	default:
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-got:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the turn was never passed on")
	}
}
