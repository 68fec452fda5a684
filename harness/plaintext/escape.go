package plaintext

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Escape makes a text fit for a line of a terminal: what moves its cursor, hides or
// reorders what others wrote, or is no UTF-8, becomes \x1b or \u202e. Names of
// processes, files and cgroups may hold any bytes. What is escaped stays as it is.
func Escape(s string) string { return escape(s, "") }

// EscapeLines is Escape for a text of lines: newlines and tabs stay.
func EscapeLines(s string) string { return escape(s, "\n\t") }

func escape(s, keep string) string {
	var b strings.Builder
	done := 0 // s[:done] is in b
	for i := 0; i < len(s); {
		if c := s[i]; c >= ' ' && c < 0x7f {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		bad := r == utf8.RuneError && size == 1
		if bad || !visible(r) && !strings.ContainsRune(keep, r) {
			b.WriteString(s[done:i])
			done = i + size
			if bad || r < 0x20 {
				fmt.Fprintf(&b, `\x%02x`, s[i])
			} else { // as JSON has it, so that JSON too may be escaped
				for _, unit := range utf16.AppendRune(nil, r) {
					fmt.Fprintf(&b, `\u%04x`, unit)
				}
			}
		}
		i += size
	}
	if done == 0 {
		return s
	}
	return b.String() + s[done:]
}

// visible reports whether a character shows as what it is. Controls, formats (they
// reorder or join text), private use and spaces other than U+0020 are no graphic
// characters to [unicode.IsPrint]; the rest of the invisible ones have a property.
func visible(r rune) bool {
	return unicode.IsPrint(r) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}

// Writer escapes what is written to W as [EscapeLines] does. A write must not end
// within a character.
type Writer struct{ W io.Writer }

func (w Writer) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.W, EscapeLines(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Write puts lines on w, escaped and without spaces at their ends. paint, unless it
// is nil, adds to each line what a terminal is to obey.
func Write(w io.Writer, lines []string, paint func(string) string) error {
	var b strings.Builder
	for _, line := range lines {
		line = strings.TrimRight(Escape(line), " ")
		if paint != nil {
			line = paint(line)
		}
		b.WriteString(line)
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}
