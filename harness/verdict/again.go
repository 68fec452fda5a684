package verdict

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
)

// What is found of the plan and the prediction.
const (
	PlanDiffers Kind = "plan-differs" // the scenario and the machine give another plan
	// the plan and the machine give another prediction, or it contradicts itself
	PredictionDiffers Kind = "prediction-differs"
)

// Again is what the scenario and the machine of a recorded run give today.
type Again struct {
	Plan plan.Plan
	// Prediction is nil where it depends on what was measured, and nobody wrote that down.
	Prediction *predict.Prediction
	// Problem is why there is no plan.
	Problem string
}

// MakeAgain plans and predicts a run once more. It returns nil for a run that was
// not planned, or whose plan depends on files that the run directory does not have.
func MakeAgain(in Input) *Again {
	if len(in.Events) == 0 || len(in.Scenario.Manifests()) > 0 {
		return nil
	}
	at := plan.Place{Target: scenario.Target(in.Meta.Target), Machine: in.Machine, Node: in.Meta.Node}
	if !slices.Contains(scenario.Targets, at.Target) {
		return &Again{Problem: fmt.Sprintf("run.json: there is no target %q", at.Target)}
	}
	layout, err := plan.LayOut(in.Scenario, at, nil)
	if err != nil {
		return &Again{Problem: err.Error()}
	}
	if needs := layout.Unmet(); len(needs) > 0 {
		return &Again{Problem: fmt.Sprintf("run.json: the machine lacks what the run needs: %s", needs[0])}
	}
	out := &Again{}
	if out.Plan, err = layout.Make(plan.RunOf(in.Plan.Base)); err != nil {
		return &Again{Problem: err.Error()}
	}
	out.Plan.Ranks = out.Plan.Ranks || in.Plan.Ranks // whoever runs a scenario may ask for it
	unmeasured := slices.ContainsFunc(out.Plan.Processes, plan.Process.IsCommand) && len(out.Plan.Pods) == 0
	if in.Meta.Model == predict.Model || !unmeasured {
		p := predict.Outcome(out.Plan, in.Machine, in.Meta.Measured)
		out.Prediction = &p
	}
	return out
}

// ownBase is what the name of a run's cgroup ends in where there may be others.
var ownBase = regexp.MustCompile("^-[0-9a-f]{8}$")

// loose are what plans and predictions of earlier models may have otherwise, and
// loosePods those of pods, looseUnsure those whose course depends on timing.
var (
	loose = map[Kind]*regexp.Regexp{
		PlanDiffers: regexp.MustCompile(`^(stretch|within_ms)$|deadline_ms$|one_cpu$|\.exits$`),
		PredictionDiffers: regexp.MustCompile(
			`^(unsure|open|at_least|at_most|alike|parts|possible|firsts|orders|killed` +
				`|scores)\b|^steps\[[1-9]|\.sure$`),
	}
	looseUnsure = regexp.MustCompile(`^(steps|ends)\b`)
	loosePods   = map[Kind]*regexp.Regexp{
		PlanDiffers:       regexp.MustCompile(`swap_max$|writes|cgroup$|path$`),
		PredictionDiffers: regexp.MustCompile(`group$|oom_memcg$`),
	}
)

// remade holds the plan and the prediction against those that are made today. What
// the same model has made is the same to the byte; another one may have come to other
// amounts.
func (a *account) remade(found *findings) {
	again := a.in.Again
	if again == nil {
		return
	}
	if again.Problem != "" {
		found.add(PlanDiffers, "%s", again.Problem)
		return
	}
	run := a.in.Meta.Run
	sliced := a.in.Plan.Sliced()
	of := plan.RunOf(a.in.Plan.Base)
	more, ok := strings.CutPrefix(of, plan.RunOf(plan.BaseOf(run, sliced)))
	if more = strings.ReplaceAll(more, "_", "-"); !ok || run == "" || a.in.Plan.Base != plan.BaseOf(of, sliced) ||
		more != "" && !ownBase.MatchString(more) {
		found.add(PlanDiffers, "plan.json: base is %q in run %q", a.in.Plan.Base, run)
	}
	a.same(PlanDiffers, "plan.json", a.in.Plan, again.Plan, found)
	p, now := a.in.Plan, again.Plan
	if p.Stretch = max(1, p.Stretch); p.WithinMS*now.Stretch != now.WithinMS*p.Stretch || p.Stretch > 10 ||
		p.DeadlineMS-p.WithinMS != now.DeadlineMS-now.WithinMS {
		found.add(PlanDiffers, "plan.json: within %d ms, stretched %d times, deadline %d ms; the scenario gives "+
			"%d, %d and %d",
			p.WithinMS, p.Stretch, p.DeadlineMS, now.WithinMS, now.Stretch, now.DeadlineMS)
	}
	if again.Prediction != nil {
		for _, order := range a.in.Prediction.Orders {
			if again.Prediction.Unsure == "" && !again.Prediction.Admits(order) {
				found.add(PredictionDiffers, "prediction.json: %s is no order that the plan gives",
					strings.Join(order, ", "))
			}
		}
		a.same(PredictionDiffers, "prediction.json", a.in.Prediction, *again.Prediction, found)
	}
}

