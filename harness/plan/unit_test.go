package plan_test

import (
	"slices"
	"testing"

	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/scenario"
)

// TestUnitFilesSayWhatTheScenarioSays, in the words of systemd.
func TestUnitFilesSayWhatTheScenarioSays(t *testing.T) {
	s, err := scenario.Parse("u.yaml", []byte(`apiVersion: oomlab/v1alpha1
kind: Scenario
summary: Web dies.
needs: {userland: debian}
units:
  web:
    MemoryMax: 64Mi
    MemoryHigh: max
    Restart: always
    StartLimitBurst: 2
    drop-ins: {10-oom.conf: {OOMScoreAdjust: -500}}
    do: [{touch: 128Mi}, hold]
expect: {killed: [web, web]}
`))
	if err != nil {
		t.Fatal(err)
	}
	m := machine()
	place := plan.Place{Target: scenario.VM, Machine: m}
	l, err := plan.LayOut(s, place, nil)
	if err != nil {
		t.Fatal(err)
	}
	if needs := l.Unmet(); !slices.ContainsFunc(needs, func(n plan.Need) bool {
		return n.What == "a userland with systemd for units"
	}) {
		t.Errorf("a machine without a userland lacks %v", needs)
	}
	p, err := l.Make("1-ab-c")
	if err != nil {
		t.Fatal(err)
	}
	want := []plan.UnitFile{
		{Path: "web.service", Text: "[Service]\nMemoryMax=67108864\nMemoryHigh=infinity\nRestart=always\n" +
			"[Unit]\nStartLimitBurst=2\n"},
		{Path: "web.service.d/10-oom.conf", Text: "[Service]\nOOMScoreAdjust=-500\n"},
	}
	if u := p.Units[0]; !slices.Equal(u.Files, want) || u.OOMPolicy != "stop" || u.Starts != 2 {
		t.Errorf("unit %+v", u)
	}
	if p.Base != "oomlab-1_ab_c.slice" || plan.BaseOf(plan.RunOf(p.Base), true) != p.Base {
		t.Errorf("base %s, which is of run %s", p.Base, plan.RunOf(p.Base))
	}
	if got := p.Lasting(); len(got) != 0 {
		t.Errorf("%v last, though web is started again", got)
	}
	if u, ok := p.Unit("web"); !ok || u.Service != "web.service" {
		t.Errorf("web is in %+v", u)
	}
	r, _ := plan.Rehearsal(p, m)
	if len(r.Processes) > 0 || len(r.Units) > 0 {
		t.Errorf("a stressor is rehearsed: %+v", r)
	}
}
