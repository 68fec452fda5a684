package oomlog

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// journalEntry is what matters of one entry of the systemd journal.
type journalEntry struct {
	message   string
	has       bool
	at, host  string
	transport string
	ident     string
}

// kernel reports whether the entry is the kernel's, as far as it says.
func (e *journalEntry) kernel() bool {
	if e.transport != "" {
		return e.transport == "kernel"
	}
	return e.ident == "" || e.ident == "kernel"
}

// set takes one field. Of the two clocks the kernel's own is kept.
func (e *journalEntry) set(name string, value []byte) {
	switch name {
	case "MESSAGE":
		e.message, e.has = string(value[:min(len(value), maxLine)]), true
	case "_TRANSPORT":
		e.transport = ofKernel(value)
	case "SYSLOG_IDENTIFIER":
		e.ident = ofKernel(value)
	case "_HOSTNAME":
		e.host = string(value)
	case "_SOURCE_MONOTONIC_TIMESTAMP":
		if usec, err := strconv.ParseInt(string(value), 10, 64); err == nil && usec >= 0 {
			e.at = seconds(usec)
		}
	case "__REALTIME_TIMESTAMP":
		if e.at == "" {
			e.at = string(value)
		}
	}
}

// ofKernel is the string of a value, which is made once for most entries of a report.
func ofKernel(value []byte) string {
	if string(value) == "kernel" {
		return "kernel"
	}
	return string(value)
}

// give hands the entry's message to the parser: it is the kernel's record,
// whole.
func (s *scanner) give(e *journalEntry) {
	if !e.has {
		return
	}
	l := messageLine(e.message)
	l.at, l.host, l.foreign = e.at, e.host, !e.kernel() && l.kind != kindLost
	if s.order.decided && !s.order.reversed {
		s.parser.accept(l)
		return
	}
	s.deliver(l)
}

