package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/lab"
	"github.com/oomlab/oomlab/harness/selftest"
	"github.com/oomlab/oomlab/harness/verdict"
)

func (a *app) selftestCommand() *cobra.Command {
	var runsDir string
	var verbose bool
	var mutations int
	var seed uint64
	cmd := &cobra.Command{
		Use:   "selftest [RUN...]",
		Short: "verify that the judge catches false evidence",
		Long: `Verify that the judge catches false evidence. In a recorded run that passed, the
evidence of each witness is falsified in turn: a wrong pid, a missing line, a
counter that is off by one, a swapped exit status, a lost or repeated event. Then
every claim of the scenario is inverted. None of these may pass: a lie must give
fail or broken, an inverted claim must fail.

Mutations are generated beside these: of each record and each file of the run a field
is dropped, zeroed, misspelt, off by one or swapped, or changed in the same way
wherever its witness tells it; a record is dropped, repeated or moved, or all of its
kind are dropped; a file is removed, cut or shuffled. Each must be caught, or be one
of those that nothing else can contradict; -v says why. --mutations 0 makes one for
each kind of record, field and operation, which takes minutes.

Without a run the built-in recordings are used. The exit status is 1 if any lie
passed.`,
	}
	cmd.Flags().StringVar(&runsDir, "runs-dir", defaultRunsDir, "`DIR` where run directories are looked for")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show why each lie was caught")
	cmd.Flags().IntVar(&mutations, "mutations", 40, "generate `N` mutations of each run; 0: all kinds that there are")
	cmd.Flags().Uint64Var(&seed, "seed", 1, "`SEED` of the mutations")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if mutations < 0 {
			return &mistake{fmt.Sprintf("selftest: --mutations %d is less than none", mutations),
				"0 generates all kinds"}
		}
		all, err := recordings(runsDir, args)
		if err != nil {
			return err
		}
		var lies, generated []selftest.Trial
		for _, r := range all {
			lies = append(lies, selftest.Try(r)...)
			generated = append(generated, selftest.TryMutations(r, seed, mutations)...)
		}
		return a.printTrials(lies, generated, verbose)
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
		in, err := new(lab.Records).Load(dir)
		if err != nil {
			return nil, err
		}
		if got := verdict.Judge(in).Verdict; got != verdict.Pass {
			return nil, &mistake{fmt.Sprintf("selftest: the verdict of %s is %s", dir, got),
				"selftest needs a run that passed"}
		}
		out = append(out, selftest.Recording{Name: dir, Input: in, Files: os.DirFS(dir)})
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

func (a *app) printTrials(lies, generated []selftest.Trial, verbose bool) error {
	shown := lies
	if verbose {
		shown = slices.Concat(lies, generated)
	}
	err := table(a.out, func(row func(...string)) {
		row("WITNESS", "CORRUPTION", "VERDICT")
		run := ""
		for _, t := range shown {
			if t.Run != run {
				run = t.Run
				row("# " + run)
			}
			cells := []string{t.Witness, t.What, string(t.Result.Verdict)}
			switch {
			case !t.Caught && t.Excused == "":
				cells = append(cells, "SLIPPED THROUGH")
			case !t.Caught:
				cells = append(cells, "excused: "+t.Excused)
			case verbose:
				cells = append(cells, t.Result.Reason)
			}
			row(cells...)
		}
	})
	if err != nil {
		return err
	}
	var slipped []selftest.Trial
	count := func(trials []selftest.Trial) (caught, excused int) {
		for _, t := range trials {
			switch {
			case t.Caught:
				caught++
			case t.Excused != "":
				excused++
			default:
				slipped = append(slipped, t)
			}
		}
		return caught, excused
	}
	caught, _ := count(lies)
	fmt.Fprintf(a.out, "\n%d of %d caught\n", caught, len(lies))
	caught, excused := count(generated)
	fmt.Fprintf(a.out, "%d generated mutations: %d caught, %d excused\n", len(generated), caught, excused)
	for _, t := range slipped {
		fmt.Fprintf(a.err, "oomlab: %s: %s: the verdict is still %s\n", t.Run, t.What, t.Result.Verdict)
	}
	if len(slipped) > 0 || len(lies) == 0 {
		return status(exitFail)
	}
	return nil
}
