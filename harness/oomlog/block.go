package oomlog

import (
	"bytes"
	"strings"
)

// blocks are what trackers, chats and programs put around a text of many lines, on a line
// of its own or before the first word and behind the last. To read another, add a row.
var blocks = []struct{ open, shut string }{
	{"```", "```"},
	{"{noformat}", "{noformat}"},
	{"{code}", "{code}"},
	{"[code]", "[/code]"},
	{"[quote]", "[/quote]"},
	{"[CODE]", "[/CODE]"},
	{"[[", "]]"},
	{"[=[", "]=]"},
	{"[==[", "]==]"},
	{`"""`, `"""`},
	{"'''", "'''"},
}

// blockLine takes off what opens a block, and later what shuts it. What is behind the mark
// that opens it counts; what is before it is a line of its own.
func (s *scanner) blockLine(line []byte) []byte {
	if len(line) > maxLine {
		return line
	}
	if s.block != "" {
		i := bytes.Index(line, []byte(s.block))
		if i < 0 {
			return line
		}
		rest := bytes.Trim(line[i+len(s.block):], " \r,;.)")
		if len(rest) > 0 {
			return line // the mark is part of the text
		}
		s.block = ""
		if line = line[:i]; len(line) == 0 {
			return nil
		}
		return line
	}
	for _, b := range blocks {
		i := bytes.Index(line, []byte(b.open))
		if i < 0 {
			continue
		}
		text := line[i+len(b.open):]
		if b.open == "[[" && !behindEquals(line[:i]) || i > 0 && !strings.ContainsRune(" \t>=(", rune(line[i-1])) {
			continue
		}
		if end := bytes.Index(text, []byte(b.shut)); end >= 0 {
			if len(bytes.Trim(text[end+len(b.shut):], " \r,;.)")) > 0 || end == 0 {
				return line
			}
			text = text[:end]
		} else {
			s.block = b.shut
		}
		if before := bytes.TrimSpace(line[:i]); len(before) > 0 && bytes.IndexByte(before, ' ') >= 0 {
			return line // its own mark is taken off by who reads the line
		}
		if len(bytes.TrimSpace(text)) == 0 || bytes.IndexByte(bytes.TrimSpace(text), ' ') < 0 {
			return nil
		}
		return text
	}
	return line
}

// behindEquals reports whether a long bracket of Lua can stand behind s.
func behindEquals(s []byte) bool {
	s = bytes.TrimRight(s, " ")
	return len(s) == 0 || bytes.IndexByte([]byte("=({,"), s[len(s)-1]) >= 0
}
