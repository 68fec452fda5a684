package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/compare"
	"github.com/oomlab/oomlab/harness/lab"
	"github.com/oomlab/oomlab/harness/report"
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
	output           *choice
	quiet, verbose   bool
}

func (a *app) compareCommand() *cobra.Command {
	var f compareFlags
	cmd := &cobra.Command{
		Use:   "compare [flags] SCENARIO|PATTERN|FILE.yaml|[NAME=]DIR...",
		Short: "hold what kernels do against each other",
		Long: `Hold what kernels do against each other: a matrix of scenarios and kernels,
then only what differs, each difference with the first kernel that shows it.

Kernels are versions, ranges over what oomlab kernels list knows (6.12..7.3),
paths of a bzImage, or host for this machine's own. Run directories, or
directories that hold some, are compared as they are, by the kernel that they
were made on, or with NAME= under a name: old=runs-before new=runs-after. With
--by FIELD they are put together by what their node is: --by node.kernelVersion,
node.kubeletVersion, node.containerRuntimeVersion, node.osImage, node.name,
node.cgroupDriver, node.labels.KEY.

With --baseline FILE the comparison is saved if FILE does not exist, and else
held against it. A scenario that seems to have changed is run twice more before
that is believed. How long something takes is not checked.

Exit status:
  0    compared; nothing changed against the baseline
  1    something changed against the baseline
  64   wrong usage
  70   broken: some run has no verdict that could be compared
  130  interrupted, after everything was put back`,
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
	flags.StringVar(&f.by, "by", "", "columns of run directories by `FIELD`: kernel, node.kubeletVersion, node.labels.KEY ...")
	flags.StringVar(&f.baseline, "baseline", "", "save the comparison in `FILE`, or check against it")
	flags.BoolVar(&f.update, "update-baseline", false, "save it even if there is one already")
	flags.BoolVar(&f.bisect, "bisect", false, "run the known kernels between two that differ too, until neighbours do")
	flags.IntVar(&f.cgroup, "cgroup", 0, "cgroup `VERSION` of the VMs, 1 or 2, where a scenario does not say")
	flags.StringVar(&f.runsDir, "runs-dir", defaultRunsDir, "`DIR` where the run directories are made")
	flags.IntVar(&f.parallel, "parallel", 0, "run `N` VMs side by side (default as many as there is room for)")
	flags.BoolVar(&f.hostOOM, "allow-host-oom", false, "let host run this machine out of memory")
	f.output = output(cmd, "text", "json", "markdown", "html")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "say nothing of progress")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "show every change and all that was not the same every time")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f.quiet = f.quiet || f.output.value != "text" && a.outWidth() == 0 && !a.watched()
		return a.compareAll(cmd.Context(), f, args)
	}
	return cmd
}

// watched reports whether somebody may look at what is said of progress.
func (a *app) watched() bool {
	f, ok := a.err.(*os.File)
	return ok && isTerminal(f)
}

func (f compareFlags) check() error {
	switch {
	case f.repeat < 1:
		return &mistake{fmt.Sprintf("--repeat %d: a scenario is run at least once", f.repeat), ""}
	case f.parallel < 0:
		return &mistake{fmt.Sprintf("--parallel %d: at least one VM runs at a time", f.parallel), "leave it out for as many as there is room for"}
	case f.cgroup < 0 || f.cgroup > 2:
		return &mistake{fmt.Sprintf("--cgroup %d: there are versions 1 and 2", f.cgroup), ""}
	case f.modules != "" && !slices.ContainsFunc(f.kernels, isImage):
		return &mistake{"--modules belongs to a bzImage; kernels of a version bring their own", "name one among --kernels"}
	case f.by != "" && !compare.KnownField(f.by):
		return &mistake{fmt.Sprintf("--by %s: runs have no such field", f.by), "there are " + strings.Join(compare.Fields, ", ") + " and node.labels.KEY"}
	case f.by != "" && len(f.kernels) > 0:
		return &mistake{"--by is for run directories; with --kernels every kernel has a column", ""}
	case f.update && f.baseline == "":
		return &mistake{"--update-baseline: of which file?", "name it with --baseline FILE"}
	case f.quiet && f.verbose && f.output.value == "text":
		return &mistake{"-q and -v contradict each other", ""}
	}
	return nil
}

