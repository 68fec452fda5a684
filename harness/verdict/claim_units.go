package verdict

import (
	"fmt"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
)

func init() {
	addClaim(claimKind{
		place: 93, key: "units", from: evidence.Systemd,
		judge: func(a *account, e scenario.Expect) []Claim {
			var out []Claim
			for _, unit := range sortedKeys(e.Units) {
				out = append(out, each(e.Units[unit], func(name, want string) Claim {
					return a.unitClaim(unit, name, want)
				})...)
			}
			return out
		},
		invert: func(_ Input, e scenario.Expect) []scenario.Expect {
			return invertEach(e, func(e *scenario.Expect) *map[string]map[string]string { return &e.Units },
				func(_ string, all map[string]string) []map[string]string {
					return otherProperties(scenario.UnitProperties, all)
				})
		},
	})
	addClaim(claimKind{place: 218, from: evidence.Systemd, judge: func(a *account, _ scenario.Expect) []Claim {
		return a.predictedUnits(a.in.Prediction)
	}})
}

// unitClaim judges a property of a unit.
func (a *account) unitClaim(unit, name, want string) Claim {
	observed, ok := "systemd never said anything of it", false
	p, known := scenario.PropertyOf(scenario.UnitProperties, name)
	if s := a.systemd().last(unit); s != nil && known {
		observed, ok = p.Reads(s.Shows[name]), p.Holds(want, s.Shows[name])
	}
	return claim("units "+unit+" "+name, want, observed, ok, evidence.Systemd)
}

// predictedUnits: systemd says what was predicted.
func (a *account) predictedUnits(p predict.Prediction) []Claim {
	if len(p.Units) == 0 {
		return nil
	}
	n := 0
	var wrong []string
	for _, unit := range sortedKeys(p.Units) {
		s := a.systemd().last(unit)
		if s == nil {
			continue
		}
		n++
		if differ := differing(p.Units[unit], *s); len(differ) > 0 {
			wrong = append(wrong, unit+" has "+strings.Join(differ, ", "))
		}
	}
	return []Claim{every("prediction.units", "what systemd says at the end", n, wrong, evidence.Systemd)}
}

// otherProperties turns each of some claims about properties round.
func otherProperties(known []scenario.Property, all map[string]string) []map[string]string {
	var out []map[string]string
	for _, name := range sortedKeys(all) {
		if p, ok := scenario.PropertyOf(known, name); ok {
			out = append(out, replaced(all, name, p.Opposite(all[name])))
		}
	}
	return out
}

// differing are the properties of a unit that are otherwise than due.
func differing(due map[string]string, s evidence.UnitState) []string {
	return differ(due, s.Shows, func(name, is string) string {
		p, _ := scenario.PropertyOf(scenario.UnitProperties, name)
		return p.Reads(is)
	})
}

// differ are the properties that are otherwise than due. reads is the word for what is shown.
func differ(due, shows map[string]string, reads func(name, is string) string) []string {
	var out []string
	for _, name := range sortedKeys(due) {
		if is := reads(name, shows[name]); is != due[name] {
			out = append(out, fmt.Sprintf("%s %s, not %s", name, orNone(is), due[name]))
		}
	}
	return out
}
