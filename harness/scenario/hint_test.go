package scenario

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// TestHintsLeadSomewhere: what an error says to write is no error where it is written.
func TestHintsLeadSomewhere(t *testing.T) {
	const file = `apiVersion: oomlab/v1alpha1
kind: Scenario
summary: Hints.
because: They are followed.
needs: {memory: %[1]s}
cgroups:
  /lab:
    memory.max: %[2]s
processes:
  a: {cgroup: /lab, do: [{touch: %[3]s}, {touch: 64Mi, rate: %[4]s}, hold]}
  b: {cgroup: /lab, do: [{sleep: %[5]s}, %[6]s]}
expect:
  killed: [%[7]s]
`
	good := []any{"1Gi", "64Mi", "64Mi", "32Mi/s", "1s", "hold", "a"}
	said := regexp.MustCompile(`hint: (?:.*[;:] )?(?:write|did you mean) "?([^" ]+(?: [^" ]+)*?)"?\??$`)
	numbers := []string{"0", "5", "-5", "0.5", "1e9", "99999999999999999999", "32MB", "32 MiB", "0MB", "0MB/s",
		"32MB/s", "32Mi/sec", "0Mi", "0/s", "9999999T", "9999999TB/s", "0.0000001k",
		"-1s", "1h30", "5 s", "''", "ten", "64mi"}
	words := []string{"touch", "hld", "rate", "A", "aa", "{hold: 1}", "{touch}", "sleep", "exit"}
	followed := 0
	place := regexp.MustCompile(`x\.yaml:\d+:\d+: [^:]+`).FindString
	for n := range good {
		values := numbers
		if n > 4 {
			values = words
		}
		for _, value := range values {
			at := func(value string) string {
				all := append([]any{}, good...)
				all[n] = value
				_, err := Parse("x.yaml", fmt.Appendf(nil, file, all...))
				return fmt.Sprint(err)
			}
			before := at(value)
			m := said.FindStringSubmatch(strings.Split(before+"\n\n", "\n")[1])
			if m == nil || strings.Contains(m[0], "such as") {
				continue
			}
			followed++
			if after := at(m[1]); place(after) == place(before) && m[1] != "just hold" {
				t.Errorf("%s\nfollowed: %s", before, after)
			}
		}
	}
	if followed < 20 {
		t.Errorf("%d hints were followed", followed)
	}
}
