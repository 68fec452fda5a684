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

	"github.com/oomlab/oomlab/harness/evidence"
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
directory's name or number below --runs-dir; a directory that holds run
directories is all of them. The record is not changed.

A directory that oomlab chaos has made is a campaign: what each kernel has
shown, and what was found.

html is one file that needs no network, for a run or for many; ktap is what the
kernel's own tests print; markdown is for the summary of a CI step.

With -o json each run is printed as its result.json has it, byte for byte. The
exit status is that of the worst verdict.`,
		Example: `  oomlab report runs/0142-memcg-adj-outweighs-size
  oomlab report -v 142
  oomlab report -o html runs > report.html
  oomlab report -o html runs/chaos-1 > campaign.html`,
		Args:              wants(1, -1, "a run directory"),
		ValidArgsFunction: completeRuns,
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVar(&runsDir, "runs-dir", defaultRunsDir, "`DIR` where run directories are looked for")
	format := output(cmd, "text", "json", "junit", "ktap", "markdown", "html")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show everything")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		var all []verdict.Result
		var words []verdict.Word
		var subjects []report.Subject
		switch found, err := campaigns(runsDir, args); {
		case err != nil:
			return err
		case len(found) > 0:
			return a.reportCampaigns(found, format.value)
		}
		dirs, err := findRuns(runsDir, args)
		if err != nil {
			return err
		}
		for i, dir := range dirs {
			in, err := load(dir)
			if err != nil {
				return err
			}
			r := verdict.Judge(in)
			all, words = append(all, r), append(words, r.Verdict)
			switch format.value {
			case "html":
				var samples []evidence.Event
				samples, err = loadSamples(dir)
				subjects = append(subjects, report.Subject{Dir: dir, Input: in, Result: r, Samples: samples})
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
		switch format.value {
		case "junit":
			err = report.JUnit(a.out, all)
		case "ktap":
			err = report.KTAP(a.out, all)
		case "markdown":
			err = report.Markdown(a.out, all)
		case "html":
			err = report.HTML(a.out, fmt.Sprintf("oomlab: %d runs", len(subjects)), subjects)
		}
		if err != nil {
			return err
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

// loadSamples reads the timeline of a run; a run that was skipped has none, and
// not every recording keeps it.
func loadSamples(dir string) ([]evidence.Event, error) {
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
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return samples, nil
}

// findRuns finds what findRun does, and in a directory that holds run
// directories those.
func findRuns(runsDir string, args []string) ([]string, error) {
	var out []string
	for _, arg := range args {
		if runs, is, err := recordedIn(arg); err != nil {
			return nil, err
		} else if is && runs.name == "" {
			out = append(out, runs.dirs...)
			continue
		}
		dir, err := findRun(runsDir, arg)
		if err != nil {
			return nil, err
		}
		out = append(out, dir)
	}
	return out, nil
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
