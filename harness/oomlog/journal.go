package oomlog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

// journalEntry is what matters of one entry of the systemd journal.
type journalEntry struct {
	message   []byte
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
		e.message, e.has = append([]byte(nil), value[:min(len(value), maxLine)]...), true
	case "_TRANSPORT":
		e.transport = string(value)
	case "SYSLOG_IDENTIFIER":
		e.ident = string(value)
	case "_HOSTNAME":
		e.host = string(value)
	case "_SOURCE_MONOTONIC_TIMESTAMP":
		if usec, err := strconv.ParseInt(string(value), 10, 64); err == nil && usec >= 0 {
			e.at = strconv.FormatInt(usec/1e6, 10) + "." + zeroPad(usec%1e6)
		}
	case "__REALTIME_TIMESTAMP":
		if e.at == "" {
			e.at = string(value)
		}
	}
}

// give hands the entry's message to the parser: it is the kernel's record,
// whole.
func (s *scanner) give(e *journalEntry) {
	if !e.has {
		return
	}
	l := recordLine(kernel.Record{Text: string(e.message)})
	l.at, l.host, l.foreign = e.at, e.host, !e.kernel()
	s.parser.accept(l)
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
	if name, value, ok := bytes.Cut(line, []byte{'='}); ok && isFieldName(name) {
		s.set(string(name), value)
	}
	return nil
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
	if i := bytes.Index(line, []byte(" [s=")); i > 0 && i < 64 && bytes.Contains(line, []byte(";i=")) &&
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

// The names that journals, container runtimes and log shippers give to things:
// what holds the fields of an entry, the kernel's line, and the host.
var (
	jsonEntries  = []string{"jsonPayload", "journald", "fields", "_source", "result", "event", "data"}
	jsonMessages = []string{"message", "log", "msg", "textPayload", "line", "_raw", "@message", "body"}
	jsonHosts    = []string{"host", "hostname", "node"}
	jsonJournal  = []string{
		"_TRANSPORT", "SYSLOG_IDENTIFIER", "_HOSTNAME", "_SOURCE_MONOTONIC_TIMESTAMP", "__REALTIME_TIMESTAMP", "MESSAGE",
	}
)

// jsonLine takes a line that is a JSON object with a log message in it, or one
// line of an object that is spread over many, as journalctl -o json-pretty
// prints it.
func (s *scanner) jsonLine(whole []byte) []byte {
	line := bytes.TrimLeft(whole, " \t\x1e") // of JSON sequences
	line = bytes.TrimPrefix(line, []byte("data: "))
	if len(line) == 0 {
		return whole
	}
	if value, ok := bytes.CutPrefix(line, []byte(`"MESSAGE" : `)); ok {
		if text, ok := jsonText(bytes.TrimSuffix(bytes.TrimRight(value, "\r "), []byte{','})); ok {
			s.give(&journalEntry{message: text, has: true})
			return nil
		}
	}
	if line[0] != '{' {
		return whole
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(line, &fields) != nil {
		return whole
	}
	for _, key := range jsonEntries {
		var inner map[string]json.RawMessage
		if json.Unmarshal(fields[key], &inner) == nil {
			for k, v := range inner {
				if _, twice := fields[k]; !twice {
					fields[k] = v
				}
			}
		}
	}
	var e journalEntry
	for _, name := range jsonJournal {
		if text, ok := jsonText(fields[name]); ok {
			e.set(name, text)
		}
	}
	if e.has {
		s.give(&e)
		return nil
	}
	text, ok := firstText(fields, jsonMessages)
	if !ok {
		return whole
	}
	for _, key := range jsonHosts {
		if host, ok := jsonText(fields[key]); ok && e.host == "" {
			e.host = string(host)
		}
	}
	for line := range strings.SplitSeq(strings.TrimRight(string(text), "\n"), "\n") {
		l := parseLogLine(line)
		if l.host == "" {
			l.host = e.host
		}
		l.foreign = l.foreign || !e.kernel()
		s.parser.accept(l)
	}
	return nil
}

// firstText gives the first of several fields that is a text.
func firstText(fields map[string]json.RawMessage, keys []string) (text []byte, ok bool) {
	for _, key := range keys {
		if text, ok = jsonText(fields[key]); ok {
			break
		}
	}
	return text, ok
}

// jsonText gives a JSON string, or an array of bytes, which is how journalctl
// writes what is not UTF-8.
func jsonText(raw json.RawMessage) ([]byte, bool) {
	if len(raw) == 0 {
		return nil, false
	}
	var text string
	if raw[0] == '"' && json.Unmarshal(raw, &text) == nil {
		return []byte(text), true
	}
	var codes []int
	if raw[0] != '[' || json.Unmarshal(raw, &codes) != nil {
		return nil, false
	}
	b := make([]byte, 0, len(codes))
	for _, c := range codes {
		if c < 0 || c > 255 {
			return nil, false
		}
		b = append(b, byte(c))
	}
	return b, true
}
