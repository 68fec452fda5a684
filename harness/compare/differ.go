package compare

import (
	"cmp"
	"slices"
	"strings"
)

// Change is one fact of one scenario that differs between two kernels.
type Change struct {
	Scenario string `json:"scenario"`
	Subject  string `json:"subject,omitempty"`
	From     string `json:"from"`
	To       string `json:"to"`
	// Short is what became of it in one expression: "+a -b" of a set, "x -> y"
	// of anything else.
	Short string `json:"change"`
	// FromRuns and ToRuns are how many runs it rests on.
	FromRuns int `json:"from_runs"`
	ToRuns   int `json:"to_runs"`
}

// Difference is what differs in one aspect between one kernel and the one
// before it, in all scenarios that show it.
type Difference struct {
	Aspect Aspect `json:"aspect"`
	What   string `json:"what"`
	// Since is the first kernel that shows it, After the last one that does
	// not. Other kernels may lie between the two; see oomlab compare --bisect.
	Since   string   `json:"since"`
	After   string   `json:"after"`
	Changes []Change `json:"changes"`
}

// Noise is a fact that was not the same in all runs of one cell.
type Noise struct {
	Scenario string `json:"scenario"`
	Column   string `json:"column"`
	Key
	Seen string `json:"seen"`
}

// Differences are what differs from column to column, by kernel and then by
// aspect. A cell that says nothing of a fact, because the run was skipped or has
// no verdict, is passed over: the next one that does is compared with the last.
func (m *Matrix) Differences() []Difference {
	var out []Difference
	for i, row := range m.Cells {
		for _, key := range keys(row) {
			// Amounts are held against those of the cell where they began to be as
			// they are, so that small steps add up; anything else against the cell
			// before.
			last, began := -1, -1
			for j, cell := range row {
				t := cell.Get(key)
				if t.N() == 0 {
					continue
				}
				if last < 0 {
					last, began = j, j
					continue
				}
				if before := row[began].Get(key); differs(key.Aspect, before, t) {
					if !implied(key, row[last], cell) {
						out = file(out, m, key.Aspect, last, j, change(m.Scenarios[i], key, before, t))
					}
					began = j
				} else if k := key.Aspect.about().kind; k != pages && k != millis {
					began = j
				}
				last = j
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(m.index(a.Since), m.index(b.Since)), cmp.Compare(m.index(a.After), m.index(b.After)),
			cmp.Compare(a.Aspect.rank(), b.Aspect.rank()))
	})
	return out
}

// implied reports whether a difference only follows from another that is shown
// anyway: when other processes die, they do so in another order.
func implied(key Key, before, after Cell) bool {
	if key.Aspect != Order && key.Aspect != Logged {
		return false
	}
	k := Key{Victims, ""}
	return differs(Victims, before.Get(k), after.Get(k))
}

func change(scenario string, key Key, from, to Tally) Change {
	c := Change{Scenario: scenario, Subject: key.Subject, From: from.text(key.Aspect), To: to.text(key.Aspect),
		FromRuns: from.N(), ToRuns: to.N()}
	c.Short = cmp.Or(c.From, "nothing") + " -> " + cmp.Or(c.To, "nothing")
	if len(from.Seen) == 1 && len(to.Seen) == 1 {
		switch key.Aspect.about().kind {
		case set:
			c.Short = delta(from.Seen[0].Value, to.Seen[0].Value)
		case line:
			c.Short = part(from.Seen[0].Value, to.Seen[0].Value)
		}
	}
	return c
}

// file adds a change to the difference that it belongs to.
func file(all []Difference, m *Matrix, a Aspect, after, since int, c Change) []Difference {
	from, to := m.Columns[after].Name, m.Columns[since].Name
	i := slices.IndexFunc(all, func(d Difference) bool { return d.Aspect == a && d.After == from && d.Since == to })
	if i < 0 {
		i = len(all)
		all = append(all, Difference{Aspect: a, What: a.What(), Since: to, After: from})
	}
	all[i].Changes = append(all[i].Changes, c)
	return all
}

func (m *Matrix) index(column string) int {
	return slices.IndexFunc(m.Columns, func(c Column) bool { return c.Name == column })
}

// Noise are the facts that were not the same every time on one kernel.
func (m *Matrix) Noise() []Noise {
	var out []Noise
	for i, row := range m.Cells {
		for j, cell := range row {
			for _, f := range cell.Facts {
				if f.Aspect != Time && !f.sameEveryTime(f.Aspect) {
					out = append(out, Noise{m.Scenarios[i], m.Columns[j].Name, f.Key, f.text(f.Aspect)})
				}
			}
		}
	}
	return out
}

// shown are the facts of which a cell's [Summary] tells.
var shown = []Aspect{Verdict, Panicked, Victims, Order, Points, HostPoints}

// Differing reports whether what a cell's summary tells differs from the last
// cell before it that has runs.
func (m *Matrix) Differing(scenario, column int) bool {
	for last := column - 1; last >= 0; last-- {
		before, cell := m.Cells[scenario][last], m.Cells[scenario][column]
		if before.Runs == 0 || cell.Runs == 0 {
			continue
		}
		for _, key := range keys([]Cell{before, cell}) {
			if slices.Contains(shown, key.Aspect) && differs(key.Aspect, before.Get(key), cell.Get(key)) {
				return true
			}
		}
		return false
	}
	return false
}

// Group is the changes of a difference that say the same of several scenarios.
type Group struct {
	Subject   string
	Short     string
	Scenarios []string
}

// Groups puts the changes of a difference together, the most frequent first.
// Names that runs give to cgroups and processes are subjects, so they stay apart.
func (d Difference) Groups() []Group {
	var out []Group
	for _, c := range d.Changes {
		i := slices.IndexFunc(out, func(g Group) bool { return g.Subject == c.Subject && g.Short == c.Short })
		if i < 0 {
			i = len(out)
			out = append(out, Group{Subject: c.Subject, Short: c.Short})
		}
		if !slices.Contains(out[i].Scenarios, c.Scenario) {
			out[i].Scenarios = append(out[i].Scenarios, c.Scenario)
		}
	}
	slices.SortStableFunc(out, func(a, b Group) int {
		return cmp.Or(len(b.Scenarios)-len(a.Scenarios), strings.Compare(a.Subject, b.Subject))
	})
	return out
}