// same finds the fields in which a recorded value differs from the one made again.
func (a *account) same(kind Kind, file string, recorded, again any, found *findings) {
	exact := a.in.Meta.Model == predict.Model
	n, first := 0, ""
	for _, d := range differences("", plainly(recorded), plainly(again)) {
		if !exact && (loose[kind].MatchString(d.path) || near(d) ||
			len(a.in.Scenario.Pods) > 0 && loosePods[kind].MatchString(d.path) ||
			a.in.Prediction.Unsure != "" && kind == PredictionDiffers && looseUnsure.MatchString(d.path)) {
			continue
		}
		if n++; n == 1 {
			first = fmt.Sprintf("%s: %s is %s; the scenario and the machine give %s", file, d.path, brief(d.is),
				brief(d.want))
		}
	}
	if n > 0 {
		found.add(kind, "%s", more(first, n-1))
	}
}

// near reports whether two numbers of pages may come of different models.
func near(d difference) bool {
	x, okX := d.is.(float64)
	y, okY := d.want.(float64)
	return okX && okY && strings.Contains(d.path, "ranges.") && max(x-y, y-x) < 512+max(x, -x, y, -y)/2
}

func brief(v any) string {
	if v == nil {
		return "missing"
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	if len(text) > 60 {
		return strings.ToValidUTF8(string(text[:57]), "") + "..."
	}
	return string(text)
}

// plainly is a value as JSON has it: maps, slices, strings, numbers.
func plainly(v any) any {
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		return err.Error()
	}
	return v
}

// difference is one place where two values differ. is or want is nil where there is
// none.
type difference struct {
	path     string
	is, want any
}

func differences(path string, is, want any) []difference {
	switch a := is.(type) {
	case map[string]any:
		b, ok := want.(map[string]any)
		if !ok {
			break
		}
		keys := maps.Clone(a)
		maps.Copy(keys, b)
		var out []difference
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			out = append(out, differences(strings.TrimPrefix(path+"."+key, "."), a[key], b[key])...)
		}
		return out
	case []any:
		b, ok := want.([]any)
		if !ok || len(a) != len(b) {
			break
		}
		var out []difference
		for i := range a {
			out = append(out, differences(fmt.Sprintf("%s[%d]", path, i), a[i], b[i])...)
		}
		return out
	default:
		if is == want {
			return nil
		}
	}
	return []difference{{path, is, want}}
}

// consistent finds where the prediction contradicts itself, whatever made it.
func (a *account) consistent(found *findings) {
	p := a.in.Prediction
	bad := func(format string, args ...any) { found.add(PredictionDiffers, "prediction.json: "+format, args...) }
	if len(p.Parts) == 0 && (len(p.Orders) == 0 || p.Killed == nil || !slices.Equal(p.Killed, p.Orders[0])) {
		bad("killed is not the first of orders")
	}
	if len(p.Parts) == 0 && len(p.Steps) > 0 {
		first := p.Steps[0]
		if !maps.Equal(first.Ranges, p.Ranges) || first.TotalPages != p.TotalPages ||
			first.Constraint != p.Constraint ||
			first.OOMMemcg != p.OOMMemcg || !slices.Equal(first.Trigger, p.Trigger) {
			bad("the first of its steps is not what it says of the first kill")
		}
	}
	if len(p.Scores) != len(p.Ranges) {
		bad("%d scores and %d ranges", len(p.Scores), len(p.Ranges))
	}
	for _, q := range a.in.Plan.Processes {
		if q.Launch.DeadlineMS != a.in.Plan.DeadlineMS || !q.IsCommand() &&
			q.Profile.DeadlineMS != a.in.Plan.DeadlineMS {
			found.add(PlanDiffers, "plan.json: the deadline of %s is not the run's", q.Name)
		}
	}
	for _, name := range slices.Concat(append(p.Orders, p.Killed)...) {
		_, planned := a.in.Plan.Process(name)
		_, started := a.in.Plan.DescendantOf(name)
		if !planned && !started &&
			!slices.ContainsFunc(p.Alike, func(e predict.Equal) bool { return e.Label == name }) {
			bad("%s is killed, which the plan does not have", name)
		}
	}
	if p.AtMost > 0 && p.AtLeast > p.AtMost {
		bad("%d kills at least and %d at most", p.AtLeast, p.AtMost)
	}
	most := 4 * int64((a.in.Machine.MemTotal+a.in.Machine.SwapTotal+a.swapOn())/a.pageSize())
	all := [][]predict.Step{p.Steps, p.Firsts}
	ranges := []map[string]predict.Range{p.Ranges}
	for _, steps := range all {
		for _, s := range steps {
			ranges = append(ranges, s.Ranges)
		}
	}
	for _, rs := range ranges {
		for _, name := range slices.Sorted(maps.Keys(rs)) {
			if r := rs[name]; r.Lo > r.Hi || int64(r.Lo) < -most || int64(r.Hi) > most {
				bad("%s has %d to %d points; the machine has no more than %d", name, r.Lo, r.Hi, most/4)
			}
		}
	}
	for name, score := range p.Scores {
		if r, ok := p.Ranges[name]; !ok || kernel.Pages(score) < r.Lo || kernel.Pages(score) > r.Hi {
			bad("%s has %d points, and %d to %d", name, score, r.Lo, r.Hi)
		}
	}
}

// swapOn is the swap space that the plan switches on.
func (a *account) swapOn() kernel.Bytes {
	if s := a.in.Plan.Swap; s != nil {
		return s.Size
	}
	return 0
}
