package harness_test

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// settings are how code and scripts name what can be set from outside.
var settings = map[string][]*regexp.Regexp{
	"*.go":      {regexp.MustCompile(`\b(OOMLAB_[A-Z_]+)`)},
	"*_test.go": {regexp.MustCompile(`\bflag\.\w+\("([\w.-]+)"`)},
	"Makefile":  {regexp.MustCompile(`\b(OOMLAB_[A-Z_]+)`), regexp.MustCompile(`(?m)^([A-Z]+) *\?=`)},
	".ci/*":     {regexp.MustCompile(`\b(OOMLAB_[A-Z_]+)`), regexp.MustCompile(`\$\{([A-Z_]+):-`)},
}

// TestSettingsAreListed: CONTRIBUTING.md lists every environment variable, flag
// of a test and variable of make, and none that is gone.
func TestSettingsAreListed(t *testing.T) {
	used := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(filepath.ToSlash(path), "../")
		if d.IsDir() {
			if name := d.Name(); rel != ".." && rel != ".ci" && strings.HasPrefix(name, ".") || name == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		for pattern, names := range settings {
			base, _ := filepath.Match(pattern, d.Name())
			whole, _ := filepath.Match(pattern, rel)
			if !base && !whole {
				continue
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, re := range names {
				for _, m := range re.FindAllSubmatch(text, -1) {
					name := string(m[1])
					if strings.HasPrefix(string(m[0]), "flag.") {
						name = "-" + name
					}
					used[name] = true
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	delete(used, "GOFLAGS") // Go's own
	delete(used, "OOMLAB_") // of the expressions above

	text, err := os.ReadFile("../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "\n## Environment variables and flags\n")
	if !ok {
		t.Fatal("CONTRIBUTING.md has no section on environment variables and flags")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	listed := map[string]bool{}
	for line := range strings.Lines(table) {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(name, -1) {
			listed[m[1]] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		if !listed[name] {
			t.Errorf("%s is used and not listed", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		if !used[name] {
			t.Errorf("%s is listed and not used", name)
		}
	}
}
