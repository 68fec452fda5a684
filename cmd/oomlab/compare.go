package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/compare"
	"github.com/oomlab/oomlab/harness/lab"
	"github.com/oomlab/oomlab/harness/report"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
	"github.com/oomlab/oomlab/harness/verdict"
)

// compareFlags are the flags of oomlab compare.
type compareFlags struct {
	kernels          []string
	modules          string
	runsDir          string
	baseline         string
	by               string
	update           bool
	bisect           bool
	repeat, parallel int
	cgroup           int
	hostOOM          bool
	rejudge          bool
	output           *choice
	quiet, verbose   bool
}

func (a *app) compareCommand() *cobra.Command {
	var f compareFlags
	cmd := &cobra.Command{
		Use:   "compare [flags] SCENARIO|PATTERN|FILE.yaml|[NAME=]DIR...",
		Short: "compare what kernels do",
		Long: `Compare what kernels do: a matrix of scenarios and kernels, then only the
differences, each with the first kernel that shows it.

Kernels are versions, ranges over the output of oomlab kernels list (6.12..7.3),
paths of a bzImage, or host for this machine's own. Run directories, or
directories that hold some, are compared as they are, by the kernel on which they
were recorded, or with NAME= under a name: old=runs-before new=runs-after. With
--by FIELD they are grouped by a property of their node: --by node.kernelVersion,
node.kubeletVersion, node.containerRuntimeVersion, node.osImage, node.name,
node.cgroupDriver, node.labels.KEY. With --by runtime rows are what the kernel did to
a unit or a container, and columns what systemd, engines and kubelets said of it.

With --baseline FILE the comparison is saved if FILE does not exist, and checked
against it otherwise. A scenario that seems to have changed is run twice more to
confirm it. Durations are not checked.

` + aboutManifests + `
` + rejudging + `.

Exit status:
  0    compared; nothing changed against the baseline
  1    something changed against the baseline
  64   wrong usage
  70   broken: some run has no verdict to compare, or is not what was recorded
  130  interrupted, after everything was restored`,
		Example: `  oomlab compare --kernels 5.10,6.1,6.12,6.18,7.3 memcg/adj-outweighs-size
  oomlab compare --kernels 6.12..7.3 --bisect memcg/...
  oomlab compare --kernels 6.12 --baseline node-image.json ...
  oomlab compare old=runs-before new=runs-after
  oomlab compare --by node.kubeletVersion runs`,
		Args:              wants(1, -1, "a scenario or a run directory"),
		ValidArgsFunction: completeScenarios,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringSliceVar(&f.kernels, "kernels", nil, "`KERNELS`, separated by commas")
	flags.StringVar(&f.modules, "modules", "", "`DIR` of the modules of a bzImage (default modules beside it)")
	flags.IntVar(&f.repeat, "repeat", 1, "run everything `N` times, to tell differences from noise")
	flags.StringVar(&f.by, "by", "",
		"columns of run directories by `FIELD`: kernel, node.kubeletVersion, node.labels.KEY ...")
	flags.StringVar(&f.baseline, "baseline", "", "save the comparison in `FILE`, or check against it")
	flags.BoolVar(&f.update, "update-baseline", false, "overwrite an existing baseline")
	flags.BoolVar(&f.bisect, "bisect", false, "also run known kernels between two that differ, until neighbours differ")
	flags.IntVar(&f.cgroup, "cgroup", 0, "cgroup `VERSION` of the VMs, 1 or 2, where a scenario does not say")
	flags.StringVar(&f.runsDir, "runs-dir", defaultRunsDir, "`DIR` where the run directories are made")
	flags.IntVar(&f.parallel, "parallel", 0, "run `N` VMs side by side (default as many as there is room for)")
	flags.BoolVar(&f.hostOOM, "allow-host-oom", false, "let host run this machine out of memory")
	rejudge(cmd, &f.rejudge)
	f.output = output(cmd, "text", "json", "markdown", "html")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print no progress")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "show every change, and everything that varied between runs")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f.quiet = f.quiet || f.output.value != "text" && a.outWidth() == 0 && screen(a.err) == nil
		return a.compareAll(cmd.Context(), f, args)
	}
	return cmd
}

