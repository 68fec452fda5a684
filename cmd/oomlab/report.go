package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/lab"
	"github.com/oomlab/oomlab/harness/report"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/verdict"
	"github.com/oomlab/oomlab/scenarios"
)

func (a *app) reportCommand() *cobra.Command {
	var runsDir string
	var verbose bool
	var records lab.Records
	var kcidb kcidbFlags
	cmd := &cobra.Command{
		Use:   "report RUN...",
		Short: "judge recorded runs again and show them",
		Long: `Judge recorded runs again and show them. A run is its directory, or the
directory's name or number below --runs-dir; a directory that holds run
directories stands for all of them. The record is not changed.

A directory made by oomlab chaos is a campaign; its report shows the results for
each kernel and every disagreement.

html is one file that needs no network, for one run or many; ktap is the format of
the kernel's own tests; kcidb is a report for KCIDB, of KernelCI; markdown is for
the summary of a CI step. claims is a document of the statements that people make
about the OOM killer (oomlab list --claims), each with what the runs answer on each
kernel, and the numbers seen.
runtimes is a document of what systemd, podman, docker, the kubelet and containerd
said of what the kernel did.

With -o json each run is printed byte for byte as in its result.json. The
exit status is that of the worst verdict.

` + aboutManifests + `
` + rejudging + `.`,
		Example: `  oomlab report runs/0142-memcg-adj-outweighs-size
  oomlab report -v 142
  oomlab report -o html runs > report.html
  oomlab report -o html runs/chaos-1 > campaign.html
  oomlab report -o claims runs > claims.md
  oomlab report -o runtimes runs > runtimes.md`,
		Args:              wants(1, -1, "a run directory"),
		ValidArgsFunction: completeRuns,
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVar(&runsDir, "runs-dir", defaultRunsDir, "`DIR` where run directories are looked for")
	format := output(cmd, "text", "json", "junit", "ktap", "kcidb", "markdown", "html", "claims", "runtimes")
	kcidb.add(cmd.Flags())
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show everything")
	rejudge(cmd, &records.Rejudge)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if err := kcidb.check(format.value); err != nil {
			return err
		}
		found, err := campaigns(runsDir, args, &records)
		if err != nil {
			return err
		}
		if len(found) > 0 && (format.value == "claims" || format.value == "runtimes") {
			return &mistake{"-o " + format.value + " shows runs, and " + args[0] + " is a campaign", ""}
		}
		if len(found) > 0 {
			return a.remark(&records, a.reportCampaigns(found, format.value, kcidb.o))
		}
		dirs, err := lab.FindRuns(runsDir, args)
		if err != nil {
			return err
		}
		return a.remark(&records, a.report(dirs, &records, format.value, kcidb.o, verbose))
	}
	return cmd
}

// aboutManifests is part of the help of commands that read run directories.
const aboutManifests = `A run directory has a manifest with the hash of every file. Where a file is not
what was recorded, or result.json says otherwise than the judge does today, the
exit status is 70;`

const rejudging = `--rejudge takes such a run as it is now, for those who edit on purpose`

func rejudge(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "rejudge", false, "judge runs as they are now, although they were edited")
}

// remark says what is to be said of the runs that were read, and turns it into an
// exit status where the runs alone are no reason for a worse one.
func (a *app) remark(r *lab.Records, err error) error {
	if n := len(r.Unsealed); n > 0 {
		of := r.Unsealed[0]
		if n > 1 {
			of += fmt.Sprintf(" and %d more", n-1)
		}
		fmt.Fprintf(a.err, "%sno manifest in %s: made before run directories had one, so that edits do not show\n",
			program, of)
	}
	for _, text := range r.Edited {
		fmt.Fprintf(a.err, "%s%s; judged as it is now (--rejudge)\n", program, text)
	}
	for _, text := range r.Differ {
		fmt.Fprintln(a.err, program+text)
	}
	var code status
	if len(r.Differ) == 0 || r.Rejudge || err != nil && !errors.As(err, &code) {
		return err
	}
	fmt.Fprintln(a.err, hinting+"another version of oomlab judged it, or it was edited; --rejudge takes it as it "+
		"is now")
	return status(exitBroken)
}

// report judges runs again and shows them, one by one or all at the end, and
// turns the worst verdict into an exit status. What is not as it was recorded is not
// shown.
func (a *app) report(dirs []string, records *lab.Records, format string, kcidb report.KCIDBOptions,
	verbose bool) error {
	var all []verdict.Result
	var words []verdict.Verdict
	var subjects []report.Subject
	var failed error
	for i, dir := range dirs {
		in, result, err := records.Judge(dir)
		var altered *lab.Altered
		if errors.As(err, &altered) {
			failed = errors.Join(failed, err)
			continue
		}
		if err != nil {
			return err
		}
		s := report.Subject{Dir: dir, Input: in, Result: result}
		switch format {
		case "claims", "runtimes":
			subjects = append(subjects, s)
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
			err = report.Text(raw(a.out), s.Result, o)
		}
		if err != nil {
			return err
		}
		all, words = append(all, s.Result), append(words, s.Result.Verdict)
	}
	var err error
	switch {
	case len(all) == 0:
	case format == "junit":
		err = report.JUnit(a.out, all)
	case format == "ktap":
		err = report.KTAP(a.out, all)
	case format == "kcidb":
		err = report.KCIDB(a.out, all, kcidb)
	case format == "markdown":
		err = report.Markdown(a.out, all)
	case format == "claims":
		var library []scenario.Scenario
		if library, err = scenarios.All(); err == nil {
			err = report.Claims(a.out, library, subjects)
		}
	case format == "runtimes":
		err = report.Runtimes(a.out, subjects)
	case format == "html":
		err = report.HTML(a.out, fmt.Sprintf("oomlab: %d runs", len(subjects)), subjects)
	}
	if err = errors.Join(failed, err); err != nil {
		return err
	}
	worst := verdict.Worst(words...)
	if worst == verdict.Skip && format == "claims" {
		worst = verdict.Pass // a kernel that lacks something answers with that
	}
	return done(statusOfVerdict(worst))
}
