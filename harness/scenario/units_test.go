package scenario

import (
	"reflect"
	"strings"
	"testing"
)

const unitHead = `apiVersion: oomlab/v1alpha1
kind: Scenario
summary: Web dies.
needs: {userland: debian}
`

const unitTail = `
expect: {killed: [web]}
`

// TestAUnitHasACgroupAndAProcess of its own, which the file does not name.
func TestAUnitHasACgroupAndAProcess(t *testing.T) {
	s, err := Parse("u.yaml", []byte(unitHead+`
units:
  web:
    MemoryMax: 64Mi
    OOMPolicy: kill
    Restart: always
    OOMScoreAdjust: 100
    drop-ins: {20-b.conf: {OOMScoreAdjust: -500}, 10-a.conf: {OOMScoreAdjust: 7, MemorySwapMax: 0}}
    do: [{touch: 128Mi}, hold]
expect: {killed: [web, web, web, web, web]}
`))
	if err != nil {
		t.Fatal(err)
	}
	p, c := s.Processes[0], s.Cgroups[0]
	if p.Name != "web" || p.Unit != "web" || p.Cgroup != "/web.service" || p.OOMScoreAdj != -500 || p.Respawn != 4 {
		t.Errorf("the main process is %+v", p)
	}
	if c.Path != "/web.service" || *c.MemoryMax != 64<<20 || *c.MemorySwapMax != 0 || *c.MemoryOOMGroup != 1 ||
		!c.Transient {
		t.Errorf("the cgroup is %+v", c)
	}
	text, err := Format(s)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("u.yaml", text)
	if err != nil || !reflect.DeepEqual(s, again) {
		t.Errorf("written and read again it is another scenario, %v:\n%s", err, text)
	}
}

func TestProblemsOfUnits(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"without a userland", strings.Replace(unitHead, "needs: {userland: debian}\n", "", 1) +
			"units: {web: {MemoryMax: 64Mi, do: [hold]}}" + unitTail,
			"4:1: units: units are services of systemd, which a userland has"},
		{"an unknown setting", unitHead + "units: {web: {MemoryMaxx: 64Mi, do: [hold]}}" + unitTail,
			`unknown field "MemoryMaxx"`},
		{"a name that systemd would not take", unitHead + "units: {we b: {do: [hold]}}" + unitTail,
			`"we b" is not a name for a process`},
		{"the suffix", unitHead + "units: {web.service: {do: [hold]}}" + unitTail,
			`"web.service" is not a name for a unit`},
		{"another policy", unitHead + "units: {web: {OOMPolicy: ignore, do: [hold]}}" + unitTail,
			`OOMPolicy: "ignore" is not a value of OOMPolicy=`},
		{"another restart", unitHead + "units: {web: {Restart: sometimes, do: [hold]}}" + unitTail,
			`Restart: "sometimes" is not a value of Restart=`},
		{"a drop-in that systemd does not read", unitHead +
			"units: {web: {drop-ins: {oom: {OOMScoreAdjust: 5}}, do: [hold]}}" + unitTail,
			`"oom" is not a name for a drop-in`},
		{"a drop-in that sets nothing", unitHead + "units: {web: {drop-ins: {a.conf: {}}, do: [hold]}}" + unitTail,
			"sets nothing"},
		{"an adjustment out of range", unitHead + "units: {web: {OOMScoreAdjust: 1001, do: [hold]}}" + unitTail,
			"1001 is not an oom_score_adj"},
		{"no room for systemd", unitHead + "units: {web: {MemoryMax: 1Mi, do: [hold]}}" + unitTail,
			"1Mi are too little for systemd"},
		{"nothing to do", unitHead + "units: {web: {MemoryMax: 64Mi}}" + unitTail, "web: has nothing to do"},
		{"a fork", unitHead + "units: {web: {do: [{fork: kid}, hold]}}\nprocesses: {kid: {parent: web, do: [hold]}}" +
			unitTail, "the stressor of a unit does not fork"},
		{"an exit that is no end", unitHead + "units: {web: {Restart: always, do: [{exit: 0}]}}" + unitTail,
			"does not exit by itself"},
		{"a process of that name", unitHead + "units: {web: {do: [hold]}}\nprocesses: {web: {do: [hold]}}" + unitTail,
			`"web" is a process, too`},
		{"a process in its cgroup", unitHead + "units: {web: {do: [hold]}}\n" +
			"processes: {x: {cgroup: /web.service, do: [hold]}}" + unitTail, "which only systemd puts processes into"},
		{"its cgroup", unitHead + "cgroups: {/web.service: {}}\nunits: {web: {do: [hold]}}" + unitTail,
			"cgroup /web.service is made by systemd"},
		{"a claim about another unit", unitHead + "units: {web: {do: [hold]}}\n" +
			"expect: {killed: [], units: {wb: {Result: success}}}", `no unit "wb"`},
		{"a claim that is never shown", unitHead + "units: {web: {do: [hold]}}\n" +
			"expect: {killed: [], units: {web: {Result: oomkilled}}}", `Result is never "oomkilled"`},
		{"another property", unitHead + "units: {web: {do: [hold]}}\n" +
			"expect: {killed: [], units: {web: {Results: success}}}", `no property that is claimed is called "Results"`},
		{"a claim that cannot fail", unitHead + "units: {web: {do: [hold]}}\n" +
			`expect: {killed: [], units: {web: {NRestarts: ">= 0"}}}`, "it cannot fail"},
		{"a claim about nothing", unitHead + "units: {web: {do: [hold]}}\n" +
			"expect: {killed: [], units: {web: {}}}", "claims nothing"},
		{"counters that do not last", unitHead + "units: {web: {Restart: always, MemoryMax: 64Mi, do: [hold]}}\n" +
			"expect: {killed: [], memory.events: {/web.service: {oom_kill: 1}}}", "begin anew with each start"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("u.yaml", []byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want %q", err, tt.want)
			}
		})
	}
}

func TestOppositesOfPropertiesDoNotHold(t *testing.T) {
	for name, shown := range map[string]string{
		"Result": "oom-kill", "ExecMainCode": "2", "ExecMainStatus": "9", "NRestarts": "3", "ActiveState": "failed",
	} {
		p, ok := PropertyOf(UnitProperties, name)
		if !ok {
			t.Fatalf("%s is not claimed", name)
		}
		claims := []string{p.Reads(shown)}
		if p.Words == nil {
			claims = append(claims, ">= "+shown, "1.."+shown)
		}
		for _, claim := range claims {
			if !p.Holds(claim, shown) || p.Holds(p.Opposite(claim), shown) {
				t.Errorf("%s: %q holds %v of %q, its opposite %q %v", name, claim, p.Holds(claim, shown), shown,
					p.Opposite(claim), p.Holds(p.Opposite(claim), shown))
			}
		}
	}
}
