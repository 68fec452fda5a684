package main

import (
	"bytes"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/report"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/selftest"
	"github.com/oomlab/oomlab/harness/verdict"
)

// TestReadmeShowsARealReport: the sample in the README is what the recording it
// names is reported as, to the byte.
func TestReadmeShowsARealReport(t *testing.T) {
	const file, recording = "../../README.md", "6.12/memcg-adj-outweighs-size"
	const open, shut = "<!-- report of harness/verdict/testdata/" + recording + " -->\n```text\n", "```\n"
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
	golden.Section(t, file, open, shut, want.String())
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
