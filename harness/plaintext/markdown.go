package plaintext

import "strings"

// Markdown makes a text that Escape or EscapeLines returned fit for a cell of a table
// in Markdown: what would be taken for markup stays as it is, and lines become one.
// also are more characters that mean something where the text goes.
func Markdown(escaped, also string) string {
	var b strings.Builder
	for _, r := range escaped {
		switch {
		case r == '\n':
			b.WriteByte(' ')
			continue
		case r == '<':
			b.WriteString("&lt;")
			continue
		case r == '&':
			b.WriteString("&amp;")
			continue
		case strings.ContainsRune("\\|*_`[]#~"+also, r):
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
