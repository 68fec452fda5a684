package plaintext

import (
	"strings"
	"testing"
)

func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		in    string
		width int
		want  string
	}{
		{"", 5, ""},
		{"a b c", 80, "a b c"},
		{"a  b\nc", 3, "a b|c"},
		{"/kubepods.slice/pod/main", 12, "/kubepods.sl|ice/pod/main"},
		{"kubepods-besteffort/main", 12, "kubepods-|besteffort/|main"},
		{"äöü äöü", 3, "äöü|äöü"},
		{"äöüäöü", 4, "äöüä|öü"},
	} {
		if got := strings.Join(Wrap(tt.in, tt.width), "|"); got != tt.want {
			t.Errorf("Wrap(%q, %d) = %q, want %q", tt.in, tt.width, got, tt.want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		in    string
		width int
		want  string
	}{{"äöü", 3, "äöü"}, {"äöüä", 3, "äö…"}, {"ab", 1, "…"}, {"ab", 0, "ab"}} {
		if got := Cut(tt.in, tt.width); got != tt.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", tt.in, tt.width, got, tt.want)
		}
	}
}

func TestGrid(t *testing.T) {
	g := Grid{Right: []bool{false, true}}
	g.Add("name", "n")
	g.Add("ä", "10", Count(1, "process"))
	g.Add("", "", Count(2, "process"))
	want := "  name   n\n  ä     10  1 process\n            2 processes"
	if got := strings.Join(g.Lines("  "), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
