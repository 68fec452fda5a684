package oomlog

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

// logLine is one line of a kernel log with its prefix taken off.
type logLine struct {
	at, host, caller string
	text             string
	kind             kind
	// prefixed: the line had a time or a tag of its own, so it is not the
	// rest of the line before it.
	prefixed bool
	// record: text is exactly what the kernel printed at once, so it is never
	// wrapped and a newline in it is the kernel's own.
	record bool
	// cut: the log does not have the end of the line.
	cut bool
	// foreign: the line says itself that another program wrote it.
	foreign bool
	// shape is that of a prefix that no known form of log has; the lines around
	// this one have it too.
	shape string
	// guess: what stands before "invoked oom-killer", of which the trigger's
	// name is the end.
	guess string
}

// parseLogLine reads a line of any log.
func parseLogLine(s string) logLine { return new(prefix).read(s) }

// read finds the kernel's text in a line of any log: raw /dev/kmsg,
// dmesg, journalctl, syslog, a serial console, a container runtime's log, a
// quoted mail.
//
// The prefix is taken off from the left, piece by piece, and only pieces that
// are known; a name inside the text that looks like a prefix stays a name.
// Where a line begins with something unknown, the text is looked for behind
// "kernel: " and behind a time in brackets.
func (p *prefix) read(s string) logLine {
	s = clean(s)
	if s == "" {
		return logLine{}
	}
	if p.rows.has(s) {
		return p.rows.read(s)
	}
	if record := cutRelease(s); isKmsg(record) {
		if r, err := kernel.ParseKmsgRecord([]byte(record)); err == nil {
			return recordLine(r)
		}
	}
	s = strings.TrimPrefix(stripQuotes(s), bom)
	// Lines of the kernel's that begin the line are bare.
	if k := classify(s); k != kindNone {
		return logLine{kind: k, text: s}
	}
	*p = prefix{logLine: logLine{text: s}, rows: p.rows}
	if p.cut() || (!p.prefixed || p.outer()) && p.search() {
		p.rows.learn(s, p.logLine)
		return p.logLine
	}
	for _, tell := range tellers {
		if tell(p) {
			break
		}
	}
	return p.logLine
}

// prefix is a line whose prefix is being taken off; text is what is left.
type prefix struct {
	logLine
	last      string // the time that was taken off last
	bracketed bool   // it stood in brackets
	rows      rowPrefix
}

// rowPrefix is what stood before the last row of a task table. Most lines of a
// report are rows, and most have the same prefix but for the kernel's time.
type rowPrefix struct {
	before, after string // the time in brackets
	line          logLine
}

func (r *rowPrefix) learn(s string, l logLine) {
	before, ok := strings.CutSuffix(s, l.text)
	open := strings.LastIndexByte(before, '[')
	if !ok || l.kind != kindRow || l.record || l.shape != "" || open < 0 || !strings.HasSuffix(before, "] ") ||
		!isMonotonic(strings.TrimSpace(before[open+1:len(before)-2])) {
		return
	}
	r.before, r.line = before[:open+1], l
	r.after = before[open+1:]
}

// has reports whether s is a row behind the same prefix.
func (r *rowPrefix) has(s string) bool {
	rest, ok := strings.CutPrefix(s, r.before)
	if r.before == "" || !ok || len(rest) <= len(r.after) || rest[len(r.after)] != '[' ||
		classifyTable(rest[len(r.after):]) != kindRow {
		return false
	}
	for i := range len(r.after) {
		if a, b := r.after[i], rest[i]; a != b && (digits(rest[i:i+1]) == 0 || a != ' ' &&
			digits(r.after[i:i+1]) == 0) {
			return false
		}
	}
	return true
}

func (r *rowPrefix) read(s string) logLine {
	l := r.line
	time := s[len(r.before) : len(r.before)+len(r.after)]
	l.text = s[len(r.before)+len(r.after):]
	if l.at == strings.TrimSpace(strings.TrimSuffix(r.after, "] ")) {
		l.at = strings.TrimSpace(strings.TrimSuffix(time, "] "))
	}
	return l
}

// step says how to go on behind a piece of a prefix.
type step uint8

