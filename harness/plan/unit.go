package plan

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/scenario"
)

// Unit is a service that systemd starts. The agent writes its files; the main process is
// the plan's process of the same name, and the cgroup the plan's of that path.
type Unit struct {
	Name    string `json:"name"`    // of the scenario, and of the main process
	Service string `json:"service"` // NAME.service
	Cgroup  string `json:"cgroup"`
	// Files are those below /run/systemd/system, without what only the agent knows.
	Files []UnitFile `json:"files"`
	// What decides what systemd makes of the unit's end.
	OOMPolicy string `json:"oom_policy"`
	Restart   string `json:"restart,omitempty"`
	Starts    int    `json:"starts"` // at most, when it fails each time
}

// UnitFile is a file of a unit: NAME.service or NAME.service.d/FILE.conf.
type UnitFile struct {
	Path string `json:"path"`
	Text string `json:"text"`
}

// UnitsParent is the slice that the slices of runs are in. Its cgroup is the agent's own
// where a run has units.
const UnitsParent = "oomlab.slice"

// sliceSuffix ends the name of a slice.
const sliceSuffix = ".slice"

// BaseOf is the name of the directory with a run's cgroups. Sliced (see [Plan.Sliced]) it is
// that of a slice, of which a dash would make several.
func BaseOf(run string, sliced bool) string {
	if sliced {
		return "oomlab-" + strings.ReplaceAll(run, "-", "_") + sliceSuffix
	}
	return "oomlab-" + run
}

// RunOf is the run's name that a base is made of; of a slice dashes are underscores in it.
func RunOf(base string) string {
	return strings.TrimSuffix(strings.TrimPrefix(base, "oomlab-"), sliceSuffix)
}

// planUnits plans the units.
func planUnits(units scenario.Units) []Unit {
	var out []Unit
	for _, u := range units {
		set := u.Effective()
		p := Unit{Name: u.Name, Service: u.Service(), Cgroup: u.Cgroup(), OOMPolicy: set.Policy(), Restart: set.Restart,
			Starts: set.Starts()}
		p.Files = append(p.Files, UnitFile{p.Service, unitText(u.UnitSettings)})
		for _, file := range slices.Sorted(maps.Keys(u.DropIns)) {
			p.Files = append(p.Files, UnitFile{path.Join(p.Service+".d", file), unitText(u.DropIns[file])})
		}
		out = append(out, p)
	}
	return out
}

// unitText is a file of a unit with these settings.
func unitText(s scenario.UnitSettings) string {
	var b strings.Builder
	lines := s.Lines()
	for _, section := range slices.Sorted(maps.Keys(lines)) {
		b.WriteString("[" + section + "]\n" + strings.Join(lines[section], "\n") + "\n")
	}
	return b.String()
}

// Lasting are the paths of the cgroups that are there from the first reading to the last.
func (p Plan) Lasting() []string {
	var out []string
	for _, c := range p.Cgroups {
		if !c.Transient {
			out = append(out, c.Path)
		}
	}
	return out
}

// MadeAgain reports whether a cgroup may be another one later: a container's, or that of a
// unit which is started again.
func (p Plan) MadeAgain(path string) bool {
	c, _ := p.Cgroup(path)
	return p.On != nil || c.Transient
}

// Unit finds the unit of a main process, or of what that starts.
func (p Plan) Unit(process string) (Unit, bool) {
	q, ok := p.Process(process)
	if !ok {
		if q, ok = p.DescendantOf(process); !ok {
			return Unit{}, false
		}
	}
	i := slices.IndexFunc(p.Units, func(u Unit) bool { return kernel.InCgroup(q.Cgroup, u.Cgroup) })
	if i < 0 {
		return Unit{}, false
	}
	return p.Units[i], true
}
