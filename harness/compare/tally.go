package compare

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Tally is what several runs of one scenario on one kernel showed of one fact.
type Tally struct {
	// Seen are the values, the most frequent first. Numbers have none.
	Seen []Seen `json:"seen,omitempty"`
	// Numbers are those that were seen, sorted.
	Numbers []float64 `json:"numbers,omitempty"`
}

// Seen is one value and how often it was seen.
type Seen struct {
	Value string `json:"value"`
	N     int    `json:"n"`
}

// N is in how many runs the fact was seen.
func (t Tally) N() int {
	n := len(t.Numbers)
	for _, s := range t.Seen {
		n += s.N
	}
	return n
}

func (t *Tally) add(f Fact) {
	if f.Number != nil {
		i, _ := slices.BinarySearch(t.Numbers, *f.Number)
		t.Numbers = slices.Insert(t.Numbers, i, *f.Number)
		return
	}
	i := slices.IndexFunc(t.Seen, func(s Seen) bool { return s.Value == f.Value })
	if i < 0 {
		t.Seen = append(t.Seen, Seen{f.Value, 1})
	} else {
		t.Seen[i].N++
	}
	slices.SortStableFunc(t.Seen, func(a, b Seen) int { return cmp.Or(b.N-a.N, strings.Compare(a.Value, b.Value)) })
}

// usual is the most frequent value, or the median of numbers, as it is shown.
func (t Tally) usual(a Aspect) string {
	if len(t.Numbers) > 0 && (len(t.Seen) == 0 || len(t.Numbers) > t.Seen[0].N) {
		return a.about().kind.write(t.Numbers[len(t.Numbers)/2])
	}
	if len(t.Seen) == 0 {
		return ""
	}
	return t.Seen[0].Value
}

// text says what was seen and, of several runs, how often.
func (t Tally) text(a Aspect) string {
	n := t.N()
	k := a.about().kind
	var out []string
	if m := len(t.Numbers); m > 0 {
		text := k.write(t.Numbers[0])
		if lo, hi := t.Numbers[0], t.Numbers[m-1]; lo != hi {
			text = k.write(lo) + " to " + k.write(hi)
		}
		if m < n {
			text += fmt.Sprintf(" (%d of %d)", m, n)
		}
		out = append(out, text)
	}
	for _, s := range t.Seen {
		text := strings.ReplaceAll(s.Value, between, ", ")
		if s.N < n {
			text += fmt.Sprintf(" (%d of %d)", s.N, n)
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// sameEveryTime reports whether all runs agree, as far as noise lets them.
func (t Tally) sameEveryTime(a Aspect) bool {
	if len(t.Seen)+min(1, len(t.Numbers)) > 1 {
		return false
	}
	if n := len(t.Numbers); n > 1 {
		return !apart(a, t.Numbers[:1], t.Numbers[n-1:])
	}
	return true
}

// differs reports whether two tallies show two behaviours, and not one and its
// noise.
func differs(a Aspect, t, u Tally) bool {
	if t.N() == 0 || u.N() == 0 {
		return false // one of them says nothing
	}
	if a == Time && (t.N() < 3 || u.N() < 3) {
		return false // one run's time says nothing of the kernel
	}
	shares := map[string]float64{}
	add := func(t Tally, sign float64) {
		for _, s := range t.Seen {
			shares[s.Value] += sign * float64(s.N) / float64(t.N())
		}
		shares["\x00number"] += sign * float64(len(t.Numbers)) / float64(t.N())
	}
	add(t, 1)
	add(u, -1)
	moved := 0.0
	for _, s := range shares {
		moved += max(0, s)
	}
	if moved > 0.5 {
		return true
	}
	return len(t.Numbers) > 0 && len(u.Numbers) > 0 && apart(a, t.Numbers, u.Numbers)
}

// apart reports whether the ranges of two sorted lists of numbers lie further
// from each other than noise explains.
func apart(a Aspect, x, y []float64) bool {
	x0, x1, y0, y1 := x[0], x[len(x)-1], y[0], y[len(y)-1]
	gap := max(y0-x1, x0-y1)
	about := a.about()
	return gap > max(about.slack, about.part*max(abs(x1), abs(y1)))
}

func abs(x float64) float64 { return max(x, -x) }