const (
	next step = iota // with the next piece, whether this one was there or not
	stop             // the prefix ends here
	done             // the line is read
)

// piece is a part of a prefix, with an example.
type piece struct {
	like string
	cut  func(*prefix) step
}

// A prefix is made of leading pieces, each once, and of pieces that can come
// up to three times: syslog has a time, and the kernel has one too. To read
// another form of log, add a row here, or to timeForms, tagForms or marks.
var (
	leading = []piece{
		{"##[debug]", (*prefix).cutCommand},
		{"kern  :warn  : ", (*prefix).cutDecoded},
		{"<4>1 ", (*prefix).cutPriority},
	}
	pieces = []piece{
		{"[ 1000.000001] ", (*prefix).cutTime},
		{"[ T107] ", (*prefix).cutCallers},
		{"stdout F ", (*prefix).cutStream},
		{"In(05) vcpu-5 - Guest: ", (*prefix).cutGuest},
		{"##[debug]", (*prefix).cutCommand},
		{"", (*prefix).bare},
		{"<4>", (*prefix).cutLevel},
		{"node-1 kernel: ", (*prefix).cutTag},
	}
)

// cut takes the pieces off. It reports whether the line is read.
func (p *prefix) cut() bool {
	for _, piece := range leading {
		if piece.cut(p) == done {
			return true
		}
	}
	for range 3 {
		for _, piece := range pieces {
			switch piece.cut(p) {
			case stop:
				return false
			case done:
				return true
			}
		}
	}
	return false
}

// bom is what some programs put before UTF-8.
const bom = "\ufeff"

// ofAnother makes the line another program's.
func (p *prefix) ofAnother() step {
	p.logLine = logLine{prefixed: true, foreign: true}
	return done
}

// cutDecoded takes off what dmesg --decode puts before a line, "kern  :warn  : ".
func (p *prefix) cutDecoded() step {
	facility, after, ok := strings.Cut(p.text, ":")
	level, rest, ok2 := strings.Cut(after, ": ")
	facility, level = strings.TrimRight(facility, " "), strings.TrimRight(level, " ")
	if !ok || !ok2 || !slices.Contains(facilities, facility) || !slices.Contains(levels, level) {
		return next
	}
	if facility != "kern" {
		return p.ofAnother()
	}
	p.prefixed, p.text = true, rest
	return next
}

var (
	facilities = append(strings.Fields("kern user mail daemon auth syslog lpr news uucp cron authpriv ftp"),
		strings.Fields("res0 res1 res2 res3 local0 local1 local2 local3 local4 local5 local6 local7")...)
	levels = strings.Fields("emerg alert crit err warn notice info debug")
)

// cutPriority takes "<4>" off, and the version of RFC 5424 behind it.
func (p *prefix) cutPriority() step {
	if n := prioTag(p.text); n > 0 {
		p.prefixed, p.text = true, strings.TrimPrefix(p.text[n:], "1 ")
	}
	return next
}

// cutTime takes a time off. The prefix ends where none is.
func (p *prefix) cutTime() step {
	at, rest, ok := cutTime(p.text)
	if !ok || strings.HasPrefix(rest, invoked[1:]) { // the name is a time
		return stop
	}
	p.bracketed, p.last = p.text[0] == '[', at
	p.prefixed, p.text = true, rest
	if p.at == "" {
		p.at = at
	}
	return next
}

func (p *prefix) cutCallers() step {
	for {
		caller, rest, ok := cutCaller(p.text)
		if !ok {
			return next
		}
		p.caller, p.text = caller, rest
	}
}

// cutStream takes off what a container runtime says of a line, behind which a
// whole record of /dev/kmsg may stand.
func (p *prefix) cutStream() step {
	for _, stream := range []string{"stdout F ", "stderr F ", "stdout P ", "stderr P "} {
		rest, ok := strings.CutPrefix(p.text, stream)
		if !ok {
			continue
		}
		if p.text = rest; isKmsg(rest) {
			if r, err := kernel.ParseKmsgRecord([]byte(rest)); err == nil {
				p.logLine = recordLine(r)
				return done
			}
		}
	}
	return next
}

