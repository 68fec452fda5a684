package oomlog

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// quoted reads lines of a log that stand in quotes, whatever is around them: JSON
// of any shape (an object a line, a document over many lines or on one), the
// values of logfmt, the lists and strings of Python, Ruby, Go and YAML.
//
// It does not need the whole of a document: a log is searched for the kernel's
// words, cut and pasted, so an object may lack its beginning or its end.
type quoted struct {
	open []level // objects and lists that are open, outermost first
	key  string  // what was read as a key; its value follows
	has  bool    // a key was read
	// learned is the key under which the kernel's lines were found.
	learned string
	give    func(entry)
	encoded bool // strings were found that are base64
	found   bool // since this was last asked
	inner   bool // it is the message of another
	// folded is a string of YAML that goes on in the next line, after so many pieces, and
	// how far its first one is indented.
	folded []byte
	folds  int
	indent int
}

// level is an object or a list that is open.
type level struct {
	list   bool
	skip   bool              // a list that repeats another value
	key    string            // its own, in the object around it
	fields map[string]string // of an object: what may matter
	codes  []byte            // of a list of numbers: a message that is not UTF-8
}

// entry is what an object says, or a string of a list, which has no fields.
type entry struct {
	fields map[string]string
	text   string
}

const (
	maxLevels = 64
	maxFields = 64
)

// begins reports whether a line is of a quoted form, and where that starts.
func (q *quoted) begins(line []byte) (int, bool) {
	at := 0
	for at < len(line) && (line[at] == ' ' || line[at] == '\t' || line[at] == 0x1e) {
		at++
	}
	if at == len(line) || len(q.open) == 0 && line[at] != '{' && line[at] != '[' &&
		bytes.IndexByte(line, '"') < 0 && bytes.IndexByte(line, '\'') < 0 {
		return 0, false
	}
	for _, mark := range [...]string{"data: ", "- ", "* "} { // of event streams, YAML, Markdown
		at += len(line[at:]) - len(bytes.TrimPrefix(line[at:], []byte(mark)))
	}
	rest := line[at:]
	if len(rest) == 0 {
		return 0, false
	}
	switch {
	case hasKernelTime(rest): // within long brackets of Lua, which are taken off by now
		return 0, false
	case len(q.open) > 0 && bytes.IndexByte([]byte(`"'{}[],`), rest[0]) >= 0:
		return at, true
	case opensQuote(rest):
		return at, true
	case rest[0] == '[' && digits(string(rest[1:min(len(rest), 24)])) > 0 &&
		bytes.Contains(rest[:min(len(rest), 64)], []byte(`, "o", "`)): // asciinema: time, output, text
		return at, true
	}
	if value, ok := yamlValue(rest); ok && opensQuote(value) {
		return len(line) - len(value), true
	}
	// behind a prefix: "2026-11-17 09:08:07 +0000 kern.kmsg: {", "[0] kmsg.0: [[1.5, {}], {", `msg="`
	head := rest[:min(len(rest), 256)]
	brace := bytes.IndexByte(head, '{') >= 0
	for _, mark := range [...]string{`{"`, `{'`, `, {`} {
		if !brace {
			break
		}
		if i := bytes.Index(head, []byte(mark)); i >= 0 && opensQuote(rest[i:]) {
			return at + i, true
		}
	}
	for _, mark := range [...]string{`("[`, `["[`, `('[`, `['[`} { // of R, Rust: x <- c("[ 1000.000001] text",
		if i := bytes.Index(head, []byte(mark)); i >= 0 && hasKernelTime(head[i+2:]) {
			return at + i, true
		}
	}
	if i := bytes.Index(head, []byte(`="`)); i > 0 {
		for _, key := range jsonMessages {
			if i := bytes.Index(line, []byte(key+`="`)); i >= 0 && (i == 0 || line[i-1] == ' ') {
				return i, true
			}
		}
	}
	return 0, false
}

// maxFolds is how many lines a string of YAML may have.
const maxFolds = 32

