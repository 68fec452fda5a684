package scenario

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Descendants is a name of processes that a program of the user's own starts, and that
// what it has started does. They are known when the run is over, so only claims name them.
type Descendants struct {
	Of     string // the program, or one copy of it
	Number int    // NAME/2: the second one by order of start; 0: of any number
	Called string // NAME:TEXT: those whose name is TEXT, or whose command line begins with it
}

// ParseDescendants reads NAME/*, NAME/2 and NAME:TEXT. A name without copies has the second
// form; whether NAME/2 is a copy instead the scenario says.
func ParseDescendants(name string) (Descendants, bool) {
	if of, text, ok := strings.Cut(name, ":"); ok {
		return Descendants{Of: of, Called: text}, of != "" && text != ""
	}
	i := strings.LastIndexByte(name, '/')
	if i <= 0 {
		return Descendants{}, false
	}
	of, last := name[:i], name[i+1:]
	if last == "*" {
		return Descendants{Of: of}, true
	}
	n, err := strconv.Atoi(last)
	return Descendants{Of: of, Number: n}, err == nil && n > 0 && strconv.Itoa(n) == last
}

// descendants checks a name that may be of processes that a program starts; false: it is
// not of that form, or its first part is the name of nobody.
func (v *validator) descendants(name string, path []string) bool {
	of, _, colon := strings.Cut(name, ":")
	if i := strings.LastIndexByte(name, '/'); i > 0 && !colon {
		of = name[:i]
	}
	p := v.of(of)
	if of == name || len(v.s.Pods) > 0 || v.stands[of] == nil || p == nil {
		return false
	}
	if _, ok := ParseDescendants(name); !ok {
		hint := fmt.Sprintf("write %s/* for all that it starts, %s/2 for the second, %s:NAME by name", of, of, of)
		v.problem(path, hint, "%q names none that %s starts", name, of)
		return true
	}
	switch {
	case len(p.Command) == 0:
		return false
	case path[0] != "expect" || !slices.Contains([]string{"killed", "survives", "trigger", "exit"}, path[1]):
		v.problem(path, fmt.Sprintf("name %s itself", of),
			"%q is known when the run is over: only killed, survives, trigger and exit can name it", name)
	}
	return true
}

// namesDescendants reports whether one of the names is of processes that programs start.
func (v *validator) namesDescendants(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		_, ok := ParseDescendants(name)
		return ok && v.stands[name] == nil
	})
}

// NamesDescendants reports whether a claim names processes that programs start.
func (s Scenario) NamesDescendants() bool {
	if len(s.Pods) > 0 {
		return false
	}
	v := validator{decoder: &decoder{file: s.Name}, s: &s}
	v.name()
	e := s.Expect
	names := slices.Concat(e.Survives, e.Trigger)
	for name := range e.Exit {
		names = append(names, name)
	}
	if e.Killed != nil {
		names = slices.Concat(names, e.Killed.InOrder, e.Killed.From)
	}
	return v.namesDescendants(names)
}

// allDescendants reports whether the names have all that any program starts.
func (v *validator) allDescendants(names []string) bool {
	return !slices.ContainsFunc(v.s.Processes, func(p Process) bool {
		return len(p.Command) > 0 && !slices.Contains(names, p.Name+"/*")
	})
}
