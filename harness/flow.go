package harness

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
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

// flow is one scenario on its way over a target: probe, plan, predict, do. in
// becomes what there is to judge. With a run directory every part is written
// there as soon as it is known; without one events are kept in memory.
type flow struct {
	target target.Target
	o      Options
	in     verdict.Input
	began  time.Time
	lap    time.Time
}

func newFlow(t target.Target, s scenario.Scenario, o Options) *flow {
	now := time.Now()
	return &flow{target: t, o: o, began: now, lap: now,
		in: verdict.Input{Scenario: s, Rules: o.Rules, Meta: verdict.Meta{
			Scenario: s.Name, Target: string(t.Name()), Because: o.Because, Run: o.Name, Seed: o.Seed,
			Started: now.UTC().Format(time.RFC3339), Command: o.Command, Timings: map[string]int64{},
			Manifest: verdict.ManifestFile,
		}}}
}

// timed notes how long the part took that ends now.
func (f *flow) timed(part string) {
	now := time.Now()
	f.in.Meta.Timings[part] = now.Sub(f.lap).Milliseconds()
	f.lap = now
}

// write writes a file of the run directory, if there is one.
func (f *flow) write(name string, v any) error {
	if f.o.Dir == "" {
		return nil
	}
	return writeJSON(filepath.Join(f.o.Dir, name), v)
}

// unmet is all that a target lacks for a scenario.
type unmet []plan.Need

func (u unmet) Error() string {
	var all []error
	for _, need := range u {
		all = append(all, errors.New(need.String()))
	}
	return errors.Join(all...).Error()
}

func (u unmet) Is(err error) bool { return err == target.ErrUnsupported }

// note makes an error part of the input.
func (f *flow) note(err error) {
	meta := &f.in.Meta
	var lacking unmet
	var down *target.Down
	switch {
	case err == nil:
	case errors.As(err, &lacking):
		for _, need := range lacking {
			meta.Skip = append(meta.Skip, need.String())
		}
	case errors.Is(err, target.ErrUnsupported):
		meta.Skip = append(meta.Skip, err.Error())
	case errors.Is(err, context.Canceled):
		meta.Error = verdict.Interrupted
	default:
		meta.Error = err.Error()
		if errors.As(err, &down) {
			meta.Console = down.Console
		}
	}
}

// follow is the whole flow. An error is why nothing was started; what goes wrong
// after that is part of the input.
func (f *flow) follow(ctx context.Context) error {
	err := f.prepare(ctx)
	if err == nil {
		f.note(f.carryOut(ctx))
		f.timed("run")
	}
	f.in.Meta.DurationMS = time.Since(f.began).Milliseconds()
	f.in.Meta.Timings["total"] = f.in.Meta.DurationMS
	return err
}

// prepare plans and predicts. Only programs of the user's own are started, in
// cages.
func (f *flow) prepare(ctx context.Context) error {
	in := &f.in
	if err := f.describe(ctx); err != nil {
		return err
	}
	hello, err := f.target.Hello(ctx)
	if err != nil {
		return err
	}
	in.Machine, in.Tier = hello.Machine, hello.Tier
	in.Meta.Machine, in.Meta.Tier, in.Meta.Node = hello.Machine, hello.Tier, hello.Node
	if in.Rules == (predict.Rules{}) {
		in.Rules, in.Meta.Model = predict.RulesOf(in.Machine), predict.Model
	}
	f.timed("machine")
	layout, err := plan.LayOut(in.Scenario, plan.Place{
		Target: f.target.Name(), Machine: hello.Machine, Node: hello.Node,
	}, f.o.Manifests)
	if err != nil {
		return err
	}
	if needs := layout.Unmet(); len(needs) > 0 {
		return unmet(needs)
	}
	if in.Plan, err = layout.Make(f.cgroupName()); err != nil {
		return err
	}
	in.Plan.Ranks = in.Plan.Ranks || f.o.Ranks
	if err := f.write(verdict.PlanFile, in.Plan); err != nil {
		return err
	}
	measured, err := f.rehearse(ctx)
	if err != nil {
		return err
	}
	in.Meta.Measured = measured
	in.Prediction = predict.OutcomeBy(ctx, in.Rules, in.Plan, in.Machine, measured)
	if err := f.write(verdict.PredictionFile, in.Prediction); err != nil {
		return err
	}
	f.timed("plan")
	if f.o.Predicted != nil {
		return f.o.Predicted(in.Prediction)
	}
	return nil
}

