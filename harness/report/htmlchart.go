package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/plan"
	"github.com/oomlab/oomlab/harness/verdict"
)

// chart is memory over time, in a square of 1000 by 1000 that is stretched to
// whatever width the reader has. Texts stand beside it, so that they are not.
type chart struct {
	Label  string
	Grid   []string
	Series []series
	Limits []mark
	Kills  []mark
	X, Y   []mark
	Rows   []chartRow
}

type series struct {
	Name   string
	Colour int
	Cgroup bool
	Path   string
	Area   string // what is below the path, of a cgroup

	at []point
}

type point struct {
	ms    int64
	bytes kernel.Bytes
}

// mark is a place on the chart: At of 1000, Percent of 100.
type mark struct {
	At, Percent, Text, Side string
}

type chartRow struct {
	Time  string
	Cells []string
}

// mostSeries keeps a chart readable; the rest is in samples.jsonl.
const mostSeries = 10

// colours is how many of them page.css has.
const colourCount = 6

// draw makes the chart of a run; nil when there are no samples.
func draw(s Subject, points int) *chart {
	all := collect(s)
	if len(all) == 0 {
		return nil
	}
	limits := limitsOf(s.Input.Plan)
	var last int64
	var top kernel.Bytes
	for _, x := range all {
		for _, p := range x.at {
			last, top = max(last, p.ms), max(top, p.bytes)
		}
	}
	for _, k := range s.Result.Kills {
		last = max(last, k.AtMS)
	}
	if last <= 0 || top <= 0 {
		return nil
	}
	for _, l := range limits {
		if l.bytes <= 4*top { // one that nobody comes near would flatten the rest
			top = max(top, l.bytes)
		}
	}
	step := niceBytes(top / 4)
	top = (top + top/20 + step - 1) / step * step
	c := &chart{}
	x := func(ms int64) float64 { return float64(ms) / float64(last) * 1000 }
	y := func(b kernel.Bytes) float64 { return 1000 - float64(b)/float64(top)*1000 }
	for b := kernel.Bytes(0); b <= top; b += step {
		c.Y = append(c.Y, mark{At: number1(y(b) / 10), Text: human(b)})
		if b > 0 {
			c.Grid = append(c.Grid, number1(y(b)))
		}
	}
	for ms := int64(0); ms <= last; ms += niceMS(last / 6) {
		c.X = append(c.X, mark{At: number1(x(ms) / 10), Text: strings.Replace(seconds(ms), ".0", "", 1)})
	}
	for i := range all {
		all[i].Colour = i % colourCount
		all[i].draw(points, x, y)
	}
	c.Series = all
	for _, l := range limits {
		if l.bytes <= top {
			c.Limits = append(c.Limits, mark{At: number1(y(l.bytes)), Percent: number1(y(l.bytes) / 10),
				Text: l.name + " " + l.bytes.Human()})
		}
	}
	c.kills(s.Result, x)
	c.rows(all, last)
	c.Label = fmt.Sprintf("Memory of %d cgroups and processes over %s, on a scale up to %s; %s", len(all),
		seconds(last),
		top.Human(), plaintext.Count(len(s.Result.Kills), "kill"))
	return c
}

// collect makes a series of every cgroup and process that was sampled, the
// cgroups first, and of those that are too many the largest.
func collect(s Subject) []series {
	begin := int64(0)
	for _, e := range s.Input.Events {
		if e.Kind == evidence.Begin {
			begin = e.AtNS
			break
		}
	}
	byName := map[string]*series{}
	add := func(name string, cgroup bool, ms int64, b kernel.Bytes) {
		if byName[name] == nil {
			byName[name] = &series{Name: name, Cgroup: cgroup}
		}
		byName[name].at = append(byName[name].at, point{ms, b})
	}
	for _, e := range s.Samples {
		if e.Sample == nil {
			continue
		}
		ms := max(0, (e.AtNS-begin)/1_000_000)
		for name, b := range e.Sample.Cgroups {
			add("cgroup "+name, true, ms, b)
		}
		for name, u := range e.Sample.Processes {
			add(name, false, ms, u.RSS+u.Swap)
		}
	}
	largest := func(x *series) kernel.Bytes {
		var most kernel.Bytes
		for _, p := range x.at {
			most = max(most, p.bytes)
		}
		return most
	}
	names := slices.Sorted(maps.Keys(byName))
	slices.SortStableFunc(names, func(a, b string) int { return -compareBytes(largest(byName[a]), largest(byName[b])) })
	names = names[:min(len(names), mostSeries)]
	slices.SortStableFunc(names, func(a, b string) int {
		x, y := byName[a], byName[b]
		switch {
		case x.Cgroup && !y.Cgroup:
			return -1
		case !x.Cgroup && y.Cgroup:
			return 1
		}
		return strings.Compare(a, b)
	})
	var out []series
	for _, name := range names {
		out = append(out, *byName[name])
	}
	return out
}

