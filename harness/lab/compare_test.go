package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/compare"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
	"github.com/oomlab/oomlab/harness/verdict"
)

const recordings = "../verdict/testdata"

// recordedLab is the lab of one kernel, whose runs are recordings.
type recordedLab struct {
	series  string
	runsDir string
	ran     *[]string
	closed  *int
}

func (l recordedLab) RunOne(_ context.Context, j Job, _ func(evidence.Event)) (verdict.Result, error) {
	*l.ran = append(*l.ran, strings.Join(j.Command, " "))
	from := filepath.Join(recordings, l.series, strings.ReplaceAll(j.Scenario.Name, "/", "-"))
	in, err := new(Records).Load(from)
	if err != nil {
		return verdict.Result{}, err
	}
	dir := filepath.Join(l.runsDir, in.Meta.Run)
	if _, err := os.Stat(dir); err != nil {
		if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
			return verdict.Result{}, err
		}
	}
	return verdict.Judge(in), nil
}

func (l recordedLab) onCluster(s scenario.Scenario) bool { return s.NeedsKubelet() }

func (l recordedLab) Kernel(context.Context) (kernels.Kernel, error) {
	v, err := kernel.ParseVersion(l.series)
	return kernels.Kernel{Version: v}, err
}

func (l recordedLab) Close() error { *l.closed++; return nil }

// comparison compares jobs on kernels that were recorded.
func comparison(t *testing.T, o CompareOptions, names ...string) (c *Comparison, ran *[]string, closed *int) {
	t.Helper()
	o.RunsDir, o.Parallel = t.TempDir(), 1
	o.Watch = func(int) (Watch, func()) {
		return Watch{Result: func(int, verdict.Result) bool { return true }}, func() {}
	}
	var jobs []Job
	for _, n := range names {
		jobs = append(jobs, Job{Scenario: scenario.Scenario{Name: n}, Arg: n})
	}
	c, err := Compare(o, nil, jobs)
	if err != nil {
		t.Fatal(err)
	}
	ran, closed = new([]string), new(int)
	c.lab = func(lo Options) (columnLab, error) { return recordedLab{lo.Kernel, o.RunsDir, ran, closed}, nil }
	c.known = func() ([]kernel.Version, error) {
		var out []kernel.Version
		for _, text := range []string{"5.10.1", "6.12.1", "7.3.1"} {
			v, err := kernel.ParseVersion(text)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	}
	return c, ran, closed
}

func columnsOf(m *compare.Matrix) []string {
	var out []string
	for _, c := range m.Columns {
		out = append(out, c.Name)
	}
	return out
}

const group, outweighs = "memcg/oom-group-takes-all", "memcg/adj-outweighs-size"

// TestComparisonBisects: a kernel between two that differ is run too, with the
// scenarios that differ there, until there is none left.
func TestComparisonBisects(t *testing.T) {
	c, ran, closed := comparison(t, CompareOptions{Kernels: []string{"7.3", "5.10", "5.10"}, Repeat: 1}, group)
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"oomlab run --target vm --kernel 7.3 " + group,
		"oomlab run --target vm --kernel 5.10 " + group,
	}
	if !slices.Equal(*ran, want) {
		t.Fatalf("ran %q; want %q", *ran, want)
	}
	if err := c.Bisect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want = append(want, "oomlab run --target vm --kernel 6.12 "+group); !slices.Equal(*ran, want) {
		t.Errorf("ran %q; want %q", *ran, want)
	}
	if got := columnsOf(c.Matrix()); !slices.Equal(got, []string{"5.10", "6.12", "7.3"}) {
		t.Errorf("columns %q", got)
	}
	if err := c.Close(); err != nil || *closed != 3 {
		t.Errorf("%v, %d labs closed; want 3", err, *closed)
	}
}

// TestComparisonExpandsRanges: every known kernel of a range is run, as often as
// asked for.
func TestComparisonExpandsRanges(t *testing.T) {
	c, ran, _ := comparison(t, CompareOptions{Kernels: []string{"5.10..7.3"}, Repeat: 2, CgroupVersion: 1}, outweighs)
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	var want []string
	for range 2 {
		for _, k := range []string{"5.10", "6.12", "7.3"} {
			want = append(want, fmt.Sprintf("oomlab run --target vm --kernel %s --cgroup 1 %s", k, outweighs))
		}
	}
	if !slices.Equal(*ran, want) {
		t.Errorf("ran %q; want %q", *ran, want)
	}
	if n := c.Matrix().Cell(outweighs, "6.12").Runs; n != 2 {
		t.Errorf("%d runs on 6.12; want 2", n)
	}
}

// TestComparisonRunsDoubtfulCellsAgain: what seems to have changed against a
// baseline is run twice more, and nothing else is.
func TestComparisonRunsDoubtfulCellsAgain(t *testing.T) {
	was, _, _ := comparison(t, CompareOptions{Kernels: []string{"6.12"}, Repeat: 1}, group, outweighs)
	if err := was.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	same, ran, _ := comparison(t, CompareOptions{Kernels: []string{"6.12"}, Repeat: 1}, group, outweighs)
	if err := same.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	checked, err := same.Check(t.Context(), was.Matrix())
	if err != nil || len(checked.Drifts) != 0 || len(*ran) != 2 {
		t.Errorf("%v, %d drifts, %d runs; want none after 2 runs", err, len(checked.Drifts), len(*ran))
	}
	// another kernel against the baseline's only column
	other, ran, _ := comparison(t, CompareOptions{Kernels: []string{"5.10"}, Repeat: 1}, group)
	if err := other.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	checked, err = other.Check(t.Context(), was.Matrix())
	if err != nil || len(checked.Drifts) == 0 || len(*ran) != 3 {
		t.Errorf("%v, %d drifts, %d runs; want some after 3 runs", err, len(checked.Drifts), len(*ran))
	}
}

// TestComparisonOfRecordedRuns: runs under a name have a column of that name, the
// others one of their kernel, and what is broken is told.
func TestComparisonOfRecordedRuns(t *testing.T) {
	dir := func(kernel string) string { return filepath.Join(recordings, kernel, "memcg-adj-outweighs-size") }
	broken := t.TempDir()
	if err := os.CopyFS(broken, os.DirFS(dir("7.3"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(broken, verdict.EventsFile), 0); err != nil {
		t.Fatal(err)
	}
	c, err := Compare(CompareOptions{}, []Runs{
		{Dirs: []string{dir("6.12")}}, {Name: "before", Dirs: []string{dir("5.10")}}, {Dirs: []string{broken}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := columnsOf(c.Matrix()), []string{"before", "6.12", "7.3"}; !slices.Equal(got, want) {
		t.Errorf("columns %q; want %q", got, want)
	}
	if !slices.Equal(c.Broken, []string{broken}) {
		t.Errorf("broken %q; want %q", c.Broken, broken)
	}
}
