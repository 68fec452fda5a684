package scenario_test

import (
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/scenario"
)

// TestDescendants: names of what programs start are read, and refused where nobody can
// know them.
func TestDescendants(t *testing.T) {
	const head = `apiVersion: oomlab/v1alpha1
kind: Scenario
summary: x
cgroups:
  /lab: {memory.max: 64Mi, memory.swap.max: 0}
processes:
  hog: {cgroup: /lab, do: [{touch: 128Mi}, hold]}
  db: {cgroup: /lab, command: [postgres]}
  web: {cgroup: /lab, copies: 2, command: [nginx]}
`
	for _, tt := range []struct{ name, rest, want string }{
		{"all, by number, by name", `expect:
  killed: {from: [db/*, db/2, "db:postgres: writer"], count: 1}
  trigger: [db/*, hog]
  survives: [web/2/1, "web:nginx", web/*]
  exit: {db/3: SIGKILL}`, ""},
		{"of a copy, and the copy", `expect: {killed: [web/1/*, web/2]}`, ""},
		{"more than the plan has", `expect: {killed: {from: [db/*], count: 7}}`, ""},
		{"everybody, and any number", `expect: {killed: {from: [hog, db, db/*, web, web/*], count: ">= 0"}}`,
			"cannot fail"},
		{"some of all that may be", `expect: {killed: {from: [hog, db, db/*, web], count: ">= 0"}}`, ""},
		{"no number", `expect: {killed: [db/0]}`, `"db/0" names none that db starts`},
		{"no name", `expect: {killed: ["db:"]}`, `"db:" names none that db starts`},
		{"of a stressor", `expect: {killed: [hog/*]}`, `process "hog" has no copy "*"`},
		{"of nobody", `expect: {killed: [bd/*]}`, `no process "bd/*"`},
		{"in time", "during: [{signal: {db/1: SIGTERM}}]\nexpect: {killed: []}", "only killed, survives, trigger and exit"},
		{"slowed", `expect: {killed: [], throttled: [db/1]}`, "only killed, survives, trigger and exit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := scenario.Parse("x", []byte(head+tt.rest+"\n"))
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v, want %q", err, tt.want)
			case err == nil && !s.NamesDescendants():
				t.Error("it is not said to name what programs start")
			}
		})
	}
}
