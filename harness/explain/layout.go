package explain

import (
	"strings"
	"unicode/utf8"
)

// wrap breaks text at spaces into lines of at most width columns; longer words
// are broken too.
func wrap(text string, width int) []string {
	width = max(width, 1)
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && runes(line)+1+runes(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
		for runes(line) > width {
			head := string([]rune(line)[:width])
			lines = append(lines, head)
			line = line[len(head):]
		}
	}
	if line != "" || len(lines) == 0 {
		lines = append(lines, line)
	}
	return lines
}

func runes(s string) int { return utf8.RuneCountInString(s) }

// hang is text with a label before its first line and the rest below the text.
func hang(label, text string, indent, width int) []string {
	lines := wrap(text, width-indent)
	for i := range lines {
		if i > 0 {
			label = ""
		}
		lines[i] = label + strings.Repeat(" ", max(0, indent-runes(label))) + lines[i]
	}
	return lines
}

// cut shortens text to width columns and shows that it did.
func cut(text string, width int) string {
	if width <= 0 || runes(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}

// grid is a table whose columns are as wide as they need to be.
type grid struct {
	right []bool // by column: numbers are aligned to the right
	rows  [][]string
}

func (g *grid) add(cells ...string) { g.rows = append(g.rows, cells) }

func (g *grid) lines(indent string) []string {
	var widths []int
	for _, row := range g.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], runes(cell))
		}
	}
	var out []string
	for _, row := range g.rows {
		line := indent
		for i, cell := range row {
			if i > 0 {
				line += "  "
			}
			gap := strings.Repeat(" ", widths[i]-runes(cell))
			if i < len(g.right) && g.right[i] {
				line += gap + cell
			} else {
				line += cell + gap
			}
		}
		out = append(out, strings.TrimRight(line, " "))
	}
	return out
}
