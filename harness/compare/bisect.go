package compare

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

// ErrBackwards is wrapped by the error for a range whose first kernel is newer
// than its last.
var ErrBackwards = errors.New("the first kernel is newer than the last")

// rangeSpec is two versions with two dots between them.
var rangeSpec = regexp.MustCompile(`^(v?\d+\.\d+(?:\.\d+)?)\.\.(v?\d+\.\d+(?:\.\d+)?)(/[a-z0-9-]+)?$`)

// Expand makes single kernels of a range such as 6.12..7.3: its ends as they are
// written, and the series between them among the known versions. Anything else
// is no range and stays as it is.
func Expand(spec string, known []kernel.Version) ([]string, error) {
	m := rangeSpec.FindStringSubmatch(spec)
	if m == nil {
		return []string{spec}, nil
	}
	from, err := kernel.ParseVersion(m[1])
	if err != nil {
		return nil, err
	}
	to, err := kernel.ParseVersion(m[2])
	if err != nil {
		return nil, err
	}
	if from.Compare(to) > 0 {
		return nil, fmt.Errorf("%s: %w", spec, ErrBackwards)
	}
	out := []string{m[1] + m[3]}
	for _, v := range inBetween(known, from, to) {
		out = append(out, v.Series()+m[3])
	}
	return append(out, m[2]+m[3]), nil
}

// flavourOf is what stands behind the version of a column's kernel, "/arm64", or nothing.
func flavourOf(column string) string {
	if i := strings.IndexByte(column, '/'); i >= 0 {
		return column[i:]
	}
	return ""
}

// inBetween are the known kernels that are newer than one and older than the
// other, without the series of these two: one of each series, oldest first.
func inBetween(known []kernel.Version, from, to kernel.Version) []kernel.Version {
	var out []kernel.Version
	for _, v := range known {
		if v.Compare(from) > 0 && v.Compare(to) < 0 && v.Series() != from.Series() && v.Series() != to.Series() &&
			!slices.ContainsFunc(out, func(o kernel.Version) bool { return o.Series() == v.Series() }) {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, kernel.Version.Compare)
	return out
}

// Middle is the series to run next to narrow differences down: the middle one of
// those known kernels that lie between two columns that differ, without those
// that were tried. scenarios are the ones that differ there. It is empty when no
// known kernel lies between two that differ. Aspects that are not checked against
// a baseline are not narrowed down.
func (m *Matrix) Middle(known []kernel.Version, tried map[string]bool) (series string, scenarios []string) {
	for _, d := range m.Differences() {
		if !d.Aspect.gated() {
			continue
		}
		from, ok := m.version(d.After)
		to, ok2 := m.version(d.Since)
		build := flavourOf(d.Since)
		if !ok || !ok2 || flavourOf(d.After) != build {
			continue // the machine's own, a file, runs under a name, or another processor
		}
		untried := slices.DeleteFunc(inBetween(known, from, to),
			func(v kernel.Version) bool { return tried[v.Series()+build] })
		if len(untried) == 0 {
			continue
		}
		middle := untried[len(untried)/2].Series() + build
		if series != "" && middle != series {
			continue
		}
		series = middle
		for _, c := range d.Changes {
			if !slices.Contains(scenarios, c.Scenario) {
				scenarios = append(scenarios, c.Scenario)
			}
		}
	}
	return series, scenarios
}

// ColumnNames names kernels by their series, and by their release where two are
// of one series.
func ColumnNames(releases []string) []string {
	series := func(release string) string {
		v, err := kernel.ParseVersion(release)
		if err != nil {
			return release
		}
		return v.Series()
	}
	out := make([]string, len(releases))
	for i, release := range releases {
		out[i] = series(release)
		for j, other := range releases {
			if i != j && series(other) == out[i] {
				out[i] = release
				break
			}
		}
		if out[i] == "" {
			out[i] = "no kernel" // a run that was skipped before a machine was there
		}
	}
	return out
}
