package oomlog

import (
	"bytes"
	"unicode/utf8"
)

// edge is where the lines of a log are cut: by less -S, by a screen, by a field of a log
// store. What stands there is the beginning of a word or a number, which is not guessed.
type edge struct {
	width int  // 0: lines are whole
	now   bool // the line that is read is cut
}

const enoughCut = 3

// cutMarks are what shows that a line was cut. Some of them the kernel prints, too: those
// count at the edge alone.
var cutMarks = []struct {
	text   string
	always bool
}{
	{"…", true}, {"[...]", true}, {"[truncated]", true}, {"(truncated)", true}, {"<truncated>", true},
	{"...", false}, {">", false}, {"$", false},
}

// study finds the edge: lines of more than one kind are as long as the longest, and at least
// one of them is not whole.
func (e *edge) study(data []byte) {
	e.width = 0
	longest, count := 0, 0
	for rest := data; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte{'\n'})
		rest = after
		switch n := columnsOf(line); {
		case !whole, n < longest:
		case n == longest:
			count++
		default:
			longest, count = n, 1
		}
	}
	if count < enoughCut || longest < minWidth || longest > maxWidth {
		return
	}
	lines, cut, goOn, starts, before := 0, 0, 0, map[kind]bool{}, false
	for line := range bytes.Lines(data) {
		line = bytes.TrimRight(line, "\n")
		at := columnsOf(line) == longest
		if !at && !before {
			continue
		}
		l := parseLogLine(string(line[:min(len(line), maxWidth*utf8.UTFMax)]))
		if before && l.kind == kindNone && (!l.prefixed || l.at == "") {
			goOn++ // it may be the rest of the line before it
		}
		if before = at; !at {
			continue
		}
		if last, size := utf8.DecodeLastRune(line); bytes.HasSuffix(line, []byte("  ")) || last == '|' ||
			size > 1 && line[len(line)-size-1] == ' ' ||
			l.kind != kindRow && l.kind != kindTable && bytes.Contains(line[longest/2:], []byte("    ")) {
			goOn++ // padded, or in a frame, or in a table
		}
		if lines++; l.foreign || l.kind == kindNone {
			continue
		}
		starts[l.kind] = true
		if kinds[l.kind].complete != nil && l.kind != kindRow && !kinds[l.kind].complete(l.text) {
			cut++
		}
	}
	if cut > 0 && len(starts) > 1 && lines >= enoughCut && goOn*3 <= lines {
		e.width = longest
	}
}

// columnsOf is how many columns a line takes, without a carriage return.
func columnsOf(line []byte) int {
	line = bytes.TrimRight(line, "\r")
	if n := len(line); n > maxWidth*utf8.UTFMax {
		return n
	}
	return utf8.RuneCount(line)
}

// edgeLine takes the last word off a line that was cut.
func (s *scanner) edgeLine(line []byte) []byte {
	e := &s.edge
	if len(line) == 0 {
		return line
	}
	at := e.width > 0 && columnsOf(line) == e.width
	rest := bytes.TrimRight(line, "\r")
	marked := false
	for _, m := range cutMarks {
		if text, ok := bytes.CutSuffix(rest, []byte(m.text)); ok && (at || m.always) {
			rest, marked = bytes.TrimRight(text, " "), true
			break
		}
	}
	if !at && !marked || len(rest) == 0 {
		return line
	}
	e.now = true
	last := bytes.LastIndexByte(rest, ' ') + 1
	if key := bytes.LastIndexByte(rest[last:], '='); key > 0 { // the value may be a list, and go on behind a comma
		last += max(bytes.LastIndexByte(rest[last:last+key], ','), 0)
	}
	return bytes.TrimRight(rest[:last], " ,")
}
