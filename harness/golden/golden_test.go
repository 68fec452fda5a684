package golden

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// heard is a test that keeps what it is told.
type heard struct {
	testing.TB
	errors []string
}

func (h *heard) Helper()             {}
func (h *heard) Logf(string, ...any) {}
func (h *heard) Error(args ...any)   { h.errors = append(h.errors, fmt.Sprint(args...)) }
func (h *heard) Errorf(format string, args ...any) {
	h.errors = append(h.errors, fmt.Sprintf(format, args...))
}

func TestFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	check := func(got, want string) {
		t.Helper()
		h := &heard{TB: t}
		File(h, file, []byte(got))
		if all := strings.Join(h.errors, "\n"); all != want {
			t.Errorf("%q: got %q, want %q", got, all, want)
		}
	}
	t.Setenv(Variable, "")
	check("", "open "+file+": no such file or directory")
	t.Setenv(Variable, "1")
	check("", "")
	check("a\nb\n", "")
	t.Setenv(Variable, "")
	check("a\nb\n", "")
	check("a\nc\n", file+":2 differs (OOMLAB_UPDATE=1 writes it anew)\n got: c\nwant: b")
	check("a\n", file+":2 differs (OOMLAB_UPDATE=1 writes it anew)\n got: \nwant: b")
	check("a\nb\nc", file+":3 differs (OOMLAB_UPDATE=1 writes it anew)\n got: c\nwant: ")
}

func TestSection(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("title\n<a>\none\ntwo\n</a>\nend\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	check := func(open, got, want string) {
		t.Helper()
		h := &heard{TB: t}
		Section(h, file, open, "</a>\n", got)
		if all := strings.Join(h.errors, "\n"); all != want {
			t.Errorf("%q: got %q, want %q", got, all, want)
		}
	}
	t.Setenv(Variable, "")
	check("<b>\n", "", file+` has no section between "<b>\n" and "</a>\n"`)
	check("<a>\n", "one\ntwo\n", "")
	check("<a>\n", "one\nthree\n", file+":4 differs (OOMLAB_UPDATE=1 writes it anew)\n got: three\nwant: two")
	t.Setenv(Variable, "1")
	check("<a>\n", "one\nthree\n", "")
	if text, err := os.ReadFile(file); err != nil || string(text) != "title\n<a>\none\nthree\n</a>\nend\n" {
		t.Errorf("the file holds %q, %v", text, err)
	}
}
