package oomlog

import (
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
)

// Limits on what a parser holds besides its reports.
const (
	maxOpen   = 8    // reports that lines may still be added to
	maxQuiet  = 4096 // lines in a row that belong to none of them
	maxPieces = 8    // pieces that a wrapped line is put together from
	maxLine   = 1 << 16
	// elsewhereLines: a stack trace stands before the Mem-Info of a failed
	// allocation.
	elsewhereLines = 100
)

// Parser puts OOM reports together from the lines of a kernel log, as they
// come. The zero Parser is ready to use.
//
// Feed it records or lines; it returns the reports that nothing can be added
// to any more, in the order of their heads. Since a group kill and the
// oom_reaper print after the first kill, a report stays open until eight more
// have begun, or until Close.
//
// It holds at most eight open reports, each within the Max limits of this
// package, and no name longer than the kernel can print it. It never fails:
// what it cannot read is not part of a report, and the report says what it
// lacks.
type Parser struct {
	open []*draft
	done []Report
	// pend is a line that goes on in the next one, if that looks so.
	pend   *logLine
	pieces int
	quiet  int
	// shape is that of the prefix that lines of this log have, where it is of
	// no known form.
	shape string
	// tail is the shape of what stands behind lines whose end is known.
	tail   string
	prefix prefix // of the line that is read; kept for its memory
	// said before the head that they belong to
	suppressed *uint64
	// elsewhere counts the lines down in which a Mem-Info belongs to what else
	// prints one.
	elsewhere int
	sysrq     bool
}

// Feed takes one record of the kernel log.
func (p *Parser) Feed(r kernel.Record) []Report {
	l := recordLine(r)
	if r.Cont && l.kind == kindNone && p.continues(l) {
		return p.take()
	}
	p.accept(l)
	return p.take()
}

// Line takes one line of a log in any form, without its newline.
func (p *Parser) Line(line string) []Report {
	if len(line) > maxLine {
		line = line[:maxLine]
	}
	p.accept(p.prefix.read(line))
	return p.take()
}

// Close ends the log and returns the reports that were still open. The parser
// is as new afterwards.
func (p *Parser) Close() []Report {
	p.flush()
	for _, d := range p.open {
		p.emit(d)
	}
	done := p.done
	*p = Parser{}
	return done
}

func (p *Parser) take() []Report {
	done := p.done
	p.done = nil
	return done
}

func (p *Parser) emit(d *draft) {
	if r := d.finish(); r != nil {
		p.done = append(p.done, *r)
	}
}

// busy reports whether lines without a keyword matter now.
func (p *Parser) busy() bool {
	return p.pend != nil || slices.ContainsFunc(p.open, func(d *draft) bool { return d.body })
}

func (p *Parser) begin(l logLine) *draft {
	d := &draft{
		Report: Report{At: clip(l.at, maxName), Host: clip(l.host, 255)},
		caller: clip(l.caller, maxName), body: true, announced: -1,
	}
	p.open = append(p.open, d)
	if len(p.open) > maxOpen {
		p.emit(p.open[0])
		p.open = slices.Delete(p.open, 0, 1)
	}
	p.quiet = 0
	return d
}

// accept joins what was wrapped and applies what is whole.
func (p *Parser) accept(l logLine) {
	switch {
	case l.shape == "":
	case kinds[l.kind].ends && l.shape != p.shape &&
		!slices.ContainsFunc(p.open, func(d *draft) bool { return d.body }):
		// somebody who tells of a kill: only the kernel's own report makes it one
		l.kind = kindNone
	default:
		p.learn(l.shape)
	}
	if p.shape != "" && l.shape == "" {
		l = l.behindShape(p.shape)
	}
	if l.foreign {
		p.flush()
		p.rest()
		return
	}
	l = p.cutTail(l)
	if p.pend != nil {
		if p.join(l) {
			return
		}
		p.flush()
	}
	if p.broken(l) {
		held := l
		p.pend, p.pieces = &held, 1
		return
	}
	kinds[l.kind].apply(p, l)
	if l.kind == kindLost {
		if _, next, _, _ := lostLines(l.text); next != "" { // up to 4.x it follows in the same line
			p.accept(parseLogLine(next))
		}
	}
}

// broken reports whether a line may go on in the next one.
func (p *Parser) broken(l logLine) bool {
	switch {
	case l.record, l.cut:
		return false
	case l.kind != kindNone:
		return l.kind.wraps() && !p.whole(l.kind, l.text)
	}
	return hangs(l.text) || l.text == "" && l.prefixed && l.at != ""
}

// learn remembers the shape of an unknown prefix, and takes it off the names
// that were guessed before it was known.
func (p *Parser) learn(shape string) {
	p.shape = shape
	for _, d := range p.open {
		if d.cpu {
			continue // the name is known
		}
		name := d.guess
		if name == "" {
			name = d.Trigger.Comm
		}
		for _, shape := range []string{shape, strings.TrimLeft(shape, " ")} { // blanks may be gone
			if comm, ok := cutShape(name, shape); ok && comm != "" && len(comm) <= kernel.CommLen {
				d.Trigger.Comm, d.guess = clip(comm, maxName), ""
				break
			}
		}
	}
}

