package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/lab"
	"github.com/oomlab/oomlab/harness/selftest"
	"github.com/oomlab/oomlab/harness/verdict"
)

func (a *app) selftestCommand() *cobra.Command {
	var runsDir string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "selftest [RUN...]",
		Short: "verify that the judge catches false evidence",
		Long: `Verify that the judge catches false evidence. In a recorded run that passed, the
evidence of each witness is falsified in turn: a wrong pid, a missing line, a
counter that is off by one, a swapped exit status, a lost or repeated event. Then
every claim of the scenario is inverted. None of these may pass: a lie must give
fail or broken, an inverted claim must fail.

Without a run the built-in recordings are used. The exit status is 1 if any lie
passed.`,
	}
	cmd.Flags().StringVar(&runsDir, "runs-dir", defaultRunsDir, "`DIR` where run directories are looked for")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show why each lie was caught")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		all, err := recordings(runsDir, args)
		if err != nil {
			return err
		}
		var trials []selftest.Trial
		for _, r := range all {
			trials = append(trials, selftest.Try(r)...)
		}
		return a.printTrials(trials, verbose)
	}
	return cmd
}

// recordings loads the runs that were named, or those that oomlab carries.
func recordings(runsDir string, args []string) ([]selftest.Recording, error) {
	var out []selftest.Recording
	for _, arg := range args {
		dir, err := lab.FindRun(runsDir, arg)
		if err != nil {
			return nil, err
		}
		in, err := lab.Load(dir)
		if err != nil {
			return nil, err
		}
		if got := verdict.Judge(in).Verdict; got != verdict.Pass {
			return nil, &mistake{fmt.Sprintf("selftest: the verdict of %s is %s", dir, got),
				"selftest needs a run that passed"}
		}
		out = append(out, selftest.Recording{Name: dir, Input: in})
	}
	if len(args) > 0 {
		return out, nil
	}
	out, err := selftest.Recordings()
	if err == nil && len(out) == 0 {
		err = &mistake{"selftest: this oomlab carries no recorded run", "name one: oomlab selftest runs/0142-..."}
	}
	return out, err
}

func (a *app) printTrials(trials []selftest.Trial, verbose bool) error {
	slipped := slices.DeleteFunc(slices.Clone(trials), func(t selftest.Trial) bool { return t.Caught })
	err := table(a.out, func(row func(...string)) {
		row("WITNESS", "CORRUPTION", "VERDICT")
		run := ""
		for _, t := range trials {
			if t.Run != run {
				run = t.Run
				row("# " + run)
			}
			cells := []string{t.Witness, t.What, string(t.Result.Verdict)}
			if !t.Caught {
				cells = append(cells, "SLIPPED THROUGH")
			} else if verbose {
				cells = append(cells, t.Result.Reason)
			}
			row(cells...)
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "\n%d of %d caught\n", len(trials)-len(slipped), len(trials))
	for _, t := range slipped {
		fmt.Fprintf(a.err, "oomlab: %s: %s: the verdict is still %s\n", t.Run, t.What, t.Result.Verdict)
	}
	if len(slipped) > 0 || len(trials) == 0 {
		return status(exitFail)
	}
	return nil
}
