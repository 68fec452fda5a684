package oomlog

import (
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
	// foreign: the line says itself that another program wrote it.
	foreign bool
	// shape is that of a prefix that no known form of log has; the lines around
	// this one have it too.
	shape string
	// guess: what stands before "invoked oom-killer", of which the trigger's
	// name is the end.
	guess string
}

// parseLogLine finds the kernel's text in a line of any log: raw /dev/kmsg,
// dmesg, journalctl, syslog, a serial console, a container runtime's log, a
// quoted mail.
//
// The prefix is taken off from the left, piece by piece, and only pieces that
// are known; a name inside the text that looks like a prefix stays a name.
// Where a line begins with something unknown, the text is looked for behind
// "kernel: " and behind a time in brackets.
func parseLogLine(s string) logLine {
	s = strings.Trim(s, "\r\x00")
	if strings.IndexByte(s, 0x1b) >= 0 {
		s = strings.TrimRight(stripANSI(s), "\r")
	}
	if strings.Contains(s, nbsp) {
		s = plainSpaces(s)
	}
	if s == "" {
		return logLine{}
	}
	if s[0] >= '0' && s[0] <= '9' && isKmsg(s) {
		if r, err := kernel.ParseKmsgRecord([]byte(s)); err == nil {
			return recordLine(r)
		}
	}
	s = strings.TrimPrefix(stripQuotes(s), bom)
	var l logLine
	// Lines of the kernel's that begin the line are bare.
	if l.kind = classify(s); l.kind != kindNone {
		l.text = s
		return l
	}
	rest := s
	if after, user, ok := cutDecoded(rest); ok {
		if user {
			return logLine{prefixed: true, foreign: true}
		}
		l.prefixed, rest = true, after
	}
	if n := prioTag(rest); n > 0 {
		l.prefixed = true
		rest = rest[n:]
		rest = strings.TrimPrefix(rest, "1 ") // RFC 5424
	}
	// Several times can stand one behind the other: syslog's, the kernel's.
	for range 3 {
		bracketed := rest != "" && rest[0] == '['
		at, after, ok := cutTime(rest)
		if !ok || strings.HasPrefix(after, invoked[1:]) { // the name is a time
			break
		}
		l.prefixed = true
		if l.at == "" {
			l.at = at
		}
		rest = after
		for {
			caller, after, ok := cutCaller(rest)
			if !ok {
				break
			}
			l.caller, rest = caller, after
		}
		for _, stream := range []string{"stdout F ", "stderr F ", "stdout P ", "stderr P "} {
			if after, ok := strings.CutPrefix(rest, stream); ok {
				if rest = after; isKmsg(rest) {
					return parseLogLine(rest)
				}
			}
		}
		if l.kind = classify(rest); l.kind != kindNone {
			l.text = rest
			return l
		}
		if n := prioTag(rest); n > 0 && !bracketed {
			rest = rest[n:]
		}
		host, after, foreign, ok := cutTag(rest, bracketed)
		switch {
		case ok && foreign && !isHead(rest): // "x: y invoked oom-killer:" is a bare log's
			return logLine{prefixed: true, foreign: true}
		case ok && !foreign && (host != "" || !bracketed):
			rest = after
			if l.host == "" {
				l.host = host
			}
			continue
		}
		if bracketed && (!strings.Contains(at, ":") || !strings.ContainsAny(at, ".-")) {
			break // the kernel's own time is the last of the prefix; a terminal's has a fraction, or dashes
		}
	}
	if !l.prefixed {
		if i := strings.Index(rest[:min(len(rest), 256)], "kernel: "); i == 0 || i > 0 && !isHead(s) {
			after := rest[i+len("kernel: "):]
			inner := parseLogLine(after)
			if inner.kind != kindNone || inner.at != "" {
				inner.prefixed = true
				return inner
			}
			rest, l.prefixed = after, true
		} else if rest == "kernel:" {
			return logLine{prefixed: true}
		} else if i := consoleTime(rest); i > 0 && !isHead(s) {
			inner := parseLogLine(rest[i:])
			inner.prefixed = true
			return inner
		}
	}
	if l.kind = classify(strings.TrimLeft(rest, " \t")); l.kind != kindNone {
		rest = strings.TrimLeft(rest, " \t")
	} else if isHead(rest) || isHead(strings.TrimSpace(rest)) {
		l.kind = kindHead
		if !l.prefixed {
			rest = strings.TrimLeft(rest, " \t")
		}
	} else if i := strings.Index(rest, invoked); i > maxComm {
		// An unknown prefix, and a name behind it: the last word is a guess,
		// but the report is there.
		l.kind, l.prefixed, l.guess = kindHead, true, rest[:i]
		rest = rest[strings.LastIndexAny(rest[:i], " \t")+1:]
	} else {
		cpuset := rest
		if !l.prefixed {
			cpuset = strings.TrimLeft(rest, " \t")
		}
		if isCpuset(cpuset) {
			l.kind, rest = kindCpuset, cpuset
		}
	}
	if l.kind == kindNone {
		if i := strings.Index(rest, " cpuset="); i > maxComm && i < 256 && strings.Contains(rest[i:], " mems_allowed=") && !otherTag(rest[:i]) {
			l.kind, l.prefixed = kindCpuset, true // some prefix, and a name
		} else if k, i := behind(rest); i > 0 {
			l.kind, l.shape, l.prefixed = k, shapeOf(rest[:i]), true
			rest = unquoteTail(rest[i:], l.shape)
		}
	}
	l.text = rest
	return l
}

