package main

import (
	"bytes"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/report"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/selftest"
	"github.com/oomlab/oomlab/harness/verdict"
)

// TestReadmeShowsARealReport: the sample in docs/start.md is what the recording it
// names is reported as, to the byte.
func TestReadmeShowsARealReport(t *testing.T) {
	const file, recording = "../../docs/start.md", "6.12/memcg-adj-outweighs-size"
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
	readme, err := os.ReadFile("../../docs/start.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(readme), "```yaml\n")
	source, _, ok2 := strings.Cut(rest, "```\n")
	if !ok || !ok2 {
		t.Fatal("docs/start.md has no scenario")
	}
	if _, err := scenario.Parse("start.yaml", []byte(source)); err != nil {
		t.Error(err)
	}
}

// TestReadmeCommandsExist: what a stranger copies are commands with flags, scenarios and targets
// of make that there are.
func TestReadmeCommandsExist(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^    (?:bin/)?(oomlab|make) ([^#|>\n]*)`)
	quoted := regexp.MustCompile(`'[^']*'|\S+`)
	for _, file := range []string{"../../README.md", "../../docs/start.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all := line.FindAllStringSubmatch(string(text), -1)
		if len(all) < 10 {
			t.Errorf("%s has %d commands", file, len(all))
		}
		for _, m := range all {
			args := quoted.FindAllString(m[2], -1)
			if m[1] == "make" {
				if !slices.ContainsFunc(strings.Split(string(makefile), "\n"), func(l string) bool {
					return strings.HasPrefix(l, args[0]+":")
				}) {
					t.Errorf("%s: there is no make %s", file, args[0])
				}
				continue
			}
			if err := exists(args); err != nil {
				t.Errorf("%s: oomlab %s: %v", file, m[2], err)
			}
		}
	}
}

// exists says what is wrong with a command line that is not carried out.
func exists(args []string) error {
	a := &app{}
	cmd, rest, err := a.root().Find(args)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	rest = cmd.Flags().Args()
	if err := cmd.ValidateArgs(rest); err != nil {
		return err
	}
	if cmd.Name() == "run" {
		_, err = a.choose(rest)
	}
	return err
}
