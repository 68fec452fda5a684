// Package scenarios is the library of scenarios that oomlab carries. A file's
// path, without its extension, is the scenario's name.
package scenarios

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/scenario"
)

//go:embed claims container kube memcg numa processors program qos system unit
var files embed.FS

// Names are the names of all scenarios, sorted.
func Names() []string {
	var out []string
	// an embedded file system has no way to fail
	_ = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && path.Ext(name) == ".yaml" {
			out = append(out, scenario.Name(name))
		}
		return err
	})
	slices.Sort(out)
	return out
}

// ErrUnknown is wrapped by every error about a name that is not in the library.
var ErrUnknown = errors.New("no such scenario")

// Source is the text of a scenario's file.
func Source(name string) ([]byte, error) {
	name = scenario.Name(name)
	data, err := files.ReadFile(name + ".yaml")
	if err != nil {
		return nil, unknown(name)
	}
	return data, nil
}

// Load reads one scenario.
func Load(name string) (scenario.Scenario, error) {
	data, err := Source(name)
	if err != nil {
		return scenario.Scenario{}, err
	}
	return scenario.Parse(scenario.Name(name)+".yaml", data)
}

// All reads every scenario, sorted by name. The error joins those of all files.
func All() ([]scenario.Scenario, error) { return load(Names()) }

// Match finds the scenarios that the patterns name, each once, sorted within a
// pattern. A pattern is a name, a directory (memcg, memcg/... or ... for all)
// or holds wildcards as path.Match has them (memcg/oom-*). A pattern that
// finds nothing is an error that wraps [ErrUnknown] and says what is near.
func Match(patterns ...string) ([]scenario.Scenario, error) {
	var names []string
	var errs []error
	for _, pattern := range patterns {
		found, err := match(pattern)
		if err != nil {
			errs = append(errs, err)
		}
		for _, name := range found {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return load(names)
}

func match(pattern string) ([]string, error) {
	clean := strings.TrimSuffix(scenario.Name(pattern), "/")
	prefix, tree := strings.CutSuffix(clean, "...")
	if _, err := path.Match(clean, ""); err != nil {
		return nil, fmt.Errorf("%q is not a pattern: %w", pattern, err)
	}
	var found []string
	for _, name := range Names() {
		// the pattern was just tried
		glob, _ := path.Match(clean, name)
		if glob || tree && strings.HasPrefix(name, prefix) || clean != "" && strings.HasPrefix(name, clean+"/") {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		return nil, unknown(pattern)
	}
	return found, nil
}

func unknown(name string) error {
	if near := scenario.Nearest(path.Base(name), bases()); near != "" {
		for _, full := range Names() {
			if path.Base(full) == near {
				return fmt.Errorf("%w: %q; did you mean %q?", ErrUnknown, name, full)
			}
		}
	}
	return fmt.Errorf("%w: %q; oomlab list shows all", ErrUnknown, name)
}

func bases() []string {
	var out []string
	for _, name := range Names() {
		out = append(out, path.Base(name))
	}
	return out
}

func load(names []string) ([]scenario.Scenario, error) {
	var out []scenario.Scenario
	var errs []error
	for _, name := range names {
		s, err := Load(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, s)
	}
	return out, errors.Join(errs...)
}