// bom is what some programs put before UTF-8.
const bom = "\ufeff"

// cutDecoded takes off what dmesg --decode puts before a line, "kern  :warn  : ".
// user: the line is of another facility than the kernel's.
func cutDecoded(s string) (rest string, user, ok bool) {
	facility, after, ok := strings.Cut(s, ":")
	level, rest, ok2 := strings.Cut(after, ": ")
	facility, level = strings.TrimRight(facility, " "), strings.TrimRight(level, " ")
	if !ok || !ok2 || !slices.Contains(facilities, facility) || !slices.Contains(levels, level) {
		return s, false, false
	}
	return rest, facility != "kern", true
}

var (
	facilities = strings.Fields("kern user mail daemon auth syslog lpr news uucp cron authpriv ftp res0 res1 res2 res3 local0 local1 local2 local3 local4 local5 local6 local7")
	levels     = strings.Fields("emerg alert crit err warn notice info debug")
)

// farWords begin lines that are told behind any prefix: nobody but the kernel
// begins a line with them.
var farWords = []string{
	"oom-kill:constraint=", "Memory cgroup out of memory: Kill", "Out of memory: Kill", "Out of memory (oom_kill_allocating_task): Kill",
	"Tasks state (memory values in pages)", "Memory cgroup stats for ", "Mem-Info:", "memory: usage ", "swap: usage ", "memory+swap: usage ",
	"kmem: usage ", "Task in /", "Tasks in /", "CPU: ", "Out of memory and no killable processes", panicMsg, "oom_reaper: ", "Node ",
	"Free swap  = ", "Total swap = ", "Unreclaimable slab info:", "Killed process ", "Hardware name: ", "Call Trace:",
	"oom_kill_process: ", "sysrq: Manual OOM", "SysRq : Manual OOM",
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
	if i := strings.IndexAny(name, "[<"); i > 0 {
		name = name[:i]
	}
	return ok && (name == "kernel" || name == "vmunix" || strings.HasPrefix(name, "kern."))
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
	switch l.kind = classify(l.text); {
	case l.kind != kindNone:
	case isHead(l.text):
		l.kind = kindHead
	case isCpuset(l.text):
		l.kind = kindCpuset
	}
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
	l := logLine{
		at:     strconv.FormatInt(r.USec/1e6, 10) + "." + zeroPad(r.USec%1e6),
		caller: r.Caller, text: r.Text, prefixed: true, record: true,
		foreign: r.Facility != 0,
	}
	if l.kind = classify(l.text); l.kind == kindNone {
		switch {
		case isHead(l.text):
			l.kind = kindHead
		case isCpuset(l.text):
			l.kind = kindCpuset
		case l.text != "" && l.text[0] == ' ': // " </TASK>"
			l.kind = classify(strings.TrimLeft(l.text, " "))
			if l.kind != kindOther {
				l.kind = kindNone
			}
		}
	}
	return l
}

