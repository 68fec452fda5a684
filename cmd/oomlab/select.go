package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/lab"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/scenarios"
)

// stdinName is how standard input is called among files.
const stdinName = "-"

// choose finds the scenarios that the arguments name: files, names and patterns
// of the library. Everything that is wrong is reported at once.
func (a *app) choose(args []string) ([]lab.Job, error) {
	var out []lab.Job
	var errs []error
	for _, arg := range args {
		found, err := a.find(arg)
		if err != nil {
			errs = append(errs, err)
		}
		for _, c := range found {
			if !slices.ContainsFunc(out, func(o lab.Job) bool { return o.Scenario.Name == c.Scenario.Name }) {
				out = append(out, c)
			}
		}
	}
	return out, errors.Join(errs...)
}

func (a *app) find(arg string) ([]lab.Job, error) {
	if arg == stdinName || isFile(arg) {
		s, source, err := a.read(arg)
		if err != nil {
			return nil, err
		}
		if err := missingProgram(arg, s); err != nil {
			return nil, err
		}
		manifests, err := readManifests(arg, s)
		if err != nil {
			return nil, err
		}
		return []lab.Job{{Scenario: s, Source: source, Manifests: manifests, Arg: arg}}, nil
	}
	all, err := scenarios.Match(arg)
	if err != nil {
		return nil, notFound(arg, err)
	}
	var out []lab.Job
	for _, s := range all {
		source, err := scenarios.Source(s.Name)
		if err != nil {
			return nil, err
		}
		out = append(out, lab.Job{Scenario: s, Source: source, Arg: s.Name})
	}
	return out, nil
}

// missingProgram is a mistake when a process is a program that this machine does not
// have: VMs get it from here too, but for those with a userland, which has its own.
func missingProgram(file string, s scenario.Scenario) error {
	if s.Needs.Userland != "" {
		return nil
	}
	for _, p := range s.Processes {
		if len(p.Command) == 0 {
			continue
		}
		if _, err := exec.LookPath(p.Command[0]); err != nil && !errors.Is(err, exec.ErrDot) {
			return &mistake{fmt.Sprintf("%s: %s: command: %v", file, p.Name, err), "name a program of this machine"}
		}
	}
	return nil
}

// isFile reports whether an argument means a file: it looks like one and there
// is one. A name of the library may end in .yaml too.
func isFile(arg string) bool {
	if !hasYAML(arg) && !strings.HasPrefix(arg, ".") && !filepath.IsAbs(arg) {
		return false
	}
	info, err := os.Stat(arg)
	return err == nil && !info.IsDir()
}

func hasYAML(arg string) bool {
	return strings.HasSuffix(arg, ".yaml") || strings.HasSuffix(arg, ".yml")
}

// notFound says of an argument what it looks like and is not.
func notFound(arg string, err error) error {
	if !errors.Is(err, scenarios.ErrUnknown) {
		return err
	}
	info, statErr := os.Stat(arg)
	switch {
	case statErr == nil && info.IsDir():
		return &mistake{fmt.Sprintf("%s is a directory", arg),
			fmt.Sprintf("name its files: %s", filepath.Join(arg, "*.yaml"))}
	case statErr == nil:
		return &mistake{fmt.Sprintf("%s is not a scenario's name, and files end in .yaml", arg),
			"rename it, or read it from standard input with -"}
	case hasYAML(arg) && (strings.HasPrefix(arg, ".") || filepath.IsAbs(arg)):
		return &mistake{fmt.Sprintf("there is no file %s", arg), "oomlab list shows the scenarios that oomlab carries"}
	}
	return err
}

// maxScenario is more than the parser accepts, so that it is the one to complain.
const maxScenario = 2 << 20

// read reads and checks one file. Problems name it as the user did.
func (a *app) read(file string) (scenario.Scenario, []byte, error) {
	name, in := "stdin.yaml", a.in
	if file != stdinName {
		name = file
		f, err := os.Open(file)
		if err != nil {
			return scenario.Scenario{}, nil, unreadable(file, err)
		}
		defer f.Close()
		in = f
	}
	source, err := io.ReadAll(io.LimitReader(in, maxScenario))
	if err != nil {
		return scenario.Scenario{}, nil, unreadable(file, err)
	}
	s, err := scenario.Parse(name, source)
	if err != nil {
		return scenario.Scenario{}, nil, err
	}
	s.Name = runName(name)
	return s, source, nil
}

// readManifests reads the user's own pods that a scenario names: files beside
// its own.
func readManifests(file string, s scenario.Scenario) (map[string]scenario.Manifest, error) {
	out := map[string]scenario.Manifest{}
	for _, name := range s.Manifests() {
		path := name
		if file != stdinName && !filepath.IsAbs(name) {
			path = filepath.Join(filepath.Dir(file), name)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, unreadable(path, err)
		}
		m, err := scenario.ReadManifest(name, data)
		if err != nil {
			return nil, &mistake{err.Error(), ""}
		}
		out[name] = m
	}
	return out, nil
}

func unreadable(file string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return &mistake{fmt.Sprintf("%s: %v", file, err), ""}
}

// runName is the name of the scenario in a file: its path, or its last part
// where the path leads out of the working directory, since run directories are
// named after it.
func runName(file string) string {
	name := scenario.Name(filepath.ToSlash(filepath.Clean(file)))
	if !filepath.IsLocal(name) {
		name = filepath.Base(name)
	}
	return name
}
