package verdict

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

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
	// Samples are the timeline; none: the run kept none. SamplesProblem is why they
	// cannot be read.
	Samples        []evidence.Event
	SamplesProblem string
	// LogProblem is how the kernel log for people differs from the events.
	LogProblem string
	// Again are the plan and the prediction as they are made today; nil: they are not
	// compared.
	Again *Again
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
	// Manifest is the file that has the hashes of the others. Empty: run directories
	// had none when this one was made.
	Manifest string `json:"manifest,omitempty"`
	// Model is the number of the model that has planned and predicted the run; 0: none
	// that is known.
	Model int `json:"model,omitempty"`
	// Timeline: samples were asked for. A run that is not kept takes none, nor do some of
	// before it was written down.
	Timeline bool `json:"timeline,omitempty"`
	// Measured are the programs of the user's own, as they were rehearsed.
	Measured map[string]predict.Measured `json:"measured,omitempty"`
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
	ManifestFile   = "manifest.sha256" // written last: the hashes of all the others
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
	if in.Events, err = evidence.Read(events); err != nil {
		return in, fmt.Errorf("%s:%w", EventsFile, err)
	}
	in.Samples, in.SamplesProblem = readSamples(dir, in.Meta.Model > 0)
	in.LogProblem = sameLog(dir, in.Events)
	in.Again = MakeAgain(in)
	return in, nil
}

// readSamples reads the timeline. Run directories of before there was a model may have none.
func readSamples(dir fs.FS, must bool) (samples []evidence.Event, problem string) {
	f, err := dir.Open(SamplesFile)
	if errors.Is(err, fs.ErrNotExist) && !must {
		return nil, ""
	}
	if err != nil {
		return nil, SamplesFile + " is missing"
	}
	defer f.Close()
	if samples, err = evidence.Read(f); err != nil {
		return nil, fmt.Sprintf("%s:%v", SamplesFile, err)
	}
	return samples, ""
}

// LogLine is a record of the kernel log as `dmesg --raw` has it, for people and for
// other tools.
func LogLine(l evidence.LogRecord) string {
	return fmt.Sprintf("<%d>[%5d.%06d] %s\n", l.Priority, l.USec/1e6, l.USec%1e6, l.Text)
}

// sameLog says how kmsg.txt differs from the records in the events; empty: it does not, or
// the run directory has none. What was cut off while it was written is the end of either.
func sameLog(dir fs.FS, events []evidence.Event) string {
	text, err := fs.ReadFile(dir, LogFile)
	if err != nil {
		return ""
	}
	rest := string(text)
	for _, e := range events {
		if e.Kind != evidence.Record || e.Log == nil {
			continue
		}
		line := LogLine(*e.Log)
		after, ok := strings.CutPrefix(rest, line)
		if !ok {
			if strings.HasPrefix(line, rest) && !ended(events) {
				return ""
			}
			return fmt.Sprintf("%s does not have %q where it is due", LogFile, e.Log.Text)
		}
		rest = after
	}
	if rest != "" && ended(events) {
		return fmt.Sprintf("%s has %d bytes more than there are records", LogFile, len(rest))
	}
	return ""
}

func ended(events []evidence.Event) bool {
	return slices.ContainsFunc(events, func(e evidence.Event) bool { return e.Kind == evidence.End })
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
