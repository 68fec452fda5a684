package compare

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/verdict"
)

// recorded are the facts of recorded runs.
func recorded(t *testing.T, kernel, scenario string) []Run {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join("../verdict/testdata", kernel, scenario))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("%s/%s: %v, %d runs", kernel, scenario, err, len(dirs))
	}
	var out []Run
	for _, dir := range dirs {
		in, err := verdict.Load(os.DirFS(dir))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, Observe(in, verdict.Judge(in)))
	}
	return out
}

func matrix(t *testing.T, scenario string, kernels ...string) *Matrix {
	t.Helper()
	m := New()
	for _, k := range kernels {
		for _, r := range recorded(t, k, scenario) {
			m.Add(k, r)
		}
	}
	m.Sort(false)
	return m
}

// TestRecordedKernels: what is known to differ between three kernels is found,
// each since the kernel that has it, and nothing else is.
func TestRecordedKernels(t *testing.T) {
	m := matrix(t, "memcg-oom-group-takes-all", "7.3", "5.10", "6.12") // sorted by version
	var got []string
	for _, d := range m.Differences() {
		for _, g := range d.Groups() {
			if d.Aspect == LogStats {
				continue // forty names; see below
			}
			got = append(got, fmt.Sprintf("%s: %s %s: %s", d.Since, d.Aspect, g.Subject, g.Short))
		}
	}
	want := []string{
		"6.12: reads : thread-batched -> cpu-batched",
		"6.12: counters memory.events: +oom_group_kill",
		"6.12: log.cpu : +UID: N",
		"6.12: log.table : +rss_anon +rss_file +rss_shmem",
		"6.12: preemption : none -> PREEMPT_DYNAMIC",
		"7.3: reads : cpu-batched -> exact",
		"7.3: counters memory.events: +sock_throttled",
		"7.3: log.cpu : +PREEMPT(lazy)",
		"7.3: log.lines : +Memory cgroup min protection NkB -- low protection NkB",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, d := range m.Differences() {
		if d.Aspect == LogStats && d.Since == "7.3" && !strings.Contains(d.Changes[0].Short, "+zswpwb") {
			t.Errorf("statistics of 7.3: %s, want +zswpwb among them", d.Changes[0].Short)
		}
	}
}

// TestOneKernelDoesNotDiffer: every recorded run against itself.
func TestOneKernelDoesNotDiffer(t *testing.T) {
	for _, k := range []string{"5.10", "7.3"} {
		m := New()
		for _, r := range recorded(t, k, "*") {
			m.Add("a", r)
			m.Add("b", r)
		}
		if d := m.Differences(); len(d) > 0 {
			t.Errorf("%s differs from itself: %+v", k, d)
		}
		if n := m.Noise(); len(n) > 0 {
			t.Errorf("%s is not the same every time: %+v", k, n)
		}
	}
}

func words(pairs ...any) Tally {
	var t Tally
	for i := 0; i < len(pairs); i += 2 {
		for range pairs[i].(int) {
			t.add(Fact{Value: pairs[i+1].(string)})
		}
	}
	return t
}

func numbers(all ...float64) Tally {
	var t Tally
	for _, n := range all {
		t.add(Fact{Number: &n})
	}
	return t
}

func TestDiffers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		aspect Aspect
		a, b   Tally
		want   bool
	}{
		{"the same", Victims, words(1, "hog"), words(1, "hog"), false},
		{"another", Victims, words(1, "hog"), words(1, "small"), true},
		{"one says nothing", Victims, Tally{}, words(1, "hog"), false},
		{"once in ten", Victims, words(10, "hog"), words(9, "hog", 1, "small"), false},
		{"nine in ten", Victims, words(10, "hog"), words(1, "hog", 9, "small"), true},
		{"one in two is not enough", Victims, words(2, "hog"), words(1, "hog", 1, "small"), false},
		{"both ways on both", Victims, words(6, "hog", 4, "small"), words(4, "hog", 6, "small"), false},
		{"pages within what batches keep back", Points, numbers(20000), numbers(20400), false},
		{"pages beyond it", Points, numbers(20000), numbers(20600), true},
		{"2 % of a large number", Points, numbers(200000), numbers(203000), false},
		{"ranges that overlap", Points, numbers(20000, 22000), numbers(21000, 25000), false},
		{"a refusal is no number", Points, numbers(20000), words(1, "never"), true},
		{"one time", Time, numbers(1000), numbers(60000), false},
		{"times that lie apart", Time, numbers(1000, 1100, 1200), numbers(9000, 9100, 9200), true},
		{"times that do not", Time, numbers(4000, 5000, 6000), numbers(7000, 8000, 9000), false},
		{"a counter", Counter, numbers(1), numbers(2), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := differs(tt.aspect, tt.a, tt.b); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if got := differs(tt.aspect, tt.b, tt.a); got != tt.want {
				t.Errorf("the other way round: got %v, want %v", got, tt.want)
			}
		})
	}
}

func run(scenario, release string, facts ...string) Run {
	r := Run{Scenario: scenario, Release: release}
	for i := 0; i < len(facts); i += 2 {
		r.Facts = append(r.Facts, Fact{Key: Key{Aspect: Aspect(facts[i])}, Value: facts[i+1]})
	}
	return r
}

