package report

import (
	"strings"
	"unicode/utf8"
)

// wrap breaks text at spaces into lines of at most width columns. A word that
// is longer is broken too: a cell must not push its neighbours.
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
			cut := breakAt(line, width)
			lines = append(lines, line[:cut])
			line = line[cut:]
		}
	}
	if line != "" || len(lines) == 0 {
		lines = append(lines, line)
	}
	return lines
}

// breakAt is where a word of more than width columns is broken: behind a slash
// or a dash in its second half, else at the width.
func breakAt(word string, width int) int {
	n, cut := 0, 0
	for i, r := range word {
		if n == width {
			if cut > 0 {
				return cut
			}
			return i
		}
		if n++; n > width/2 && (r == '/' || r == '-') {
			cut = i + utf8.RuneLen(r)
		}
	}
	return len(word)
}

func runes(s string) int { return utf8.RuneCountInString(s) }

func pad(s string, width int) string { return s + strings.Repeat(" ", max(0, width-runes(s))) }

func padLeft(s string, width int) string { return strings.Repeat(" ", max(0, width-runes(s))) + s }

// hang is text with a label before its first line and the rest below the text.
func hang(label, text string, indent, width int) []string {
	lines := wrap(text, width-indent)
	for i := range lines {
		if i == 0 {
			lines[i] = pad(label, indent) + lines[i]
		} else {
			lines[i] = strings.Repeat(" ", indent) + lines[i]
		}
	}
	return lines
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
		var b strings.Builder
		b.WriteString(indent)
		for i, cell := range row {
			if i > 0 {
				b.WriteString("  ")
			}
			if i < len(g.right) && g.right[i] {
				b.WriteString(padLeft(cell, widths[i]))
			} else {
				b.WriteString(pad(cell, widths[i]))
			}
		}
		out = append(out, strings.TrimRight(b.String(), " "))
	}
	return out
}

// cut shortens text to width columns and shows that it did.
func cut(text string, width int) string {
	if runes(text) <= width {
		return text
	}
	return string([]rune(text)[:max(0, width-1)]) + "…"
}
