package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/compare"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/lab"
	"github.com/oomlab/oomlab/harness/report"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
	"github.com/oomlab/oomlab/harness/verdict"
)

// hostKernel is the name of this machine's own kernel among kernels.
const hostKernel = "host"

// cell is one scenario on one kernel, to be run once.
type cell struct {
	column   column
	scenario chosen
}

func (x cell) same(y cell) bool {
	return x.column.name == y.column.name && x.scenario.Scenario.Name == y.scenario.Scenario.Name
}

// all are all cells, as often as asked for: scenario by scenario, so that
// kernels that were never booted boot side by side.
func (c *comparison) all() []cell { return c.cells(c.columns, c.scenarios) }

func (c *comparison) cells(columns []column, scenarios []chosen) []cell {
	var out []cell
	for range c.f.repeat {
		for _, s := range scenarios {
			for _, col := range columns {
				out = append(out, cell{col, s})
			}
		}
	}
	return out
}

// rangeSpec is two versions with two dots between them.
var rangeSpec = regexp.MustCompile(`^(v?\d+\.\d+(?:\.\d+)?)\.\.(v?\d+\.\d+(?:\.\d+)?)$`)

// kernels finds every kernel that was asked for, fetching those that are not
// cached, and opens a lab for each.
func (c *comparison) kernels(ctx context.Context) error {
	var specs []string
	for _, spec := range c.f.kernels {
		found, err := c.expand(strings.TrimSpace(spec))
		if err != nil {
			return err
		}
		for _, s := range found {
			if !slices.Contains(specs, s) {
				specs = append(specs, s)
			}
		}
	}
	for _, spec := range specs {
		if err := c.open(ctx, spec); err != nil {
			return err
		}
	}
	return nil
}

// expand makes single kernels of a range.
func (c *comparison) expand(spec string) ([]string, error) {
	if spec == "" {
		return nil, &mistake{"--kernels: a name between two commas is missing", ""}
	}
	m := rangeSpec.FindStringSubmatch(spec)
	if m == nil {
		if spec == hostKernel {
			return []string{spec}, nil
		}
		return []string{spec}, checkKernel(spec)
	}
	from, err := kernel.ParseVersion(m[1])
	if err != nil {
		return nil, err
	}
	to, err := kernel.ParseVersion(m[2])
	if err != nil {
		return nil, err
	}
	if from.Compare(to) > 0 {
		return nil, &mistake{fmt.Sprintf("--kernels %s: the first kernel is newer than the last", spec), fmt.Sprintf("write %s..%s", m[2], m[1])}
	}
	between, err := c.between(from, to)
	if err != nil {
		return nil, err
	}
	out := []string{m[1]}
	for _, v := range between {
		out = append(out, v.Series())
	}
	return append(out, m[2]), nil
}

