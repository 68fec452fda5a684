package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/report"
	"github.com/oomlab/oomlab/harness/verdict"
)

func (a *app) reportCommand() *cobra.Command {
	var runsDir string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "report RUN...",
		Short: "judge recorded runs again and show them",
		Long: `Judge recorded runs again and show them. A run is its directory, or the
directory's name or number below --runs-dir. The record is not changed.

With -o json each run is printed as its result.json has it, byte for byte. The
exit status is that of the worst verdict.`,
		Example: `  oomlab report runs/0142-memcg-adj-outweighs-size
  oomlab report -v 142`,
		Args: wants(1, -1, "a run directory"),
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVar(&runsDir, "runs-dir", defaultRunsDir, "`DIR` where run directories are looked for")
	format := output(cmd, "text", "json", "junit")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show everything")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		var all []verdict.Result
		var words []verdict.Word
		for i, arg := range args {
			dir, err := findRun(runsDir, arg)
			if err != nil {
				return err
			}
			in, err := load(dir)
			if err != nil {
				return err
			}
			r := verdict.Judge(in)
			all, words = append(all, r), append(words, r.Verdict)
			switch format.value {
			case "json":
				err = report.Document(a.out, r)
			case "text":
				if i > 0 {
					fmt.Fprintln(a.out)
				}
				err = report.Text(a.out, r, report.Options{Colour: a.terminal(), Verbose: verbose, RunsDir: filepath.Dir(dir)})
			}
			if err = errors.Join(err, a.compare(dir, r)); err != nil {
				return err
			}
		}
		if format.value == "junit" {
			if err := report.JUnit(a.out, all); err != nil {
				return err
			}
		}
		return done(statusOfVerdict(verdict.Worst(words...)))
	}
	return cmd
}

// load reads a run directory.
func load(dir string) (verdict.Input, error) {
	in, err := verdict.Load(os.DirFS(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return in, &mistake{fmt.Sprintf("%s is not a run directory: %v", dir, err), "oomlab run makes them, below runs/ by default"}
	}
	if err != nil {
		return in, fmt.Errorf("%s: %w", dir, err)
	}
	return in, nil
}

// findRun finds a run directory by its path, or by its name or number below
// runsDir.
func findRun(runsDir, arg string) (string, error) {
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
	return "", &mistake{fmt.Sprintf("there is no run %s", arg), "name its directory, or its number below " + runsDir}
}

// compare says when result.json tells another story than the run judged again:
// it was written by another version, or the record was changed since.
func (a *app) compare(dir string, r verdict.Result) error {
	recorded, err := os.ReadFile(filepath.Join(dir, verdict.ResultFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var again bytes.Buffer
	if err := report.Document(&again, r); err != nil {
		return err
	}
	if !bytes.Equal(recorded, again.Bytes()) {
		fmt.Fprintf(a.err, "oomlab: %s says otherwise: it was written by another version of oomlab, or the record was changed\n",
			filepath.Join(dir, verdict.ResultFile))
	}
	return nil
}
