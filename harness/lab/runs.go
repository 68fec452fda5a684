package lab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/verdict"
)

// BadRun says what is wrong with a run directory that was named, and the way out.
type BadRun struct{ What, Hint string }

func (b *BadRun) Error() string { return b.What + "; " + b.Hint }

// makesRuns is the way out where run directories are missing.
const makesRuns = "oomlab run makes them, below runs/ by default"

// Runs are run directories that were named together.
type Runs struct {
	Name string // as NAME=DIR gives one; empty: none was given
	Dirs []string
}

// RunsIn finds the run directories that an argument means: itself, or those in
// it. It reports whether the argument means any.
func RunsIn(arg string) (Runs, bool, error) {
	name, dir, named := strings.Cut(arg, "=")
	if !named || strings.ContainsRune(name, '/') {
		name, dir, named = "", arg, false
	}
	if isRun(dir) {
		return Runs{name, []string{dir}}, true, nil
	}
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return Runs{}, false, nil // wildcards of a pattern that are none for a file
	}
	if found = slices.DeleteFunc(found, func(f string) bool { return !isRun(f) }); len(found) == 0 {
		if named {
			return Runs{}, false, &BadRun{fmt.Sprintf("%s holds no run directories", dir), makesRuns}
		}
		return Runs{}, false, nil
	}
	return Runs{name, found}, true, nil
}

// isRun reports whether a directory holds a run, be it one of which only the manifest
// is left.
func isRun(dir string) bool {
	return slices.ContainsFunc([]string{verdict.MetaFile, verdict.ManifestFile}, func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	})
}

// FindRun finds a run directory by its path, or by its name or number below
// runsDir.
func FindRun(runsDir, arg string) (string, error) {
	for _, dir := range []string{arg, filepath.Join(runsDir, arg)} {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir, nil
		}
	}
	entries, err := os.ReadDir(runsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for _, e := range entries {
		number, _, ok := strings.Cut(e.Name(), "-")
		if ok && e.IsDir() && arg != "" && strings.TrimLeft(number, "0") == strings.TrimLeft(arg, "0") {
			return filepath.Join(runsDir, e.Name()), nil
		}
	}
	return "", &BadRun{fmt.Sprintf("there is no run %s", arg), "name its directory, or its number below " + runsDir}
}

// FindRuns finds what FindRun does, and in a directory that holds run directories
// those.
func FindRuns(runsDir string, args []string) ([]string, error) {
	var out []string
	for _, arg := range args {
		if runs, is, err := RunsIn(arg); err != nil {
			return nil, err
		} else if is && runs.Name == "" {
			out = append(out, runs.Dirs...)
			continue
		}
		dir, err := FindRun(runsDir, arg)
		if err != nil {
			return nil, err
		}
		out = append(out, dir)
	}
	return out, nil
}

// Samples reads the timeline of a run; a run that was skipped has none, and not
// every recording keeps it.
func Samples(dir string) ([]evidence.Event, error) {
	f, err := os.Open(filepath.Join(dir, verdict.SamplesFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	samples, err := evidence.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", f.Name(), err)
	}
	return samples, nil
}

// WriteWhole makes a file that is complete or not there at all.
func WriteWhole(name string, write func(io.Writer) error) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".oomlab-*")
	if err != nil {
		return err
	}
	err = errors.Join(write(tmp), tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}
