package verdict_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/verdict"
)

// TestTheModelHasANumber: where a plan or a prediction comes out otherwise than
// before, predict.Model is another, so that runs of the model before are not held to
// what this one says. A recording that is new says nothing about it.
func TestTheModelHasANumber(t *testing.T) {
	const file = "testdata/model.golden"
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(before), "\n")
	now := fmt.Sprintf("model %d\n", predict.Model)
	all := recordings(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		again := verdict.MakeAgain(all[name])
		if again == nil || again.Problem != "" {
			t.Errorf("%s cannot be planned again: %+v", name, again)
			continue
		}
		sum := sha256.New()
		if err := json.NewEncoder(sum).Encode(again); err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprintf("%s %x", name, sum.Sum(nil)[:8])
		known := slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, name+" ") })
		if known && !slices.Contains(lines, line) && strings.HasPrefix(now, lines[0]+"\n") {
			t.Fatalf("the plan or the prediction of %s has changed: raise predict.Model, then OOMLAB_UPDATE=1 writes %s",
				name, file)
		}
		now += line + "\n"
	}
	golden.File(t, file, []byte(now))
}

// TestAPlanThatIsNotTheScenarios is named, and so is such a prediction: to the byte for
// runs of this model, and otherwise in what no model has changed.
func TestAPlanThatIsNotTheScenarios(t *testing.T) {
	for _, model := range []int{0, predict.Model} {
		for _, tt := range []struct {
			name string
			edit func(*verdict.Input)
			want string
		}{
			{"nothing", func(*verdict.Input) {}, ""},
			{"oom_score_adj", func(in *verdict.Input) { in.Plan.Processes[1].OOMScoreAdj++ },
				"plan.json: processes[1].oom_score_adj is "},
			{"a process less", func(in *verdict.Input) { in.Plan.Processes = in.Plan.Processes[:1] },
				"plan.json: processes is "},
			{"the limit", func(in *verdict.Input) { *in.Plan.Cgroups[0].Max *= 2 }, "plan.json: cgroups[0].max is "},
			{"another run's", func(in *verdict.Input) { in.Plan.Base = "oomlab-of-somebody-else" },
				"plan.json: base is "},
			{"the victim", func(in *verdict.Input) {
				in.Prediction.Killed = []string{"big"}
				in.Prediction.Orders = [][]string{{"big"}}
			}, "prediction.json: big is no order that the plan gives"},
			{"a range without end",
				func(in *verdict.Input) { in.Prediction.Ranges["small"] = predict.Range{Lo: -1 << 60, Hi: 1 << 60} },
				"prediction.json: small has "},
			{"a range that is wider", func(in *verdict.Input) {
				in.Prediction.Ranges["small"] = predict.Range{Lo: 1,
					Hi: 60000}
			},
				"prediction.json: ranges.small."},
			{"a range of one page more", func(in *verdict.Input) {
				r := in.Prediction.Ranges["small"]
				in.Prediction.Ranges["small"] = predict.Range{Lo: r.Lo, Hi: r.Hi + 1}
			}, map[int]string{
				0: "prediction.json: the first of its steps is not ", predict.Model: "prediction.json: ranges.small.hi is ",
			}[model]},
		} {
			in := recordings(t)["6.12/memcg-adj-outweighs-size"]
			if in.Meta.Model = model; model == predict.Model {
				in.Plan, in.Prediction = in.Again.Plan, *in.Again.Prediction
			}
			in.Plan.Cgroups, in.Plan.Processes = slices.Clone(in.Plan.Cgroups), slices.Clone(in.Plan.Processes)
			limit := *in.Plan.Cgroups[0].Max
			in.Plan.Cgroups[0].Max = &limit
			in.Prediction.Ranges = maps.Clone(in.Prediction.Ranges)
			tt.edit(&in)
			got := verdict.Judge(in)
			named := slices.ContainsFunc(got.Disagreements, func(d verdict.Disagreement) bool {
				return strings.HasPrefix(d.Detail, tt.want)
			})
			if tt.want == "" && got.Verdict != verdict.Pass || tt.want != "" && !named {
				t.Errorf("model %d, %s: %s, %+v; want %q", model, tt.name, got.Verdict, got.Disagreements, tt.want)
			}
		}
	}
}
