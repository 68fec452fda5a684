package verdict_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/verdict"
)

// TestALogWhoseClockIsAhead: as far as the machine says so, and no further.
func TestALogWhoseClockIsAhead(t *testing.T) {
	const ahead = 1_700_000_000
	for _, name := range []string{"6.12/processors-bystander-dies-beside-the-victim", "7.3/memcg-adj-outweighs-size"} {
		in, ok := recordings(t)[name]
		if !ok {
			t.Fatalf("there is no recording %s", name)
		}
		in.Events = slices.Clone(in.Events)
		for i, e := range in.Events {
			if e.Source != evidence.Kmsg || e.Log == nil {
				continue
			}
			log := *e.Log
			log.USec += ahead / 1000
			in.Events[i].AtNS, in.Events[i].Log = e.AtNS+ahead, &log
		}
		for said, want := range map[int64]verdict.Verdict{
			ahead: verdict.Pass, 0: verdict.Broken, -ahead: verdict.Broken,
		} {
			in.Machine.LogAheadNS = said
			r := verdict.Judge(in)
			if r.Verdict != want || want == verdict.Broken && !strings.Contains(r.Reason, "time-differs") {
				t.Errorf("%s, said to be ahead by %d ns: %s: %s", name, said, r.Verdict, r.Reason)
			}
		}
	}
}
