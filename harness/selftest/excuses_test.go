package selftest

import (
	"cmp"
	"flag"
	"strings"
	"testing"
)

var (
	mutationsFlag = flag.Int("mutations", 60,
		"mutations of each recording; 0: one of each kind of record, field and operation")
	seedFlag = flag.Uint64("seed", 1, "of the mutations")
)

// TestEveryMutationIsCaughtOrExcused: what passes has a row in the table of excuses.
func TestEveryMutationIsCaughtOrExcused(t *testing.T) {
	recordings, err := Recordings()
	if err != nil || len(recordings) == 0 {
		t.Fatalf("%d recordings, %v", len(recordings), err)
	}
	n, excuses := 0, map[string]int{}
	for _, r := range recordings {
		for _, trial := range TryMutations(r, *seedFlag, *mutationsFlag) {
			n++
			if trial.Caught {
				continue
			}
			if excuses[trial.Excused]++; trial.Excused == "" {
				t.Errorf("%s: %s: %s", r.Name, trial.What, trial.Result.Verdict)
			}
		}
	}
	t.Logf("%d mutations, of which these pass:", n)
	for reason, n := range excuses {
		t.Logf("%5d %s", n, reason)
	}
}

// TestEveryExcuseIsNeeded: of each field of each row some mutation passes that no other
// row excuses.
func TestEveryExcuseIsNeeded(t *testing.T) {
	recordings, err := Recordings()
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range recordings {
		recordings[i].docs = documents(r.Input)
	}
	for _, row := range excuses {
		t.Run(row.records, func(t *testing.T) {
			t.Parallel()
			for field := range strings.SplitSeq(row.fields, ", ") {
				if !needed(recordings, row, field) {
					t.Errorf("%s, %s: no mutation needs the excuse: %s", row.records, field, row.reason)
				}
			}
		})
	}
}

// needed tries one mutation of each kind, of each recording, and then others.
func needed(recordings []Recording, row excuse, field string) bool {
	for seed := range uint64(6) {
		if neededBy(recordings, row, field, *seedFlag+seed) {
			return true
		}
	}
	return false
}

func neededBy(recordings []Recording, row excuse, field string, seed uint64) bool {
	for _, r := range recordings {
		wanted := func(source, of, op string) bool {
			return (row.records == "" || oneOf(row.records, source)) && (row.ops == "" || oneOf(row.ops, op)) &&
				likeOne(field, cmp.Or(of, "-"))
		}
		for m := range mutations(r, seed, 0, wanted) {
			if row.covers(m, r.Input) && !try(r, m).Caught {
				return true
			}
		}
	}
	return false
}
