package verdict

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/predict"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/stressor/profile"
)

func init() {
	addClaim(claimKind{
		place: 85, key: "fails",
		judge: func(a *account, e scenario.Expect) []Claim {
			return each(e.Fails, func(name, want string) Claim {
				observed, ok := a.everyLast(name, func(l *life) (string, bool) {
					f := a.failure(l)
					switch {
					case f == nil && l.exit == nil:
						return l.process + " did not end", false
					case f == nil:
						return l.process + " ended with " + status(*l.exit), false
					}
					return f.String(), f.Errno == want && l.exit != nil && l.exit.Code == profile.ExitFailed
				})
				return claim("fails "+name, want, observed, ok, a.refusalSources(name)...)
			})
		},
		invert: func(in Input, e scenario.Expect) []scenario.Expect {
			out := invertEach(e, func(e *scenario.Expect) *map[string]string { return &e.Fails },
				func(string, string) []string { return []string{"no errno"} })
			return append(out, with(len(e.Fails) > 0, e, func(c *scenario.Expect) {
				c.Fails = map[string]string{}
				for _, name := range otherThan(in, sortedKeys(e.Fails)) {
					c.Fails[name] = profile.ENOMEM
				}
			})...)
		},
	})
	addClaim(claimKind{place: 215, whole: true, judge: func(a *account, _ scenario.Expect) []Claim {
		return a.predictedFails(a.in.Prediction)
	}})
}

// Failure is how a process ended that the kernel refused memory.
type Failure struct {
	Errno string       `json:"errno"`
	Step  int          `json:"step"` // the first is 1
	Op    profile.Op   `json:"op"`
	Held  kernel.Bytes `json:"held"` // what its steps had taken by then
	AtMS  int64        `json:"at_ms"`
}

func (f *Failure) String() string {
	return fmt.Sprintf("%s at step %d (%s) with %s held", f.Errno, f.Step, f.Op, f.Held)
}

// failure is how the kernel refused a process memory; nil: it did not.
func (a *account) failure(l *life) *Failure {
	if l.failed == nil || l.failed.Call == nil {
		return nil
	}
	f := &Failure{Errno: l.failed.Call.Errno, Step: l.failed.Call.Step + 1, AtMS: a.ms(l.failed.AtNS)}
	if steps := l.plan.Profile.Steps; f.Step > 0 && f.Step <= len(steps) {
		f.Op = steps[f.Step-1].Op
	}
	if l.failed.Held != nil {
		f.Held = l.failed.Held.Told
	}
	return f
}

// refusalSources are who tells that a process was refused memory.
func (a *account) refusalSources(name string) []evidence.Source {
	out := []evidence.Source{evidence.Stressor, evidence.Wait}
	for _, l := range a.last(name) {
		want := a.printedRefusal(l)
		said := func(e evidence.Event) bool { return e.Log.Text == want }
		if want != "" && slices.ContainsFunc(a.kmsg().heard, said) {
			return append(out, evidence.Kmsg)
		}
	}
	return out
}

// failures are those that the kernel refused memory, by process; nil: none.
func (a *account) failures() map[string]Failure {
	var out map[string]Failure
	for _, l := range a.lives {
		if f := a.failure(l); f != nil {
			if out == nil {
				out = map[string]Failure{}
			}
			out[l.process] = *f
		}
	}
	return out
}

// predictedFails: those are refused memory of whom it was predicted, and nobody else.
// Where nobody was and nobody could be, there is no such claim.
func (a *account) predictedFails(p predict.Prediction) []Claim {
	seen := a.failures()
	if len(seen) == 0 && len(p.Fails) == 0 && len(p.MayFail) == 0 {
		return nil
	}
	var wrong []string
	for name, f := range p.Fails {
		got, failed := seen[name]
		held := got.Held.Pages(a.pageSize())
		switch sure := p.Ends[name].Sure; {
		case !failed && sure:
			wrong = append(wrong, name+" was refused nothing")
		case failed && sure && (held < f.Held.Lo || held > f.Held.Hi):
			wrong = append(wrong, fmt.Sprintf("%s held %d pages by then, predicted %d to %d", name, held, f.Held.Lo,
				f.Held.Hi))
		}
	}
	for name, f := range seen {
		if _, ok := p.Fails[name]; !ok && !slices.Contains(p.MayFail, name) {
			wrong = append(wrong, fmt.Sprintf("%s: %s", name, &f))
		}
	}
	for _, name := range p.Doomed {
		if _, failed := seen[name]; !failed && !slices.Contains(a.victims(), name) {
			wrong = append(wrong, name+" was neither killed nor refused memory")
		}
	}
	slices.Sort(wrong)
	observed := list(slices.Sorted(maps.Keys(seen)))
	if len(wrong) > 0 {
		observed = more(wrong[0], len(wrong)-1)
	}
	return []Claim{claim("prediction.fails", fails(p), observed, len(wrong) == 0, evidence.Stressor, evidence.Wait)}
}

// fails says whom a prediction has refused memory.
func fails(p predict.Prediction) string {
	var perhaps []string
	for _, name := range p.MayFail {
		if _, likely := p.Fails[name]; !likely {
			perhaps = append(perhaps, name)
		}
	}
	text := list(slices.Sorted(maps.Keys(p.Fails)))
	if len(p.MayFail) > 0 && len(perhaps) < len(p.MayFail) {
		text += ", or not all of them"
	}
	if len(perhaps) > 0 {
		text += "; perhaps " + strings.Join(perhaps, ", ")
	}
	if len(p.Doomed) > 0 {
		text += "; if not killed before: " + strings.Join(p.Doomed, ", ")
	}
	return cmp.Or(text, "nobody")
}