func zeroPad(usec int64) string {
	s := strconv.FormatInt(usec, 10)
	return "000000"[:max(0, 6-len(s))] + s
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

// isCpuset recognises "x cpuset=/ mems_allowed=0", which up to 4.20 follows
// the head.
func isCpuset(s string) bool {
	i := strings.Index(s, " cpuset=")
	return i >= 0 && i <= maxComm && strings.Contains(s[i:], " mems_allowed=")
}

const nbsp = "\u00a0"

// plainSpaces undoes what mail programs do to runs of spaces: they make some of
// them no-break spaces. A no-break space that stands alone is left; it is part
// of a name.
func plainSpaces(s string) string {
	if strings.HasPrefix(s, nbsp) || strings.Contains(s, nbsp+" ") || strings.Contains(s, " "+nbsp) || strings.Contains(s, nbsp+nbsp) {
		return strings.ReplaceAll(s, nbsp, " ")
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

// stripQuotes takes off what mail programs and archives put around a line.
func stripQuotes(s string) string {
	trimmed := strings.TrimLeft(s, " \t")
	if trimmed == "" || strings.IndexByte(">|&<", trimmed[0]) < 0 {
		return s
	}
	s = trimmed
	for {
		before := s
		for _, p := range []string{"&gt;", "&nbsp;", "<div>", "<p>", "<pre>", ">", "| "} {
			s = strings.TrimPrefix(s, p)
		}
		if s == before {
			break
		}
		s = strings.TrimLeft(s, " \t")
	}
	for _, p := range []string{"</p>", "</div>", "<br>", "<br/>", "<br />"} {
		s = strings.TrimSuffix(s, p)
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
	if !ok || len(inside) < 2 || len(inside) > 12 || inside[0] != 'T' && inside[0] != 'C' || digits(inside[1:]) != len(inside)-1 {
		return "", s, false
	}
	return inside, strings.TrimPrefix(rest, " "), true
}

// cutTime takes a time off, in any of the forms that dmesg, journalctl and
// syslog write it, in any language, and one space behind it.
func cutTime(s string) (at, rest string, ok bool) {
	if strings.HasPrefix(s, "[") {
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
	head := s[:min(len(s), 64)]
	i := clock(head)
	if i < 0 {
		// journalctl -o short-unix
		if n := digits(s); n >= 9 && n <= 11 {
			word, rest, ok := strings.Cut(s, " ")
			if ok && isMonotonic(word) {
				return word, rest, true
			}
		}
		return "", s, false
	}
	// In front of the clock stand a date, a weekday or nothing: at most four
	// words and no punctuation that a date would not have.
	if strings.ContainsAny(head[:i], ":=()[]{}\"") || len(strings.Fields(head[:i])) > 4 {
		return "", s, false
	}
	end := strings.IndexByte(s[i:], ' ')
	if end < 0 {
		return s, "", true
	}
	end += i
	// Behind it can stand a zone, or a year if none stands in front.
	dated := strings.Contains(head[:i], "-")
	if word, _, ok := strings.Cut(s[end+1:], " "); ok && isZone(word) && !(dated && digits(word) > 0) {
		end += 1 + len(word)
	}
	return s[:end], s[end+1:], true
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
		return true
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

// cutTag takes "host kernel: " off what follows a time. ok says that there is
// a tag, foreign that it is another program's. Behind a time in brackets, which
// most often is the kernel's, tags stand nearer.
func cutTag(s string, bracketed bool) (host, rest string, foreign, ok bool) {
	far := 5
	if bracketed {
		far = 1
	}
	rest = s
	for n := range 6 {
		word, after, more := strings.Cut(rest, " ")
		if word == "" || len(word) > 255 {
			return "", s, false, false
		}
		name, colon := strings.CutSuffix(word, ":")
		switch {
		case colon && (isKernelTag(word) || name == "" && n > 1):
			return host, after, false, true
		case !colon && n > 0 && word == "kernel" && strings.HasPrefix(after, "- "):
			// RFC 5424: kernel - - - text
			for range 2 {
				_, after, _ = strings.Cut(after, " ")
			}
			return host, strings.TrimPrefix(strings.TrimPrefix(structured(after), " "), bom), false, true
		case colon && n > 0 && n <= far && isTag(word), colon && bracketed && strings.HasSuffix(name, "]") && isTag(word):
			return "", s, true, true
		}
		if !more || strings.HasPrefix(word, "[") {
			return "", s, false, false
		}
		if n == 0 && digits(word) < len(word) {
			host = word
		}
		if rest = after; n > 0 || digits(word) == len(word) {
			rest = strings.TrimLeft(rest, " ") // logcat has columns
		}
	}
	return "", s, false, false
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
