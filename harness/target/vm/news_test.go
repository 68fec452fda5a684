package vm

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"
)

// TestNews: each line that tells of progress is told once, when it has ended, without what it
// would do to a terminal.
func TestNews(t *testing.T) {
	console := filepath.Join(t.TempDir(), "console.txt")
	n := &news{console: console, lines: regexp.MustCompile(`^step \d`)}
	if got := n.next(); got != nil {
		t.Errorf("without a console: %q", got)
	}
	for _, c := range []struct {
		text string
		want []string
	}{
		{"<6>[    0.000000] Linux\nstep 1: a\r\nste", []string{"step 1: a"}},
		{"p 2", nil},
		{": b\n \x1b[32mstep 3\x1b[0m\xff\nelse\n", []string{"step 2: b", "step 3"}},
		{"", nil},
	} {
		f, err := os.OpenFile(console, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(c.text); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if got := n.next(); !reflect.DeepEqual(got, c.want) {
			t.Errorf("after %q: %q, want %q", c.text, got, c.want)
		}
	}
}