// hangs recognises a line that breaks off inside the words that would tell
// what it is.
func hangs(s string) bool {
	s = strings.TrimRight(s, " ")
	if i := strings.LastIndex(s, " "); strings.HasSuffix(s, " invoked") {
		return i <= kernel.CommLen
	}
	cut := func(o opening) bool { return strings.HasPrefix(o.words, s) }
	if len(s) > 5 && (slices.ContainsFunc(openings[s[0]], cut) || beginsRow(s)) {
		return true
	}
	for _, head := range []string{
		"Memory cgroup out of memory: Killed process ", "Memory cgroup out of memory: Kill process ",
		"Out of memory: Killed process ", "Out of memory: Kill process ",
		"Out of memory (oom_kill_allocating_task): Killed process ",
	} {
		if len(s) >= len("Out of memory") && strings.HasPrefix(head, s) {
			return true
		}
	}
	return false
}

// beginsRow recognises "[ 2209]  1000  2209", after which a row may go on.
func beginsRow(s string) bool {
	inside, rest, ok := strings.Cut(s, "]")
	return ok && s[0] == '[' && isNumber(strings.TrimSpace(inside[1:])) &&
		!slices.ContainsFunc(strings.Fields(rest), func(f string) bool { return !isNumber(f) })
}

// join adds a line to the one that waits for its end.
func (p *Parser) join(l logLine) bool {
	if l.record || l.prefixed || p.pieces >= maxPieces || strings.TrimSpace(l.text) == "" {
		return false
	}
	a, b := strings.TrimRight(p.pend.text, " \t"), strings.TrimSpace(l.text)
	sep := " "
	switch {
	case p.pend.kind == kindNone:
		if a == "" {
			if l.kind == kindNone {
				return false
			}
			sep = ""
		}
	case l.kind != kindNone || !p.pend.kind.extends(b) && !(p.whole(p.pend.kind, a+b) && !strings.Contains(b, " ")):
		return false
	case p.pend.kind == kindSummary:
		sep = "" // it has no spaces of its own, so it is cut, not wrapped
	case insidePath(a, b), p.whole(p.pend.kind, a+b) && !p.whole(p.pend.kind, a+sep+b):
		sep = ""
	}
	joined := *p.pend
	joined.text = a + sep + b
	if joined.kind == kindNone {
		joined.kind = classify(joined.text)
		if isHead(joined.text) {
			joined.kind = kindHead
		}
		if joined.kind == kindNone {
			return false
		}
	}
	p.pend = &joined
	p.pieces++
	if !joined.kind.wraps() || p.whole(joined.kind, joined.text) {
		p.flush()
	}
	return true
}

// insidePath reports whether a line is cut inside the path of a cgroup: what the kernel
// prints behind one is a mark at its end, or these words.
func insidePath(a, b string) bool {
	word := a[strings.LastIndexByte(a, ' ')+1:]
	return strings.HasPrefix(word, "/") && !strings.HasSuffix(word, ":") && !strings.HasSuffix(word, ",") &&
		!strings.HasPrefix(b, "killed ") && !strings.HasPrefix(b, "are going ")
}

// whole is complete with what only the draft knows: the table's columns.
func (p *Parser) whole(k kind, s string) bool {
	if k != kindRow {
		return kinds[k].complete(s)
	}
	var columns []string
	for _, d := range slices.Backward(p.open) {
		if d.body && d.columns != nil {
			columns = d.columns
			break
		}
	}
	return wholeRow(s, columns)
}

func (p *Parser) flush() {
	if l := p.pend; l != nil {
		p.pend = nil
		kinds[l.kind].apply(p, *l)
	}
}

// rest counts a line that belongs to no report. After many, the ends that
// reports still wait for are lost.
func (p *Parser) rest() {
	p.elsewhere = max(0, p.elsewhere-1)
	if p.quiet++; p.quiet > maxQuiet {
		p.quiet = 0
		for _, d := range p.open {
			d.body = false
		}
	}
}

// continues takes a record that the kernel could not join to the one before:
// the rest of a summary.
func (p *Parser) continues(l logLine) bool {
	for _, d := range slices.Backward(p.open) {
		if d.body && d.same(l) && d.summary && d.summaryText != "" {
			d.setSummary(d.summaryText + l.text)
			return true
		}
	}
	return false
}

// pick finds the draft that a line belongs to: the latest that can take it,
// or, when two reports are known to be interleaved, the earliest.
func (p *Parser) pick(l logLine, can func(*draft) bool) *draft {
	var found *draft
	for _, d := range slices.Backward(p.open) {
		if d.body && d.same(l) && can(d) && (found == nil || d.interleaved && found.interleaved) {
			found = d
		}
	}
	if found != nil {
		found.section = sectionNone
		p.quiet = 0
	}
	return found
}

// pickOrBegin is pick for lines that only an OOM report has: if no draft can
// take one, the head of its report is missing.
func (p *Parser) pickOrBegin(l logLine, can func(*draft) bool) *draft {
	if d := p.pick(l, can); d != nil {
		return d
	}
	return p.begin(l)
}
