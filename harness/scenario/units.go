package scenario

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/systemd"
	"github.com/oomlab/oomlab/stressor/profile"
)

// Service is the name that systemd has for the unit.
func (u Unit) Service() string { return u.Name + ".service" }

// Cgroup is the path of the unit's cgroup below that of the run.
func (u Unit) Cgroup() string { return "/" + u.Service() }

// Effective are the settings that count: those of the unit's file and, over them, those of
// its drop-ins in the order of their names.
func (u Unit) Effective() UnitSettings {
	out := u.UnitSettings
	to := reflect.ValueOf(&out).Elem()
	for _, file := range slices.Sorted(maps.Keys(u.DropIns)) {
		from := reflect.ValueOf(u.DropIns[file])
		for i := range from.NumField() {
			if !from.Field(i).IsZero() {
				to.Field(i).Set(from.Field(i))
			}
		}
	}
	return out
}

// Policy is OOMPolicy=, or what it is where nobody sets it.
func (s UnitSettings) Policy() string {
	if s.OOMPolicy == "" {
		return systemd.OOMStop
	}
	return s.OOMPolicy
}

// Starts is how often the unit is started at most when its main process is killed each
// time.
func (s UnitSettings) Starts() int {
	switch {
	case s.Restart == "" || s.Restart == systemd.RestartNo:
		return 1
	case s.StartLimitBurst != nil:
		return *s.StartLimitBurst
	}
	return systemd.StartLimitBurst
}

// Lines are the settings as a unit file has them, by section.
func (s UnitSettings) Lines() map[string][]string {
	out := map[string][]string{}
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		f, section := v.Type().Field(i), v.Type().Field(i).Tag.Get("unit")
		if value, ok := settingText(v.Field(i)); ok {
			out[section] = append(out[section], f.Name+"="+value)
		}
	}
	return out
}

// settingText is a value as systemd reads it; false: nobody sets it.
func settingText(v reflect.Value) (string, bool) {
	switch x := v.Interface().(type) {
	case *kernel.Bytes:
		switch {
		case x == nil:
			return "", false
		case *x == Max:
			return "infinity", true
		}
		return strconv.FormatInt(int64(*x), 10), true
	case *int:
		if x == nil {
			return "", false
		}
		return strconv.Itoa(*x), true
	}
	return v.String(), v.String() != ""
}

// addUnits gives every unit its cgroup and its main process, which are then like others.
func addUnits(s *Scenario) {
	for _, u := range s.Units {
		set := u.Effective()
		c := Cgroup{Path: u.Cgroup(), MemoryMax: set.MemoryMax, MemoryHigh: set.MemoryHigh,
			MemorySwapMax: set.MemorySwapMax, Unit: u.Name}
		c.Transient = set.Starts() > 1
		if set.Policy() == systemd.OOMKill {
			one := 1
			c.MemoryOOMGroup = &one
		}
		p := Process{Name: u.Name, Unit: u.Name, Cgroup: c.Path, After: u.After, Ignore: u.Ignore, Command: u.Command,
			Do: u.Do, Respawn: Respawn(set.Starts() - 1)}
		if set.OOMScoreAdjust != nil {
			p.OOMScoreAdj = *set.OOMScoreAdjust
		}
		s.Cgroups, s.Processes = append(s.Cgroups, c), append(s.Processes, p)
	}
}

// asWritten is the scenario as its file has it: without what [addUnits] and [addContainers]
// add.
func (s Scenario) asWritten() Scenario {
	if len(s.Units) > 0 || len(s.Containers) > 0 {
		s.Cgroups = slices.DeleteFunc(slices.Clone(s.Cgroups), func(c Cgroup) bool {
			return c.Unit != "" || c.Container != ""
		})
		s.Processes = slices.DeleteFunc(slices.Clone(s.Processes), func(p Process) bool {
			return p.Unit != "" || p.Container != ""
		})
	}
	return s
}

// section is where the file has a process.
func (p Process) section() string {
	switch {
	case p.Unit != "":
		return "units"
	case p.Container != "":
		return "containers"
	}
	return "processes"
}

