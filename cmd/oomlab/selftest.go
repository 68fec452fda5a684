package main

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/verdict"
)

func (a *app) selftestCommand() *cobra.Command {
	var runsDir string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "selftest [RUN...]",
		Short: "show that the judge catches every lie",
		Long: `Show that the judge catches every lie. In a recorded run that passed, every
witness is made to lie in turn: a wrong pid, a missing line, a counter that is
off by one, an exit status that was swapped, an event that was lost or came
twice. Then every claim of the scenario is turned into its opposite. None of it
may pass: a lie is red (fail or broken), a claim's opposite fails.

Without a run the recordings that oomlab carries are used. The exit status is 1
if anything slipped through.`,
	}
	cmd.Flags().StringVar(&runsDir, "runs-dir", defaultRunsDir, "`DIR` where run directories are looked for")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show why each was caught")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		all, err := recordings(runsDir, args)
		if err != nil {
			return err
		}
		t := selftest{}
		for _, r := range all {
			if err := t.run(r); err != nil {
				return err
			}
		}
		return t.print(a, verbose)
	}
	return cmd
}

// recording is a recorded run under the name that the user knows it by.
type recording struct {
	name string
	in   verdict.Input
}

// recordings loads the runs that were named, or those that oomlab carries.
func recordings(runsDir string, args []string) ([]recording, error) {
	var out []recording
	for _, arg := range args {
		dir, err := findRun(runsDir, arg)
		if err != nil {
			return nil, err
		}
		in, err := load(dir)
		if err != nil {
			return nil, err
		}
		out = append(out, recording{dir, in})
	}
	if len(args) > 0 {
		return out, nil
	}
	files := verdict.Recorded()
	metas, err := fs.Glob(files, "*/*/"+verdict.MetaFile)
	if err != nil {
		return nil, err
	}
	for _, meta := range metas {
		dir, err := fs.Sub(files, path.Dir(meta))
		if err != nil {
			return nil, err
		}
		in, err := verdict.Load(dir)
		if err != nil {
			return nil, fmt.Errorf("recording %s: %w", path.Dir(meta), err)
		}
		// a recording may be there because it did not pass
		if verdict.Judge(in).Verdict == verdict.Pass {
			out = append(out, recording{path.Dir(meta), in})
		}
	}
	if len(out) == 0 {
		return nil, &mistake{"selftest: this oomlab carries no recorded run", "name one: oomlab selftest runs/0142-..."}
	}
	return out, nil
}

// trial is one lie, or one claim turned round, and what the judge said.
type trial struct {
	run, witness, what string
	result             verdict.Result
	caught             bool
}

type selftest struct{ trials []trial }

func (t *selftest) run(r recording) error {
	if got := verdict.Judge(r.in); got.Verdict != verdict.Pass {
		return &mistake{fmt.Sprintf("selftest: the verdict of %s is %s", r.name, got.Verdict), "a lie is only told from the truth in a run that passed"}
	}
	for _, c := range verdict.Corrupt(r.in) {
		got := verdict.Judge(c.Input)
		t.trials = append(t.trials, trial{r.name, string(c.Witness), strings.TrimPrefix(c.Name, string(c.Witness)+": "), got, got.Verdict == verdict.Fail || got.Verdict == verdict.Broken})
	}
	for _, inv := range verdict.Invert(r.in) {
		in := r.in
		in.Scenario.Expect = inv.Expect
		got := verdict.Judge(in)
		t.trials = append(t.trials, trial{r.name, "(scenario)", "the opposite of " + inv.Claim, got, got.Verdict == verdict.Fail})
	}
	return nil
}

func (t *selftest) print(a *app, verbose bool) error {
	slipped := slices.DeleteFunc(slices.Clone(t.trials), func(t trial) bool { return t.caught })
	err := table(a.out, func(row func(...string)) {
		row("WITNESS", "CORRUPTION", "VERDICT")
		run := ""
		for _, t := range t.trials {
			if t.run != run {
				run = t.run
				row("# " + run)
			}
			cells := []string{t.witness, t.what, string(t.result.Verdict)}
			if !t.caught {
				cells = append(cells, "SLIPPED THROUGH")
			} else if verbose {
				cells = append(cells, t.result.Reason)
			}
			row(cells...)
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "\n%d of %d caught\n", len(t.trials)-len(slipped), len(t.trials))
	for _, t := range slipped {
		fmt.Fprintf(a.err, "oomlab: %s: %s: the verdict is still %s\n", t.run, t.what, t.result.Verdict)
	}
	if len(slipped) > 0 || len(t.trials) == 0 {
		return status(exitFail)
	}
	return nil
}
