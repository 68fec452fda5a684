// Package harness runs a scenario: it plans and predicts before anything is
// started, lets a target carry the plan out, keeps what was seen in a run
// directory, and has that judged.
package harness

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target"
	"github.com/oomlab/oomlab/harness/verdict"
)

// Options are what a run needs beside its scenario and its target.
type Options struct {
	// Dir is the run directory. It is made, and must not hold a run already.
	Dir string
	// Because says why this target was chosen.
	Because string
	// Command repeats the run.
	Command []string
	Seed    int64
	// Started is when, for the record; zero: now.
	Started time.Time
	// Manifests are the user's own pods, by the name of their file.
	Manifests map[string]scenario.Manifest
	// OnEvent is told of every event as it arrives; it may be nil.
	OnEvent func(evidence.Event)
}

// Run is the whole flow: probe, plan, predict, do, judge. source is the
// scenario's file, which the run directory keeps.
//
// The result is what the run directory says when it is read again. An error
// means that there is no result: the directory could not be written, or the
// context was cancelled before anything was started.
func Run(ctx context.Context, t target.Target, s scenario.Scenario, source []byte, o Options) (verdict.Result, error) {
	if o.Started.IsZero() {
		o.Started = time.Now()
	}
	dir, err := create(o.Dir, source)
	if err != nil {
		return verdict.Result{}, err
	}
	r := run{dir: dir, target: t, scenario: s, o: o}
	r.meta = verdict.Meta{
		Scenario: s.Name, Target: string(t.Name()), Because: o.Because, Run: filepath.Base(o.Dir), Seed: o.Seed,
		Started: o.Started.UTC().Format(time.RFC3339), Command: o.Command, Timings: map[string]int64{},
	}
	err = r.do(ctx)
	if errors.Is(err, target.ErrUnsupported) {
		r.meta.Skip = append(r.meta.Skip, err.Error())
	} else if err != nil {
		r.meta.Error = err.Error()
		if down := (*target.Down)(nil); errors.As(err, &down) {
			r.meta.Console = down.Console
		}
	}
	r.meta.DurationMS = time.Since(o.Started).Milliseconds()
	r.meta.Timings["total"] = r.meta.DurationMS
	if err := writeJSON(filepath.Join(o.Dir, verdict.MetaFile), r.meta); err != nil {
		return verdict.Result{}, err
	}
	return Judge(o.Dir)
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

func create(dir string, source []byte) (string, error) {
	if _, err := os.Stat(filepath.Join(dir, verdict.MetaFile)); err == nil {
		return "", fmt.Errorf("%s holds a run already", dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, verdict.ScenarioFile), source, 0o644)
}

func writeJSON(path string, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// run is one execution on its way.
type run struct {
	dir      string
	target   target.Target
	scenario scenario.Scenario
	o        Options
	meta     verdict.Meta
}

func (r *run) do(ctx context.Context) error {
	clock := time.Now()
	lap := func(name string) {
		r.meta.Timings[name] = time.Since(clock).Milliseconds()
		clock = time.Now()
	}
	hello, err := r.target.Hello(ctx)
	if err != nil {
		return err
	}
	r.meta.Machine, r.meta.Tier = hello.Machine, hello.Tier
	lap("machine")
	r.meta.Node = hello.Node
	unmet, err := lacks(r.scenario, hello, r.target.Name(), r.o.Manifests)
	if err != nil {
		return err
	}
	if len(unmet) > 0 {
		for _, need := range unmet {
			r.meta.Skip = append(r.meta.Skip, need.String())
		}
		return nil
	}
	p, err := plan.Make(r.scenario, hello.Machine, plan.Options{Run: r.cgroupName(), Node: hello.Node, Manifests: r.o.Manifests})
	if err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(r.dir, verdict.PlanFile), p); err != nil {
		return err
	}
	measured, err := r.rehearse(ctx, p)
	if err != nil {
		return err
	}
	prediction := predict.Outcome(p, hello.Machine, measured)
	if err := writeJSON(filepath.Join(r.dir, verdict.PredictionFile), prediction); err != nil {
		return err
	}
	lap("plan")
	err = r.carryOut(ctx, p)
	lap("run")
	for name, path := range r.target.Artifacts() {
		err = errors.Join(err, keep(path, filepath.Join(r.dir, name)))
	}
	return err
}

// lacks lists what a target lacks for a scenario.
func lacks(s scenario.Scenario, hello wire.Hello, target scenario.Target, manifests map[string]scenario.Manifest) ([]plan.Need, error) {
	if len(s.Pods) > 0 && target.Traits().Kubelet {
		return plan.UnmetPods(s, hello.Machine, hello.Node, manifests)
	}
	return plan.Unmet(s, hello.Machine, target), nil
}

// cgroupName names the run's cgroups. A machine made for the run has no others; on
// any other there may be those of runs in other directories, whose numbers are the
// same.
func (r *run) cgroupName() string {
	if r.target.Name().Traits().Throwaway {
		return r.meta.Run
	}
	var own [4]byte
	rand.Read(own[:]) // never fails
	return fmt.Sprintf("%s-%x", r.meta.Run, own)
}

// rehearse measures the programs of the user's own: each alone, in a cage,
// until it is quiet.
func (r *run) rehearse(ctx context.Context, p plan.Plan) (map[string]predict.Measured, error) {
	rehearsal, needed := plan.Rehearsal(p, r.meta.Machine)
	if !needed {
		return nil, nil
	}
	var events []evidence.Event
	err := r.target.Do(ctx, wire.Request{WallNS: time.Now().UnixNano(), Plan: rehearsal}, func(e evidence.Event) {
		events = append(events, e)
	})
	if err != nil {
		return nil, fmt.Errorf("rehearsal: %w", err)
	}
	return measure(events, r.meta.Machine.PageSize), nil
}

// carryOut lets the target do it, and writes down every event as it arrives.
func (r *run) carryOut(ctx context.Context, p plan.Plan) error {
	rec, err := openRecord(r.dir)
	if err != nil {
		return err
	}
	sink := func(e evidence.Event) {
		rec.add(e)
		if r.o.OnEvent != nil {
			r.o.OnEvent(e)
		}
	}
	err = r.target.Do(ctx, wire.Request{WallNS: time.Now().UnixNano(), Plan: p}, sink)
	var down *target.Down
	if errors.As(err, &down) {
		sink(downEvent(down))
		if p.ExpectPanic && down.How == "panic" {
			err = nil
		}
	}
	return errors.Join(err, rec.close())
}

// downEvent is how a machine that went down is kept among the evidence.
func downEvent(d *target.Down) evidence.Event {
	return evidence.Event{Source: evidence.Console, Kind: evidence.Down, Text: d.How + ": " + d.Message}
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