// describe asks a target what it knows of its node before anything is started there, and
// returns what that node lacks for the scenario.
func (f *flow) describe(ctx context.Context) error {
	d, ok := f.target.(target.Described)
	if !ok {
		return nil
	}
	hello, err := d.Describe(ctx)
	if err != nil || hello.Node == nil {
		return err
	}
	layout, err := plan.LayOut(f.in.Scenario, plan.Place{Target: f.target.Name(), Node: hello.Node}, f.o.Manifests)
	if err != nil {
		return err
	}
	if needs := layout.UnmetByNode(); len(needs) > 0 {
		f.in.Meta.Node = hello.Node
		return unmet(needs)
	}
	return nil
}

// cgroupName names the run's cgroups. A machine made for the run has no others; on
// any other there may be those of runs in other directories, whose numbers are the
// same.
func (f *flow) cgroupName() string {
	if f.target.Name().Traits().Throwaway {
		return f.o.Name
	}
	var own [4]byte
	rand.Read(own[:]) // never fails
	return fmt.Sprintf("%s-%x", f.o.Name, own)
}

// rehearse measures the programs of the user's own: each alone, in a cage,
// until it is quiet.
func (f *flow) rehearse(ctx context.Context) (map[string]predict.Measured, error) {
	rehearsal, needed := plan.Rehearsal(f.in.Plan, f.in.Machine)
	if !needed {
		return nil, nil
	}
	var events []evidence.Event
	err := f.target.Do(ctx, wire.Request{WallNS: time.Now().UnixNano(), Plan: rehearsal}, func(e evidence.Event) {
		events = append(events, e)
	})
	if err != nil {
		return nil, fmt.Errorf("rehearsal: %w", err)
	}
	return measure(rehearsal, events, f.in.Machine.PageSize), nil
}

// carryOut lets the target do it, and keeps every event as it arrives: in the
// run directory or, where there is none, in memory and without samples. A panic
// that the plan expects is no error.
func (f *flow) carryOut(ctx context.Context) (err error) {
	req := wire.Request{WallNS: time.Now().UnixNano(), Plan: f.in.Plan, SampleMS: wire.NoSamples}
	add := func(e evidence.Event) { f.in.Events = append(f.in.Events, e) }
	if f.o.Dir != "" {
		rec, openErr := openRecord(f.o.Dir)
		if openErr != nil {
			return openErr
		}
		req.SampleMS, add = 0, rec.add
		f.in.Meta.Timeline = true
		defer func() { err = errors.Join(err, rec.close(), f.artifacts()) }()
	}
	sink := func(e evidence.Event) {
		add(e)
		if f.o.OnEvent != nil {
			f.o.OnEvent(e)
		}
	}
	err = f.target.Do(ctx, req, sink)
	var down *target.Down
	if errors.As(err, &down) {
		sink(evidence.Event{Source: evidence.Console, Kind: evidence.Down, Text: down.How + ": " + down.Message})
		if f.in.Plan.ExpectPanic && down.How == "panic" {
			return nil
		}
	}
	return err
}

// artifacts copies what the target keeps about a run into its directory.
func (f *flow) artifacts() error {
	var err error
	for name, path := range f.target.Artifacts() {
		err = errors.Join(err, keep(path, filepath.Join(f.o.Dir, name)))
	}
	return err
}