// foldedLine puts a string of YAML together that goes on in lines that are indented
// further. With quotes and without, an end of line is a blank; in double quotes a
// backslash before it takes it away.
func (s *scanner) foldedLine(line []byte) []byte {
	q := &s.quoted
	rest := bytes.TrimLeft(line, " ")
	indent := len(line) - len(rest)
	if held := q.folded; held != nil {
		if q.folds < maxFolds && len(rest) > 0 && indent > q.indent {
			q.folds++
			if end := len(held) - 1; held[0] == '"' && held[end] == '\\' {
				held, rest = held[:end], bytes.TrimPrefix(rest, []byte{'\\'})
			} else {
				held = append(held, ' ')
			}
			if held = append(held, bytes.TrimRight(rest, " \r")...); held[0] != ' ' && closed(held) {
				q.folded = nil
				return held
			}
			if lines, ok := bytes.CutSuffix(held, []byte("\\n\\")); ok && held[0] == '"' { // it has whole lines so far
				q.folds, held = 1, []byte{'"', '\\'}
				s.text(append(lines, '"'), layerFolded+1)
			}
			q.folded = held
			return nil
		}
		q.folded = nil
		s.text(bytes.TrimPrefix(held, []byte{' '}), layerFolded+1)
	}
	if len(q.open) > 0 || len(line) > maxLine {
		return line
	}
	value, ok := yamlValue(rest)
	switch {
	case !ok:
		return line
	case value[0] != '"' && value[0] != '\'' && indent > 0: // it may go on, and is known by a blank
		value = append([]byte{' '}, value...)
	case value[0] != '"' && value[0] != '\'' || closed(value):
		return line
	}
	q.folded, q.folds, q.indent = bytes.TrimRight(bytes.Clone(value), " \r"), 1, indent
	return nil
}

// yamlValue is the string of a line of YAML that holds a message, and may go on in the
// next lines: an item of a list, or the value of a key.
func yamlValue(line []byte) ([]byte, bool) {
	if item, ok := bytes.CutPrefix(line, []byte("- ")); ok && len(item) > 0 && (item[0] == '"' || item[0] == '\'') {
		return item, true
	}
	key, value, ok := bytes.Cut(bytes.TrimPrefix(line, []byte("- ")), []byte(": "))
	value = bytes.TrimLeft(value, " ")
	if !ok || len(key) > 32 || len(bytes.TrimRight(value, " \r")) == 0 ||
		bytes.IndexByte([]byte("{[|>&*!%@"), value[0]) >= 0 {
		return nil, false
	}
	return value, isMessage(string(bytes.Trim(key, `"'`)))
}

// closed reports whether the string at the start of s ends in it.
func closed(s []byte) bool {
	quote := s[0]
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quote == '"':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote && quote == '\'':
			i++
		case s[i] == quote:
			return true
		}
	}
	return false
}

// opensQuote reports whether s begins a string, or objects and lists with one
// inside.
func opensQuote(s []byte) bool {
	brackets := 0
	for _, none := range [...]string{"[nil, ", "[null, ", "[None, "} {
		if rest, ok := bytes.CutPrefix(s, []byte(none)); ok {
			return opensQuote(rest)
		}
	}
	for i, c := range s {
		switch c {
		case '{', '[', '(', ' ', '\t', ',':
			brackets++
			continue
		case '"', '\'':
			return i+1 < len(s) || brackets > 0
		case 'b', 'u', 'r', 'f': // of Python's strings
			return i+1 < len(s) && (s[i+1] == '\'' || s[i+1] == '"')
		}
		return false
	}
	first := bytes.TrimRight(s, " \t\r")
	return len(first) > 0 && (first[0] == '{' || first[0] == '[') && len(first) <= 3
}

// pending reports whether an object is open whose message was read.
func (q *quoted) pending() bool {
	return slices.ContainsFunc(q.open, func(l level) bool { return len(l.fields) > 0 })
}

// flush gives what is open: the log ends here, or the document was cut.
func (q *quoted) flush() {
	for len(q.open) > 0 {
		q.pop()
	}
	q.key, q.has = "", false
}