// cutGuest takes off what VMware's vmware.log has before a line of the guest's
// console, in either of its forms.
func (p *prefix) cutGuest() step {
	const mark = "Guest: "
	if i := strings.Index(p.text[:min(len(p.text), 64)], mark); i > 0 && strings.Contains(p.text[:i], "vcpu-") {
		p.text = p.text[i+len(mark):]
	}
	return next
}

// cutCommand takes off how Azure Pipelines marks a line of a job's log.
func (p *prefix) cutCommand() step {
	rest, ok := strings.CutPrefix(p.text, "##[")
	if end := strings.IndexByte(rest[:min(len(rest), 16)], ']'); ok && end > 0 {
		p.text = strings.TrimPrefix(rest[end+1:], " ")
	}
	return next
}

// bare ends the prefix where the kernel's text begins.
func (p *prefix) bare() step {
	if p.kind = classify(p.text); p.kind != kindNone {
		return done
	}
	return next
}

func (p *prefix) cutLevel() step {
	if !p.bracketed {
		p.text = p.text[prioTag(p.text):]
	}
	return next
}

// cutTag takes a host and a tag off.
func (p *prefix) cutTag() step {
	host, rest, foreign, ok := cutTag(p.text, p.bracketed)
	switch {
	case ok && foreign && strings.HasPrefix(rest, "Missed ") && classifyLost(rest) == kindLost:
		p.kind, p.text = kindLost, rest // the journal tells of the kernel's messages
		return done
	case ok && foreign && !isHead(p.text): // "x: y invoked oom-killer:" is a bare log's
		return p.ofAnother()
	case ok && !foreign && (host != "" || !p.bracketed):
		if p.text = rest; p.host == "" {
			p.host = host
		}
		return next
	case p.bracketed && (!strings.Contains(p.last, ":") || !strings.ContainsAny(p.last, ".-")):
		return stop // the kernel's own time is the last of the prefix; a terminal's has a fraction, or dashes
	}
	return next
}

// outer reports whether the time that was taken off is another program's: the kernel's own
// stands behind something unknown.
func (p *prefix) outer() bool {
	return strings.Contains(p.last, ":") && consoleTime(p.text[:min(len(p.text), 64)]) > 0 &&
		classifyLost(p.text) == kindNone
}

// search looks for the kernel's text inside a line without a known prefix. It
// reports whether the line is read.
func (p *prefix) search() bool {
	const tag = "kernel: "
	at := strings.Index(p.text[:min(len(p.text), 256)], tag)
	if at > 0 && isHead(p.text) {
		at = -1
	}
	switch {
	case at >= 0:
		rest := p.text[at+len(tag):]
		if inner := parseLogLine(rest); inner.kind != kindNone || inner.at != "" {
			p.logLine = inner
			break
		}
		p.prefixed, p.text = true, rest
		return false
	case p.text == "kernel:":
		p.text = ""
	default:
		i := consoleTime(p.text)
		if i < 0 || isHead(p.text) {
			return false
		}
		p.logLine = parseLogLine(p.text[i:])
	}
	p.prefixed = true
	return true
}

// tellers say what a line is whose known prefix has been taken off, from the
// surest sign to guesses. The first that reports true has said it.
var tellers = []func(*prefix) bool{
	(*prefix).tellWords, (*prefix).tellHead, (*prefix).guessHead,
	(*prefix).tellCpuset, (*prefix).guessCpuset, (*prefix).guessFar,
}

func (p *prefix) tellWords() bool {
	s := strings.TrimLeft(p.text, " \t")
	if p.kind = classify(s); p.kind == kindNone && isAllocFailure(s) {
		p.kind = kindElsewhere
	}
	if p.kind != kindNone {
		p.text = s
	}
	return p.kind != kindNone
}

func (p *prefix) tellHead() bool {
	if !isHead(p.text) && !isHead(strings.TrimSpace(p.text)) {
		return false
	}
	if p.kind = kindHead; !p.prefixed {
		p.text = strings.TrimLeft(p.text, " \t")
	}
	return true
}

