package oomlog

import (
	"bytes"
	"slices"
	"strings"
)

// maxValues is how many values a row of SQL may have.
const maxValues = 64

// tupleLine takes the messages out of what programs and databases write without a field
// name before each: rows of SQL, (1,'node1','text'), and binaries of Erlang, <<"text">>.
func (s *scanner) tupleLine(line []byte) []byte {
	text := bytes.TrimLeft(line, " \t[{,")
	if len(text) == 0 {
		return line
	}
	switch text[0] {
	case '<':
		if bytes.HasPrefix(text, []byte(`<<"`)) {
			return s.binaryLine(line, string(text))
		}
	case '(', 'I', 'i', 'V', 'v', 'R', 'r':
		return s.sqlLine(line, string(text))
	}
	return line
}

// binaryLine takes the binaries of Erlang that a line consists of.
func (s *scanner) binaryLine(line []byte, rest string) []byte {
	var texts []string
	for strings.HasPrefix(rest, `<<"`) {
		text, n := unquoteString(rest[2:])
		rest = strings.TrimPrefix(rest[2+n:], "/utf8")
		end, ok := strings.CutPrefix(rest, ">>")
		if !ok {
			return line
		}
		texts = append(texts, text)
		rest = strings.TrimLeft(end, " \t,")
	}
	if strings.Trim(rest, " \r]}).") != "" {
		return line
	}
	s.texts(texts, layerTuple+1)
	return nil
}

// sqlLine takes the rows of an INSERT. Which column holds the lines is known by its name,
// and else by what is in it.
func (s *scanner) sqlLine(line []byte, text string) []byte {
	head := text[:min(len(text), 1<<10)]
	if text[0] != '(' {
		verb := head[:strings.IndexFunc(head+" ", func(c rune) bool { return !isAlnum(byte(c)) })]
		at := -1
		if slices.Contains([]string{"INSERT", "REPLACE", "VALUES"}, strings.ToUpper(verb)) {
			at = strings.Index(strings.ToUpper(head), "VALUES")
		}
		if at < 0 {
			return line
		}
		s.sql = nil
		names := head[:at]
		if from, to := strings.IndexByte(names, '('), strings.LastIndexByte(names, ')'); from >= 0 && from < to {
			s.sql = csvHeader(strings.NewReplacer("`", "", `"`, "", "[", "", "]", "").Replace(names[from+1 : to]))
		}
		if text = strings.TrimLeft(text[at+len("VALUES"):], " \r"); text == "" {
			return nil
		}
	}
	var texts []string
	for strings.HasPrefix(text, "(") {
		values, n := sqlRow(text)
		if n == 0 {
			return line
		}
		i := s.messageOf(values)
		if i < 0 {
			return line
		}
		if s.sql != nil && s.sql.who >= 0 {
			s.host = clip(values[s.sql.who], 255)
		}
		texts = append(texts, values[i])
		text = strings.TrimLeft(text[n:], " ,\r")
	}
	if len(texts) == 0 || strings.Trim(text, "; \r") != "" {
		return line
	}
	s.texts(texts, layerTuple+1)
	return nil
}

// messageOf is the place of the message among the values of a row, or -1.
func (s *scanner) messageOf(values []string) int {
	if s.sql != nil {
		if len(values) == s.sql.columns {
			return s.sql.column
		}
		return -1
	}
	best := -1
	for i, v := range values {
		switch {
		case parseLogLine(v[:min(len(v), maxLine)]).kind != kindNone:
			return i
		case strings.IndexByte(v, ' ') >= 0 && (best < 0 || len(v) > len(values[best])):
			best = i
		}
	}
	return best
}

// sqlRow reads the row of values at the start of s. n is its length, 0 if it is none.
func sqlRow(s string) (values []string, n int) {
	strung := false
	for i := 1; i < len(s) && len(values) < maxValues; {
		switch c := s[i]; c {
		case ' ', ',':
			i++
		case ')':
			if !strung { // a text in brackets
				return nil, 0
			}
			return values, i + 1
		case '\'':
			text, n := unquoteString(s[i:])
			values, strung = append(values, text), true
			if i += n; i < len(s) && s[i] != ',' && s[i] != ')' && s[i] != ' ' {
				return nil, 0
			}
		default: // a number, NULL, E'text' or N'text'
			end := strings.IndexAny(s[i:], ",)'")
			if end < 0 || end > 64 {
				return nil, 0
			}
			if s[i+end] != '\'' {
				values = append(values, s[i:i+end])
			} else if end > 1 {
				return nil, 0
			}
			i += end
		}
	}
	return nil, 0
}

// texts takes the lines of texts.
func (s *scanner) texts(texts []string, from int) {
	for _, text := range texts {
		for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
			s.text([]byte(line), from)
		}
	}
}
