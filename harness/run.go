// Package harness runs a scenario: it plans and predicts before anything is
// started, lets a target carry the plan out, and has what was seen judged.
package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target"
	"github.com/oomlab/oomlab/harness/verdict"
)

// Options are what a run needs beside its scenario and its target.
type Options struct {
	// Dir is the run directory. It is made, and must not hold a run already.
	Dir string
	// Name names the run and its cgroups; empty: after the run directory.
	Name string
	// Because says why this target was chosen.
	Because string
	// Command repeats the run.
	Command []string
	Seed    int64
	// Manifests are the user's own pods, by the name of their file.
	Manifests map[string]scenario.Manifest
	// Ranks has the agent record who would die next, whether or not the scenario
	// claims anything about it.
	Ranks bool
	// OnEvent is told of every event as it arrives; it may be nil.
	OnEvent func(evidence.Event)
	// Rules are how the prediction scores; zero: as the machine's kernel does.
	Rules predict.Rules
	// Predicted is asked, once the prediction is made and before anything is
	// started, whether to go on; nil: yes.
	Predicted func(predict.Prediction) error
}

// Run carries a scenario out on a target, keeps all of it in a run directory
// and judges it from there. source is the scenario's file, which the run
// directory keeps.
//
// The result is what the run directory says when it is read again. An error
// means that there is no result: the directory could not be written, or the
// context was cancelled before anything was started. Once the target is closed and
// writes no more, [Seal] completes the directory.
func Run(ctx context.Context, t target.Target, s scenario.Scenario, source []byte, o Options) (verdict.Result, error) {
	if err := create(o.Dir, source); err != nil {
		return verdict.Result{}, err
	}
	if o.Name == "" {
		o.Name = filepath.Base(o.Dir)
	}
	f := newFlow(t, s, o)
	err := f.follow(ctx)
	if err != nil && ctx.Err() != nil {
		return verdict.Result{}, err
	}
	f.note(err)
	if err := f.write(verdict.MetaFile, f.in.Meta); err != nil {
		return verdict.Result{}, err
	}
	return Judge(o.Dir)
}

// Attempt is Run without a run directory: it returns what there is to judge,
// and writes nothing; see [Keep].
//
// What goes wrong on the target is part of the input, as it is of a run
// directory. An error means that nothing was started, or that the context was
// cancelled.
func Attempt(ctx context.Context, t target.Target, s scenario.Scenario, o Options) (verdict.Input, error) {
	o.Dir = ""
	f := newFlow(t, s, o)
	if err := f.follow(ctx); err != nil {
		return f.in, err
	}
	return f.in, ctx.Err()
}

// Keep writes what an attempt was judged by as a run directory, for
// `oomlab report`, judges it from there and seals it.
func Keep(dir string, in verdict.Input) (verdict.Result, error) {
	source, err := scenario.Format(in.Scenario)
	if err != nil {
		return verdict.Result{}, err
	}
	if err := create(dir, source); err != nil {
		return verdict.Result{}, err
	}
	for name, v := range map[string]any{
		verdict.PlanFile: in.Plan, verdict.PredictionFile: in.Prediction, verdict.MetaFile: in.Meta,
	} {
		if err := writeJSON(filepath.Join(dir, name), v); err != nil {
			return verdict.Result{}, err
		}
	}
	rec, err := openRecord(dir)
	if err != nil {
		return verdict.Result{}, err
	}
	for _, e := range in.Events {
		rec.add(e)
	}
	if err := rec.close(); err != nil {
		return verdict.Result{}, err
	}
	result, err := Judge(dir)
	if err != nil {
		return result, err
	}
	return result, Seal(dir)
}

// Judge reads a run directory, judges it and writes result.json beside the
// rest. It gives the same result every time.
func Judge(dir string) (verdict.Result, error) {
	in, err := verdict.Load(os.DirFS(dir))
	if err != nil {
		return verdict.Result{}, fmt.Errorf("%s is not a run directory: %w", dir, err)
	}
	result := verdict.Judge(in)
	return result, writeJSON(filepath.Join(dir, verdict.ResultFile), result)
}

func create(dir string, source []byte) error {
	if _, err := os.Stat(filepath.Join(dir, verdict.MetaFile)); err == nil {
		return fmt.Errorf("%s holds a run already", dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, verdict.ScenarioFile), source, 0o644)
}

func writeJSON(path string, v any) error {
	text, err := Document(v)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, text, 0o644)
}

// Document is how a run directory has a value as JSON.
func Document(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err := enc.Encode(v)
	return b.Bytes(), err
}

// keep copies an artifact into the run directory unless it is there already.
func keep(from, to string) error {
	if from == to {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