// guessHead is for an unknown prefix and a name behind it: the last word is a
// guess, but the report is there.
func (p *prefix) guessHead() bool {
	i := strings.Index(p.text, invoked)
	if i <= kernel.CommLen {
		return false
	}
	p.kind, p.prefixed, p.guess = kindHead, true, p.text[:i]
	p.text = p.text[strings.LastIndexAny(p.text[:i], " \t")+1:]
	return true
}

func (p *prefix) tellCpuset() bool {
	s := p.text
	if !p.prefixed {
		s = strings.TrimLeft(s, " \t")
	}
	if !isCpuset(s) {
		return false
	}
	p.kind, p.text = kindCpuset, s
	return true
}

// guessCpuset is for an unknown prefix and a name behind it.
func (p *prefix) guessCpuset() bool {
	i := strings.Index(p.text, " cpuset=")
	if i <= kernel.CommLen || i >= 256 || !strings.Contains(p.text[i:], " mems_allowed=") || otherTag(p.text[:i]) {
		return false
	}
	p.kind, p.prefixed = kindCpuset, true
	return true
}

// guessFar is for an unknown prefix and words behind it that only the kernel
// prints.
func (p *prefix) guessFar() bool {
	k, i := behind(p.text)
	if i == 0 {
		return false
	}
	p.kind, p.shape, p.prefixed = k, shapeOf(p.text[:i]), true
	p.text = unquoteTail(p.text[i:], p.shape)
	return true
}

