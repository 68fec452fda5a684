package report

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/compare"
	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/selftest"
	"github.com/oomlab/oomlab/harness/verdict"
)

// comparison is that of recorded runs of three kernels, with a baseline made of
// the oldest.
func comparison(t *testing.T) Comparison {
	t.Helper()
	m, old := compare.New(), compare.New()
	for _, kernel := range []string{"5.10", "6.12", "7.3"} {
		for _, name := range []string{"memcg-adj-outweighs-size", "memcg-oom-group-takes-all",
			"system-small-adj-1000-dies-first"} {
			dir, err := fs.Sub(selftest.Recorded(), kernel+"/"+name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := fs.Stat(dir, verdict.MetaFile); err != nil {
				continue // not recorded on 6.12
			}
			in, err := verdict.Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			run := compare.Observe(in, verdict.Judge(in))
			m.Add(kernel, run)
			if kernel == "5.10" {
				old.Add(kernel, run)
			}
		}
	}
	// one that kills somebody else since 7.3, and not every time
	for kernel, victims := range map[string][]string{"6.12": {"hog", "hog", "hog"}, "7.3": {"small", "hog", "small"}} {
		for _, victim := range victims {
			r := compare.Run{Scenario: "memcg/made-up"}
			for _, a := range []compare.Aspect{compare.Victims, compare.Order} {
				r.Facts = append(r.Facts, compare.Fact{Key: compare.Key{Aspect: a}, Value: victim})
			}
			r.Facts = append(r.Facts, compare.Fact{Key: compare.Key{Aspect: compare.Verdict}, Value: "pass"})
			m.Add(kernel, r)
		}
	}
	m.Sort(false)
	checked, err := m.Check(old)
	if err != nil {
		t.Fatal(err)
	}
	return Comparison{Matrix: m, Checked: &checked, Baseline: "old.json"}
}

func TestCompareText(t *testing.T) {
	for name, o := range map[string]Options{"compare.txt": {}, "compare.wide.txt": {Width: 160},
		"compare.verbose.txt": {Verbose: true}} {
		var b bytes.Buffer
		if err := CompareText(&b, comparison(t), o); err != nil {
			t.Fatal(err)
		}
		golden.File(t, "testdata/"+name, b.Bytes())
		for i, line := range strings.Split(b.String(), "\n") {
			if plaintext.Width(line) > o.width() || line != strings.TrimRight(line, " ") {
				t.Errorf("%s:%d: %d columns of %d, or spaces at the end: %q", name, i+1, plaintext.Width(line),
					o.width(), line)
			}
		}
	}
}

func TestCompareMarkdown(t *testing.T) {
	var b bytes.Buffer
	if err := CompareMarkdown(&b, comparison(t)); err != nil {
		t.Fatal(err)
	}
	golden.File(t, "testdata/compare.md", b.Bytes())
	checkTables(t, b.String())
}

// checkTables complains about rows of a table that have not as many cells as
// its head.
func checkTables(t *testing.T, text string) {
	t.Helper()
	cells := 0
	for i, line := range strings.Split(text, "\n") {
		if !strings.HasPrefix(line, "|") {
			cells = 0
			continue
		}
		n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		if cells == 0 {
			cells = n
		}
		if n != cells {
			t.Errorf("line %d has %d bars, its table's head %d: %s", i+1, n, cells, line)
		}
	}
}

// TestCompareJSON: what is printed can be a baseline.
func TestCompareJSON(t *testing.T) {
	c := comparison(t)
	var b bytes.Buffer
	if err := CompareJSON(&b, c); err != nil {
		t.Fatal(err)
	}
	saved, err := compare.Read(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Matrix.Check(saved)
	if err != nil || len(again.Drifts) != 0 || again.Cells != 10 {
		t.Errorf("against itself: %v, %+v", err, again)
	}
	var doc struct {
		Differences []compare.Difference
		Checked     compare.Checked
	}
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Differences) != len(c.Matrix.Differences()) || len(doc.Checked.Drifts) != len(c.Checked.Drifts) {
		t.Errorf("%d differences and %d drifts, want %d and %d", len(doc.Differences), len(doc.Checked.Drifts),
			len(c.Matrix.Differences()), len(c.Checked.Drifts))
	}
}

func TestMarkdown(t *testing.T) {
	results := all(t)
	results[0].Reason = "" // it passed
	results[4].Reason = "killed: expected `a|b`; observed <b>*c*</b>"
	var b bytes.Buffer
	if err := Markdown(&b, results); err != nil {
		t.Fatal(err)
	}
	golden.File(t, "testdata/summary.md", b.Bytes())
	checkTables(t, b.String())
	if want := "killed: expected \\`a\\|b\\`; observed &lt;b>\\*c\\*&lt;/b>"; !strings.Contains(b.String(), want) {
		t.Errorf("markup in a reason is not escaped: %s is not there", want)
	}
}
