package oomlog

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// screen is what is known of a log that was copied from a terminal, or cut into
// lines of one length by a logger.
type screen struct {
	width  int             // 0: lines are whole
	words  bool            // words are kept whole
	padded bool            // lines are filled up with blanks
	starts map[string]bool // how a line of the log begins, made alike
	bare   bool            // lines have no prefix
	hang   []byte          // blanks before all pieces of a line but the first
	held   []byte          // a line that may go on in the next
	filled int             // the width of its last piece, without padding
	pieces int
}

const (
	studyBytes = 64 << 10 // that show whether lines are broken at a column
	maxStride  = 1 << 20
	minWidth   = 40
	maxWidth   = 512
	// slack is how much shorter than the screen a line may be that goes on:
	// blanks at its end are lost when text is copied.
	slack     = 16
	maxBreaks = 64 // pieces of a line
	maxMail   = 132
)

// study finds the width at which lines are broken. A terminal breaks them at its
// edge: many lines have the length of the longest, and what follows does not begin
// as a line of the log. A mail program keeps words whole: no word would have found
// room in the line before it.
func (w *screen) study(data []byte) {
	w.width, w.words = 0, false
	longest, full, short := 0, 0, 0
	for rest := data; len(rest) > 0; {
		line, after, _ := bytes.Cut(rest, []byte{'\n'})
		rest = after
		switch n := len(line); {
		case n > maxWidth*utf8.UTFMax:
			return
		case n > longest:
			longest, full = n, 1
		case n == longest:
			full++
		}
		if len(line) < maxMail {
			short++
		}
	}
	if longest < minWidth {
		return
	}
	lines := bytes.Split(data, []byte{'\n'})
	for i, line := range lines {
		lines[i] = bytes.TrimRight(line, "\r")
	}
	first := parseLogLine(string(lines[0][:min(len(lines[0]), maxWidth)]))
	w.bare = !first.prefixed || first.at == ""
	w.studyHang(lines)
	if full < 2 || !w.studyEdge(lines) {
		// Most lines of a report are longer than a mail's.
		w.words = !w.bare && short*10 > len(lines)*9 && w.studyWords(lines)
	}
}

// studyHang finds the blanks with which lines go on that were broken, as editors and
// pagers put them: lines without a beginning of their own have as many.
func (w *screen) studyHang(lines [][]byte) {
	indented := 0
	for _, line := range lines {
		if len(line) > 0 && line[0] == ' ' {
			indented++
		}
	}
	if w.hang = nil; w.bare || indented < 3 {
		return
	}
	most, indents := 0, map[int]int{}
	for _, line := range lines {
		line = line[:min(len(line), maxWidth)]
		rest := bytes.TrimLeft(line, " ")
		if l := parseLogLine(string(line)); len(rest) == 0 || l.prefixed && l.at != "" {
			continue
		}
		n := len(line) - len(rest)
		if indents[n]++; indents[n] > indents[most] {
			most = n
		}
	}
	all, fewer := 0, 0
	for n, lines := range indents {
		if all += lines; n < most {
			fewer += lines
		}
	}
	// What is broken at the edge may go on with a blank of its own.
	if most > 0 && most <= minWidth && indents[most] >= 3 && indents[most]*2 > all && fewer*10 <= all {
		w.hang = bytes.Repeat([]byte{' '}, most)
	}
}

// hangs reports whether a line is indented as those are that go on.
func (w *screen) hangs(line []byte) bool { return len(w.hang) > 0 && bytes.HasPrefix(line, w.hang) }

func (w *screen) studyEdge(lines [][]byte) bool {
	longest := 0
	for _, line := range lines {
		longest = max(longest, utf8.RuneCount(line))
	}
	w.starts = make(map[string]bool)
	for i, line := range lines {
		if i == 0 || len(line) > 0 && utf8.RuneCount(bytes.TrimRight(lines[i-1], " ")) < longest-slack {
			w.starts[startOf(line)] = true
		}
	}
	edge, near, full := 0, 0, 0
	for i := range len(lines) - 1 {
		filled := utf8.RuneCount(bytes.TrimRight(lines[i], " "))
		if utf8.RuneCount(lines[i]) == longest {
			full++
		}
		if filled < longest-2*slack || w.fresh(lines[i+1]) {
			continue
		}
		if utf8.RuneCount(lines[i]) == longest && filled >= longest-slack {
			edge++
		} else {
			near++
		}
	}
	if edge < 2 || edge <= 3*near || longest > maxWidth {
		return false
	}
	w.width, w.padded = longest, full*10 > len(lines)*7
	return true
}

func (w *screen) studyWords(lines [][]byte) bool {
	w.starts = map[string]bool{startOf(lines[0]): true}
	longest := 0
	var needed []int
	for i := range len(lines) - 1 {
		line, next := lines[i], lines[i+1]
		if len(next) == 0 || bytes.IndexByte(bytes.TrimSpace(line), ' ') < 0 || !w.goesOn(line, next) {
			continue
		}
		longest = max(longest, utf8.RuneCount(bytes.TrimRight(line, " ")))
		needed = append(needed, w.needed(line, next))
	}
	fits := 0 // where blanks were lost at the end of a line, the word seems to fit
	for _, n := range needed {
		if n <= longest {
			fits++
		}
	}
	if len(needed) < 3 || fits*4 > len(needed) || longest < minWidth {
		return false
	}
	w.width = longest
	return true
}

