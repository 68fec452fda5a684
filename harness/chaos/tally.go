package chaos

import (
	"strings"

	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/verdict"
)

// Tally counts what runs have shown. The zero value has seen nothing.
type Tally struct {
	Scenarios int `json:"scenarios"` // that were carried out and judged
	Kills     int `json:"kills"`     // by the OOM killer
	Global    int `json:"global"`    // of these, machine-wide
	// Fails are the processes that the kernel refused memory.
	Fails int `json:"fails,omitempty"`
	// Unsure are the kills for which the prediction, given the kills before, had
	// more than one victim or was not sure that they happen at all.
	Unsure int `json:"unsure"`
	// Whether are those of them that were not sure to happen; of the others only
	// the victim was open.
	Whether int `json:"unsure_whether"`
	// Wrong are the kills that were not among those predicted, and the ones
	// predicted for sure that did not happen.
	Wrong int `json:"wrong"`
	// Scores counts the kernel's scores that were replayed, and ScoresWrong
	// those that did not come out the same, to the page.
	Scores      int `json:"scores"`
	ScoresWrong int `json:"scores_wrong"`
	// Ranked are the kills of the machine's memory or of a cgroup's whose victim was the first
	// of the ranking that `oomlab rank` makes, taken before; RankedWrong are those of another
	// one, and RankedOpen those where what happened in between could have changed the order.
	Ranked      int `json:"ranked,omitempty"`
	RankedWrong int `json:"ranked_wrong,omitempty"`
	RankedOpen  int `json:"ranked_open,omitempty"`
	// Strangers are victims that are not the scenario's.
	Strangers int `json:"strangers"`
	// Disagreements are scenarios with the verdict fail: any claim of the
	// model that the evidence contradicts, bounds of scores included.
	Disagreements int `json:"disagreements"`
	// Broken are scenarios whose evidence carries no judgement.
	Broken int `json:"broken"`
	// Refused are scenarios that were not carried out because the model says
	// that they might livelock the kernel: nobody is left to be killed.
	Refused int `json:"refused"`
	// Skipped are scenarios that were not carried out because the guest lacks
	// what they need: the kernel comes without the modules of a swap disk.
	Skipped int `json:"skipped,omitempty"`
	// Claims counts how often each claim of the model failed.
	Claims map[string]int `json:"claims,omitempty"`
}

// Count is what one judged scenario adds to a tally.
func Count(p predict.Prediction, r verdict.Result) Tally {
	t := Tally{Scenarios: 1, Kills: len(r.Kills), Fails: len(r.Fails)}
	var got []string
	for _, k := range r.Kills {
		got = append(got, k.Victim.Process)
		if k.Constraint == "none" {
			t.Global++
		}
		if k.Victim.Process == "" {
			t.Strangers++
		}
		switch {
		case k.Ranked == nil:
		case k.Ranked.Open != "":
			t.RankedOpen++
		case k.Ranked.Place == 1:
			t.Ranked++
		default:
			t.RankedWrong++
		}
	}
	t.Unsure, t.Whether = unsure(p, got)
	if r.Verdict != verdict.Broken { // or nobody knows who would have been killed
		t.Wrong = wrong(p, got)
	}
	for _, board := range r.Scoreboard {
		for _, row := range board {
			if row.Points == nil {
				continue
			}
			t.Scores++
			if row.Replayed == nil || *row.Replayed != *row.Points {
				t.ScoresWrong++
			}
		}
	}
	switch r.Verdict {
	case verdict.Fail:
		t.Disagreements = 1
	case verdict.Broken:
		t.Broken = 1
	}
	for _, c := range r.Claims {
		if c.Verdict == verdict.Fail {
			if t.Claims == nil {
				t.Claims = map[string]int{}
			}
			name, _, _ := strings.Cut(c.Name, " ")
			t.Claims[name]++
		}
	}
	return t
}

// unsure counts the kills that the prediction leaves open, given those before
// them: orders that have the same kills up to there go on differently. whether
// are those that one of the orders does not have at all.
func unsure(p predict.Prediction, got []string) (n, whether int) {
	if p.Open || len(p.Alike) > 0 || len(p.Parts) > 0 { // the orders are not all listed, or not by name
		return len(got), len(got)
	}
	for i := range got {
		next := map[string]bool{}
		for _, o := range p.Orders {
			if agree(o, got) < i {
				continue
			}
			if len(o) == i {
				next[""] = true // nobody
			} else {
				next[o[i]] = true
			}
		}
		if len(next) > 1 {
			n++
			if next[""] {
				whether++
			}
		}
	}
	return n, whether
}

// agree is how many kills two orders have in common from the start.
func agree(a, b []string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// wrong counts the kills that the nearest of the predicted orders does not have,
// and those that it has and that did not happen: one that was put in, left out or
// replaced counts once, wherever it stands.
func wrong(p predict.Prediction, got []string) int {
	if p.Admits(got) {
		return 0
	}
	best := len(got) + len(p.Killed)
	for _, o := range p.Orders {
		best = min(best, edits(o, p.Labelled(got)))
	}
	return best
}

// edits is the Levenshtein distance of two orders.
func edits(a, b []string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j := range b {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// Add adds up.
func (t *Tally) Add(o Tally) {
	t.Scenarios += o.Scenarios
	t.Kills += o.Kills
	t.Global += o.Global
	t.Fails += o.Fails
	t.Unsure += o.Unsure
	t.Whether += o.Whether
	t.Wrong += o.Wrong
	t.Scores += o.Scores
	t.ScoresWrong += o.ScoresWrong
	t.Ranked += o.Ranked
	t.RankedWrong += o.RankedWrong
	t.RankedOpen += o.RankedOpen
	t.Strangers += o.Strangers
	t.Disagreements += o.Disagreements
	t.Broken += o.Broken
	t.Refused += o.Refused
	t.Skipped += o.Skipped
	for name, n := range o.Claims {
		if t.Claims == nil {
			t.Claims = map[string]int{}
		}
		t.Claims[name] += n
	}
}