func compareBytes(a, b kernel.Bytes) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// draw makes the paths, of so many points at most. Of the points that fall
// together the highest stays: a peak is what a chart of memory is looked at for.
func (s *series) draw(points int, x func(int64) float64, y func(kernel.Bytes) float64) {
	at := thin(s.at, points)
	var path strings.Builder
	for i, p := range at {
		command := "L"
		if i == 0 {
			command = "M"
		}
		fmt.Fprintf(&path, "%s%s %s", command, number1(x(p.ms)), number1(y(p.bytes)))
	}
	s.Path = path.String()
	if s.Cgroup {
		s.Area = fmt.Sprintf("%sL%s 1000L%s 1000Z", path.String(), number1(x(at[len(at)-1].ms)), number1(x(at[0].ms)))
	}
}

func thin(all []point, most int) []point {
	if len(all) <= most {
		return all
	}
	out := make([]point, 0, most+2)
	out = append(out, all[0])
	size := float64(len(all)) / float64(most)
	for i := range most {
		part := all[int(float64(i)*size):max(int(float64(i)*size)+1, int(float64(i+1)*size))]
		best := part[0]
		for _, p := range part {
			if p.bytes > best.bytes {
				best = p
			}
		}
		out = append(out, best)
	}
	return append(out, all[len(all)-1])
}

// limit is one that a cgroup was given.
type limit struct {
	name  string
	bytes kernel.Bytes
}

func limitsOf(p plan.Plan) []limit {
	var out []limit
	add := func(knob, path string, b *kernel.Bytes) {
		if b == nil || *b <= 0 {
			return
		}
		for i := range out {
			if out[i].bytes == *b {
				out[i].name += ", " + path
				return
			}
		}
		out = append(out, limit{knob + " of " + path, *b})
	}
	for _, c := range p.Cgroups {
		add("memory.max", c.Path, c.Max)
		add("memory.high", c.Path, c.High)
	}
	for _, d := range p.During {
		for _, w := range d.Writes {
			add("memory.max (later)", w.Path, w.Max)
			add("memory.high (later)", w.Path, w.High)
		}
	}
	return out
}

// kills marks the moment of each kill. Names of kills that lie close together
// share one text.
func (c *chart) kills(r verdict.Result, x func(int64) float64) {
	const apart = 160.0 // of 1000
	lastText, lastAt := -1, 0.0
	for _, k := range r.Kills {
		at := x(k.AtMS)
		m := mark{At: number1(at), Percent: number1(at / 10)}
		who := named(k.Victim.Process, k.Victim.Comm, k.Victim.PID)
		if lastText >= 0 && at-lastAt < apart {
			if t := &c.Kills[lastText].Text; plaintext.Width(*t) < 40 {
				*t += ", " + who
			} else if !strings.HasSuffix(*t, "…") {
				*t += ", …"
			}
			c.Kills = append(c.Kills, m)
			continue
		}
		m.Text = "✕ " + who
		switch {
		case at > 800:
			m.Side = "late"
		case at < 200:
			m.Side = "early"
		}
		lastText, lastAt = len(c.Kills), at
		c.Kills = append(c.Kills, m)
	}
}

// rows are the chart in numbers, at a few moments.
func (c *chart) rows(all []series, last int64) {
	const most = 16
	for i := range most {
		ms := last * int64(i) / (most - 1)
		row := chartRow{Time: seconds(ms)}
		for _, s := range all {
			cell := nothing
			for _, p := range s.at {
				if p.ms > ms {
					break
				}
				cell = human(p.bytes)
			}
			if n := len(s.at); ms > s.at[n-1].ms+last/most {
				cell = nothing // it was gone by then
			}
			row.Cells = append(row.Cells, cell)
		}
		c.Rows = append(c.Rows, row)
	}
}

func number1(f float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0")
}

// niceBytes is the next power of two times 1, 4 or so that reads well on an axis.
func niceBytes(b kernel.Bytes) kernel.Bytes {
	step := kernel.KiB
	for step < b {
		step *= 2
	}
	return step
}

func niceMS(ms int64) int64 {
	for step := int64(100); ; step *= 10 {
		for _, f := range []int64{1, 2, 5} {
			if step*f >= ms {
				return step * f
			}
		}
	}
}
