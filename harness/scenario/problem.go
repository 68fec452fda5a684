package scenario

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a scenario.
type Problem struct {
	File string
	Line int // 0: the scenario was not read from a file
	Col  int // 0: only the line is known
	// Path leads to the value: processes, big, do, 0.
	Path []string
	What string
	Hint string // what to do about it; may be empty
}

// String is the problem as a terminal shows it: a line that names the place
// and the value, and a line that shows the way out.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString("oomlab: ")
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			b.WriteString(":" + strconv.Itoa(p.Line))
			if p.Col > 0 {
				b.WriteString(":" + strconv.Itoa(p.Col))
			}
		}
		b.WriteString(": ")
	}
	if where := p.where(); where != "" {
		b.WriteString(where + ": ")
	}
	b.WriteString(p.What)
	if p.Hint != "" {
		b.WriteString("\noomlab: hint: " + p.Hint)
	}
	return b.String()
}

// where is the key that the value belongs to; the whole path when there is no
// line that says the rest.
func (p Problem) where() string {
	if p.Line == 0 {
		return strings.Join(p.Path, ".")
	}
	for _, key := range slices.Backward(p.Path) {
		if _, err := strconv.Atoi(key); err != nil {
			return key
		}
	}
	return ""
}

// Problems is everything that is wrong with one scenario, in the order of the
// file. It is the only error that [Parse] and [Scenario.Validate] return.
type Problems struct{ List []Problem }

func (p *Problems) Error() string {
	lines := make([]string, len(p.List))
	for i, one := range p.List {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// maxProblems bounds the report: who has a hundred problems starts with these.
const maxProblems = 50

// problems sorts, bounds and wraps; nil when there are none.
func problems(list []Problem) error {
	if len(list) == 0 {
		return nil
	}
	slices.SortStableFunc(list, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Col - b.Col
	})
	if more := len(list) - maxProblems; more > 0 {
		list = append(list[:maxProblems:maxProblems], Problem{
			File: list[0].File, What: fmt.Sprintf("%d more problems are not shown", more),
		})
	}
	return &Problems{List: list}
}

// meant is the hint for a name that is not among the known ones: the nearest
// of them if one is near, otherwise what there is.
func meant(got string, known []string) string {
	if best := Nearest(got, known); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	switch {
	case len(known) == 0:
		return ""
	case len(known) > 20:
		return fmt.Sprintf("there are %d to choose from, %s and %s among them", len(known), known[0], known[1])
	}
	return "known here: " + strings.Join(known, ", ")
}

// Nearest finds the known name with the fewest typing errors between it and
// got, or "" if none is near enough to have been meant.
func Nearest(got string, known []string) string {
	best, at := "", max(2, len(got)/3)+1
	if len(got) > 64 {
		return ""
	}
	for _, k := range known {
		if len(k) > 64 {
			continue
		}
		// a name of which less than half is right was not meant
		if d := typos(strings.ToLower(got), strings.ToLower(k)); d < at && 2*d <= max(len(got), len(k)) {
			best, at = k, d
		}
	}
	return best
}

// typos is the optimal string alignment distance: insertions, deletions,
// replacements and swaps of neighbours.
func typos(a, b string) int {
	var older []int
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
		older, prev = prev, row
	}
	return prev[len(b)]
}