// isFieldName recognises a line of journalctl -o export that announces a
// binary field: the name alone.
func isFieldName(line []byte) bool {
	if len(line) == 0 || len(line) > 64 {
		return false
	}
	for _, c := range line {
		if (c < 'A' || c > 'Z') && c != '_' && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// exportLine takes the lines of journalctl -o export. An empty line ends the
// entry.
func (s *scanner) exportLine(line []byte) []byte {
	if !s.export && !bytes.HasPrefix(line, []byte("__CURSOR=")) {
		return line
	}
	s.export = true
	if len(line) == 0 {
		s.endEntry()
		return nil
	}
	for _, name := range jsonJournal {
		if n := len(name); len(line) > n && line[n] == '=' && string(line[:n]) == name {
			s.set(name, line[n+1:])
			break
		}
	}
	return nil
}

// objectLine takes an entry of journalctl -o json that is on a line of its own, an object
// of strings. It leaves all else to [quoted], which is slower.
func (s *scanner) objectLine(line []byte) bool {
	var e journalEntry
	if len(s.quoted.open) > 0 || !bytes.HasPrefix(line, []byte(`{"`)) {
		return false
	}
	for rest := line[1:]; ; {
		key, after, ok := cutString(rest)
		if !ok || len(after) == 0 || after[0] != ':' {
			return false
		}
		value, after, ok := cutString(bytes.TrimLeft(after[1:], " "))
		if !ok {
			return false
		}
		if name := string(key); slices.Contains(jsonJournal, name) {
			if name == "MESSAGE" && e.has {
				return false
			}
			if bytes.IndexByte(value, '\\') >= 0 {
				text, _ := unquoteString(`"` + string(value) + `"`)
				value = []byte(text)
			}
			e.set(name, value)
		}
		after = bytes.TrimLeft(after, " ")
		if len(after) == 0 || after[0] != ',' {
			if !e.has || string(bytes.TrimRight(after, " \r")) != "}" {
				return false
			}
			s.give(&e)
			return true
		}
		rest = bytes.TrimLeft(after[1:], " ")
	}
}

// cutString cuts the string in double quotes, or the number, at the start of s, without
// undoing escapes.
func cutString(s []byte) (text, rest []byte, ok bool) {
	if len(s) > 0 && s[0] >= '0' && s[0] <= '9' {
		n := bytes.IndexAny(s, ",}")
		return s[:max(0, n)], s[max(0, n):], n > 0
	}
	if len(s) == 0 || s[0] != '"' {
		return nil, s, false
	}
	for i := 1; ; i++ {
		n := bytes.IndexByte(s[i:], '"')
		if n < 0 {
			return nil, s, false
		}
		i += n
		escapes := 0
		for s[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return s[1:i], s[i+1:], true
		}
	}
}

// set sets a field of the entry that the lines are in.
func (s *scanner) set(name string, value []byte) {
	if s.entry == nil {
		s.entry = &journalEntry{}
	}
	s.entry.set(name, value)
}

func (s *scanner) endEntry() {
	if e := s.entry; e != nil {
		s.entry = nil
		s.give(e)
	}
}

// verboseLine takes the lines of journalctl -o verbose, which prints an entry
// as a time with a cursor, and its fields below that, indented.
func (s *scanner) verboseLine(line []byte) []byte {
	if i := cursorAt(line[:min(len(line), 68)]); i > 0 && bytes.Contains(line, []byte(";i=")) &&
		clock(string(line[:i])) >= 0 {
		s.endEntry()
		s.entry, s.verbose = &journalEntry{at: string(line[:i])}, true
		return nil
	}
	if !s.verbose {
		return line
	}
	rest, indented := bytes.CutPrefix(line, []byte("    "))
	if !indented {
		s.endEntry()
		s.verbose = false
		return line
	}
	if name, value, ok := bytes.Cut(rest, []byte{'='}); ok && isFieldName(name) {
		s.entry.set(string(name), value)
	}
	return nil
}

// cursorAt is where a cursor begins, behind the time; 0: nowhere. Every line is asked.
func cursorAt(head []byte) int {
	for at := 0; ; at++ {
		i := bytes.IndexByte(head[at:], '[')
		if i < 0 {
			return 0
		}
		if at += i; bytes.HasPrefix(head[at:], []byte("[s=")) && at > 1 && head[at-1] == ' ' {
			return at - 1
		}
	}
}

// binaryField takes a field of journalctl -o export whose value is not plain
// text: NAME, newline, eight bytes of length, the value, newline. n is where
// the name ends.
func (s *scanner) binaryField(data []byte, n int, cut bool) (int, bool) {
	rest := data[n+1:]
	if len(rest) < 8 {
		return len(data), cut
	}
	size := binary.LittleEndian.Uint64(rest)
	if size > scanBuffer/2 {
		return n + 1, true // not a length, or nothing worth having
	}
	if uint64(len(rest)) < 8+size+1 {
		if !cut {
			return 0, false
		}
		size = uint64(len(rest)) - 8
	}
	s.set(string(data[:n]), rest[8:8+size])
	return min(n+1+8+int(size)+1, len(data)), true
}

// The names that journals, container runtimes and log stores give to the kernel's
// line, to the host and to the time.
var (
	jsonMessages = []string{
		"message", "log", "msg", "textPayload", "line", "_raw", "@message", "body", "content", "short_message",
		"full_message", "original", "SyslogMessage", "RawData", "text", "description", "_line", "rawMessage",
		"log_message",
	}
	jsonHosts   = []string{"host", "hostname", "node", "nodename", "computer", "logStreamName"}
	jsonTimes   = []string{"time", "timestamp", "@timestamp", "ts", "date", "_time", "TimeGenerated"}
	jsonJournal = []string{
		"_TRANSPORT", "SYSLOG_IDENTIFIER", "_HOSTNAME", "_SOURCE_MONOTONIC_TIMESTAMP", "__REALTIME_TIMESTAMP",
		"MESSAGE",
	}
)

const maxDepth = 3 // of entries whose message is such an entry

// giveEntry hands the message of an object to the parser, or a string of a list.
func (s *scanner) giveEntry(q entry) {
	var e journalEntry
	text := q.text
	if q.fields != nil {
		for _, name := range jsonJournal {
			if value, ok := q.fields[name]; ok {
				e.set(name, []byte(value))
			}
		}
		if e.has {
			s.give(&e)
			return
		}
		var ok bool
		if text, ok = s.quoted.message(q.fields); !ok {
			return
		}
		for _, key := range jsonHosts {
			if host := q.fields[key]; e.host == "" {
				e.host = host
			}
		}
		for _, key := range jsonTimes {
			if at := q.fields[key]; e.at == "" {
				e.at = at
			}
		}
	}
	var lines []logLine
	for line := range strings.SplitSeq(strings.TrimRight(text, "\r\n`"), "\n") { // a block may end in it
		if s.depth < maxDepth && strings.HasPrefix(line, "{") {
			s.nested(line)
			continue
		}
		l := parseLogLine(line[:min(len(line), maxLine)])
		if q.fields == nil && l.kind == kindNone && !strings.Contains(l.text, " ") {
			continue // a list holds other things too
		}
		if l.host == "" {
			l.host = e.host
		}
		if l.at == "" {
			l.at = e.at
		}
		l.prefixed = l.prefixed || len(lines) == 0
		l.foreign = l.foreign || !e.kernel()
		lines = append(lines, l)
	}
	s.deliver(lines...)
}

// nested reads a message that is an object itself.
func (s *scanner) nested(line string) {
	outer := s.quoted
	s.quoted = quoted{give: outer.give, learned: outer.learned, inner: true}
	s.depth++
	s.quoted.read(line)
	s.quoted.flush()
	s.depth--
	s.quoted = outer
}
