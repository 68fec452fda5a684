package plaintext

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		"plain äöü → ⚠️ 日本 a_b\\x": "plain äöü → ⚠️ 日本 a_b\\x",
		"\x1b]0;title\a":           `\x1b]0;title\x07`,
		"a\nb\tc\r":                `a\x0ab\x09c\x0d`,
		"\x7f\u0085\u009b31m":      `\u007f\u0085\u009b31m`,
		"\u202egnp.exe\u2066":      `\u202egnp.exe\u2066`,
		"a\u200bb\ufeff\u00adc":    `a\u200bb\ufeff\u00adc`,
		"a\u00a0b\u2028c":          `a\u00a0b\u2028c`,
		"\u3164\u115f\u034f":       `\u3164\u115f\u034f`,
		"\U000e0041":               `\udb40\udc41`,
		"\xff\x9b\xe2\x82":         `\xff\x9b\xe2\x82`,
		"\uffff\ufffd":             `\uffff` + "\ufffd",
	} {
		if got := Escape(in); got != want {
			t.Errorf("Escape(%q) = %s, want %s", in, got, want)
		}
		if want := strings.NewReplacer(`\x0a`, "\n", `\x09`, "\t").Replace(want); EscapeLines(in) != want {
			t.Errorf("EscapeLines(%q) = %q, want %q", in, EscapeLines(in), want)
		}
	}
}

// FuzzText: whatever is set, no line has anything that a terminal obeys or hides, no
// name makes a line of its own, and JSON that is escaped says the same.
func FuzzText(f *testing.F) {
	f.Add("comm\x1b[41m", "a\nb: \u202etxt", 12)
	f.Add("\xff\x9b", "\t\u200b\u2028", 1)
	f.Fuzz(func(t *testing.T, a, b string, width int) {
		width = min(max(width, -1), 200)
		g := Grid{Right: []bool{false, true}}
		g.Add("name", a, b)
		g.Add(b, Cut(a, width), a)
		lines := append(g.Lines("  "), a, Cut(b, width))
		lines = append(lines, Hang("label", a+" "+b, 8, max(width, 9))...)
		var out strings.Builder
		if err := Write(&out, lines, nil); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(out.String(), "\n"); n != len(lines) {
			t.Errorf("%d lines became %d", len(lines), n)
		}
		before := out.Len()
		if _, err := (Writer{&out}).Write([]byte(out.String()[:before])); err != nil || out.Len() != 2*before {
			t.Errorf("escaped again, %d bytes became %d: %v", before, out.Len()-before, err)
		}
		out.WriteString(EscapeLines(a + b))
		for i, r := range out.String() {
			if r == utf8.RuneError && !strings.ContainsRune(a+b, r) {
				t.Fatalf("no UTF-8 at %d of %q", i, out.String())
			}
			if unicode.In(r, unicode.C, unicode.Zl, unicode.Zp, unicode.Bidi_Control) && r != '\n' && r != '\t' {
				t.Fatalf("%U at %d of %q", r, i, out.String())
			}
		}
		data, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var want, got string
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(EscapeLines(string(data))), &got); err != nil || got != want {
			t.Fatalf("JSON of %q says %q: %v", a, got, err)
		}
	})
}
