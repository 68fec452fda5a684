package lab

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/oomlab/oomlab/harness/scenario"
)

func TestOwnFile(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "grow.sh")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"python3": "", "/usr/bin/python3": "", "/bin/sh": "", // those of packages
		dir + "/none": "", // one of a package, or nobody's
		script:        userlandFiles + script,
	} {
		files, err := ownFile(name)
		got := ""
		if len(files) > 0 {
			got = files[0].Name
		}
		if got != want || err != nil {
			t.Errorf("%s becomes %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := ownFile(dir); err == nil {
		t.Error("a directory is a program")
	}
}

func TestSpec(t *testing.T) {
	l := &Lab{o: Options{Userland: "debian"}}
	if got := l.spec(scenario.Scenario{}); got.String() != "debian" {
		t.Errorf("asked for debian, got %s", got)
	}
	s := scenario.Scenario{Needs: scenario.Needs{Userland: "debian", Packages: []string{"b", "a"}}}
	if got := l.spec(s); got.String() != "debian with a, b" {
		t.Errorf("the scenario's is %s", got)
	}
	if got := (&Lab{}).spec(scenario.Scenario{}); got.Name != "" {
		t.Errorf("nobody asked for %s", got)
	}
}
