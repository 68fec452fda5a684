package predict_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/chaos"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/verdict"
)

// Runs of oomlab chaos --keep-all, as they were judged: of cgroups and machines, and of the
// kinds of memory and of machines that each have a domain of their own.
const (
	recordedRuns  = "testdata/chaos.jsonl.gz"
	recordedKinds = "testdata/kinds.jsonl.gz"
)

// runsVariable has the run directories that TestRecord and TestKeepKinds write them from, as
// patterns joined by commas.
const runsVariable = "OOMLAB_TEST_RUNS"

// recorded is one run of chaos, without what a verdict can be made again from.
type recorded struct {
	Scenario string           `json:"scenario"` // the file's text
	Meta     verdict.Meta     `json:"meta"`
	Plan     plan.Plan        `json:"plan"`
	Events   []evidence.Event `json:"events"`
}

func (r recorded) input(t *testing.T, rules predict.Rules) verdict.Input {
	t.Helper()
	s, err := scenario.Parse(r.Meta.Scenario, []byte(r.Scenario))
	if err != nil {
		t.Fatal(err)
	}
	return verdict.Input{Meta: r.Meta, Scenario: s, Machine: r.Meta.Machine, Tier: r.Meta.Tier, Plan: r.Plan,
		Events:     r.Events,
		Prediction: predict.OutcomeBy(t.Context(), rules, r.Plan, r.Meta.Machine, nil), Rules: rules}
}

func recordings(t *testing.T, file string) []recorded {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []recorded
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r recorded
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRecord and TestKeepKinds are no tests: they make the recordings.
func TestRecord(t *testing.T)    { record(t, recordedRuns) }
func TestKeepKinds(t *testing.T) { record(t, recordedKinds) }

func record(t *testing.T, file string) {
	patterns := os.Getenv(runsVariable)
	if patterns == "" || !golden.Record() {
		t.Skipf("records only with %s=recordings and %s=PATTERN,...", golden.Variable, runsVariable)
	}
	var dirs []string
	for pattern := range strings.SplitSeq(patterns, ",") {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d directories, %v", pattern, len(found), err)
		}
		dirs = append(dirs, found...)
	}
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	enc := json.NewEncoder(z)
	for _, dir := range dirs {
		in, err := verdict.Load(os.DirFS(dir))
		if err != nil {
			t.Fatal(err)
		}
		source, err := os.ReadFile(filepath.Join(dir, verdict.ScenarioFile))
		if err != nil {
			t.Fatal(err)
		}
		if err := enc.Encode(recorded{string(source), in.Meta, in.Plan, in.Events}); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{z.Close(), f.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// rulesOf are those of the kernel that a run was recorded on.
func rulesOf(t *testing.T, r recorded) predict.Rules {
	t.Helper()
	v, err := kernel.ParseVersion(r.Meta.Machine.Release)
	if err != nil {
		t.Fatal(err)
	}
	return predict.RulesFor(v, r.Meta.Machine.PageSize)
}

// TestRecordedChaosIsPredicted: what was recorded is what the model says, on
// every kernel. It is how a change of the model is tried without a VM.
func TestRecordedChaosIsPredicted(t *testing.T) {
	var sum chaos.Tally
	releases := map[string]int{}
	for _, r := range slices.Concat(recordings(t, recordedRuns), recordings(t, recordedKinds)) {
		in := r.input(t, rulesOf(t, r))
		result := verdict.Judge(in)
		sum.Add(chaos.Count(in.Prediction, result))
		releases[r.Meta.Machine.Release] += len(result.Kills)
		if result.Verdict != verdict.Pass {
			t.Errorf("%s on %s: %s: %s", r.Meta.Scenario, r.Meta.Machine.Release, result.Verdict, result.Reason)
		}
	}
	if sum.Kills < 100 || len(releases) < 3 {
		t.Errorf("%d kills on %v are recorded; that shows little", sum.Kills, releases)
	}
	if sum.Wrong+sum.ScoresWrong+sum.Strangers > 0 {
		t.Errorf("%+v", sum)
	}
	t.Logf("%d kills of %d scenarios, %d unsure, %d scores replayed; by kernel %v", sum.Kills, sum.Scenarios,
		sum.Unsure, sum.Scores, releases)
}

// foundWithin is how many kills it may take until a broken rule shows.
const foundWithin = 200

// TestChaosFindsEveryMistake breaks one rule of the model at a time. Recorded
// chaos must show it, and what shows it must shrink to next to nothing.
func TestChaosFindsEveryMistake(t *testing.T) {
	all := recordings(t, recordedRuns)
	for name, mistake := range predict.Mistakes {
		t.Run(name, func(t *testing.T) { found(t, all, mistake) })
	}
	all = recordings(t, recordedKinds)
	for name, mistake := range predict.MistakesOfKinds {
		t.Run(name, func(t *testing.T) { found(t, all, mistake) })
	}
}

// found goes through recordings until one contradicts the mistake, and makes it smaller.
func found(t *testing.T, all []recorded, mistake predict.Mistake) {
	t.Helper()
	kills := 0
	for _, r := range all {
		right := rulesOf(t, r)
		in := r.input(t, right.With(mistake))
		result := verdict.Judge(in)
		kills += len(result.Kills)
		if kills > foundWithin {
			break
		}
		if result.Verdict == verdict.Pass {
			continue
		}
		t.Logf("found after %d kills, in %s: %s", kills, r.Meta.Scenario, result.Reason)
		shrink(t, in.Scenario, r.Meta.Machine, right, right.With(mistake))
		return
	}
	t.Errorf("not found within %d kills", min(kills, foundWithin))
}

// smallest is how many processes a scenario may have left that shows a mistake.
const smallest = 3

// shrink makes a scenario smaller as long as the two models say different
// things of it: the right one stands for the kernel.
func shrink(t *testing.T, s scenario.Scenario, m kernel.Machine, right, wrong predict.Rules) {
	t.Helper()
	small, err := chaos.Minimize(s, func(s scenario.Scenario) (bool, error) {
		layout, err := plan.LayOut(s, plan.Place{Target: scenario.VM, Machine: m}, nil)
		if err != nil {
			return false, err
		}
		p, err := layout.Make("shrink")
		if err != nil {
			return false, err
		}
		a, b := predict.OutcomeBy(t.Context(), right, p, m, nil), predict.OutcomeBy(t.Context(), wrong, p, m, nil)
		return !reflect.DeepEqual(a.Orders, b.Orders) || !reflect.DeepEqual(a.Ranges, b.Ranges) ||
			!reflect.DeepEqual(a.Fails, b.Fails), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n := len(small.Processes)
	for _, p := range small.Pods {
		n += len(p.Containers)
	}
	text, err := scenario.Format(small)
	if err != nil {
		t.Fatal(err)
	}
	if n > smallest {
		t.Errorf("%d processes are left; want at most %d:\n%s", n, smallest, text)
	}
	if _, err := scenario.Parse("small.yaml", text); err != nil {
		t.Error(fmt.Errorf("what is left is no scenario: %w", err))
	}
}