// read takes one line, or a part of a longer one.
func (q *quoted) read(s string) {
	for i := 0; i < len(s); {
		switch c := s[i]; c {
		case '{', '[', '(':
			q.push(c != '{')
			i++
		case '}', ']', ')':
			q.pop()
			i++
		case '"', '\'', '`':
			text, n := unquoteString(s[i:])
			i += n
			if rest := strings.TrimLeft(s[i:], " \t"); isColon(rest) && !strings.Contains(text, "\n") {
				q.key, q.has = text, true
				i = len(s) - len(rest) + len(colonOf(rest))
				continue
			}
			q.value(text)
		case ' ', '\t', ',', '\r', ':':
			i++
		default:
			n := strings.IndexAny(s[i:], " \t,{}[]()\"'\r")
			if n < 0 {
				n = len(s) - i
			}
			if n == 0 {
				n = 1
			}
			q.bare(s[i:i+n], s[i+n:])
			i += n
		}
	}
}

func isColon(s string) bool { return colonOf(s) != "" }

func colonOf(s string) string {
	for _, c := range []string{":", "=>"} {
		if strings.HasPrefix(s, c) {
			return c
		}
	}
	return ""
}

// bare takes a word without quotes: a number, null, the key of logfmt.
func (q *quoted) bare(word, rest string) {
	if key, ok := strings.CutSuffix(word, "="); ok && strings.HasPrefix(rest, `"`) {
		q.key, q.has = key, true
		return
	}
	if n := len(q.open); n > 0 && q.open[n-1].list && q.open[n-1].key == "MESSAGE" {
		if code, err := strconv.ParseUint(word, 10, 8); err == nil && len(q.open[n-1].codes) < maxLine {
			q.open[n-1].codes = append(q.open[n-1].codes, byte(code))
		}
		return
	}
	if q.has && q.key == "time" && isMonotonic(word) { // dmesg --json
		q.value(word)
	}
	q.key, q.has = "", false
}

func (q *quoted) push(list bool) {
	if len(q.open) >= maxLevels {
		q.flush()
	}
	if text, same := strings.CutSuffix(q.key, "_lines"); same && list && len(q.open) > 0 {
		if _, twice := q.open[len(q.open)-1].fields[text]; twice { // Ansible gives what was printed in both ways
			q.open = append(q.open, level{list: true, skip: true})
			q.key, q.has = "", false
			return
		}
	}
	q.open = append(q.open, level{list: list, key: q.key})
	q.key, q.has = "", false
}

// pop closes an object or a list. An object inside another one belongs to it; one
// in a list, or on its own, is an entry.
func (q *quoted) pop() {
	n := len(q.open)
	if n == 0 {
		return
	}
	l := q.open[n-1]
	q.open = q.open[:n-1]
	q.key, q.has = "", false
	switch {
	case l.list:
		if len(l.codes) > 0 {
			q.set(l.key, string(l.codes))
		}
	case n > 1 && !q.open[n-2].list:
		for name, value := range l.fields {
			if name == "name" && slices.Contains(jsonHosts, l.key) {
				name = l.key
			}
			if _, twice := q.open[n-2].fields[name]; !twice {
				q.field(name, value)
			}
		}
	case len(l.fields) > 0:
		q.emit(l.fields)
	}
}

// value takes a string.
func (q *quoted) value(text string) {
	switch n := len(q.open); {
	case q.has:
		key := q.key
		q.key, q.has = "", false
		q.set(key, text)
	case n > 0 && q.open[n-1].skip:
	default: // in braces, too, as lists of Lua and C are
		if plain, ok := q.decoded(text); ok {
			text = plain
		}
		q.give(entry{text: text})
	}
}

// set sets a field of the object that is open. A second message begins another
// object: what was between them is not in the log.
func (q *quoted) set(name, value string) {
	if text, ok := q.decoded(value); ok {
		name, value = "message", text
	}
	if n := len(q.open); n > 0 && !q.open[n-1].list {
		if _, twice := q.open[n-1].fields[name]; twice && isMessage(name) {
			q.emit(q.open[n-1].fields)
			q.open[n-1].fields = nil
		}
		q.field(name, value)
		return
	}
	q.give(entry{fields: map[string]string{name: value}})
}

