package harness_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness"
	"github.com/oomlab/oomlab/harness/verdict"
)

// TestTheManifestMissesNothing: whatever is done to a file of a run directory, and
// every file that is none of its own, is named.
func TestTheManifestMissesNothing(t *testing.T) {
	p, s, source := recorded(t, adjOutweighsSize)
	made := filepath.Join(t.TempDir(), "run")
	if _, err := harness.Run(t.Context(), p, s, source, harness.Options{Dir: made}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(made, "logs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(made, "logs", "kubelet.txt"), []byte("a line\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := harness.Seal(made); err != nil {
		t.Fatal(err)
	}
	files := []string{
		verdict.MetaFile, verdict.ScenarioFile, verdict.PlanFile, verdict.PredictionFile, verdict.EventsFile,
		verdict.LogFile, verdict.ResultFile, "logs/kubelet.txt",
	}
	truncate := func(path string) error { return os.Truncate(path, 2) }
	for _, tt := range []struct {
		what  string
		files []string
		do    func(path string) error
		want  string
	}{
		{"nothing", []string{verdict.MetaFile}, func(string) error { return nil }, ""},
		{"remove", files, os.Remove, " is missing"},
		{"truncate", files, truncate, " is not what was recorded"},
		{"add", []string{"notes.txt", "logs/more.txt"},
			func(path string) error { return os.WriteFile(path, nil, 0o644) },
			" was not recorded"},
		{"link", []string{"link"}, func(path string) error { return os.Symlink("/etc/passwd", path) },
			" was not recorded"},
		{"truncate", []string{verdict.ManifestFile}, truncate, ":1 is no line of a manifest"},
		{"empty", []string{verdict.ManifestFile}, func(path string) error { return os.Truncate(path, 0) },
			" does not list run.json"},
	} {
		for _, name := range tt.files {
			dir := filepath.Join(t.TempDir(), "run")
			if err := os.CopyFS(dir, os.DirFS(made)); err != nil {
				t.Fatal(err)
			}
			if err := tt.do(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			var want []string
			if tt.want != "" {
				want = []string{name + tt.want}
			}
			if sealed, altered, err := harness.Unseal(dir); err != nil || !sealed || !slices.Equal(altered, want) {
				t.Errorf("%s %s: %v, sealed %t, %q; want %q", tt.what, name, err, sealed, altered, want)
			}
		}
	}
	odd := filepath.Join(made, "a\x1b[31m\n.txt")
	if err := os.WriteFile(odd, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, altered, err := harness.Unseal(made); err != nil || len(altered) != 1 ||
		strings.ContainsAny(altered[0], "\x1b\n") {
		t.Errorf("%v, %q; want the name of the file in quotes", err, altered)
	}
}

// TestNoRunNoManifest: what an interrupted run leaves is no run directory.
func TestNoRunNoManifest(t *testing.T) {
	dir := t.TempDir()
	if err := harness.Seal(dir); err != nil {
		t.Error(err)
	}
	if sealed, altered, err := harness.Unseal(dir); sealed || altered != nil || err != nil {
		t.Errorf("%t, %q, %v; want no manifest", sealed, altered, err)
	}
}

// TestRecordingsAreSealed: the recordings that have a manifest are as it says, so that a
// change of one without the other is seen where it is made.
func TestRecordingsAreSealed(t *testing.T) {
	sealed, err := filepath.Glob("verdict/testdata/*/*/" + verdict.ManifestFile)
	if err != nil || len(sealed) == 0 {
		t.Fatalf("%d recordings with a manifest, %v", len(sealed), err)
	}
	for _, path := range sealed {
		dir := filepath.Dir(path)
		if _, altered, err := harness.Unseal(dir); err != nil || len(altered) > 0 {
			t.Errorf("%s: %q, %v", dir, altered, err)
		}
	}
}