// comparison is a compare under way.
type comparison struct {
	*app
	f         compareFlags
	columns   []column
	scenarios []chosen
	runs      []columnRun
	broken    []string
	command   []string // that makes the comparison again
	places    []string // names of columns in the order in which they were named
	named     bool     // and that order is kept
	watching  atomic.Pointer[live]
}

// column is a kernel that runs are made on.
type column struct {
	name string
	spec string // as it was asked for
	lab  *lab.Lab
}

// columnRun is a run and the column that it belongs to.
type columnRun struct {
	column string
	compare.Run
}

func (a *app) compareAll(ctx context.Context, f compareFlags, args []string) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	c := &comparison{app: a, f: f, command: compareCommand(f, args)}
	var baseline *compare.Matrix
	if f.baseline != "" && !f.update {
		if baseline, err = readBaseline(f.baseline); err != nil {
			return err
		}
	}
	if err := c.arguments(args); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.kernels(ctx); err != nil {
		return err
	}
	if err := c.carryOut(ctx, c.all()); err != nil {
		return err
	}
	if f.bisect {
		if err := c.narrow(ctx); err != nil {
			return err
		}
	}
	show := report.Comparison{Matrix: c.matrix()}
	if baseline != nil {
		checked, err := c.held(ctx, baseline)
		if err != nil {
			return err
		}
		show.Matrix, show.Checked, show.Baseline = c.matrix(), &checked, f.baseline
	}
	if err := c.print(show); err != nil {
		return err
	}
	if baseline == nil && f.baseline != "" {
		if len(c.broken) > 0 {
			return fmt.Errorf("%s was not saved: %s has no verdict that could be compared", f.baseline, strings.Join(c.broken, ", "))
		}
		if err := writeWhole(f.baseline, show.Matrix.Write); err != nil {
			return err
		}
		a.say(fmt.Sprintf("saved the baseline %s: %d runs", f.baseline, show.Matrix.Runs()))
	}
	switch {
	case len(c.broken) > 0:
		return status(exitBroken)
	case show.Checked != nil && len(show.Checked.Drifts) > 0:
		return status(exitFail)
	}
	return nil
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

// writeWhole makes a file that is complete or not there at all.
func writeWhole(name string, write func(io.Writer) error) error {
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

// arguments sorts run directories from scenarios.
func (c *comparison) arguments(args []string) error {
	var scenarios []string
	var recorded []recordedRuns
	for _, arg := range args {
		runs, is, err := recordedIn(arg)
		switch {
		case err != nil:
			return err
		case is:
			recorded = append(recorded, runs)
			c.named = c.named || runs.name != ""
		default:
			scenarios = append(scenarios, arg)
		}
	}
	all, err := c.choose(scenarios)
	if err != nil {
		return err
	}
	c.scenarios = all
	switch {
	case len(all) > 0 && len(c.f.kernels) == 0:
		return &mistake{"oomlab compare: --kernels is missing", "such as --kernels 5.10,6.12,7.3; run directories need none"}
	case len(all) == 0 && len(c.f.kernels) > 0:
		return &mistake{"oomlab compare: no scenario to run on --kernels", "name one; ... is all of them"}
	}
	return c.load(recorded)
}

// recordedRuns are run directories that were named together.
type recordedRuns struct {
	name string // of their column; empty: their kernel's
	dirs []string
}

// recordedIn finds the run directories that an argument names: itself, or those
// in it. It reports whether it is such an argument at all.
func recordedIn(arg string) (recordedRuns, bool, error) {
	name, dir, named := strings.Cut(arg, "=")
	if !named || strings.ContainsRune(name, '/') {
		name, dir, named = "", arg, false
	}
	isRun := func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, verdict.MetaFile))
		return err == nil
	}
	if isRun(dir) {
		return recordedRuns{name, []string{dir}}, true, nil
	}
	found, err := filepath.Glob(filepath.Join(dir, "*", verdict.MetaFile))
	if err != nil {
		return recordedRuns{}, false, nil // wildcards of a pattern that are none for a file
	}
	if len(found) == 0 {
		if named {
			return recordedRuns{}, false, &mistake{fmt.Sprintf("%s holds no run directories", dir), "oomlab run makes them, below runs/ by default"}
		}
		return recordedRuns{}, false, nil
	}
	runs := recordedRuns{name: name}
	for _, f := range found {
		runs.dirs = append(runs.dirs, filepath.Dir(f))
	}
	return runs, true, nil
}

