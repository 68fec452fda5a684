package chaos_test

import (
	"reflect"
	"testing"

	"github.com/oomlab/oomlab/harness/chaos"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/verdict"
)

func TestCount(t *testing.T) {
	points := func(n int64) *int64 { return &n }
	kills := func(names ...string) (out []verdict.Kill) {
		for _, n := range names {
			out = append(out, verdict.Kill{Victim: verdict.Victim{Process: n}, Constraint: "memcg"})
		}
		return out
	}
	for _, tt := range []struct {
		name string
		p    predict.Prediction
		r    verdict.Result
		want chaos.Tally
	}{
		{
			name: "as predicted",
			p:    predict.Prediction{Killed: []string{"a", "b"}, Orders: [][]string{{"a", "b"}}},
			r: verdict.Result{Verdict: verdict.Pass, Kills: kills("a", "b"),
				Scoreboard: [][]verdict.Row{{{Points: points(3), Replayed: points(3)}}}},
			want: chaos.Tally{Scenarios: 1, Kills: 2, Scores: 1},
		},
		{
			name: "another victim, and one too few",
			p:    predict.Prediction{Killed: []string{"a", "b", "c"}, Orders: [][]string{{"a", "b", "c"}}},
			r: verdict.Result{Verdict: verdict.Fail, Kills: kills("a", "x"),
				Claims: []verdict.Claim{{Name: "prediction.killed", Verdict: verdict.Fail}}},
			want: chaos.Tally{Scenarios: 1, Kills: 2, Wrong: 2, Disagreements: 1,
				Claims: map[string]int{"prediction.killed": 1}},
		},
		{
			name: "one put in between is one that is wrong",
			p:    predict.Prediction{Killed: []string{"a", "b", "c"}, Orders: [][]string{{"a", "b", "c"}}},
			r:    verdict.Result{Verdict: verdict.Fail, Kills: kills("a", "x", "b", "c")},
			want: chaos.Tally{Scenarios: 1, Kills: 4, Wrong: 1, Disagreements: 1},
		},
		{
			name: "two in the other order are two that are wrong",
			p:    predict.Prediction{Killed: []string{"a", "b"}, Orders: [][]string{{"a", "b"}}},
			r:    verdict.Result{Verdict: verdict.Fail, Kills: kills("b", "a")},
			want: chaos.Tally{Scenarios: 1, Kills: 2, Wrong: 2, Disagreements: 1},
		},
		{
			name: "open which of two first; the second follows",
			p:    predict.Prediction{Killed: []string{"a", "b"}, Orders: [][]string{{"a", "b"}, {"b", "a"}}},
			r:    verdict.Result{Verdict: verdict.Pass, Kills: kills("b", "a")},
			want: chaos.Tally{Scenarios: 1, Kills: 2, Unsure: 1},
		},
		{
			name: "open whether there is a second",
			p:    predict.Prediction{Killed: []string{"a"}, Orders: [][]string{{"a"}, {"a", "b"}}},
			r:    verdict.Result{Verdict: verdict.Pass, Kills: kills("a", "b")},
			want: chaos.Tally{Scenarios: 1, Kills: 2, Unsure: 1, Whether: 1},
		},
		{
			name: "a stranger, and a score that is not ours",
			p:    predict.Prediction{Killed: []string{"a"}, Orders: [][]string{{"a"}}},
			r: verdict.Result{Verdict: verdict.Broken, Kills: []verdict.Kill{{Constraint: "none"}},
				Scoreboard: [][]verdict.Row{{{Points: points(3), Replayed: points(4)}, {Points: points(3)}, {}}}},
			want: chaos.Tally{Scenarios: 1, Kills: 1, Global: 1, Strangers: 1, Scores: 2, ScoresWrong: 2, Broken: 1},
		},
		{
			name: "first in the ranking, second, and open",
			p:    predict.Prediction{Killed: []string{"a", "b", "c"}, Orders: [][]string{{"a", "b", "c"}}},
			r: verdict.Result{Verdict: verdict.Fail, Kills: ranked(kills("a", "b", "c"),
				verdict.Ranked{Place: 1, Of: 3}, verdict.Ranked{Place: 2, Of: 2},
				verdict.Ranked{Place: 2, Of: 2, Open: "the limit had changed since"})},
			want: chaos.Tally{Scenarios: 1, Kills: 3, Ranked: 1, RankedWrong: 1, RankedOpen: 1, Disagreements: 1},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := chaos.Count(tt.p, tt.r)
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("counted\n%+v; want\n%+v", got, tt.want)
			}
			sum := chaos.Tally{Kills: 1}
			sum.Add(got)
			if sum.Kills != tt.want.Kills+1 || !reflect.DeepEqual(sum.Claims, tt.want.Claims) {
				t.Errorf("added up %+v", sum)
			}
		})
	}
}

func ranked(kills []verdict.Kill, places ...verdict.Ranked) []verdict.Kill {
	for i := range kills {
		kills[i].Ranked = &places[i]
	}
	return kills
}
