// Package plaintext sets text for a terminal: lines no wider than it, columns,
// labels that hang, and numbers with what they count.
package plaintext

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Wrap breaks text at spaces into lines of at most width columns. A word that
// is longer is broken too: a cell must not push its neighbours.
func Wrap(text string, width int) []string {
	width = max(width, 1)
	var lines []string
	line, columns := make([]byte, 0, 2*width), 0
	for word := range strings.FieldsSeq(text) {
		word = Escape(word)
		n := Width(word)
		if len(line) > 0 && columns+1+n > width {
			lines = append(lines, string(line))
			line, columns = line[:0], 0
		}
		if len(line) > 0 {
			line = append(line, ' ')
			columns++
		}
		line = append(line, word...)
		for columns += n; columns > width; columns = utf8.RuneCount(line) {
			cut := breakAt(string(line), width)
			lines = append(lines, string(line[:cut]))
			line = append(line[:0], line[cut:]...)
		}
	}
	if len(line) > 0 || len(lines) == 0 {
		lines = append(lines, string(line))
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

// Width is how many columns s takes.
func Width(s string) int { return utf8.RuneCountInString(s) }

// Pad fills s up to width with spaces.
func Pad(s string, width int) string { return s + strings.Repeat(" ", max(0, width-Width(s))) }

func padLeft(s string, width int) string { return strings.Repeat(" ", max(0, width-Width(s))) + s }

// Hang is text with a label before its first line and the rest below the text.
func Hang(label, text string, indent, width int) []string {
	lines := Wrap(text, width-indent)
	for i := range lines {
		if i == 0 {
			lines[i] = Pad(label, indent) + lines[i]
		} else {
			lines[i] = strings.Repeat(" ", indent) + lines[i]
		}
	}
	return lines
}

// Grid is a table whose columns are as wide as they need to be.
type Grid struct {
	Right []bool // by column: numbers are aligned to the right
	rows  [][]string
}

// Add adds a row.
func (g *Grid) Add(cells ...string) {
	row := make([]string, len(cells))
	for i, cell := range cells {
		row[i] = Escape(cell)
	}
	g.rows = append(g.rows, row)
}

// Lines are the rows, each behind indent.
func (g *Grid) Lines(indent string) []string {
	var widths []int
	for _, row := range g.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], Width(cell))
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
			if i < len(g.Right) && g.Right[i] {
				b.WriteString(padLeft(cell, widths[i]))
			} else {
				b.WriteString(Pad(cell, widths[i]))
			}
		}
		out = append(out, strings.TrimRight(b.String(), " "))
	}
	return out
}

// Cut shortens text to width columns and shows that it did. A width of 0 is no
// limit.
func Cut(text string, width int) string {
	text = Escape(text)
	if width <= 0 || Width(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}

// Count is a number and what it counts: 1 process, 2 processes.
func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if strings.HasSuffix(what, "s") {
		what += "e"
	}
	return fmt.Sprintf("%d %ss", n, what)
}
