package oomlog

import (
	"bytes"
	"strings"
	"unicode"
)

// before is what stands before every line of a log without a time, as pdsh, clush, chats
// and databases put it: a host, a name, a number. One line does not tell it from a
// program's tag, a table does.
type before struct {
	shape string // empty: nothing does
	word  bool   // it is one word, a host's name
}

const (
	tableHead   = " total_vm "
	maxBefore   = 80
	enoughKinds = 3
)

// study looks at the header of a task table, and whether the lines around it stand behind
// the same.
func (h *before) study(data []byte) {
	at := bytes.Index(data, []byte(tableHead))
	if at < 0 {
		return
	}
	begin := bytes.LastIndexByte(data[:at], '\n') + 1
	line := data[begin:]
	if end := bytes.IndexByte(line, '\n'); end >= 0 {
		line = line[:end]
	}
	open := bytes.IndexByte(line, '[')
	for open >= 0 && !bytes.HasPrefix(bytes.TrimLeft(line[open+1:], " "), []byte("pid")) {
		next := bytes.IndexByte(line[open+1:], '[')
		if next < 0 {
			return
		}
		open += 1 + next
	}
	h.shape = ""
	if open <= 0 || open > maxBefore || len(line) > maxLine {
		return
	}
	l := parseLogLine(string(line))
	text := bytes.TrimSpace(line[:open])
	if l.kind == kindTable && l.shape == "" || l.foreign || len(text) == 0 || bytes.ContainsAny(text, "\"'`{") ||
		bytes.IndexByte(line[:open], '\t') >= 0 ||
		bytes.Count(text, []byte(",")) != bytes.Count(text, []byte(", ")) {
		return // a table, a document
	}
	shape, seen := shapeOf(string(line[:open])), map[kind]bool{}
	for line := range bytes.Lines(data) {
		if rest, ok := cutShape(string(line[:min(len(line), maxWidth)]), shape); ok {
			if k := classify(strings.TrimRight(rest, "\r\n")); k != kindNone {
				seen[k] = true
			}
		}
	}
	if len(seen) >= enoughKinds {
		h.shape, h.word = shape, bytes.IndexByte(text, ' ') < 0
	}
}

// beforeLine takes it off, and keeps a host's name.
func (s *scanner) beforeLine(line []byte) []byte {
	if s.before.shape == "" || len(line) > maxLine {
		return line
	}
	text := string(line)
	rest, ok := cutShape(text, s.before.shape)
	if !ok {
		return line
	}
	name := strings.TrimRight(text[:len(text)-len(rest)], ": |\t")
	if s.before.word && len(name) <= maxName && strings.ContainsFunc(name, unicode.IsLetter) {
		s.host = strings.Clone(name)
	}
	return []byte(rest)
}
