package harness_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var fileName = regexp.MustCompile("`([a-z_/]+(?:NAME)?[a-z_]*\\.go)`")

// TestWhereNewThingsGoExists: docs/architecture.md names the files that a new
// witness, claim, step, target or kernel rule touches, below harness or the
// module's root. NAME stands for any.
func TestWhereNewThingsGoExists(t *testing.T) {
	text, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## Where a new thing goes\n")
	if !ok {
		t.Fatal("docs/architecture.md does not say where a new thing goes")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for _, thing := range []string{"witness", "claim", "step", "target", "kernel rule"} {
		if !strings.Contains(section, "**"+thing+"**") {
			t.Errorf("it does not say where a new %s goes", thing)
		}
	}
	names := fileName.FindAllStringSubmatch(section, -1)
	if len(names) < 10 {
		t.Errorf("it names %d files", len(names))
	}
	for _, m := range names {
		pattern := strings.ReplaceAll(m[1], "NAME", "*")
		found := 0
		for _, dir := range []string{".", ".."} {
			files, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil {
				t.Fatal(err)
			}
			found += len(files)
		}
		if found == 0 {
			t.Errorf("there is no file %s", m[1])
		}
	}
}