// between are the known kernels that are newer than one and older than the
// other, without the series of these two; the newest of each series.
func (c *comparison) between(from, to kernel.Version) ([]kernel.Version, error) {
	known, err := kernels.Known(c.kernelOptions())
	if err != nil {
		return nil, err
	}
	var out []kernel.Version
	for _, v := range known {
		if v.Compare(from) > 0 && v.Compare(to) < 0 && v.Series() != from.Series() && v.Series() != to.Series() &&
			!slices.ContainsFunc(out, func(o kernel.Version) bool { return o.Series() == v.Series() }) {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, kernel.Version.Compare)
	return out, nil
}

// open opens the lab of one kernel.
func (c *comparison) open(ctx context.Context, spec string) error {
	o := lab.Options{Target: scenario.VM, Kernel: spec, CgroupVersion: c.f.cgroup, AllowHostOOM: c.f.hostOOM, RunsDir: c.f.runsDir, Parallel: c.f.parallel}
	if spec == hostKernel {
		o.Target, o.Kernel, o.CgroupVersion = scenario.Local, "", 0
	}
	if c.f.modules != "" && isImage(spec) {
		o.Kernel = kernels.WithModules(spec, c.f.modules)
	}
	if !c.f.quiet {
		o.Log = c.tell
	}
	l, err := lab.Open(o)
	if err != nil {
		return err
	}
	col := column{name: hostKernel, spec: spec, lab: l}
	if spec != hostKernel {
		k, err := l.Kernel(ctx)
		if err != nil {
			return errors.Join(err, l.Close())
		}
		col.name = c.columnFor(spec, k)
	}
	if slices.ContainsFunc(c.columns, func(o column) bool { return o.name == col.name }) {
		return l.Close() // two names of one kernel
	}
	c.columns = append(c.columns, col)
	c.places = append(c.places, col.name)
	return nil
}

// columnFor names the column of a kernel: its series, or its version where
// another kernel of that series is there, or the file it is in.
func (c *comparison) columnFor(spec string, k kernels.Kernel) string {
	if isImage(spec) {
		return filepath.Base(filepath.Dir(spec)) + "/" + filepath.Base(spec)
	}
	if strings.Count(spec, ".") < 2 {
		return k.Version.Series()
	}
	return k.Version.String()
}

func isRegular(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// columnNames names kernels by their series, and by their release where two are
// of one series.
func columnNames(releases []string) []string {
	series := func(release string) string {
		v, err := kernel.ParseVersion(release)
		if err != nil {
			return release
		}
		return v.Series()
	}
	out := make([]string, len(releases))
	for i, release := range releases {
		out[i] = series(release)
		for j, other := range releases {
			if i != j && series(other) == out[i] {
				out[i] = release
				break
			}
		}
		if out[i] == "" {
			out[i] = "no kernel" // a run that was skipped before a machine was there
		}
	}
	return out
}

func (c *comparison) close() error {
	var errs []error
	for _, col := range c.columns {
		errs = append(errs, col.lab.Close())
	}
	return errors.Join(errs...)
}

// carryOut runs cells and keeps what they show.
func (c *comparison) carryOut(ctx context.Context, cells []cell) error {
	if len(cells) == 0 {
		return nil
	}
	tasks := make([]task, len(cells))
	for i, x := range cells {
		job := x.scenario.Job
		job.Command = c.again(x)
		tasks[i] = task{lab: x.column.lab, job: job, label: fmt.Sprintf("%s on %s", job.Scenario.Name, x.column.name)}
	}
	l := c.show(len(tasks), c.f.quiet)
	c.watching.Store(l)
	defer func() {
		c.watching.Store(nil)
		l.close()
	}()
	var failed error
	err := carryOut(ctx, tasks, c.f.parallel, l, nil, func(i int, r verdict.Result) {
		run, err := c.observe(r)
		failed = errors.Join(failed, err)
		c.runs = append(c.runs, columnRun{cells[i].column.name, run})
		if r.Verdict == verdict.Broken {
			c.broken = append(c.broken, tasks[i].label)
		}
		if !c.f.quiet {
			failed = errors.Join(failed, report.Line(c.err, r, report.Options{RunsDir: c.f.runsDir}))
		}
	})
	return errors.Join(err, failed)
}

// tell says what takes time, above what is drawn again and again.
func (c *comparison) tell(text string) {
	if l := c.watching.Load(); l != nil {
		l.say(text)
		return
	}
	c.say(text)
}

// observe reads a run's directory again: its result alone does not have what
// the kernel log looks like.
func (c *comparison) observe(r verdict.Result) (compare.Run, error) {
	in, err := load(filepath.Join(c.f.runsDir, r.Run))
	if err != nil {
		return compare.Run{}, err
	}
	return compare.Observe(in, r), nil
}

// again is the command that repeats one run.
func (c *comparison) again(x cell) []string {
	out := []string{"oomlab", "run"}
	if x.column.name == hostKernel {
		out = append(out, "--target", string(scenario.Local))
	} else {
		out = append(out, "--target", string(scenario.VM), "--kernel", x.column.spec)
		if c.f.modules != "" && isImage(x.column.spec) {
			out = append(out, "--modules", c.f.modules)
		}
	}
	if c.f.cgroup != 0 {
		out = append(out, "--cgroup", fmt.Sprint(c.f.cgroup))
	}
	return append(out, x.scenario.arg)
}

// narrow runs the kernels that lie between two that differ, the middle one
// first, until no known kernel lies between them any more. Only the scenarios
// that differ there are run.
func (c *comparison) narrow(ctx context.Context) error {
	tried := map[string]bool{}
	for ctx.Err() == nil {
		m := c.matrix()
		var spec string
		var differ []string
		for _, d := range m.Differences() {
			if !d.Aspect.Gated() {
				continue
			}
			middle, err := c.middle(m, d, tried)
			if err != nil {
				return err
			}
			if middle == "" || spec != "" && middle != spec {
				continue
			}
			spec = middle
			for _, ch := range d.Changes {
				if !slices.Contains(differ, ch.Scenario) {
					differ = append(differ, ch.Scenario)
				}
			}
		}
		if spec == "" {
			return nil
		}
		tried[spec] = true
		if !c.f.quiet {
			c.say(fmt.Sprintf("bisecting: %s lies between two kernels that differ in %s", spec, strings.Join(differ, ", ")))
		}
		if err := c.open(ctx, spec); err != nil {
			return err
		}
		col := c.columns[len(c.columns)-1]
		scenarios := slices.DeleteFunc(slices.Clone(c.scenarios), func(s chosen) bool { return !slices.Contains(differ, s.Scenario.Name) })
		if err := c.carryOut(ctx, c.cells([]column{col}, scenarios)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// middle is the kernel in the middle of those that lie between a difference's
// two; empty when there is none.
func (c *comparison) middle(m *compare.Matrix, d compare.Difference, tried map[string]bool) (string, error) {
	from, ok := m.Version(d.After)
	to, ok2 := m.Version(d.Since)
	if !ok || !ok2 {
		return "", nil // the machine's own, a file, or runs under a name
	}
	between, err := c.between(from, to)
	if err != nil {
		return "", err
	}
	between = slices.DeleteFunc(between, func(v kernel.Version) bool { return tried[v.Series()] })
	if len(between) == 0 {
		return "", nil
	}
	return between[len(between)/2].Series(), nil
}