// load judges recorded runs.
func (c *comparison) load(all []recordedRuns) error {
	var loaded []columnRun
	for _, group := range all {
		for _, dir := range group.dirs {
			in, err := load(dir)
			if err != nil {
				return err
			}
			r := verdict.Judge(in)
			if r.Verdict == verdict.Broken {
				c.broken = append(c.broken, dir)
			}
			column := group.name
			if column == "" && c.f.by != "" {
				if column, err = compare.By(in, c.f.by); err != nil {
					return &mistake{fmt.Sprintf("--by: %v", err), "name its column: NAME=" + dir}
				}
			}
			loaded = append(loaded, columnRun{column, compare.Observe(in, r)})
		}
		if group.name != "" && !slices.Contains(c.places, group.name) {
			c.places = append(c.places, group.name)
		}
	}
	var releases []string
	for _, r := range loaded {
		if r.column == "" && !slices.Contains(releases, r.Release) {
			releases = append(releases, r.Release)
		}
	}
	names := columnNames(releases)
	for i := range loaded {
		if loaded[i].column == "" {
			loaded[i].column = names[slices.Index(releases, loaded[i].Release)]
		}
	}
	c.runs = append(c.runs, loaded...)
	return nil
}

// matrix puts all runs together.
func (c *comparison) matrix() *compare.Matrix {
	m := compare.New(c.places...)
	for _, r := range c.runs {
		m.Add(r.column, r.Run)
	}
	m.Sort(c.named)
	return m
}

func (c *comparison) print(show report.Comparison) error {
	switch c.f.output.value {
	case "json":
		return report.CompareJSON(c.out, show)
	case "markdown":
		return report.CompareMarkdown(c.out, show)
	case "html":
		return report.CompareHTML(c.out, show, c.command)
	}
	return report.CompareText(c.out, show, report.Options{Colour: c.terminal(), Verbose: c.f.verbose, Width: c.outWidth()})
}

// held is how the baseline held. What seems to have changed is run twice more,
// so that chance is not taken for a change.
func (c *comparison) held(ctx context.Context, baseline *compare.Matrix) (compare.Checked, error) {
	const again = 2
	checked, err := c.matrix().Check(baseline)
	if err != nil {
		return checked, &mistake{fmt.Sprintf("%s: %v", c.f.baseline, err), "--update-baseline writes it anew"}
	}
	var doubtful []cell
	for _, d := range checked.Drifts {
		for _, t := range c.all() {
			if t.scenario.Scenario.Name == d.Scenario && t.column.name == d.Column && !slices.ContainsFunc(doubtful, t.same) {
				doubtful = append(doubtful, t)
			}
		}
	}
	if len(doubtful) == 0 {
		return checked, nil
	}
	if !c.f.quiet {
		c.say(fmt.Sprintf("%d of %d cells seem to have changed; running them %d more times", len(doubtful), checked.Cells, again))
	}
	var more []cell
	for range again {
		more = append(more, doubtful...)
	}
	if err := c.carryOut(ctx, more); err != nil {
		return checked, err
	}
	return c.matrix().Check(baseline)
}
