// Package golden compares what a test got with a committed file. It is the one
// way to write such files anew: make update-goldens, or, for the tests of one
// package,
//
//	OOMLAB_UPDATE=1 go test -count 1 ./harness/report
//
// Read the difference that git then shows before you commit it. Recordings of
// real kernels are never the same twice, so they are made only with
// OOMLAB_UPDATE=recordings, which writes the rest, too.
package golden

import (
	"os"
	"strings"
	"testing"
)

// Variable is the environment variable that lets tests write files.
const Variable = "OOMLAB_UPDATE"

// Update reports whether tests write their files anew instead of comparing.
func Update() bool { return os.Getenv(Variable) != "" }

// File fails the test if got is not what the file holds.
func File(t testing.TB, file string, got []byte) {
	t.Helper()
	want, err := os.ReadFile(file)
	if err != nil && !(Update() && os.IsNotExist(err)) {
		t.Error(err)
		return
	}
	if string(got) == string(want) && err == nil {
		return
	}
	if Update() {
		Write(t, file, got)
		return
	}
	differs(t, file, 0, string(got), string(want))
}

// Section fails the test if a document does not hold got between the lines open
// and shut, the first of each.
func Section(t testing.TB, file, open, shut string, got string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
		return
	}
	before, rest, ok := strings.Cut(string(text), open)
	want, after, closed := strings.Cut(rest, shut)
	switch {
	case !ok || !closed:
		t.Errorf("%s has no section between %q and %q", file, open, shut)
	case got == want:
	case Update():
		Write(t, file, []byte(before+open+got+shut+after))
	default:
		differs(t, file, strings.Count(before+open, "\n"), got, want)
	}
}

// Record reports whether tests make their recordings anew.
func Record() bool { return os.Getenv(Variable) == "recordings" }

// Write writes a file without comparing, as a recording.
func Write(t testing.TB, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Error(err)
		return
	}
	t.Logf("wrote %s", file)
}

// differs names the first line that is not as it should be.
func differs(t testing.TB, file string, skipped int, got, want string) {
	t.Helper()
	g, w := strings.SplitAfter(got, "\n"), strings.SplitAfter(want, "\n")
	i := 0
	for i < len(g) && i < len(w) && g[i] == w[i] {
		i++
	}
	line := func(lines []string) string {
		if i == len(lines) {
			return "the end"
		}
		return strings.TrimSuffix(lines[i], "\n")
	}
	t.Errorf("%s:%d differs (%s=1 writes it anew)\n got: %s\nwant: %s", file, skipped+i+1, Variable, line(g), line(w))
}