func (q *quoted) field(name, value string) {
	l := &q.open[len(q.open)-1]
	if l.fields == nil {
		l.fields = make(map[string]string)
	}
	if len(l.fields) < maxFields && (len(value) <= 64 || strings.Contains(value, " ") || isMessage(name)) {
		l.fields[strings.Clone(name)] = strings.Clone(value)
	}
}

func (q *quoted) emit(fields map[string]string) { q.give(entry{fields: fields}) }

func isMessage(name string) bool {
	return name == "MESSAGE" ||
		slices.ContainsFunc(jsonMessages, func(m string) bool { return strings.EqualFold(m, name) })
}

// message is the field that holds the line: the one that the kernel's lines were
// found in, one of a known name, or any in which the kernel's words stand.
func (q *quoted) message(fields map[string]string) (text string, ok bool) {
	if text, ok = fields[q.learned]; ok && q.learned != "" {
		return text, true
	}
	told := func(text string) bool {
		first, _, _ := strings.Cut(strings.TrimRight(text, "\n"), "\n")
		return parseLogLine(first).kind != kindNone
	}
	best := ""
	keys := slices.Sorted(maps.Keys(fields)) // two may differ in nothing but their case
	for _, name := range jsonMessages {
		for _, key := range keys {
			if !strings.EqualFold(key, name) {
				continue
			}
			if value := fields[key]; told(value) {
				q.learned = key
				return value, true
			}
			if best == "" {
				best = key
			}
		}
	}
	for _, key := range keys {
		if value := fields[key]; !isMessage(key) && strings.Contains(value, " ") && told(value) {
			q.learned = key
			return value, true
		}
	}
	text, ok = fields[best]
	return text, ok
}

// unquoteString reads the string at the start of s with the escapes of JSON, C
// and Python, and quotes that are doubled. A string that does not end, ends with s.
func unquoteString(s string) (text string, n int) {
	quote := s[0]
	end := strings.IndexByte(s[1:], quote)
	if end < 0 {
		end = len(s) - 1
	}
	if plain := s[1 : 1+end]; strings.IndexByte(plain, '\\') < 0 && (end+2 >= len(s) || s[end+2] != quote) {
		return plain, min(end+2, len(s))
	}
	var b strings.Builder
	for i := 1; i < len(s); {
		switch c := s[i]; {
		case c == quote && i+1 < len(s) && s[i+1] == quote && i > 1:
			b.WriteByte(quote)
			i += 2
		case c == quote:
			return b.String(), i + 1
		case c == '\\' && quote != '`' && i+1 < len(s):
			i += unescape(&b, s[i:])
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String(), len(s)
}

// unescape reads the escape at the start of s, and gives its length.
func unescape(b *strings.Builder, s string) int {
	hex := func(from, n int) (uint64, bool) {
		if len(s) < from+n {
			return 0, false
		}
		code, err := strconv.ParseUint(s[from:from+n], 16, 32)
		return code, err == nil
	}
	switch c := s[1]; c {
	case 'n':
		b.WriteByte('\n')
	case 't':
		b.WriteByte('\t')
	case 'r':
		b.WriteByte('\r')
	case 'b', 'f', 'a', 'v':
	case 'x':
		code, ok := hex(2, 2)
		if !ok {
			b.WriteString(`\x`)
			return 2
		}
		b.WriteByte(byte(code))
		return 4
	case 'u':
		code, ok := hex(2, 4)
		if !ok {
			b.WriteString(`\u`)
			return 2
		}
		if low, ok := hex(8, 4); utf16.IsSurrogate(rune(code)) && ok && s[6:8] == `\u` {
			if r := utf16.DecodeRune(rune(code), rune(low)); r != utf8.RuneError {
				b.WriteRune(r)
				return 12
			}
		}
		b.WriteRune(rune(code))
		return 6
	default:
		b.WriteByte(c)
	}
	return 2
}
