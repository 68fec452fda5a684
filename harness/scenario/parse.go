package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Limits of what is read. They are far above any sensible scenario and keep
// what a hostile file can cost within bounds.
const (
	maxSize      = 1 << 20
	maxDepth     = 32
	maxEntries   = 1024 // of one list or map
	maxProcesses = 1024 // copies and containers counted one by one
)

// Defaults of a scenario file.
var (
	defaultTargets = []Target{Local, VM}
	defaultWithin  = 30 * time.Second
	// defaultWithinKube allows for what a cluster does before and after.
	defaultWithinKube = 2 * time.Minute
)

// Parse reads a scenario file and checks it. The scenario's name is name
// without its extension, as the file's path in its library is its name.
//
// Parse fills in what a file may leave out: targets (local and vm, or kube for
// pods), within (30s, or 2m on a cluster), kind of swap (disk), the cgroup of a
// forked process (its parent's), a pod's restartPolicy (Always) and its restarts
// (1 where the policy allows it).
//
// The error is a *[Problems] with every problem of the file.
func Parse(name string, data []byte) (Scenario, error) {
	d := &decoder{file: name, at: map[string]pos{}}
	s := Scenario{Name: Name(name)}
	root := d.document(data)
	if root == nil {
		return Scenario{}, problems(d.out)
	}
	d.value(root, reflect.ValueOf(&s).Elem(), nil)
	if len(d.out) > maxProblems {
		return Scenario{}, problems(d.out)
	}
	addUnits(&s)
	addContainers(&s)
	fillIn(&s, d)
	v := validator{decoder: d, s: &s}
	v.scenario()
	if err := problems(append(d.out, v.found...)); err != nil {
		return Scenario{}, err
	}
	return s, nil
}

// Name is the name of the scenario in the file of that path.
func Name(path string) string {
	path = strings.TrimPrefix(path, "./")
	for _, ext := range []string{".yaml", ".yml"} {
		if n, ok := strings.CutSuffix(path, ext); ok {
			return n
		}
	}
	return path
}

func fillIn(s *Scenario, d *decoder) {
	if s.Targets == nil && !d.said("targets") {
		s.Targets = slices.Clone(defaultTargets)
		if len(s.Pods) > 0 {
			s.Targets = []Target{Kube}
		} else if s.Needs.Userland != "" {
			s.Targets = []Target{VM}
		}
	}
	if !d.said("expect", "within") {
		s.Expect.Within = defaultWithin
		if with, _ := s.kubelets(); with != nil {
			s.Expect.Within = defaultWithinKube
		}
	}
	for i := range s.Pods {
		p := &s.Pods[i]
		if p.RestartPolicy == "" {
			p.RestartPolicy = "Always"
		}
		if p.RestartPolicy != "Never" && !d.said("pods", p.Name, "restarts") {
			p.Restarts = 1
		}
	}
	if s.System.Swap != nil && s.System.Swap.Kind == "" {
		s.System.Swap.Kind = "disk"
	}
	by := map[string]*Process{}
	for i := range s.Processes {
		by[s.Processes[i].Name] = &s.Processes[i]
	}
	for i := range s.Processes {
		p := &s.Processes[i]
		// parents may be forked themselves; as many steps as there are
		// processes are enough, and end a cycle
		for up, n := by[p.Parent], 0; p.Cgroup == "" && up != nil && n < min(len(by), maxDepth); up, n = by[up.Parent],
			n+1 {
			p.Cgroup = up.Cgroup
		}
	}
}

type pos struct{ line, col int }

// decoder walks a YAML document along the Go types. It knows where every value
// stood, so that later checks can name the line.
type decoder struct {
	file string
	at   map[string]pos // by joined path
	bad  []string       // joined paths that have a problem
	out  []Problem
}

const sep = "\x00"

func join(path []string) string { return strings.Join(path, sep) }

func (d *decoder) said(path ...string) bool {
	_, ok := d.at[join(path)]
	return ok
}

// find is where a value stood, or the nearest thing around it that stood
// anywhere.
func (d *decoder) find(path []string) pos {
	for n := len(path); n > 0; n-- {
		if p, ok := d.at[join(path[:n])]; ok {
			return p
		}
	}
	if len(d.at) == 0 {
		return pos{}
	}
	return pos{line: 1}
}

// unread reports whether path, or what it is part of, could not be read.
func (d *decoder) unread(path ...string) bool {
	p := join(path) + sep
	return slices.ContainsFunc(d.bad, func(b string) bool { return strings.HasPrefix(p, b+sep) })
}

// wrong reports whether the value at path, part of it or what it is part of
// could not be read.
func (d *decoder) wrong(path ...string) bool {
	p := join(path) + sep
	return d.unread(path...) || slices.ContainsFunc(d.bad, func(b string) bool { return strings.HasPrefix(b+sep, p) })
}

