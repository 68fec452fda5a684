package verdict_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/selftest"
	"github.com/oomlab/oomlab/harness/verdict"
)

// recordings are the runs that were recorded on real kernels, by KERNEL/RUN.
func recordings(t *testing.T) map[string]verdict.Input {
	t.Helper()
	all := map[string]verdict.Input{}
	names, err := fs.Glob(selftest.Recorded(), "*/*/"+verdict.MetaFile)
	if err != nil || len(names) == 0 {
		t.Fatalf("%d recordings, %v", len(names), err)
	}
	for _, name := range names {
		name = strings.TrimSuffix(name, "/"+verdict.MetaFile)
		dir, err := fs.Sub(selftest.Recorded(), name)
		if err != nil {
			t.Fatal(err)
		}
		in, err := verdict.Load(dir)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[name] = in
	}
	return all
}

// TestARunJudgedAgainGivesTheSameVerdict to the byte, ten times over: nothing in
// it may depend on the order in which a map is walked.
func TestARunJudgedAgainGivesTheSameVerdict(t *testing.T) {
	for name, in := range recordings(t) {
		var first []byte
		for n := range 10 {
			var got bytes.Buffer
			enc := json.NewEncoder(&got)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", " ")
			if err := enc.Encode(verdict.Judge(in)); err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				first = got.Bytes()
				golden.File(t, filepath.Join("testdata", name, verdict.ResultFile), first)
			} else if !bytes.Equal(got.Bytes(), first) {
				t.Errorf("%s: judged again, it says\n%s\nwhere it said\n%s", name, got.Bytes(), first)
				break
			}
		}
	}
}

// TestEveryClaimCanFail turns each claim of each recorded scenario round. A run
// that shows a claim contradicts its opposite.
func TestEveryClaimCanFail(t *testing.T) {
	tried := map[string]bool{}
	all := recordings(t)
	maps.Copy(all, played(t))
	for name, in := range all {
		for _, inversion := range verdict.Invert(in) {
			tried[inversion.Claim] = true
			in := in
			in.Scenario.Expect = inversion.Expect
			if got := verdict.Judge(in); got.Verdict != verdict.Fail {
				t.Errorf("%s with %s inverted: %s; want fail", name, inversion.Claim, got.Verdict)
			}
		}
	}
	// every key of `expect:` is a kind of claim, and was tried
	for _, field := range reflect.VisibleFields(reflect.TypeFor[scenario.Expect]()) {
		if key := field.Tag.Get("yaml"); !tried[key] {
			t.Errorf("no recording has a claim %s to invert", key)
		}
	}
}

// TestThePredictionIsAClaim: who was predicted and did not die, died unpredicted,
// or died in another order, fails.
func TestThePredictionIsAClaim(t *testing.T) {
	for name, in := range recordings(t) {
		if in.Prediction.Panic != "" {
			continue
		}
		in.Prediction.Unsure, in.Prediction.Open = "", false
		killed := slices.Clone(in.Prediction.Killed)
		in.Prediction.Killed = append(killed, "nobody")
		in.Prediction.Orders = [][]string{in.Prediction.Killed}
		if got := verdict.Judge(in); got.Verdict != verdict.Broken ||
			!strings.Contains(got.Reason, "prediction-differs") {
			t.Errorf("%s with another prediction: %s, %s; want broken: the plan has no such process", name,
				got.Verdict, got.Reason)
		}
		in.Again = nil // of a model that has said so
		in.Prediction.Killed = append(killed, in.Plan.Processes[0].Name)
		in.Prediction.Orders = [][]string{in.Prediction.Killed}
		got := verdict.Judge(in)
		if got.Verdict != verdict.Fail || !strings.Contains(got.Reason, "prediction.killed") {
			t.Errorf("%s with another prediction: %s, %s; want fail because of prediction.killed", name, got.Verdict,
				got.Reason)
		}
	}
}

