package oomlog

import (
	"bytes"
	"slices"
	"strings"
)

// csvForm is what is known of a log that is a table: its separator, its number of
// columns, and which of them holds the lines.
type csvForm struct {
	comma                byte
	columns, column, who int // who: the column of the host, or -1
	open                 int // the column whose quotes are open at the end of the line, or -1
	lines                int // since it opened
}

const (
	maxOpenLines = 1 << 10 // in one field
	headerLines  = 16      // at the start of a log
)

// splitCSV splits a line. open: the last field's quotes are not closed.
func splitCSV(s string, comma byte, inside bool) (fields []string, open bool) {
	for {
		if inside || strings.HasPrefix(s, `"`) {
			if !inside {
				s = s[1:]
			}
			inside = false
			var b strings.Builder
			for {
				i := strings.IndexByte(s, '"')
				if i < 0 {
					b.WriteString(s)
					return append(fields, b.String()), true
				}
				b.WriteString(s[:i])
				if s = s[i+1:]; !strings.HasPrefix(s, `"`) {
					break
				}
				b.WriteByte('"')
				s = s[1:]
			}
			fields = append(fields, b.String())
		} else {
			i := strings.IndexByte(s, comma)
			if i < 0 {
				return append(fields, s), false
			}
			fields = append(fields, s[:i])
			s = s[i:]
		}
		if s == "" || s[0] != comma || len(fields) > 256 {
			return fields, false
		}
		s = s[1:]
	}
}

// csvHeader reads a line of column names, one of which holds messages.
func csvHeader(line string) *csvForm {
	if len(line) > 4<<10 {
		return nil
	}
	line = strings.TrimRight(strings.TrimPrefix(line, bom), "\r")
	for _, comma := range []byte{',', ';', '\t'} {
		fields, open := splitCSV(line, comma, false)
		if open || len(fields) < 2 {
			continue
		}
		f := &csvForm{comma: comma, columns: len(fields), column: -1, who: -1, open: -1}
		for i, name := range fields {
			if name == "" || len(name) > 64 || strings.ContainsAny(name, "=[]()<>{}\"") {
				return nil
			}
			name = strings.TrimSpace(name)
			if f.column < 0 && isMessage(name) {
				f.column = i
			}
			if f.who < 0 && slices.Contains(jsonHosts, strings.ToLower(name)) {
				f.who = i
			}
		}
		if f.column >= 0 {
			return f
		}
	}
	return nil
}

// csvRow recognises a row of a table whose header is not there: one of its fields
// in quotes is a line of the kernel's.
func csvRow(line string) *csvForm {
	for _, comma := range []byte{',', ';', '\t'} {
		if !strings.Contains(line, string(comma)+`"`) && !strings.Contains(line, `"`+string(comma)) {
			continue
		}
		fields, open := splitCSV(line, comma, false)
		if open || len(fields) < 2 || len(fields) == 2 && strings.TrimRight(fields[1], " \r") == "" {
			continue // an item of a list ends in a comma, too
		}
		for i, field := range fields {
			l := parseLogLine(field)
			if l.kind != kindNone && l.shape == "" && l.guess == "" && !strings.Contains(field, `"`) {
				return &csvForm{comma: comma, columns: len(fields), column: i, who: -1, open: -1}
			}
		}
	}
	return nil
}

// csvLine takes the lines of a table and gives the field that holds the message.
func (s *scanner) csvLine(line []byte) []byte {
	if s.csv == nil {
		if len(line) == 0 || line[0] == '[' || line[0] == '{' {
			return line
		}
		if s.header > 0 {
			s.header--
			if s.csv = csvHeader(string(line)); s.csv != nil {
				return nil
			}
		}
		if len(s.quoted.open) > 0 || bytes.IndexByte(line[:min(len(line), 256)], '"') < 0 {
			return line
		}
		if s.csv = csvRow(string(line)); s.csv != nil && parseLogLine(string(line)).foreign {
			s.csv = nil // another program's list
		}
		if s.csv == nil {
			return line
		}
	}
	f := s.csv
	fields, open := splitCSV(strings.TrimRight(string(line), "\r"), f.comma, f.open >= 0)
	first := max(0, f.open)
	last := first + len(fields) - 1
	switch {
	case open && last < f.columns && f.lines < maxOpenLines:
		f.open, f.lines = last, f.lines+1
	case f.open < 0 && last+1 != f.columns:
		return line // no row of this table
	default:
		f.open, f.lines = -1, 0
	}
	if f.who >= first && f.who <= last {
		s.host = clip(fields[f.who-first], 255)
	}
	if f.column < first || f.column > last {
		return nil
	}
	return []byte(fields[f.column-first])
}
