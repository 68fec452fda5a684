package compare

import (
	"reflect"
	"slices"
	"testing"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/verdict"
)

// ran is a run of a scenario with a claim.
type ran struct {
	scenario string
	answer   scenario.Answer
	release  string
	verdict  verdict.Verdict
}

func answers(runs ...ran) ([]Answered, []string) {
	var inputs []verdict.Input
	var results []verdict.Result
	for _, r := range runs {
		s := scenario.Scenario{Name: r.scenario,
			Claim: &scenario.Statement{Statement: "It does.", Made: "here", Answer: r.answer}}
		inputs = append(inputs, verdict.Input{Scenario: s})
		results = append(results, verdict.Result{Scenario: r.scenario, Verdict: r.verdict,
			Kernel: verdict.KernelID{Release: r.release}})
	}
	return Answers(nil, inputs, results)
}

func TestAnswers(t *testing.T) {
	const yes, no = scenario.True, scenario.False
	for _, tt := range []struct {
		name string
		runs []ran
		on   []string // by kernel, oldest first
		want string
	}{
		{"true everywhere", []ran{{"a", yes, "6.12.1", "pass"}, {"a", yes, "5.10.1", "pass"}},
			[]string{"true", "true"}, "true"},
		{"a run that fails takes the others with it",
			[]ran{{"a", no, "6.12.1", "pass"}, {"a", no, "6.12.1", "fail"}, {"a", no, "5.10.1", "pass"}},
			[]string{"false", "not shown"}, "not shown"},
		{"broken", []ran{{"a", no, "6.12.1", "broken"}}, []string{"not shown"}, "not shown"},
		{"two scenarios, one for each range of kernels",
			[]ran{{"old", no, "5.10.1", "pass"}, {"new", yes, "5.10.1", "skip"},
				{"old", no, "6.1.1", "skip"}, {"new", yes, "6.1.1", "pass"}, {"new", yes, "7.3.1", "pass"}},
			[]string{"false", "true", "true"}, "since 6.1"},
		{"the other way", []ran{{"a", yes, "5.10.1", "pass"}, {"b", no, "10.0.1", "pass"}},
			[]string{"true", "false"}, "before 10.0"},
		{"two scenarios on one kernel", []ran{{"a", yes, "6.12.1", "pass"}, {"b", no, "6.12.1", "pass"}},
			[]string{"depends"}, "depends"},
		{"to and fro", []ran{{"a", yes, "5.10.1", "pass"}, {"b", no, "6.1.1", "pass"}, {"a", yes, "7.3.1", "pass"}},
			[]string{"true", "false", "true"}, "depends"},
		{"skipped", []ran{{"a", yes, "5.10.1", "skip"}}, []string{"skipped"}, "skipped"},
		{"skipped on one", []ran{{"a", yes, "5.10.1", "skip"}, {"a", yes, "6.1.1", "pass"}},
			[]string{"skipped", "true"}, "true"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all, kernels := answers(tt.runs...)
			if len(all) != 1 {
				t.Fatalf("%d statements", len(all))
			}
			var on []string
			for _, k := range kernels {
				on = append(on, all[0].On(k))
			}
			if !slices.Equal(on, tt.on) {
				t.Errorf("on %q: got %q, want %q", kernels, on, tt.on)
			}
			if got := all[0].Answer(kernels); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestAnswersOfALibrary: a statement without runs is there. A run without a statement is
// not, and neither is one whose scenario gave the other answer when it ran.
func TestAnswersOfALibrary(t *testing.T) {
	claim := func(answer scenario.Answer) *scenario.Statement {
		return &scenario.Statement{Statement: "It does.", Made: "here", Answer: answer}
	}
	library := []scenario.Scenario{{Name: "a", Claim: claim(scenario.True)}, {Name: "b"}}
	all, kernels := Answers(library, nil, nil)
	if len(all) != 1 || len(kernels) != 0 || all[0].Answer(kernels) != NotRun {
		t.Errorf("without runs: got %+v on %q", all, kernels)
	}
	inputs := []verdict.Input{{Scenario: scenario.Scenario{Name: "a", Claim: claim(scenario.False)}},
		{Scenario: scenario.Scenario{Name: "b"}}}
	result := verdict.Result{Verdict: verdict.Pass, Kernel: verdict.KernelID{Release: "6.12.1"}}
	all, kernels = Answers(library, inputs, []verdict.Result{result, result})
	if len(all) != 1 || len(all[0].By) != 1 || all[0].By[0].On("6.12") != NotRun || len(kernels) != 0 {
		t.Errorf("got %+v on %q", all, kernels)
	}
	inputs[0].Scenario.Claim = claim(scenario.True)
	all, kernels = Answers(library, inputs, []verdict.Result{result, result})
	if len(all) != 1 || all[0].On("6.12") != "true" || !slices.Equal(kernels, []string{"6.12"}) {
		t.Errorf("got %+v on %q", all, kernels)
	}
}

func TestNumbersOfRuns(t *testing.T) {
	run := func(points, oomKill int64, observed string) verdict.Result {
		return verdict.Result{
			Scoreboard: [][]verdict.Row{{{Process: "big", Points: &points, Adj: -600}, {Process: "saint"},
				{Comm: "systemd", Points: &points}}},
			Kills: []verdict.Kill{{Victim: verdict.Victim{Process: "big"},
				RSS: &verdict.RSS{Anon: kernel.Pages(points), File: 1, Swap: 7}}},
			Claims: []verdict.Claim{{Name: "memory.events /lab oom_kill", Observed: observed},
				{Name: "within", Observed: "3 s"}},
		}
	}
	got := Numbers([]verdict.Result{run(120, 1, "1"), run(100, 1, "1")})
	want := []string{"killed big", "points of big (oom_score_adj -600) 100 to 120", "points of saint never",
		"pages of big 101 to 121", "swapped out of big 7", "memory.events /lab oom_kill 1"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	got = Numbers([]verdict.Result{{Panic: "out of memory"}, {}})
	if want := []string{"panic out of memory (1 of 1)", "killed nobody"}; len(got) != 2 || got[1] != want[1] {
		t.Errorf("got %q, want %q", got, want)
	}
}