func (f compareFlags) check() error {
	switch {
	case f.repeat < 1:
		return &mistake{fmt.Sprintf("--repeat %d: a scenario is run at least once", f.repeat), ""}
	case f.cgroup < 0 || f.cgroup > 2:
		return &mistake{fmt.Sprintf("--cgroup %d: there are versions 1 and 2", f.cgroup), ""}
	case f.modules != "" && !slices.ContainsFunc(f.kernels, kernels.IsImage):
		return &mistake{"--modules belongs to a bzImage; kernels of a version bring their own",
			"name one among --kernels"}
	case f.by != "" && !compare.KnownField(f.by):
		return &mistake{fmt.Sprintf("--by %s: runs have no such field", f.by),
			"there are " + strings.Join(compare.Fields, ", ") + " and node.labels.KEY"}
	case f.by != "" && len(f.kernels) > 0:
		return &mistake{"--by is for run directories; with --kernels every kernel has a column", ""}
	case f.update && f.baseline == "":
		return &mistake{"--update-baseline: --baseline is missing", "name it with --baseline FILE"}
	case f.quiet && f.verbose && f.output.value == "text":
		return &mistake{"-q and -v contradict each other", ""}
	}
	return nil
}

// checkKernels refuses what can name neither kernels nor a range of them.
func (f compareFlags) checkKernels() error {
	for _, spec := range f.kernels {
		if spec == "" {
			return &mistake{"--kernels: the list has an empty name", ""}
		}
		ends, err := compare.Expand(spec, nil)
		if errors.Is(err, compare.ErrBackwards) {
			from, to, _ := strings.Cut(spec, "..")
			return &mistake{fmt.Sprintf("--kernels %v", err), fmt.Sprintf("write %s..%s", to, from)}
		}
		if err != nil {
			return err
		}
		for _, end := range ends {
			if end == lab.HostKernel {
				continue
			}
			if err := kernels.Check(end); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *app) compareAll(ctx context.Context, f compareFlags, args []string) (err error) {
	for i, spec := range f.kernels {
		f.kernels[i] = strings.TrimSpace(spec)
	}
	if err := f.check(); err != nil {
		return err
	}
	var baseline *compare.Matrix
	if f.baseline != "" && !f.update {
		if baseline, err = readBaseline(f.baseline); err != nil {
			return err
		}
	}
	c, err := a.comparison(f, args)
	if err != nil {
		return err
	}
	if err := f.checkKernels(); err != nil {
		return err
	}
	if baseline == nil {
		if err := tryOutputs(f.baseline); err != nil {
			return err
		}
	}
	a.reading.Store(len(f.kernels) == 0)
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.Run(ctx); err != nil {
		return err
	}
	if f.bisect {
		if err := c.Bisect(ctx); err != nil {
			return err
		}
	}
	show := report.Comparison{Matrix: c.Matrix()}
	if baseline != nil {
		checked, err := c.Check(ctx, baseline)
		if errors.Is(err, compare.ErrNoColumn) {
			return &mistake{fmt.Sprintf("%s: %v", f.baseline, err), "--update-baseline writes it anew"}
		}
		if err != nil {
			return err
		}
		show.Matrix, show.Checked, show.Baseline = c.Matrix(), &checked, f.baseline
	}
	if err := a.printComparison(f, show, compareCommand(f, args)); err != nil {
		return err
	}
	if baseline == nil && f.baseline != "" {
		if len(c.Broken) > 0 {
			return fmt.Errorf("%s was not saved: %s has no verdict that could be compared",
				f.baseline, strings.Join(c.Broken, ", "))
		}
		if err := lab.WriteWhole(f.baseline, show.Matrix.Write); err != nil {
			return err
		}
		a.say(fmt.Sprintf("saved the baseline %s: %d runs", f.baseline, show.Matrix.Runs()))
	}
	code := exitPass
	switch {
	case len(c.Broken) > 0:
		code = exitBroken
	case show.Checked != nil && len(show.Checked.Drifts) > 0:
		code = exitFail
	}
	return a.remark(c.Records, done(code))
}

// compareCommand is the command that makes a comparison again.
func compareCommand(f compareFlags, args []string) []string {
	out := []string{"oomlab", "compare"}
	if len(f.kernels) > 0 {
		out = append(out, "--kernels", strings.Join(f.kernels, ","))
	}
	if f.repeat > 1 {
		out = append(out, "--repeat", fmt.Sprint(f.repeat))
	}
	if f.cgroup != 0 {
		out = append(out, "--cgroup", fmt.Sprint(f.cgroup))
	}
	if f.bisect {
		out = append(out, "--bisect")
	}
	if f.by != "" {
		out = append(out, "--by", f.by)
	}
	return append(out, args...)
}

// readBaseline reads a baseline; nil when there is none yet.
func readBaseline(name string) (*compare.Matrix, error) {
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	m, err := compare.Read(file)
	if err != nil {
		return nil, &mistake{fmt.Sprintf("%s: %v", name, err), "--update-baseline writes it anew"}
	}
	return m, nil
}

// comparison sorts run directories from scenarios and makes a comparison of them.
func (a *app) comparison(f compareFlags, args []string) (*lab.Comparison, error) {
	var scenarios []string
	var recorded []lab.Runs
	for _, arg := range args {
		runs, is, err := lab.RunsIn(arg)
		switch {
		case err != nil:
			return nil, err
		case is:
			recorded = append(recorded, runs)
		default:
			scenarios = append(scenarios, arg)
		}
	}
	jobs, err := a.choose(scenarios)
	if err != nil {
		return nil, err
	}
	switch {
	case len(jobs) > 0 && len(f.kernels) == 0:
		return nil, &mistake{"oomlab compare: --kernels is missing",
			"such as --kernels 5.10,6.12,7.3; run directories need none"}
	case len(jobs) == 0 && len(f.kernels) > 0:
		return nil, &mistake{"oomlab compare: no scenario to run on --kernels", "name one; ... is all of them"}
	}
	var watching atomic.Pointer[live]
	o := lab.CompareOptions{
		Kernels: f.kernels, Modules: f.modules, CgroupVersion: f.cgroup, AllowHostOOM: f.hostOOM,
		RunsDir: f.runsDir, Parallel: f.parallel, Repeat: f.repeat, By: f.by,
		Rejudge: f.rejudge,
	}
	if !f.quiet {
		o.Say = a.say
		o.Log = func(text string) {
			if l := watching.Load(); l != nil {
				l.say(text) // above what is drawn again and again
				return
			}
			a.say(text)
		}
	}
	o.Watch = func(runs int) (lab.Watch, func()) {
		l := a.show(runs, f.quiet)
		watching.Store(l)
		line := func(_ int, r verdict.Result) bool {
			if !f.quiet {
				report.Line(a.err, r, report.Options{RunsDir: f.runsDir}) // progress; the matrix has it all
			}
			return true
		}
		return l.watch(nil, line), func() {
			watching.Store(nil)
			l.close()
		}
	}
	return lab.Compare(o, recorded, jobs)
}

func (a *app) printComparison(f compareFlags, show report.Comparison, command []string) error {
	switch f.output.value {
	case "json":
		return report.CompareJSON(a.out, show)
	case "markdown":
		return report.CompareMarkdown(a.out, show)
	case "html":
		return report.CompareHTML(a.out, show, command)
	}
	o := report.Options{Colour: a.terminal(), Verbose: f.verbose, Width: a.outWidth()}
	return report.CompareText(a.out, show, o)
}
