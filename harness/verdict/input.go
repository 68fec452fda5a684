package verdict

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
)

// Input is everything that a verdict is made of. It is what a run directory
// holds.
type Input struct {
	Meta       Meta
	Scenario   scenario.Scenario
	Machine    kernel.Machine
	Tier       evidence.Tier
	Plan       plan.Plan
	Prediction predict.Prediction
	Events     []evidence.Event
	// Rules replay the kernel's scores. The zero value is what current kernels
	// do, and takes the page size from Machine.
	Rules predict.Rules
}

// Meta is run.json: what the run knows of itself.
type Meta struct {
	Scenario   string           `json:"scenario"`
	Target     string           `json:"target"`
	Because    string           `json:"target_because,omitempty"` // why this target
	Run        string           `json:"run"`
	Seed       int64            `json:"seed"`
	Started    string           `json:"started"`
	DurationMS int64            `json:"duration_ms"`
	Timings    map[string]int64 `json:"timings_ms"`
	Command    []string         `json:"command,omitempty"` // that repeats the run
	// Skip says why nothing was started; Error why the run could not be finished.
	Skip    []string       `json:"skip,omitempty"`
	Error   string         `json:"error,omitempty"`
	Console string         `json:"console,omitempty"` // last lines of a machine that went down though it should not
	Machine kernel.Machine `json:"machine"`
	Tier    evidence.Tier  `json:"tier"`
	// Node is what was known of the cluster's node; nil: there was no cluster.
	Node *kubelet.Node `json:"node,omitempty"`
}

// The files of a run directory.
const (
	MetaFile       = "run.json"
	ScenarioFile   = "scenario.yaml"
	PlanFile       = "plan.json"
	PredictionFile = "prediction.json"
	EventsFile     = "events.jsonl"
	SamplesFile    = "samples.jsonl"
	LogFile        = "kmsg.txt" // the kernel log of the run, for people; events.jsonl has it too
	ResultFile     = "result.json"
)

// Load reads a run directory. Files that a run which was skipped or failed to
// start does not have are absent, not errors.
func Load(dir fs.FS) (Input, error) {
	var in Input
	if err := readJSON(dir, MetaFile, &in.Meta); err != nil {
		return in, err
	}
	in.Machine, in.Tier = in.Meta.Machine, in.Meta.Tier
	source, err := fs.ReadFile(dir, ScenarioFile)
	if err != nil {
		return in, err
	}
	if in.Scenario, err = scenario.Parse(in.Meta.Scenario, source); err != nil {
		return in, err
	}
	for name, to := range map[string]any{PlanFile: &in.Plan, PredictionFile: &in.Prediction} {
		if err := readJSON(dir, name, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return in, err
		}
	}
	events, err := dir.Open(EventsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return in, nil
	}
	if err != nil {
		return in, err
	}
	defer events.Close()
	in.Events, err = evidence.Read(events)
	return in, err
}

func readJSON(dir fs.FS, name string, to any) error {
	data, err := fs.ReadFile(dir, name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
