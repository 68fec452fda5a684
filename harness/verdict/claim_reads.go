package verdict

import (
	"fmt"
	"strconv"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
)

func init() {
	of := func(e *scenario.Expect) *byName { return &e.Reads }
	addClaim(claimKind{
		place: 88, key: "reads",
		judge: func(a *account, e scenario.Expect) []Claim { return eachOfEach(e.Reads, a.readClaim) },
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			return invertEachOfEach(e, of, func(string) bool { return true })
		},
	})
	addClaim(claimKind{place: 217, judge: func(a *account, _ scenario.Expect) []Claim {
		return a.predictedReads(a.in.Prediction)
	}})
}

// readClaim judges what was read of the last life of each process that a name stands for.
func (a *account) readClaim(name, file string, want scenario.Num) Claim {
	observed, ok := a.everyLast(name, func(l *life) (string, bool) {
		if l.read == nil {
			return l.process + " was not read", false
		}
		n, known := l.read.Value(file)
		return strconv.Itoa(n), known && want.Holds(int64(n))
	})
	return claim("reads "+name+" "+file, want.Text, observed, ok, evidence.Agent)
}

// reads are what /proc said of the last life of each process, by process; nil: nothing.
func (a *account) reads() map[string]evidence.ProcValues {
	var out map[string]evidence.ProcValues
	for _, l := range a.lives {
		if l.read != nil {
			if out == nil {
				out = map[string]evidence.ProcValues{}
			}
			out[l.process] = *l.read
		}
	}
	return out
}

// predictedReads: every life of a process was read as predicted.
func (a *account) predictedReads(p predict.Prediction) []Claim {
	if len(p.Reads) == 0 {
		return nil
	}
	n := 0
	var wrong []string
	for _, l := range a.lives {
		want, told := p.Reads[l.process]
		if !told || l.read == nil {
			continue
		}
		n++
		got := *l.read
		switch {
		case got.OOMScoreAdj != want.OOMScoreAdj || got.OOMAdj != want.OOMAdj:
			wrong = append(wrong, fmt.Sprintf("%s has oom_score_adj %d and oom_adj %d, predicted %d and %d", l.process,
				got.OOMScoreAdj, got.OOMAdj, want.OOMScoreAdj, want.OOMAdj))
		case got.OOMScore < want.OOMScoreLeast || got.OOMScore > want.OOMScoreMost:
			wrong = append(wrong, fmt.Sprintf("%s has oom_score %d, predicted %d to %d", l.process, got.OOMScore,
				want.OOMScoreLeast, want.OOMScoreMost))
		}
	}
	return []Claim{every("prediction.reads", "what /proc says when they are ready", n, wrong, evidence.Agent)}
}
