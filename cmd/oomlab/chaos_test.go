package main

import (
	"testing"
	"time"

	"github.com/oomlab/oomlab/harness/chaos"
	"github.com/oomlab/oomlab/harness/lab"
)

func TestChaosText(t *testing.T) {
	got := chaosText(lab.ChaosSummary{
		Kernel: "6.12.1", Seed: 7, Domain: chaos.Nested, Seconds: 90,
		Tally: chaos.Tally{Scenarios: 80, Kills: 200, Global: 3, Unsure: 4, Whether: 1, Wrong: 1, Scores: 900, ScoresWrong: 2, Disagreements: 1, Refused: 5,
			Claims: map[string]int{"prediction.killed": 1, "killed": 1}},
		Findings: []lab.ChaosFinding{{Verdict: "fail", Scenario: "runs/chaos-7/x/scenario.yaml", Reason: "killed: expected a; observed b"}},
	})
	want := `kernel 6.12.1, seed 7, domain nested: 80 scenarios in 1.5 min
  kills       200 (133 a minute), 3 of them machine-wide
  wrong       1 (0.50 %), 1 disagreement
  unsure      4 (2.00 %): of 3 the victim, of 1 whether they happen
  replayed    898 of 900 scores to the page
  collateral  0
  broken      0, refused 5
  claims that failed: killed 1, prediction.killed 1
  fail        runs/chaos-7/x/scenario.yaml
              killed: expected a; observed b
`
	if got != want {
		t.Errorf("printed\n%s; want\n%s", got, want)
	}
}

func TestChaosProgressSaysWhatIsLeft(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flags chaosFlags
		want  string
	}{
		{"scenarios", chaosFlags{count: 100}, "25 scenarios, 60 kills, 120 a minute, 1 disagreement, 1m30s to go"},
		{"whatever is first", chaosFlags{count: 100, kills: 120, duration: time.Hour}, "25 scenarios, 60 kills, 120 a minute, 1 disagreement, 30s to go"},
		{"time", chaosFlags{duration: time.Minute}, "25 scenarios, 60 kills, 120 a minute, 1 disagreement, 30s to go"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := chaosProgress{flags: tt.flags, done: 25, tally: chaos.Tally{Kills: 60, Disagreements: 1}}
			if got := p.line(30 * time.Second); got != tt.want {
				t.Errorf("said %q; want %q", got, tt.want)
			}
		})
	}
}
