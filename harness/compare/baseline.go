package compare

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Write saves a matrix as JSON that [Read] reads.
func (m *Matrix) Write(w io.Writer) error {
	data, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return fmt.Errorf("comparison: %w", err)
	}
	_, err = w.Write(append(data, '\n'))
	return err
}

// Read reads a matrix that was saved, as a baseline is.
func Read(r io.Reader) (*Matrix, error) {
	var m Matrix
	if err := json.NewDecoder(r).Decode(&m); err != nil {
		return nil, fmt.Errorf("not a saved comparison: %w", err)
	}
	if m.Format != Format {
		return nil, fmt.Errorf("not a saved comparison: its format is %q, and %q is wanted", m.Format, Format)
	}
	if len(m.Cells) != len(m.Scenarios) {
		return nil, fmt.Errorf("not a saved comparison: %d scenarios, %d rows", len(m.Scenarios), len(m.Cells))
	}
	for i, row := range m.Cells {
		if len(row) != len(m.Columns) {
			return nil, fmt.Errorf("not a saved comparison: %d columns, %d cells of %s", len(m.Columns), len(row),
				m.Scenarios[i])
		}
	}
	return &m, nil
}

// Drift is what changed between a baseline and new runs.
type Drift struct {
	Scenario string `json:"scenario"`
	Column   string `json:"column"`
	Against  string `json:"against"` // the baseline's column
	Aspect   Aspect `json:"aspect"`
	Change
}

// Checked is a baseline held against new runs.
type Checked struct {
	Drifts []Drift `json:"drifts"`
	// Cells is how many cells were held against each other.
	Cells int `json:"cells"`
	// Unknown are scenarios of the new runs that the baseline does not have,
	// Missing those of the baseline that were not run.
	Unknown []string `json:"unknown,omitempty"`
	Missing []string `json:"missing,omitempty"`
}

// ErrNoColumn is wrapped by the error for a baseline that lacks a column.
var ErrNoColumn = errors.New("the baseline has no column")

// Check holds new runs against a baseline. A column is held against the one of
// the same name, or against the only one that the baseline has. Times are not
// checked. The error says what cannot be compared at all.
func (m *Matrix) Check(baseline *Matrix) (Checked, error) {
	var out Checked
	against := make([]int, len(m.Columns))
	for j, c := range m.Columns {
		at := baseline.index(c.Name)
		if at < 0 && len(baseline.Columns) == 1 {
			at = 0
		}
		if at < 0 {
			var names []string
			for _, b := range baseline.Columns {
				names = append(names, b.Name)
			}
			return out, fmt.Errorf("%w %s; it has %s", ErrNoColumn, c.Name, strings.Join(names, ", "))
		}
		against[j] = at
	}
	for i, scenario := range m.Scenarios {
		at := slices.Index(baseline.Scenarios, scenario)
		if at < 0 {
			out.Unknown = append(out.Unknown, scenario)
			continue
		}
		for j, cell := range m.Cells[i] {
			was := baseline.Cells[at][against[j]]
			if cell.Runs == 0 || was.Runs == 0 {
				continue
			}
			out.Cells++
			out.Drifts = append(out.Drifts,
				drifts(scenario, m.Columns[j].Name, baseline.Columns[against[j]].Name, was, cell)...)
		}
	}
	for _, scenario := range baseline.Scenarios {
		if !slices.Contains(m.Scenarios, scenario) {
			out.Missing = append(out.Missing, scenario)
		}
	}
	if out.Cells == 0 {
		return out, fmt.Errorf("the baseline and these runs have no scenario in common")
	}
	return out, nil
}

func drifts(scenario, column, against string, was, is Cell) []Drift {
	var out []Drift
	for _, key := range keys([]Cell{was, is}) {
		if !key.Aspect.gated() || key.Aspect.rank() < 0 || implied(key, was, is) {
			continue
		}
		before, after := was.Get(key), is.Get(key)
		if differs(key.Aspect, before, after) {
			out = append(out, Drift{scenario, column, against, key.Aspect, change(scenario, key, before, after)})
		}
	}
	return out
}

// Difference is the drifts of a check in the form of differences, for showing.
func (c Checked) Differences() []Difference {
	var out []Difference
	for _, d := range c.Drifts {
		i := slices.IndexFunc(out, func(x Difference) bool {
			return x.Aspect == d.Aspect && x.Since == d.Column && x.After == d.Against
		})
		if i < 0 {
			i = len(out)
			out = append(out, Difference{Aspect: d.Aspect, What: d.Aspect.What(), Since: d.Column, After: d.Against})
		}
		out[i].Changes = append(out[i].Changes, d.Change)
	}
	slices.SortStableFunc(out, func(a, b Difference) int {
		return cmp.Or(strings.Compare(a.Since, b.Since), a.Aspect.rank()-b.Aspect.rank())
	})
	return out
}