// TestADifferenceSkipsWhoSaysNothing: the kernel in the middle could not run
// it, so the difference lies between the outer two.
func TestADifferenceSkipsWhoSaysNothing(t *testing.T) {
	m := New()
	m.Add("6.1", run("a", "6.1.0", "verdict", "pass", "victims", "hog", "order", "hog"))
	m.Add("6.12", run("a", "6.12.0", "verdict", "skip: needs swap"))
	m.Add("7.3", run("a", "7.3.0", "verdict", "pass", "victims", "small", "order", "small"))
	m.Sort(false)
	var got []string
	for _, d := range m.Differences() {
		got = append(got, fmt.Sprintf("%s -> %s %s %s", d.After, d.Since, d.Aspect, d.Changes[0].Short))
	}
	want := []string{"6.1 -> 6.12 verdict pass -> skip: needs swap", "6.12 -> 7.3 verdict skip: needs swap -> pass",
		"6.1 -> 7.3 victims hog -> small"}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q (order follows from victims)", got, want)
	}
}

func TestSort(t *testing.T) {
	m := New("host", "7.3", "6.1", "6.12")
	for name, release := range map[string]string{"host": "5.15.0-1-generic", "7.3": "7.3.4",
		"6.1": "6.1.0-56-cloud-amd64", "6.12": "6.12.117"} {
		m.Add(name, Run{Scenario: "b", Release: release})
		m.Add(name, Run{Scenario: "a", Release: release})
	}
	columns := func() string {
		var out []string
		for _, c := range m.Columns {
			out = append(out, c.Name)
		}
		return strings.Join(out, " ")
	}
	m.Sort(true)
	if got := columns(); got != "host 7.3 6.1 6.12" {
		t.Errorf("as named: %s", got)
	}
	m.Sort(false)
	if got := columns(); got != "host 6.1 6.12 7.3" {
		t.Errorf("by version: %s", got)
	}
	if m.Cell("a", "host").Runs != 1 || m.Columns[0].Releases[0] != "5.15.0-1-generic" || m.Scenarios[0] != "a" {
		t.Errorf("cells did not move with their columns: %+v", m)
	}
}

// TestBaseline: saved and read again, the same kernel drifts in nothing, and
// another exactly in what differs between the two.
func TestBaseline(t *testing.T) {
	const scenario = "memcg-oom-group-takes-all"
	var saved bytes.Buffer
	if err := matrix(t, scenario, "5.10").Write(&saved); err != nil {
		t.Fatal(err)
	}
	baseline, err := Read(bytes.NewReader(saved.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	same, err := matrix(t, scenario, "5.10").Check(baseline)
	if err != nil || len(same.Drifts) != 0 || same.Cells != 1 {
		t.Errorf("the same kernel: %v, %+v", err, same)
	}
	other, err := matrix(t, scenario, "6.12").Check(baseline) // against the only column
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range other.Drifts {
		got = append(got, string(d.Aspect)+d.Subject)
	}
	want := []string{"reads", "countersmemory.events", "log.cpu", "log.stats", "log.table", "preemption"}
	if !slices.Equal(got, want) {
		t.Errorf("6.12 drifts from 5.10 in %q, want %q", got, want)
	}
}

func TestBaselineRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ in, want string }{
		"no JSON": {"x", "not a saved comparison: invalid character 'x' looking for beginning of value"},
		"other JSON": {`{"verdict": "pass"}`,
			`not a saved comparison: its format is "", and "oomlab/compare-v1" is wanted`},
		"rows missing": {`{"format": "oomlab/compare-v1", "scenarios": ["a"]}`,
			"not a saved comparison: 1 scenarios, 0 rows"},
		"cells missing": {`{"format": "oomlab/compare-v1", "scenarios": ["a"], "columns": [{"name": "x"}], ` +
			`"cells": [[]]}`, "not a saved comparison: 1 columns, 0 cells of a"},
	} {
		_, err := Read(strings.NewReader(tt.in))
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: got %v, want %s", name, err, tt.want)
		}
	}
	a, b := New(), New()
	a.Add("6.1", run("x", "", "verdict", "pass"))
	a.Add("6.12", run("x", "", "verdict", "pass"))
	b.Add("7.3", run("x", "", "verdict", "pass"))
	if _, err := b.Check(a); err == nil || err.Error() != "the baseline has no column 7.3; it has 6.1, 6.12" {
		t.Errorf("another column: %v", err)
	}
	c := New()
	c.Add("6.1", run("y", "", "verdict", "pass"))
	if _, err := c.Check(b); err == nil || err.Error() != "the baseline and these runs have no scenario in common" {
		t.Errorf("another scenario: %v", err)
	}
}

func TestTemplate(t *testing.T) {
	for _, tt := range [][2]string{
		{"a b invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=-600",
			"NAME invoked oom-killer: gfp_mask=N(GFP_KERNEL), order=N, oom_score_adj=N"},
		{"CPU: 0 UID: 0 PID: 143 Comm: x y Not tainted 7.3.4+deb13-cloud-amd64 #1 PREEMPT(lazy)  Debian 7",
			"CPU: N UID: N PID: N Comm: NAME Not tainted RELEASE PREEMPT(lazy)"},
		{"Memory cgroup stats for /oomlab-0259/lab:",
			"Memory cgroup stats for PATH:"},
		{"Out of memory: Killed process 112 (a (b)) total-vm:12kB, UID:0",
			"Out of memory: Killed process N (NAME) total-vm:NkB, UID:N"},
	} {
		in, want := tt[0], tt[1]
		if got := template(in); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", in, got, want)
		}
	}
}
