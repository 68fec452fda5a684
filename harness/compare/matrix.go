package compare

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

// Column is one kernel, or whatever else the runs of a column have in common.
type Column struct {
	Name string `json:"name"`
	// Releases are those of the kernels that ran; more than one where runs were
	// put together by name.
	Releases []string `json:"releases"`
	// Placed columns keep the order in which they were named; the others are
	// sorted by version.
	place int
}

// Cell is what the runs of one scenario on one kernel showed.
type Cell struct {
	Runs  int       `json:"runs"`
	Dirs  []string  `json:"dirs,omitempty"`
	Facts []Tallied `json:"facts"`
}

// Tallied is a fact and what was seen of it.
type Tallied struct {
	Key
	Tally
}

// Get is what was seen of one fact; an empty tally where nothing was.
func (c Cell) Get(k Key) Tally {
	for _, f := range c.Facts {
		if f.Key == k {
			return f.Tally
		}
	}
	return Tally{}
}

func (c *Cell) tally(k Key) *Tally {
	for i := range c.Facts {
		if c.Facts[i].Key == k {
			return &c.Facts[i].Tally
		}
	}
	c.Facts = append(c.Facts, Tallied{Key: k})
	return &c.Facts[len(c.Facts)-1].Tally
}

func (c *Cell) add(r Run) {
	c.Runs++
	if r.Dir != "" {
		c.Dirs = append(c.Dirs, r.Dir)
	}
	for _, f := range r.Facts {
		c.tally(f.Key).add(f)
	}
}

// Matrix is scenarios by kernels. Format makes a saved one recognisable.
type Matrix struct {
	Format    string   `json:"format"`
	Scenarios []string `json:"scenarios"`
	Columns   []Column `json:"columns"`
	// Cells are by scenario and then by column; a cell without runs is empty.
	Cells [][]Cell `json:"cells"`
}

// Format is that of a matrix as JSON.
const Format = "oomlab/compare-v1"

// New is a matrix without runs. Columns that are named here keep this order.
func New(columns ...string) *Matrix {
	m := &Matrix{Format: Format, Scenarios: []string{}, Columns: []Column{}}
	for i, name := range columns {
		m.Columns = append(m.Columns, Column{Name: name, place: i + 1})
	}
	return m
}

// Add puts a run into a column, which is made if there is none of that name.
func (m *Matrix) Add(column string, r Run) {
	i := slices.Index(m.Scenarios, r.Scenario)
	if i < 0 {
		i = len(m.Scenarios)
		m.Scenarios = append(m.Scenarios, r.Scenario)
	}
	j := slices.IndexFunc(m.Columns, func(c Column) bool { return c.Name == column })
	if j < 0 {
		j = len(m.Columns)
		m.Columns = append(m.Columns, Column{Name: column})
	}
	if r.Release != "" && !slices.Contains(m.Columns[j].Releases, r.Release) {
		m.Columns[j].Releases = append(m.Columns[j].Releases, r.Release)
	}
	m.grow()
	m.Cells[i][j].add(r)
}

func (m *Matrix) grow() {
	for len(m.Cells) < len(m.Scenarios) {
		m.Cells = append(m.Cells, nil)
	}
	for i := range m.Cells {
		for len(m.Cells[i]) < len(m.Columns) {
			m.Cells[i] = append(m.Cells[i], Cell{})
		}
	}
}

// version is that of a column's kernel; zero where it has none, or several. A
// column may be of a kubelet or a runtime, whose version orders it as well.
func (c Column) version() kernel.Version {
	release := c.Name
	if len(c.Releases) == 1 {
		release = c.Releases[0]
	}
	if _, runtime, ok := strings.Cut(c.Name, "://"); ok {
		release = runtime
	} else if strings.HasPrefix(c.Name, "v") {
		release = c.Name
	}
	v, err := kernel.ParseVersion(release)
	if err != nil {
		return kernel.Version{}
	}
	// The release of some kernels does not tell their patch level, as
	// 5.10.0-46-cloud-amd64 of a 5.10.262; the name that was asked for may.
	if named, err := kernel.ParseVersion(c.Name); err == nil && named.Series() == v.Series() {
		v.Patch = max(v.Patch, named.Patch)
	}
	return v
}

// Sort puts columns in the order of their kernels' versions, those without one
// last, and scenarios in the order of their names. With named, the order in
// which columns were named stays.
func (m *Matrix) Sort(named bool) {
	m.grow()
	order := make([]int, len(m.Columns))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := m.Columns[a], m.Columns[b]
		if named {
			return cmp.Compare(placeOf(x), placeOf(y))
		}
		v, w := x.version(), y.version()
		unknown := func(v kernel.Version) int {
			if v == (kernel.Version{}) {
				return 1
			}
			return 0
		}
		return cmp.Or(unknown(v)-unknown(w), v.Compare(w), strings.Compare(x.Name, y.Name))
	})
	columns := make([]Column, len(order))
	for i, at := range order {
		columns[i] = m.Columns[at]
	}
	m.Columns = columns
	for s := range m.Cells {
		cells := make([]Cell, len(order))
		for i, at := range order {
			cells[i] = m.Cells[s][at]
		}
		m.Cells[s] = cells
	}
	rows := map[string][]Cell{}
	for i, name := range m.Scenarios {
		rows[name] = m.Cells[i]
	}
	slices.Sort(m.Scenarios)
	for i, name := range m.Scenarios {
		m.Cells[i] = rows[name]
	}
}

func placeOf(c Column) int {
	if c.place == 0 {
		return 1 << 30
	}
	return c.place
}

// Cell is that of a scenario and a column; empty where there is none.
func (m *Matrix) Cell(scenario, column string) Cell {
	i := slices.Index(m.Scenarios, scenario)
	j := slices.IndexFunc(m.Columns, func(c Column) bool { return c.Name == column })
	if i < 0 || j < 0 || i >= len(m.Cells) || j >= len(m.Cells[i]) {
		return Cell{}
	}
	return m.Cells[i][j]
}

// Runs is how many runs there are in all.
func (m *Matrix) Runs() int {
	n := 0
	for _, row := range m.Cells {
		for _, c := range row {
			n += c.Runs
		}
	}
	return n
}

// keys are the facts that any cell of a scenario has, in the order of aspects.
func keys(row []Cell) []Key {
	seen := map[Key]bool{}
	for _, c := range row {
		for _, f := range c.Facts {
			seen[f.Key] = true
		}
	}
	return slices.SortedFunc(maps.Keys(seen), func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Aspect.rank(), b.Aspect.rank()),
			strings.Compare(string(a.Aspect), string(b.Aspect)), strings.Compare(a.Subject, b.Subject))
	})
}

// version is that of a column's kernel, if it has one that is known.
func (m *Matrix) version(column string) (kernel.Version, bool) {
	i := m.index(column)
	if i < 0 {
		return kernel.Version{}, false
	}
	v := m.Columns[i].version()
	return v, v != (kernel.Version{})
}