// problem notes what is wrong with the value at path, which stays unread.
func (d *decoder) problem(at pos, path []string, hint, what string, args ...any) {
	d.mark(path)
	d.note(at, path, hint, what, args...)
}

func (d *decoder) mark(path []string) {
	if len(d.bad) < enough {
		d.bad = append(d.bad, join(path))
	}
}

func (d *decoder) note(at pos, path []string, hint, what string, args ...any) {
	if len(d.out) < enough {
		d.out = append(d.out, newProblem(d.file, at, path, hint, what, args...))
	}
}

// enough problems are kept to report the first ones and to count the rest.
const enough = 1000

func newProblem(file string, at pos, path []string, hint, what string, args ...any) Problem {
	text := fmt.Sprintf(what, args...)
	if len(text) > 400 {
		text = strings.ToValidUTF8(text[:400], "") + "..."
	}
	return Problem{File: file, Line: at.line, Col: at.col, Path: path, What: text, Hint: hint}
}

func here(n *yaml.Node) pos { return pos{n.Line, n.Column} }

var (
	yamlLine   = regexp.MustCompile(`^line (\d+): (.*)$`)
	comparison = regexp.MustCompile(`[:{,]\s*>\s*=?\s*\d`)
)

// document reads the file as far as YAML goes; nil when that fails.
func (d *decoder) document(data []byte) *yaml.Node {
	if len(data) > maxSize {
		d.problem(pos{}, nil, "", "%d bytes are more than a scenario has; at most %d are read", len(data), maxSize)
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, next yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && (len(doc.Content) == 0 || doc.Content[0].Tag == "!!null") {
		d.problem(pos{line: 1}, nil, "a scenario begins with apiVersion: "+APIVersion, "the file is empty")
		return nil
	}
	if err == nil {
		switch err = dec.Decode(&next); {
		case errors.Is(err, io.EOF):
			err = nil
		case err == nil:
			d.problem(here(&next), nil, "write one file for each scenario", "a second document begins here")
			return nil
		}
	}
	if err != nil {
		d.syntax(err, data)
		return nil
	}
	root := doc.Content[0]
	if !d.plain(root, 0) {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		d.problem(here(root), nil, "a scenario begins with apiVersion: "+APIVersion, "this is %s, not a scenario",
			describe(root))
		return nil
	}
	return root
}

func (d *decoder) syntax(err error, data []byte) {
	what := strings.TrimPrefix(err.Error(), "yaml: ")
	at := pos{line: 1}
	if m := yamlLine.FindStringSubmatch(what); m != nil {
		at.line, _ = strconv.Atoi(m[1])
		what = m[2]
	}
	hint := ""
	// the parser's line is that of the token or of the one before
	lines := strings.Split(string(data), "\n")
	for _, l := range lines[min(len(lines), max(0, at.line-2)):min(len(lines), at.line+1)] {
		switch {
		case comparison.MatchString(l):
			hint = `put comparisons in quotes: ">= 1"`
		case strings.HasPrefix(strings.TrimLeft(l, " "), "\t"):
			hint = "indent with spaces, not with tabs"
		}
	}
	d.problem(at, nil, hint, "this is not YAML: %s", what)
}

// plain refuses the parts of YAML that let a file say something other than
// what stands there: anchors, aliases, merge keys and tags.
func (d *decoder) plain(n *yaml.Node, depth int) bool {
	ok := true
	switch {
	case depth > maxDepth:
		d.problem(here(n), nil, "", "nested deeper than %d levels", maxDepth)
		return false
	case len(n.Content) > maxEntries*2 || n.Kind == yaml.SequenceNode && len(n.Content) > maxEntries:
		d.problem(here(n), nil, "", "%s of more than %d entries", describe(n), maxEntries)
		return false
	case n.Kind == yaml.AliasNode:
		d.problem(here(n), nil, "write the value out", "aliases (*%s) are not read here", n.Value)
		return false
	case n.Anchor != "":
		d.problem(here(n), nil, "write the value out where it is used", "anchors (&%s) are not read here", n.Anchor)
		ok = false
	case n.Style&yaml.TaggedStyle != 0:
		d.problem(here(n), nil, "remove it", "tags (%s) are not read here", n.Tag)
		ok = false
	}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && c.Tag == "!!merge" {
			d.problem(here(c), nil, "write the keys out", "merge keys (<<) are not read here")
			return false
		}
		ok = d.plain(c, depth+1) && ok
	}
	return ok
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	}
	if n.Tag == "!!null" {
		return "nothing"
	}
	return strconv.Quote(n.Value)
}
