package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/lab"
	"github.com/oomlab/oomlab/harness/report"
	"github.com/oomlab/oomlab/harness/reproduce"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
	"github.com/oomlab/oomlab/harness/verdict"
)

// reproduceFlags are the flags of oomlab reproduce.
type reproduceFlags struct {
	report                int
	file, scale, pageSize string
	run                   bool
	kernel, runsDir       string
	target                *choice
	verbose               bool
}

func (a *app) reproduceCommand() *cobra.Command {
	f := reproduceFlags{target: &choice{of: scenario.TargetNames(scenario.Local, scenario.VM)}}
	cmd := &cobra.Command{
		Use:   "reproduce [flags] FILE|-",
		Short: "turn a report of a kernel log into a scenario",
		Long: `Turn a report of a kernel log into a scenario that reproduces it.

The scenario has processes of the reported sizes, kinds of memory and
oom_score_adj, in a cgroup or a machine of the reported size, scaled down to a VM
of at most 2Gi. Deviations are listed on standard error and in the scenario. It
is printed, or written to a file with -o; oomlab run runs it.

With --run it is run at once, and its victim is compared with the reported one.

Exit status: 0; with --run that of the verdict, and 1 if another process was
killed; 4 if no scenario can be made of the report; 64 for wrong usage, or a log
without a report.`,
		Example: `  oomlab reproduce -o incident.yaml kern.log
  oomlab reproduce --run --kernel 6.12 --report 2 kern.log`,
		Args: wants(1, 1, "a kernel log"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.reproduce(cmd.Context(), f, args) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.IntVar(&f.report, "report", 0,
		"the `N`th report of the log, as oomlab explain --list counts\n(default the last with a victim)")
	flags.StringVarP(&f.file, "output", "o", "", "write the scenario to `FILE`")
	flags.StringVar(&f.scale, "scale", "auto", "`SCALE` of sizes, such as 1/16, 1, or auto")
	flags.StringVar(&f.pageSize, "page-size", "", pageSizeHelp)
	flags.BoolVar(&f.run, "run", false, "run the scenario and compare")
	flags.Var(f.target, "target", "where it runs; chosen when not given")
	flags.StringVar(&f.kernel, "kernel", "", "`KERNEL` of the VM: 6.12, an exact release, or a path to a bzImage")
	flags.StringVar(&f.runsDir, "runs-dir", defaultRunsDir, "`DIR` where the run directory is made")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "show everything of the run")
	return cmd
}

func (f reproduceFlags) options() (reproduce.Options, error) {
	var o reproduce.Options
	var err error
	if o.PageSize, err = parsePageSize(f.pageSize); err != nil {
		return o, err
	}
	if f.scale != "auto" {
		one, n, ok := strings.Cut(f.scale, "/")
		if !ok {
			n = one
		}
		o.Scale, err = strconv.ParseFloat(n, 64)
		if err != nil || ok && one != "1" || !ok && n != "1" || !(o.Scale >= 1 && o.Scale <= 1e6) {
			return o, &mistake{fmt.Sprintf("--scale: %q is not a scale", f.scale), "write 1/16, 1 or auto"}
		}
	}
	switch {
	case f.report < 0:
		return o, &mistake{fmt.Sprintf("--report %d: reports are counted from 1", f.report),
			"oomlab explain --list shows them"}
	case !f.run && f.kernel != "":
		return o, &mistake{"--kernel is for --run", "oomlab run takes it too"}
	case !f.run && f.target.value != "":
		return o, &mistake{"--target is for --run", "oomlab run takes it too"}
	case scenario.Target(f.target.value).Traits().Here && f.kernel != "":
		return o,
			&mistake{"--kernel is for VMs; the local target runs on this machine's kernel", "leave out --target local"}
	}
	return o, kernels.Check(f.kernel)
}

func (a *app) reproduce(ctx context.Context, f reproduceFlags, args []string) error {
	o, err := f.options()
	if err != nil {
		return err
	}
	in, name, err := a.openLog(args)
	if err != nil {
		return err
	}
	r, n, err := reproduce.Pick(in, f.report)
	if err = errors.Join(err, in.Close()); err != nil {
		var none *reproduce.NoReport
		if errors.As(err, &none) {
			return &mistake{name + ": " + none.What, none.Hint}
		}
		return logError(name, err)
	}
	o.Source = fmt.Sprintf("report %d of %s", n, filepath.Base(name))
	o.Name = "reproduced"
	if f.file != "" && f.file != "-" {
		o.Name = runName(f.file)
	}
	got, err := reproduce.Scenario(r, o)
	if errors.Is(err, reproduce.ErrImpossible) {
		complain(a.err, fmt.Errorf("%s: report %d: %w", name, n, err))
		return done(exitSkip)
	}
	if err != nil {
		return err
	}
	for _, note := range got.Notes {
		a.say("note: " + note)
	}
	switch {
	case f.file != "" && f.file != "-":
		err = os.WriteFile(f.file, got.Text, 0o644)
	case !f.run || f.file == "-":
		_, err = a.out.Write(got.Text)
	}
	if err != nil || !f.run {
		return err
	}
	a.reading.Store(false)
	return a.runReproduced(ctx, f, args[0], n, got)
}

// runReproduced runs the scenario and compares its victim with the reported one.
func (a *app) runReproduced(ctx context.Context, f reproduceFlags, log string, n int, got reproduce.Result) error {
	l, err := lab.Open(lab.Options{Target: scenario.Target(f.target.value), Kernel: f.kernel, RunsDir: f.runsDir,
		Log: a.say})
	if err != nil {
		return err
	}
	command := []string{"oomlab", "reproduce", "--run", "--report", strconv.Itoa(n), "--scale", f.scale, log}
	if f.kernel != "" {
		command = slices.Insert(command, 3, "--kernel", f.kernel)
	}
	r, err := l.RunOne(ctx, lab.Job{Scenario: got.Scenario, Source: got.Text, Command: command},
		func(e evidence.Event) {
			if line := report.Event(e); f.verbose && line != "" {
				a.say(line)
			}
		})
	if err = errors.Join(err, l.Close()); err != nil && r.Verdict == "" {
		return err
	}
	err = errors.Join(err,
		report.Text(raw(a.out), r, report.Options{Colour: a.terminal(), Verbose: f.verbose, RunsDir: f.runsDir}))
	var killed []string
	for _, k := range r.Kills {
		killed = append(killed, k.Victim.Process)
	}
	same, text := got.Compare(killed)
	fmt.Fprintf(a.out, "\n%s\n", text)
	switch {
	case err != nil:
		return err
	case r.Verdict == verdict.Pass && !same:
		return done(exitFail)
	}
	return done(statusOfVerdict(r.Verdict))
}
