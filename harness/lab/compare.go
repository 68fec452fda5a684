package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/compare"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
	"github.com/oomlab/oomlab/harness/verdict"
)

// HostKernel is the name of this machine's own kernel among kernels.
const HostKernel = "host"

// CompareOptions say what is compared, and how.
type CompareOptions struct {
	// Kernels are versions, ranges of known ones, paths or HostKernel.
	Kernels []string
	Modules string // directory of the modules of those that are paths
	// CgroupVersion, AllowHostOOM, RunsDir, Parallel and Log are those of the
	// labs.
	CgroupVersion int
	AllowHostOOM  bool
	RunsDir       string
	Parallel      int
	Log           func(string)
	Repeat        int    // how often each scenario is run on each kernel
	By            string // field that recorded runs are put into columns by; empty: their kernel
	Rejudge       bool   // recorded runs may have been edited
	// Watch is called before runs are made, and ended after they were.
	Watch func(runs int) (w Watch, ended func())
	// Say is told what is done beside what was asked for; it may be nil.
	Say func(string)
}

// Comparison is runs of scenarios on kernels, made or recorded, that are held
// against each other.
type Comparison struct {
	// Broken are the runs whose evidence carries no comparison.
	Broken []string
	// Records are the recorded runs that were read.
	Records *Records

	o       CompareOptions
	jobs    []Job
	columns []column
	runs    []columnRun
	places  []string // names of columns in the order in which they were named
	named   bool     // and that order is kept
	lab     func(Options) (columnLab, error)
	known   func() ([]kernel.Version, error)
}

// columnLab is what a comparison needs of the lab of one kernel.
type columnLab interface {
	runner
	Kernel(context.Context) (kernels.Kernel, error)
	Close() error
}

// column is a kernel that runs are made on.
type column struct {
	name string
	spec string // as it was asked for
	lab  columnLab
}

// columnRun is a run and the column that it belongs to.
type columnRun struct {
	column string
	compare.Run
}

// cell is one scenario on one kernel, to be run once.
type cell struct {
	column column
	job    Job
}

func (x cell) same(y cell) bool {
	return x.column.name == y.column.name && x.job.Scenario.Name == y.job.Scenario.Name
}

