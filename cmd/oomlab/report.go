package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/lab"
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
directories stands for all of them. The record is not changed.

A directory made by oomlab chaos is a campaign; its report shows the results for
each kernel and every disagreement.

html is one file that needs no network, for one run or many; ktap is the format of
the kernel's own tests; markdown is for the summary of a CI step.

With -o json each run is printed byte for byte as in its result.json. The
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
		found, err := campaigns(runsDir, args)
		if err != nil {
			return err
		}
		if len(found) > 0 {
			return a.reportCampaigns(found, format.value)
		}
		dirs, err := lab.FindRuns(runsDir, args)
		if err != nil {
			return err
		}
		return a.report(dirs, format.value, verbose)
	}
	return cmd
}

// report judges runs again and shows them, one by one or all at the end, and
// turns the worst verdict into an exit status.
func (a *app) report(dirs []string, format string, verbose bool) error {
	var all []verdict.Result
	var words []verdict.Verdict
	var subjects []report.Subject
	for i, dir := range dirs {
		in, err := lab.Load(dir)
		if err != nil {
			return err
		}
		s := report.Subject{Dir: dir, Input: in, Result: verdict.Judge(in)}
		switch format {
		case "html":
			s.Samples, err = lab.Samples(dir)
			subjects = append(subjects, s)
		case "json":
			err = report.Document(a.out, s.Result)
		case "text":
			if i > 0 {
				fmt.Fprintln(a.out)
			}
			o := report.Options{Colour: a.terminal(), Verbose: verbose, RunsDir: filepath.Dir(dir)}
			err = report.Text(a.out, s.Result, o)
		}
		if err = errors.Join(err, a.compare(dir, s.Result)); err != nil {
			return err
		}
		all, words = append(all, s.Result), append(words, s.Result.Verdict)
	}
	var err error
	switch format {
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
		fmt.Fprintf(a.err,
			"oomlab: %s says otherwise: it was written by another version of oomlab, or the record was changed\n",
			filepath.Join(dir, verdict.ResultFile))
	}
	return nil
}
