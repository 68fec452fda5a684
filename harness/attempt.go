package harness

import (
	"context"
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

// AttemptOptions are what an attempt needs beside its scenario and its target.
type AttemptOptions struct {
	Run   string // names the cgroups of the run
	Seed  int64
	Rules predict.Rules // zero: the kernel's own
	// Predicted is asked, once the prediction is made and before anything is
	// started, whether to go on; nil: yes.
	Predicted func(predict.Prediction) error
}

// Attempt is Run without a run directory: it plans, predicts and lets the target
// carry out, and returns what there is to judge. Nothing is written; see
// [Keep]. Programs of the user's own are not rehearsed.
//
// What goes wrong on the target is part of the input, as it is of a run
// directory. An error means that nothing was started.
func Attempt(ctx context.Context, t target.Target, s scenario.Scenario, o AttemptOptions) (verdict.Input, error) {
	in := verdict.Input{Scenario: s, Rules: o.Rules}
	hello, err := t.Hello(ctx)
	if err != nil {
		return in, err
	}
	in.Machine, in.Tier = hello.Machine, hello.Tier
	if in.Rules == (predict.Rules{}) {
		in.Rules = predict.RulesOf(in.Machine)
	}
	started := time.Now()
	in.Meta = verdict.Meta{
		Scenario: s.Name, Target: string(t.Name()), Run: o.Run, Seed: o.Seed, Started: started.UTC().Format(time.RFC3339),
		Timings: map[string]int64{}, Machine: hello.Machine, Tier: hello.Tier,
	}
	if unmet := plan.Unmet(s, hello.Machine, t.Name()); len(unmet) > 0 {
		return in, fmt.Errorf("%s: %s: %w", s.Name, unmet[0], target.ErrUnsupported)
	}
	if in.Plan, err = plan.Make(s, hello.Machine, plan.Options{Run: o.Run}); err != nil {
		return in, err
	}
	in.Prediction = predict.OutcomeBy(in.Rules, in.Plan, hello.Machine, nil)
	if o.Predicted != nil {
		if err := o.Predicted(in.Prediction); err != nil {
			return in, err
		}
	}
	err = t.Do(ctx, wire.Request{WallNS: time.Now().UnixNano(), Plan: in.Plan, SampleMS: wire.NoSamples}, func(e evidence.Event) {
		in.Events = append(in.Events, e)
	})
	if ctx.Err() != nil {
		return in, ctx.Err()
	}
	var down *target.Down
	if errors.As(err, &down) {
		in.Events = append(in.Events, downEvent(down))
		in.Meta.Console = down.Console
	}
	if err != nil {
		in.Meta.Error = err.Error()
	}
	in.Meta.DurationMS = time.Since(started).Milliseconds()
	in.Meta.Timings["total"] = in.Meta.DurationMS
	return in, nil
}

// Keep writes what an attempt was judged by as a run directory, for
// `oomlab report`, and judges it from there.
func Keep(dir string, in verdict.Input) (verdict.Result, error) {
	source, err := scenario.Format(in.Scenario)
	if err != nil {
		return verdict.Result{}, err
	}
	if _, err := create(dir, source); err != nil {
		return verdict.Result{}, err
	}
	for name, v := range map[string]any{verdict.PlanFile: in.Plan, verdict.PredictionFile: in.Prediction, verdict.MetaFile: in.Meta} {
		if err := writeJSON(filepath.Join(dir, name), v); err != nil {
			return verdict.Result{}, err
		}
	}
	if err := writeEvents(dir, in.Events); err != nil {
		return verdict.Result{}, err
	}
	return Judge(dir)
}
