package explain_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/explain"
)

// TestRace: the second of two kills on four processors came while the first victim was
// leaving. The same report alone, or long after, is none.
func TestRace(t *testing.T) {
	log := recorded(t, "6.12/processors-bystander-dies-beside-the-victim")
	all := explained(t, log, explain.Options{})
	if len(all) != 2 {
		t.Fatalf("%d reports, want 2", len(all))
	}
	if all[0].Race != nil {
		t.Errorf("the first kill is a race with %+v", all[0].Race.Victims)
	}
	second := all[1]
	if second.Race == nil || len(second.Race.Victims) != 1 || second.Race.Victims[0].Comm != "big" {
		t.Fatalf("the second kill: race %+v, want one with big", second.Race)
	}
	if !strings.Contains(second.Why, "still leaving") {
		t.Errorf("it is not said: %s", second.Why)
	}
	first, rest := apart(t, log, second.At)
	if got := explained(t, rest, explain.Options{}); got[0].Race != nil {
		t.Errorf("alone: %+v", got[0].Race)
	}
	late := regexp.MustCompile(`(?m)^\[ *(\d+)`).ReplaceAllString(rest, "[9$1")
	if got := explained(t, first+late, explain.Options{}); len(got) != 2 || got[1].Race != nil {
		t.Errorf("much later: %+v", got)
	}
}

// apart cuts a log in two before the line of a time.
func apart(t *testing.T, log, at string) (before, after string) {
	t.Helper()
	i := strings.Index(log, at)
	if i < 0 {
		t.Fatalf("the log has no line of %s", at)
	}
	i = strings.LastIndex(log[:i], "\n") + 1
	return log[:i], log[i:]
}