// TestTheCourseIsTheOneThatWasTaken: where a prediction leaves open who hits the limit first, events decide which
// first kill it is held to; none that fits is a contradiction still.
func TestTheCourseIsTheOneThatWasTaken(t *testing.T) {
	in, ok := recordings(t)["6.12/memcg-adj-outweighs-size"]
	if !ok {
		t.Fatal("the recording is not there")
	}
	taken := in.Prediction.Steps[0]
	other, another := taken, taken
	other.Trigger, another.Trigger = []string{"small"}, []string{predict.Elsewhere}
	for _, tt := range []struct {
		name   string
		firsts []predict.Step
		want   verdict.Verdict
	}{
		{"one of them fits", []predict.Step{other, taken}, verdict.Pass},
		{"none fits", []predict.Step{other, another}, verdict.Fail},
	} {
		in.Prediction.Firsts = tt.firsts
		r := verdict.Judge(in)
		i := slices.IndexFunc(r.Claims, func(c verdict.Claim) bool { return c.Name == "prediction.trigger" })
		if i < 0 || r.Claims[i].Verdict != tt.want {
			t.Errorf("%s: claims %+v, want prediction.trigger to %s", tt.name, r.Claims, tt.want)
		}
	}
}

// TestSkippedAndBrokenRunsSayWhy: both have a record that is nearly empty.
func TestSkippedAndBrokenRunsSayWhy(t *testing.T) {
	skipped := verdict.Judge(verdict.Input{Meta: verdict.Meta{Skip: []string{"needs root"}}})
	if skipped.Verdict != verdict.Skip || skipped.Reason != "needs root" {
		t.Errorf("skipped: %s, %q", skipped.Verdict, skipped.Reason)
	}
	failed := verdict.Judge(verdict.Input{Meta: verdict.Meta{Error: "no QEMU"}})
	if failed.Verdict != verdict.Broken || !strings.Contains(failed.Reason, "no QEMU") {
		t.Errorf("could not run: %s, %q", failed.Verdict, failed.Reason)
	}
}

// TestWithoutEBPF: where no program could be attached there is one thing to say,
// and not that eBPF contradicts everybody else.
func TestWithoutEBPF(t *testing.T) {
	for name, in := range recordings(t) {
		if len(in.Plan.Pods) > 0 || in.Prediction.Panic != "" {
			continue
		}
		in.Tier = evidence.Tier{Hooks: map[string]string{"eBPF": "no bpf(2)\nmark_victim: no"}}
		in.Machine.Abilities = maps.Clone(in.Machine.Abilities)
		for _, by := range []kernel.Ability{kernel.AbilityTracepoints, kernel.AbilityKprobes} {
			in.Machine.Abilities[by] = kernel.Answer{Is: "no", Why: "tier 0"}
		}
		in.Events = slices.DeleteFunc(slices.Clone(in.Events),
			func(e evidence.Event) bool { return e.Source == evidence.BPF })
		got := verdict.Judge(in)
		if got.Verdict != verdict.Broken || len(got.Disagreements) != 1 ||
			got.Disagreements[0].Name != verdict.NoWitness ||
			!strings.HasSuffix(got.Reason, "no eBPF program was attached: no bpf(2)") {
			t.Errorf("%s without eBPF: %s, %s, %+v", name, got.Verdict, got.Reason, got.Disagreements)
		}
	}
}

func TestWorst(t *testing.T) {
	if got := verdict.Worst(verdict.Pass, verdict.Skip, verdict.Broken, verdict.Fail); got != verdict.Broken {
		t.Errorf("worst of all: %s", got)
	}
	if got := verdict.Worst(verdict.Pass, verdict.Fail, verdict.Skip); got != verdict.Fail {
		t.Errorf("worst of pass, fail, skip: %s", got)
	}
	if got := verdict.Worst(); got != verdict.Pass {
		t.Errorf("worst of none: %s", got)
	}
}