// Compare makes a comparison of recorded runs and of jobs that [Comparison.Run]
// runs.
func Compare(o CompareOptions, recorded []Runs, jobs []Job) (*Comparison, error) {
	if o.Say == nil {
		o.Say = func(string) {}
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	c := &Comparison{o: o, jobs: jobs, Records: &Records{Rejudge: o.Rejudge}}
	c.lab = func(o Options) (columnLab, error) { return Open(o) }
	c.known = func() ([]kernel.Version, error) { return kernels.Known(kernels.Options{Progress: o.Log}) }
	return c, c.load(recorded)
}

// load judges recorded runs.
func (c *Comparison) load(all []Runs) error {
	var releases []string
	for _, group := range all {
		c.named = c.named || group.Name != ""
		for _, dir := range group.Dirs {
			in, r, err := c.Records.Judge(dir)
			if err != nil {
				return err
			}
			if r.Verdict == verdict.Broken {
				c.Broken = append(c.Broken, dir)
			}
			if c.o.By == compare.Runtime {
				all := compare.ByRuntime(in, r)
				for _, by := range slices.Sorted(maps.Keys(all)) {
					for _, run := range all[by] {
						c.runs = append(c.runs, columnRun{by, run})
					}
				}
				continue
			}
			column := group.Name
			if column == "" && c.o.By != "" {
				if column, err = compare.By(in, c.o.By); err != nil {
					return &BadRun{fmt.Sprintf("--by: %v", err), "name its column: NAME=" + dir}
				}
			}
			run := columnRun{column, compare.Observe(in, r)}
			if column == "" && !slices.Contains(releases, run.Release) {
				releases = append(releases, run.Release)
			}
			c.runs = append(c.runs, run)
		}
		if group.Name != "" && !slices.Contains(c.places, group.Name) {
			c.places = append(c.places, group.Name)
		}
	}
	names := compare.ColumnNames(releases)
	for i, r := range c.runs {
		if r.column == "" {
			c.runs[i].column = names[slices.Index(releases, r.Release)]
		}
	}
	return nil
}

// Run opens a lab for every kernel that was asked for, fetching those that are
// not cached, and makes all runs: scenario by scenario, so that kernels that were
// never booted boot side by side.
func (c *Comparison) Run(ctx context.Context) error {
	specs, err := c.expand()
	if err != nil {
		return err
	}
	for _, spec := range specs {
		if err := c.open(ctx, spec); err != nil {
			return err
		}
	}
	return c.carryOut(ctx, c.cells(c.columns, c.jobs))
}

// expand makes single kernels of the ranges among the options.
func (c *Comparison) expand() ([]string, error) {
	var known []kernel.Version
	var out []string
	for _, spec := range c.o.Kernels {
		if strings.Contains(spec, "..") && known == nil {
			var err error
			if known, err = c.known(); err != nil {
				return nil, err
			}
		}
		all, err := compare.Expand(spec, known)
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			if !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out, nil
}

// open opens the lab of one kernel.
func (c *Comparison) open(ctx context.Context, spec string) error {
	o := Options{
		Target: scenario.VM, Kernel: spec, CgroupVersion: c.o.CgroupVersion, AllowHostOOM: c.o.AllowHostOOM,
		RunsDir: c.o.RunsDir, Parallel: c.o.Parallel, Log: c.o.Log,
	}
	if spec == HostKernel {
		o.Target, o.Kernel, o.CgroupVersion = scenario.Local, "", 0
	}
	if c.o.Modules != "" && kernels.IsImage(spec) {
		o.Kernel = kernels.WithModules(spec, c.o.Modules)
	}
	l, err := c.lab(o)
	if err != nil {
		return err
	}
	col := column{name: HostKernel, spec: spec, lab: l}
	if spec != HostKernel {
		k, err := l.Kernel(ctx)
		if err != nil {
			return errors.Join(err, l.Close())
		}
		col.name = columnFor(spec, k)
	}
	if slices.ContainsFunc(c.columns, func(o column) bool { return o.name == col.name }) {
		return l.Close() // two names of one kernel
	}
	c.columns = append(c.columns, col)
	c.places = append(c.places, col.name)
	return nil
}

// columnFor names the column of a kernel: its series, or its version where one
// was asked for, or the file it is in.
func columnFor(spec string, k kernels.Kernel) string {
	if kernels.IsImage(spec) {
		if info, err := os.Stat(spec); err == nil && info.IsDir() { // a kernel tree
			if dir, err := filepath.Abs(spec); err == nil {
				return filepath.Base(dir)
			}
		}
		return filepath.Base(filepath.Dir(spec)) + "/" + filepath.Base(spec)
	}
	if strings.Count(spec, ".") < 2 {
		return k.Version.Series() + k.Flavour()
	}
	return k.Version.String() + k.Flavour()
}

// cells are the scenarios on the kernels, as often as asked for.
func (c *Comparison) cells(columns []column, jobs []Job) []cell {
	var out []cell
	for range c.o.Repeat {
		for _, j := range jobs {
			for _, col := range columns {
				out = append(out, cell{col, j})
			}
		}
	}
	return out
}

// carryOut runs cells and keeps what they show.
func (c *Comparison) carryOut(ctx context.Context, cells []cell) error {
	if len(cells) == 0 {
		return nil
	}
	tasks := make([]Task, len(cells))
	for i, x := range cells {
		job := x.job
		job.Command = c.again(x)
		tasks[i] = Task{Lab: x.column.lab, Job: job, Label: fmt.Sprintf("%s on %s", job.Scenario.Name, x.column.name)}
	}
	w, ended := c.o.Watch(len(tasks))
	defer ended()
	show := w.Result
	var failed error
	w.Result = func(i int, r verdict.Result) bool {
		// The result alone does not have what the kernel log looks like.
		in, err := c.Records.Load(filepath.Join(c.o.RunsDir, r.Run))
		failed = errors.Join(failed, err)
		if err == nil {
			c.runs = append(c.runs, columnRun{cells[i].column.name, compare.Observe(in, r)})
		}
		if r.Verdict == verdict.Broken {
			c.Broken = append(c.Broken, tasks[i].Label)
		}
		return show(i, r)
	}
	err := RunAll(ctx, tasks, c.o.Parallel, w)
	return errors.Join(err, failed)
}

// again is the command that repeats one run.
func (c *Comparison) again(x cell) []string {
	out := []string{"oomlab", "run"}
	if x.column.name == HostKernel {
		out = append(out, "--target", string(scenario.Local))
	} else {
		out = append(out, "--target", string(scenario.VM), "--kernel", x.column.spec)
		if c.o.Modules != "" && kernels.IsImage(x.column.spec) {
			out = append(out, "--modules", c.o.Modules)
		}
	}
	if c.o.CgroupVersion != 0 {
		out = append(out, "--cgroup", fmt.Sprint(c.o.CgroupVersion))
	}
	return append(out, x.job.Arg)
}

// Bisect runs the known kernels that lie between two that differ, the middle one
// first, until no known kernel lies between them any more. Only the scenarios
// that differ there are run.
func (c *Comparison) Bisect(ctx context.Context) error {
	known, err := c.known()
	if err != nil {
		return err
	}
	tried := map[string]bool{}
	for ctx.Err() == nil {
		spec, differ := c.Matrix().Middle(known, tried)
		if spec == "" {
			return nil
		}
		tried[spec] = true
		c.o.Say(fmt.Sprintf("bisecting: %s lies between two kernels that differ in %s", spec,
			strings.Join(differ, ", ")))
		if err := c.open(ctx, spec); err != nil {
			return err
		}
		jobs := slices.DeleteFunc(slices.Clone(c.jobs),
			func(j Job) bool { return !slices.Contains(differ, j.Scenario.Name) })
		if err := c.carryOut(ctx, c.cells(c.columns[len(c.columns)-1:], jobs)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Check is how a baseline holds. What seems to have changed is run twice more, so
// that chance is not taken for a change.
func (c *Comparison) Check(ctx context.Context, baseline *compare.Matrix) (compare.Checked, error) {
	const again = 2
	checked, err := c.Matrix().Check(baseline)
	if err != nil {
		return checked, err
	}
	var doubtful []cell
	for _, x := range c.cells(c.columns, c.jobs) {
		drifted := func(d compare.Drift) bool { return d.Scenario == x.job.Scenario.Name && d.Column == x.column.name }
		if slices.ContainsFunc(checked.Drifts, drifted) && !slices.ContainsFunc(doubtful, x.same) {
			doubtful = append(doubtful, x)
		}
	}
	if len(doubtful) == 0 {
		return checked, nil
	}
	c.o.Say(fmt.Sprintf("%d of %d cells seem to have changed; running them %d more times", len(doubtful), checked.Cells,
		again))
	if err := c.carryOut(ctx, slices.Repeat(doubtful, again)); err != nil {
		return checked, err
	}
	return c.Matrix().Check(baseline)
}

// Matrix puts all runs together.
func (c *Comparison) Matrix() *compare.Matrix {
	m := compare.New(c.places...)
	for _, r := range c.runs {
		m.Add(r.column, r.Run)
	}
	m.Sort(c.named)
	return m
}

// Close puts back what the labs set up.
func (c *Comparison) Close() error {
	var errs []error
	for _, col := range c.columns {
		errs = append(errs, col.lab.Close())
	}
	return errors.Join(errs...)
}