// dropInName is the name of a file that systemd reads as a drop-in.
var dropInName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*\.conf$`)

// units checks the units. What their processes and cgroups say is checked with the others.
func (v *validator) units() {
	s := v.s
	if len(s.Units) > 0 && s.Needs.Userland == "" && !v.unread("needs") {
		v.problem(at("units"), "add needs: {userland: "+Userlands[0]+"}", "units are services of systemd, which a "+
			"userland has")
	}
	for i, u := range s.Units {
		path := at("units", u.Name)
		if name, ok := strings.CutSuffix(u.Name, ".service"); ok {
			v.problem(path, fmt.Sprintf("write %s; .service is added to it", name), "%q is not a name for a unit",
				u.Name)
		}
		if slices.ContainsFunc(s.Processes, func(p Process) bool { return p.Unit == "" && p.Name == u.Name }) {
			v.problem(path, "give one of them another name", "%q is a process, too", u.Name)
		}
		if slices.ContainsFunc(s.Cgroups, func(c Cgroup) bool {
			return c.Unit == "" && kernel.InCgroup(c.Path, u.Cgroup())
		}) {
			v.problem(path, "give the cgroup another name", "cgroup %s is made by systemd", u.Cgroup())
		}
		for _, p := range s.Processes {
			if p.Unit == "" && p.Cgroup == u.Cgroup() {
				v.problem(at("processes", p.Name, "cgroup"), "let the unit's command start it",
					"%q is the cgroup of a unit, which only systemd puts processes into", p.Cgroup)
			}
		}
		v.unitSettings(u.UnitSettings, path)
		for _, file := range slices.Sorted(maps.Keys(u.DropIns)) {
			where := with(with(path, "drop-ins"), file)
			if !dropInName.MatchString(file) {
				v.problem(where, "write one such as 10-oom.conf", "%q is not a name for a drop-in", file)
			}
			if u.DropIns[file] == (UnitSettings{}) {
				v.problem(where, "write a setting and its value, such as {OOMScoreAdjust: -500}", "sets nothing")
			}
			v.unitSettings(u.DropIns[file], where)
		}
		for j, step := range s.Units[i].Do {
			where := with(with(path, "do"), strconv.Itoa(j))
			switch {
			case step.Op == profile.Fork:
				v.problem(where, "write a command that starts others", "the stressor of a unit does not fork")
			case step.Op == profile.Exit && u.Effective().Starts() > 1:
				v.problem(where, "leave Restart out, or write a command", "the stressor of a unit that is started "+
					"again does not exit by itself")
			}
		}
	}
}

func (v *validator) unitSettings(s UnitSettings, path []string) {
	for _, w := range []struct {
		key, value string
		known      []string
	}{{"OOMPolicy", s.OOMPolicy, systemd.OOMPolicies}, {"Restart", s.Restart, systemd.Restarts}} {
		if w.value != "" && !slices.Contains(w.known, w.value) {
			v.problem(with(path, w.key), "write one of "+strings.Join(w.known, ", "), "%q is not a value of %s=",
				w.value, w.key)
		}
	}
	if s.OOMScoreAdjust != nil {
		v.adj(*s.OOMScoreAdjust, with(path, "OOMScoreAdjust"))
	}
	if n := s.StartLimitBurst; n != nil && (*n < 1 || *n > 100) {
		v.problem(with(path, "StartLimitBurst"), "write 1 to 100", "%d is not how often a unit is started", *n)
	}
	if s.MemoryMax != nil && *s.MemoryMax < leastUnit {
		v.problem(with(path, "MemoryMax"), fmt.Sprintf("write at least %s", leastUnit),
			"%s are too little for systemd to start a program in", *s.MemoryMax)
	}
}

// leastUnit is the memory that a unit has at least: systemd's executor is charged to it
// before the program is.
const leastUnit = 16 * kernel.MiB

// Property is what an overseer of processes shows of one and a scenario can claim: systemctl
// of a unit, an engine of a container.
type Property struct {
	Name string
	// Words are what it can be, one of them; Several: several of these in their order, or
	// none. Both nil: a number.
	Words, Several []string
	// Shown is how a word is printed, where that is otherwise.
	Shown map[string]string
}

// UnitProperties are all of them; a new claim is a row.
var UnitProperties = []Property{
	{Name: "Result", Words: []string{"success", "oom-kill", "exit-code", "signal", "core-dump", "timeout",
		"start-limit-hit", "resources", "protocol", "watchdog"}},
	{Name: "ExecMainCode", Words: []string{"exited", "killed", "dumped"},
		Shown: map[string]string{"exited": "1", "killed": "2", "dumped": "3"}}, // enum __SI_CODE: CLD_...
	{Name: "ExecMainStatus"},
	{Name: "ActiveState", Words: []string{"active", "inactive", "failed", "activating", "deactivating"}},
	{Name: "SubState", Words: []string{"running", "dead", "failed", "exited", "auto-restart"}},
	{Name: "NRestarts"},
}

// PropertyOf is the one of that name; false: none of them can be claimed.
func PropertyOf(all []Property, name string) (Property, bool) {
	i := slices.IndexFunc(all, func(p Property) bool { return p.Name == name })
	if i < 0 {
		return Property{}, false
	}
	return all[i], true
}

// Holds reports whether what systemctl shows is as claimed.
func (p Property) Holds(claim, shown string) bool {
	switch {
	case p.Words != nil:
		return p.Reads(shown) == claim
	case p.Several != nil:
		return slices.Equal(strings.Fields(shown), strings.Fields(claim))
	}
	want, err := parseNum(claim)
	n, bad := strconv.ParseInt(shown, 10, 64)
	return err == nil && bad == nil && want.Holds(n)
}

// Reads is the word for what systemctl shows.
func (p Property) Reads(shown string) string {
	for word, text := range p.Shown {
		if text == shown {
			return word
		}
	}
	return shown
}

// Opposite is a claim that does not hold where this one does.
func (p Property) Opposite(claim string) string {
	switch {
	case p.Words != nil:
		return p.Words[slices.IndexFunc(p.Words, func(w string) bool { return w != claim })]
	case p.Several != nil:
		return strings.TrimSpace(claim + " " + p.Several[0])
	}
	n, err := parseNum(claim)
	switch {
	case err != nil:
		return "no number"
	case n.Max == NumMax:
		return fmt.Sprintf("< %d", n.Min)
	}
	return fmt.Sprintf("> %d", n.Max)
}

// claimed is where claims about properties are, and what they are about.
type claimed struct{ section, key, thing, example string }

// unitClaims checks the claims about units.
func (v *validator) unitClaims(e Expect) {
	var names []string
	for _, u := range v.s.Units {
		names = append(names, u.Name)
	}
	v.propertyClaims(claimed{section: "units", key: "units", thing: "unit", example: "{Result: oom-kill}"}, names,
		UnitProperties, e.Units)
}

// propertyClaims checks claims about properties, by the name of what has them.
func (v *validator) propertyClaims(of claimed, names []string, all []Property, claims map[string]map[string]string) {
	var properties []string
	for _, p := range all {
		properties = append(properties, p.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		path := at("expect", of.key, name)
		if !slices.Contains(names, name) && !v.unread(of.section) {
			v.problem(path, v.meant(name, names), "no %s %q", of.thing, name)
		}
		if len(claims[name]) == 0 {
			v.problem(path, "write a property and its value, such as "+of.example, "claims nothing")
		}
		for _, key := range slices.Sorted(maps.Keys(claims[name])) {
			p, ok := PropertyOf(all, key)
			if !ok {
				v.problem(with(path, key), v.meant(key, properties), "no property that is claimed is called %q", key)
				continue
			}
			v.propertyClaim(p, claims[name][key], with(path, key))
		}
	}
}

func (v *validator) propertyClaim(p Property, value string, path []string) {
	switch {
	case p.Words != nil:
		if !slices.Contains(p.Words, value) {
			v.problem(path, "write one of "+strings.Join(p.Words, ", "), "%s is never %q", p.Name, value)
		}
		return
	case p.Several != nil:
		for _, word := range strings.Fields(value) {
			if !slices.Contains(p.Several, word) {
				v.problem(path, "write some of "+strings.Join(p.Several, ", ")+" in their order", "%s never have %q",
					p.Name, word)
			}
		}
		return
	}
	n, err := parseNum(value)
	switch {
	case err != nil:
		v.problem(path, `write 9, ">= 1", "< 3" or "2..5"`, "%s", err)
	default:
		v.counter(n, path)
	}
}