// goesOn reports whether next can be the rest of a line that words were wrapped in:
// it has no beginning of its own and is not indented.
func (w *screen) goesOn(line, next []byte) bool {
	rest := w.rest(line, next)
	return len(rest) > 0 && rest[0] != ' ' && rest[0] != '\t' && !w.fresh(next)
}

// needed is how wide a line would be with the first word of the next.
func (w *screen) needed(line, next []byte) int {
	word, _, _ := bytes.Cut(w.rest(line, next), []byte{' '})
	return max(utf8.RuneCount(line), utf8.RuneCount(bytes.TrimRight(line, " "))+1) + utf8.RuneCount(word)
}

// rest is what the next line adds to one.
func (w *screen) rest(line, next []byte) []byte {
	if w.hangs(next) {
		return next[len(w.hang):]
	}
	return bytes.TrimPrefix(next, quoteOf(line))
}

// startOf is the beginning of a line made alike.
func startOf(line []byte) string {
	head := string(line[:min(len(line), 32)])
	var b strings.Builder
	for n := 0; n < 6 && head != ""; n++ {
		c, size := alike(head)
		if c == 'a' && size < 3 { // a word that may be cut
			c = 'w'
		}
		b.WriteByte(c)
		head = head[size:]
	}
	return b.String()
}

// fresh reports whether a line begins as lines of the log do.
func (w *screen) fresh(line []byte) bool {
	if len(bytes.TrimSpace(line)) == 0 {
		return true
	}
	if w.hangs(line) {
		return false
	}
	if w.starts[startOf(line)] {
		return true
	}
	l := parseLogLine(string(line[:min(len(line), maxWidth)]))
	return l.prefixed && l.at != "" && l.shape == "" || w.bare && l.kind != kindNone
}

// unwrap joins the pieces of a line that was broken. It is nil for a piece that may
// go on in the next line.
func (s *scanner) unwrap(line []byte) []byte {
	w := &s.screen
	if w.held == nil && (w.width == 0 || s.printable) { // mails in that encoding mark where they break lines
		return line
	}
	line = bytes.TrimRight(line, "\r")
	if held := w.held; held != nil {
		w.held = nil
		if w.pieces < maxBreaks && w.joins(held, line) {
			line = w.trim(line)
			rest := w.rest(held, line)
			if w.words && !w.splits(held, rest) {
				held = append(held, ' ')
			}
			return w.whole(append(held, rest...), utf8.RuneCount(line), w.pieces+1)
		}
		s.text(bytes.TrimRight(held, " "), layerUnwrap+1)
	}
	if w.width == 0 {
		return line
	}
	line = bytes.Clone(w.trim(line))
	return w.whole(line, utf8.RuneCount(line), 1)
}

// splits reports whether the end of a line is inside a word: behind a hyphen, or at
// the edge where the word is longer than a line.
func (w *screen) splits(held, rest []byte) bool {
	n := len(held)
	if n > 1 && held[n-1] == '-' && held[n-2] != ' ' {
		return true
	}
	// No word of the kernel's begins with these.
	if w.filled == w.width && len(rest) > 0 && rest[0] != rest[min(1, len(rest)-1)] &&
		bytes.IndexByte([]byte("_,:=|)"), rest[0]) >= 0 {
		return true
	}
	word, _, _ := bytes.Cut(rest, []byte{' '})
	return w.filled == w.width && n-1-bytes.LastIndexByte(held, ' ')+len(word) > w.width
}

// trim takes off the padding that a screen may have.
func (w *screen) trim(line []byte) []byte {
	if w.words || !w.padded && utf8.RuneCount(line) == w.width {
		return line
	}
	return bytes.TrimRight(line, " ")
}

// joins reports whether the line goes on with the next.
func (w *screen) joins(held, next []byte) bool {
	switch {
	case w.width == 0:
		return false
	case w.words:
		last := held[len(held)-min(len(held), w.filled):]
		return len(bytes.TrimSpace(next)) > 0 && w.goesOn(held, next) && w.needed(last, next) > w.width
	}
	return !w.fresh(next)
}

// quoteOf is the mark of a quoted mail at the start of a line.
func quoteOf(line []byte) []byte {
	return line[:len(line)-len(bytes.TrimLeft(line, "> "))]
}

// whole gives the line, or holds it if its last piece may go on.
func (w *screen) whole(line []byte, filled, pieces int) []byte {
	switch {
	case w.words:
	case filled < w.width-slack || filled > w.width:
		return line
	default:
		line = append(line, bytes.Repeat([]byte{' '}, w.width-filled)...)
	}
	w.held, w.filled, w.pieces = line, filled, pieces
	return nil
}