// behind finds the kernel's line behind a prefix of no known form, as long as
// no other program's tag is in it.
func behind(s string) (kind, int) {
	at, found := len(s), kindNone
	try := func(i int) {
		if i <= 0 || i >= at || i > 256 || isLetter(s[i-1]) {
			return
		}
		if k := classifyWords(unquoteTail(s[i:], s[:i])); k != kindNone {
			at, found = i, k
		}
	}
	for _, w := range farWords {
		try(strings.Index(s, w))
	}
	for i := strings.IndexByte(s, '['); i >= 0 && i < min(at, 256); {
		if k := classifyTable(s[i:]); k != kindNone {
			try(i)
		}
		next := strings.IndexByte(s[i+1:], '[')
		if next < 0 {
			break
		}
		i += 1 + next
	}
	if found == kindNone || otherTag(s[:at]) {
		return kindNone, 0
	}
	return found, at
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// otherTag reports whether a prefix names a program that is not the kernel.
func otherTag(prefix string) bool {
	for word := range strings.FieldsSeq(prefix) {
		if isTag(word) && !isKernelTag(word) {
			return true
		}
	}
	return false
}

// isKernelTag recognises kernel:, kernel[0]:, kern.warn<4>: and the like.
func isKernelTag(word string) bool {
	name, ok := strings.CutSuffix(word, ":")
	if !ok {
		return false
	}
	if i := strings.IndexAny(name, "[<"); i > 0 {
		name = name[:i]
	}
	return name == "kernel" || name == "vmunix" || strings.HasPrefix(name, "kern.")
}

// shapeOf is a prefix with its words, numbers and spaces made alike: those of
// one log differ in nothing else.
func shapeOf(prefix string) string {
	var b strings.Builder
	for i := 0; i < len(prefix); {
		c, n := alike(prefix[i:])
		b.WriteByte(c)
		i += n
	}
	return b.String()
}

// alike gives the kind of what s begins with, and its length.
func alike(s string) (byte, int) {
	run := func(is func(byte) bool) int {
		n := 0
		for n < len(s) && is(s[n]) {
			n++
		}
		return n
	}
	if n := run(func(c byte) bool { return c >= '0' && c <= '9' }); n > 0 {
		return '0', n
	}
	if n := run(isLetter); n > 0 {
		return 'a', n
	}
	if n := run(func(c byte) bool { return c == ' ' || c == '\t' }); n > 0 {
		return ' ', n
	}
	return s[0], 1
}

// unquoteTail takes off the quote at the end of a text whose prefix ends in one.
func unquoteTail(s, shape string) string {
	if strings.HasSuffix(shape, `"`) {
		return strings.TrimSuffix(s, `"`)
	}
	return s
}

// behindShape is a line of no kind whose prefix has the shape that its
// neighbours' prefixes have.
func (l logLine) behindShape(shape string) logLine {
	rest, ok := cutShape(l.text, shape)
	if !ok || l.kind != kindNone {
		return l
	}
	l.text, l.prefixed = unquoteTail(rest, shape), true
	l.kind = classifyNamed(l.text)
	return l
}

// cutShape takes a prefix of the given shape off.
func cutShape(s, shape string) (string, bool) {
	for i := range len(shape) {
		if s == "" {
			return "", strings.TrimRight(shape[i:], " ") == ""
		}
		c, n := alike(s)
		if c != shape[i] {
			return s, false
		}
		s = s[n:]
	}
	return s, true
}

// recordLine makes a record a line; it needs no looking for the text.
func recordLine(r kernel.Record) logLine {
	l := messageLine(r.Text)
	l.at, l.caller, l.foreign = seconds(r.USec), r.Caller, r.Facility != 0
	return l
}

// messageLine is recordLine for what the journal keeps of a record.
func messageLine(text string) logLine {
	l := logLine{text: text, prefixed: true, record: true}
	l.kind = classifyNamed(l.text)
	if l.kind == kindNone && strings.HasPrefix(l.text, " ") {
		if classify(strings.TrimLeft(l.text, " ")) == kindOther {
			l.kind = kindOther // " </TASK>"
		}
	}
	return l
}

// seconds writes a time of the kernel's as its log has it.
func seconds(usec int64) string {
	b := strconv.AppendInt(make([]byte, 0, 32), usec/1e6, 10)
	b = append(b, '.')
	for unit := int64(1e5); unit > 0; unit /= 10 {
		b = append(b, byte('0'+usec/unit%10))
	}
	return string(b)
}

// isKmsg recognises prio,seq,usec,flag at the start of a line.
func isKmsg(s string) bool {
	for range 3 {
		n := digits(s)
		if n == 0 || n > 20 || n == len(s) || s[n] != ',' && s[n] != ';' {
			return false
		}
		s = s[n+1:]
	}
	return strings.IndexByte(s[:min(len(s), 200)], ';') >= 0
}

// cutRelease takes off the kernel's release, which extended netconsole puts before
// a record.
func cutRelease(s string) string {
	release, rest, ok := strings.Cut(s[:min(len(s), 128)], ",")
	if ok && digits(release) > 0 && strings.Contains(release, ".") && digits(rest) > 0 {
		return s[len(release)+1:]
	}
	return s
}

// isCpuset recognises "x cpuset=/ mems_allowed=0", which up to 4.20 follows
// the head.
func isCpuset(s string) bool {
	i := strings.Index(s, " cpuset=")
	return i >= 0 && i <= kernel.CommLen && strings.Contains(s[i:], " mems_allowed=")
}

const nbsp = "\u00a0"

// clean takes out what terminals and mail programs put into a line: colours,
// tabs for spaces, and no-break spaces in runs of spaces. A no-break space that
// stands alone is left; it is part of a name.
func clean(s string) string {
	s = strings.Trim(s, "\r\x00")
	s = strings.TrimSuffix(s, `\n\`) // a string of a program, over many lines
	s = unmark(s)
	if strings.IndexByte(s, 0x1b) >= 0 {
		s = strings.TrimRight(stripANSI(s), "\r")
	}
	if strings.IndexByte(s, '\t') >= 0 {
		s = strings.ReplaceAll(s, "\t", " ")
	}
	if !strings.Contains(s, nbsp) {
		return s
	}
	if strings.IndexByte(s, ' ') < 0 {
		return strings.ReplaceAll(s, nbsp, " ")
	}
	for _, run := range []string{nbsp + " ", " " + nbsp, nbsp + nbsp} {
		if strings.HasPrefix(s, nbsp) || strings.Contains(s, run) {
			return strings.ReplaceAll(s, nbsp, " ")
		}
	}
	return s
}

// written are the ways in which an escape character is written out, and what marks the
// words that were searched for; the kernel prints none of them inside a line.
var written = []struct {
	first byte
	text  string
	is    string
}{
	{'^', "^[[", "\x1b["}, {'#', "#033[", "\x1b["}, {'\\', `\x1b[`, "\x1b["}, {'\\', `\033[`, "\x1b["},
	{'*', "**", ""}, {'@', "@kibana-highlighted-field@", ""}, {'@', "@/kibana-highlighted-field@", ""},
}

// unmark decodes them, but for the stars of the kernel's own.
func unmark(s string) string {
	for _, w := range written {
		if strings.IndexByte(s, w.first) < 0 || w.text == "**" && (strings.Contains(s, "***") ||
			strings.Contains(s, " messages dropped **")) {
			continue
		}
		s = strings.ReplaceAll(s, w.text, w.is)
	}
	return s
}

// stripANSI takes out the colours of dmesg and journalctl.
func stripANSI(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != 0x1b {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '[' {
			for i += 2; i < len(s) && (s[i] < 0x40 || s[i] > 0x7e); i++ {
			}
		} else {
			i++
		}
	}
	return b.String()
}

// marks are what mail programs and archives put around a line.
var marks = []struct{ open, shut string }{
	{">", ""},
	{"| ", ""},
	{"&gt;", ""},
	{"&nbsp;", ""},
	{"<pre>", ""},
	{"<p>", "</p>"},
	{"<div>", "</div>"},
	{"", "<br>"},
	{"", "<br/>"},
	{"", "<br />"},
}

// markBytes are what a mark begins with.
var markBytes = func() (all string) {
	for _, m := range marks {
		all += (m.open + m.shut)[:1]
	}
	return all + "B"
}()

// stripQuotes takes the marks off.
func stripQuotes(s string) string {
	trimmed := strings.TrimLeft(s, " \t")
	if trimmed == "" || strings.IndexByte(markBytes, trimmed[0]) < 0 {
		return s
	}
	if body, ok := strings.CutPrefix(trimmed, "Body: Str("); ok { // OpenTelemetry's debug exporter
		return strings.TrimSuffix(body, ")")
	}
	s = trimmed
	for {
		before := s
		for _, m := range marks {
			s = strings.TrimPrefix(s, m.open)
		}
		if s == before {
			break
		}
		s = strings.TrimLeft(s, " \t")
	}
	for _, m := range marks {
		s = strings.TrimSuffix(s, m.shut)
	}
	return s
}

// prioTag is the length of "<6>" at the start of s.
func prioTag(s string) int {
	if len(s) < 3 || s[0] != '<' {
		return 0
	}
	n := digits(s[1:])
	if n == 0 || n > 3 || len(s) < n+2 || s[n+1] != '>' {
		return 0
	}
	return n + 2
}

// cutCaller takes the tag of CONFIG_PRINTK_CALLER off: "[ T123] ", "[   C0] ".
func cutCaller(s string) (caller, rest string, ok bool) {
	t := strings.TrimLeft(s, " ")
	if !strings.HasPrefix(t, "[") {
		return "", s, false
	}
	inside, rest, ok := strings.Cut(t[1:], "]")
	inside = strings.TrimSpace(inside)
	if !ok || len(inside) < 2 || len(inside) > 12 || inside[0] != 'T' && inside[0] != 'C' ||
		digits(inside[1:]) != len(inside)-1 {
		return "", s, false
	}
	return inside, strings.TrimPrefix(rest, " "), true
}

// timeForms are the forms in which dmesg, journalctl and syslog write a time,
// in any language, and one space behind it. The first that fits counts.
var timeForms = []struct {
	like string
	cut  func(s string) (at, rest string, ok bool)
}{
	{"[ 1000.000001] ", bracketTime},
	{"Nov 17 09:08:07 ", clockTime},
	{"1762164000.123456 ", unixTime}, // journalctl -o short-unix
}

// cutTime takes a time off.
func cutTime(s string) (at, rest string, ok bool) {
	for _, form := range timeForms {
		if at, rest, ok := form.cut(s); ok {
			return at, rest, true
		}
	}
	return "", s, false
}

// bracketTime is the kernel's own clock, or any other, in brackets.
func bracketTime(s string) (at, rest string, ok bool) {
	if !strings.HasPrefix(s, "[") {
		return "", s, false
	}
	inside, rest, ok := strings.Cut(s[1:], "]")
	if !ok || len(inside) > 64 {
		return "", s, false
	}
	trimmed := strings.TrimSpace(strings.Trim(inside, "<> "))
	if !isMonotonic(strings.TrimPrefix(trimmed, "+")) && clock(inside) < 0 {
		return "", s, false
	}
	return trimmed, strings.TrimPrefix(rest, " "), true
}

// clockTime has a time of day in it. In front of that stand a date, a weekday
// or nothing: at most four words and no punctuation that a date does not have.
// Behind it can stand a zone, or a year if none stands in front.
func clockTime(s string) (at, rest string, ok bool) {
	head := s[:min(len(s), 64)]
	i := clock(head)
	if i < 0 || strings.ContainsAny(head[:i], ":=()[]{}\"") || len(strings.Fields(head[:i])) > 4 {
		return "", s, false
	}
	end := strings.IndexByte(s[i:], ' ')
	if end < 0 {
		return s, "", true
	}
	end += i
	dated := strings.Contains(head[:i], "-")
	if word, _, ok := strings.Cut(s[end+1:], " "); ok && isZone(word) && !(dated && digits(word) > 0) {
		end += 1 + len(word)
	}
	return s[:end], s[end+1:], true
}

// unixTime is seconds since 1970.
func unixTime(s string) (at, rest string, ok bool) {
	if n := digits(s); n < 9 || n > 11 || clock(s[:min(len(s), 64)]) >= 0 {
		return "", s, false
	}
	at, rest, ok = strings.Cut(s, " ")
	return at, rest, ok && isMonotonic(at)
}

// clock finds HH:MM, of a time of day, in s.
func clock(s string) int {
	for i := 0; i+5 <= len(s); i++ {
		if s[i+2] != ':' || digits(s[i:i+2]) != 2 || digits(s[i+3:i+5]) != 2 {
			continue
		}
		if i > 0 && s[i-1] != ' ' && s[i-1] != 'T' && s[i-1] != '-' {
			continue
		}
		if i+5 < len(s) && s[i+5] != ':' && s[i+5] != ' ' {
			continue
		}
		return i
	}
	return -1
}

func isMonotonic(s string) bool {
	n := digits(s)
	return n > 0 && n < len(s) && s[n] == '.' && digits(s[n+1:]) == len(s)-n-1 && len(s)-n > 1
}

// isZone recognises what can stand behind a clock: UTC, CEST, +0200, 2025. A
// host's name in capitals looks like a zone; that only costs the host.
func isZone(s string) bool {
	if len(s) == 4 && digits(s) == 4 {
		return s[:2] == "20" && s < "2047" || s[:2] == "19" // of "1024 pages RAM" it is no year
	}
	if len(s) == 5 && (s[0] == '+' || s[0] == '-') && digits(s[1:]) == 4 {
		return true
	}
	if len(s) < 3 || len(s) > 5 {
		return false
	}
	for i := range len(s) {
		if s[i] < 'A' || s[i] > 'Z' {
			return false
		}
	}
	return true
}

// tagWord is a word in front of which a tag can end.
type tagWord struct {
	text, rest string // the word, and what is behind it
	n          int    // its place
	bracketed  bool   // a time in brackets is in front, which most often is the kernel's
}

// tagForms are the forms of a tag. rest is what is behind it; foreign says that
// it is another program's.
var tagForms = []struct {
	like string
	cut  func(w tagWord) (rest string, foreign, ok bool)
}{
	{"node-1 kernel: ", kernelTag},
	{"node-1 kernel - - - ", plainTag}, // RFC 5424
	{"node-1 unknown[0]: ", kernelTag}, // journalctl -o with-unit
	{"node-1 sshd[12]: ", foreignTag},
}

// cutTag takes "host kernel: " off what follows a time, or the address of who sent it. A
// receiver of netconsole's packets writes no tag, and what looks like one is the
// kernel's text.
func cutTag(s string, bracketed bool) (host, rest string, foreign, ok bool) {
	first, after, _ := strings.Cut(s, " ")
	address := !bracketed && after != "" && !strings.HasPrefix(after, invoked[1:]) && isAddress(first)
	if word, _, _ := strings.Cut(after, " "); address && (word == "" || !isKernelTag(word) &&
		(classify(after) != kindNone || !isTag(word) && classifyNamed(after) != kindNone)) {
		return first, after, false, true
	}
	host, rest, foreign, ok = findTag(s, bracketed)
	if !ok && address {
		return first, after, false, true
	}
	return host, rest, foreign, ok
}

func findTag(s string, bracketed bool) (host, rest string, foreign, ok bool) {
	rest = s
	for n := range 6 {
		word, after, more := strings.Cut(rest, " ")
		if word == "" || len(word) > 255 {
			return "", s, false, false
		}
		for _, form := range tagForms {
			if rest, foreign, ok := form.cut(tagWord{word, after, n, bracketed}); ok {
				return host, rest, foreign, true
			}
		}
		if !more || strings.HasPrefix(word, "[") {
			return "", s, false, false
		}
		if n == 0 && digits(word) < len(word) && !isPriority(word) {
			host = word
		}
		if rest = after; n > 0 || digits(word) == len(word) {
			rest = strings.TrimLeft(rest, " ") // logcat has columns
		}
	}
	return "", s, false, false
}

// isAddress recognises an IP address.
func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

func kernelTag(w tagWord) (rest string, foreign, ok bool) {
	return w.rest, false, isKernelTag(w.text) || w.text == ":" && w.n > 1 || w.text == unitTag
}

// unitTag is how journalctl -o with-unit names the kernel, which is no unit's.
const unitTag = "unknown[0]:"

// isPriority recognises the facility and priority of OpenWrt's logread and of syslog
// templates: kern.warn. They vary from line to line.
func isPriority(word string) bool {
	facility, level, ok := strings.Cut(word, ".")
	return ok && slices.Contains(facilities, facility) &&
		(slices.Contains(levels, level) || level == "warning" || level == "error" || level == "panic")
}

func plainTag(w tagWord) (rest string, foreign, ok bool) {
	if w.n == 0 || w.text != "kernel" || !strings.HasPrefix(w.rest, "- ") {
		return "", false, false
	}
	rest = w.rest
	for range 2 {
		_, rest, _ = strings.Cut(rest, " ")
	}
	return strings.TrimPrefix(strings.TrimPrefix(structured(rest), " "), bom), false, true
}

// foreignTag stands near the time. Behind one in brackets it stands nearer.
func foreignTag(w tagWord) (rest string, foreign, ok bool) {
	far := 5
	if w.bracketed {
		far = 1
	}
	near := w.n > 0 && w.n <= far || w.bracketed && strings.HasSuffix(w.text, "]:")
	return w.rest, true, near && isTag(w.text)
}

// structured takes the structured data of RFC 5424 off: "-" or
// [id name="value"]..., in which quotes are escaped.
func structured(s string) string {
	if rest, ok := strings.CutPrefix(s, "-"); ok {
		return rest
	}
	for strings.HasPrefix(s, "[") {
		quoted, end := false, -1
		for i := 1; i < len(s) && end < 0; i++ {
			switch {
			case s[i] == '\\' && quoted:
				i++
			case s[i] == '"':
				quoted = !quoted
			case s[i] == ']' && !quoted:
				end = i
			}
		}
		if end < 0 {
			return s
		}
		s = s[end+1:]
	}
	return s
}

// isTag recognises a program's syslog tag: "sshd[12]:", "systemd:".
func isTag(word string) bool {
	name, ok := strings.CutSuffix(word, ":")
	if !ok || name == "" {
		return false
	}
	if program, _, ok := strings.Cut(name, "["); ok && program != "" {
		return true
	}
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./@") == ""
}

// consoleTime finds "[12.345678] " inside a line, as behind a login prompt.
func consoleTime(s string) int {
	for i := 1; i < min(len(s), 256); i++ {
		if s[i] != '[' || s[i-1] == '(' {
			continue
		}
		inside, _, ok := strings.Cut(s[i+1:], "]")
		if ok && len(inside) <= 24 && isMonotonic(strings.TrimSpace(inside)) {
			return i
		}
	}
	return -1
}
