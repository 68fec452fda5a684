package main

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/report"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/selftest"
	"github.com/oomlab/oomlab/harness/verdict"
)

var update = flag.Bool("update", false, "write the sample report into the README")

// TestReadmeShowsARealReport: the sample in the README is what the recording it
// names is reported as, to the byte.
func TestReadmeShowsARealReport(t *testing.T) {
	const file, recording = "../../README.md", "6.12/memcg-adj-outweighs-size"
	const open, shut = "<!-- report of harness/verdict/testdata/" + recording + " -->\n```text\n", "```\n"
	readme, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := fs.Sub(selftest.Recorded(), recording)
	if err != nil {
		t.Fatal(err)
	}
	in, err := verdict.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := report.Text(&want, verdict.Judge(in), report.Options{Width: 80}); err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(readme), open)
	got, after, ok2 := strings.Cut(rest, shut)
	if !ok || !ok2 {
		t.Fatalf("%s has no sample that begins with %q", file, open)
	}
	if got == want.String() {
		return
	}
	if *update {
		if err := os.WriteFile(file, []byte(before+open+want.String()+shut+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s shows\n%s\nthe recording's report is\n%s", file, got, want.String())
}

// TestReadmeScenarioIsOne: what a stranger copies must parse.
func TestReadmeScenarioIsOne(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(readme), "```yaml\n")
	source, _, ok2 := strings.Cut(rest, "```\n")
	if !ok || !ok2 {
		t.Fatal("the README has no scenario")
	}
	if _, err := scenario.Parse("README.yaml", []byte(source)); err != nil {
		t.Error(err)
	}
}
