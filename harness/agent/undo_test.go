package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/plan"
)

func TestUndo(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	for _, name := range []string{first, second} {
		if err := os.WriteFile(name, []byte("changed"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	scratch := filepath.Join(dir, "scratch")
	u, err := writeUndo(scratch, "run", []plan.Undo{
		{Op: undoWrite, Path: first, Value: "as it was"},
		{Op: undoUnlink, Path: second},
		{Op: undoUnlink, Path: second},                       // may be repeated
		{Op: undoRmdir, Path: filepath.Join(dir, "never")},   // was not made
		{Op: undoKill, Path: filepath.Join(dir, "never")},    //
		{Op: undoMove, Path: first, Value: "1 1"},            // not the same process
		{Op: undoSwapoff, Path: filepath.Join(dir, "never")}, // was not switched on
	})
	if err != nil {
		t.Fatal(err)
	}
	pending, err := Pending(scratch)
	if err != nil || len(pending) != 1 {
		t.Fatalf("Pending: %v, %v, want one", pending, err)
	}
	if err := Undo(pending[0], nobody); !errors.Is(err, errInUse) {
		t.Errorf("Undo of a run that goes on: %v, want %v", err, errInUse)
	}
	if got, _ := os.ReadFile(first); string(got) != "changed" {
		t.Errorf("Undo of a run that goes on has written %q", got)
	}
	if _, err := writeUndo(scratch, "run", nil); err == nil || !strings.Contains(err.Error(), "oomlab clean") {
		t.Errorf("a second run of that name: %v, want a hint at oomlab clean", err)
	}
	// The agent was killed: its lock is gone when it has ended, its list is not.
	time.AfterFunc(patience/10, func() { u.file.Close() })
	if err := Undo(pending[0], nobody); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(first); !strings.HasPrefix(string(got), "as it was") {
		t.Errorf("first holds %q", got)
	}
	if _, err := os.Stat(second); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("second is there: %v", err)
	}
	if left, err := Pending(scratch); err != nil || len(left) != 0 {
		t.Errorf("Pending: %v, %v, want none", left, err)
	}
}

// What cannot be put back stays on the list, and the rest is put back.
func TestUndoGoesOn(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	u, err := writeUndo(dir, "run", []plan.Undo{
		{Op: undoUnlink, Path: file},
		{Op: "reticulate", Path: "splines"},
		{Op: undoWrite, Path: dir, Value: "1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = u.undo()
	for _, want := range []string{"reticulate: unknown operation on splines", "write: open " + dir} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("undo: %v, want %q in it", err, want)
		}
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Error("the file before the failures was not unlinked")
	}
	if left, err := Pending(dir); err != nil || len(left) != 1 {
		t.Errorf("Pending: %v, %v, want the list", left, err)
	}
}

func TestUndoOfGarbage(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x"+undoSuffix)
	if err := os.WriteFile(name, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Undo(name, nobody); err == nil || !strings.Contains(err.Error(), "not an undo list") {
		t.Errorf("Undo: %v", err)
	}
}

func TestStartTimeTellsProcessesApart(t *testing.T) {
	mine, err := startTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	init, err := startTime(1)
	if err != nil {
		t.Fatal(err)
	}
	if mine == init || mine == "" {
		t.Errorf("start times %q and %q", mine, init)
	}
}
