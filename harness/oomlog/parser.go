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
	// said before the head that they belong to
	suppressed *uint64
	sysrq      bool
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
	p.accept(parseLogLine(line))
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
	d := &draft{Report: Report{At: clip(l.at, maxName), Host: clip(l.host, 255)}, caller: clip(l.caller, maxName), body: true, announced: -1}
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
	case l.kind.ends() && l.shape != p.shape && !slices.ContainsFunc(p.open, func(d *draft) bool { return d.body }):
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
	if p.pend != nil {
		if p.join(l) {
			return
		}
		p.flush()
	}
	if !l.record && (l.kind.wraps() && !p.whole(l.kind, l.text) || l.kind == kindNone && hangs(l.text) || l.kind == kindNone && l.text == "" && l.prefixed && l.at != "") {
		p.pend, p.pieces = &l, 1
		return
	}
	p.apply(l)
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
		if comm, ok := cutShape(name, shape); ok && comm != "" && len(comm) <= maxComm {
			d.Trigger.Comm, d.guess = clip(comm, maxName), ""
		}
	}
}

// hangs recognises a line that breaks off inside the words that would tell
// what it is.
func hangs(s string) bool {
	s = strings.TrimRight(s, " ")
	if i := strings.LastIndex(s, " "); strings.HasSuffix(s, " invoked") {
		return i <= maxComm
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
	case l.kind != kindNone || !extends(p.pend.kind, b):
		return false
	case p.pend.kind == kindSummary:
		sep = "" // it has no spaces of its own, so it is cut, not wrapped
	}
	joined := *p.pend
	joined.text = a + sep + b
	if joined.kind == kindNone {
		if joined.kind = classify(joined.text); joined.kind == kindNone && isHead(joined.text) {
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

// extends reports whether s can be the rest of a line of kind k.
func extends(k kind, s string) bool {
	first, _, _ := strings.Cut(s, " ")
	switch k {
	case kindHead:
		return strings.ContainsAny(s, "=|")
	case kindUsage, kindNode, kindZone, kindHuge:
		return strings.Contains(s, "kB") || strings.Contains(s, "failcnt") || strings.Contains(s, "=") || strings.HasPrefix(s, "all_unreclaimable")
	case kindTable:
		return columnSet[first] != nil || first == "name"
	case kindSummary:
		return strings.Contains(s, "=") || !strings.Contains(s, " ")
	case kindKill:
		return s[0] == '(' || digits(s) > 0 || strings.Contains(s, "kB") || strings.Contains(s, "oom_score_adj:") ||
			strings.Contains(s, "total-vm:") || strings.HasSuffix(s, ")") || first == "B," || first == "UID:"
	case kindReaper:
		return strings.Contains(s, "rss:")
	case kindPanic:
		return endsPanic(s) || s == "enabled"
	}
	return true
}

// whole is complete with what only the draft knows: the table's columns.
func (p *Parser) whole(k kind, s string) bool {
	if k != kindRow {
		return complete(k, s)
	}
	var columns []string
	for _, d := range slices.Backward(p.open) {
		if d.body && d.columns != nil {
			columns = d.columns
			break
		}
	}
	row, ok := parseRow(s, columns)
	return ok && row.Name != ""
}

func (p *Parser) flush() {
	if l := p.pend; l != nil {
		p.pend = nil
		p.apply(*l)
	}
}

// rest counts a line that belongs to no report. After many, the ends that
// reports still wait for are lost.
func (p *Parser) rest() {
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

func (p *Parser) apply(l logLine) {
	switch l.kind {
	case kindNone:
		for _, d := range slices.Backward(p.open) {
			if d.body && d.section != sectionNone && d.same(l) && d.weak(l.text) {
				p.quiet = 0
				return
			}
		}
		p.rest()
	case kindOther:
		p.rest()
	case kindSuppressed:
		_, v, _ := strings.Cut(l.text, ": ")
		if n, _, ok := unsigned(v); ok {
			p.suppressed = &n
		}
	case kindSysrq:
		p.sysrq = true
	case kindHead:
		p.applyHead(l)
	case kindCPU:
		p.applyCPU(l)
	case kindCpuset:
		comm, rest, _ := strings.Cut(l.text, " cpuset=")
		if d := p.pick(l, func(d *draft) bool {
			return d.head && !d.cpuset && (comm == d.Trigger.Comm || len(comm) > maxComm && strings.HasSuffix(comm, d.Trigger.Comm))
		}); d != nil {
			d.cpuset = true
			d.Cpuset, d.MemsAllowed, _ = strings.Cut(strings.TrimRight(rest, `"`), " mems_allowed=")
			p.mixed(d)
		}
	case kindTaskIn, kindUsage, kindStats:
		p.applyMemcg(l)
	case kindMemInfo, kindNode, kindZone, kindHuge, kindSwapTotals, kindPages, kindSlab:
		p.applyMem(l)
	case kindTasks, kindTable, kindRow:
		p.applyTable(l)
	case kindSummary:
		d := p.pickOrBegin(l, func(d *draft) bool { return !d.summary })
		d.setSummary(l.text)
	case kindSummaryEnd:
		p.continues(l)
	case kindKill, kindChosen, kindSharing, kindExiting:
		p.applyKill(l)
	case kindGroup:
		p.applyGroup(l)
	case kindReaper:
		p.applyReaper(l)
	case kindNoKillable:
		d := p.pickOrBegin(l, func(d *draft) bool { return len(d.Kills) == 0 })
		d.NoKillable = true
		p.end(d)
	case kindPanic:
		p.applyPanic(l)
	}
}

func (p *Parser) applyHead(l logLine) {
	comm, rest, ok := strings.Cut(l.text, invoked)
	if !ok {
		comm, rest = "", strings.TrimPrefix(l.text, invoked[1:])
	}
	d := p.begin(l)
	d.head = true
	d.Trigger = parseHead(rest)
	d.Trigger.Comm, d.guess = clip(comm, maxName), clip(l.guess, maxPath)
	d.Sysrq = p.sysrq || d.Trigger.Order != nil && *d.Trigger.Order == -1
	d.SuppressedCallbacks = p.suppressed
	p.sysrq, p.suppressed = false, nil
}

func (p *Parser) applyCPU(l logLine) {
	d := p.pick(l, func(d *draft) bool {
		_, comm, _ := parseCPU(l.text, d.Trigger.Comm)
		return d.head && !d.cpu && (comm == d.Trigger.Comm || d.guess != "" && strings.HasSuffix(d.guess, comm))
	})
	if d == nil {
		p.rest()
		return
	}
	d.cpu = true
	var comm string
	d.Trigger.PID, comm, d.KernelRelease = parseCPU(l.text, d.Trigger.Comm)
	if d.guess != "" {
		d.Trigger.Comm, d.guess = clip(comm, maxName), ""
	}
	p.mixed(d)
}

// mixed notes that d got a line behind the head of a later report: up to 4.x
// nothing kept two cgroups from reporting at the same time.
func (p *Parser) mixed(d *draft) {
	i := slices.Index(p.open, d)
	for _, later := range p.open[i+1:] {
		if later.body && later.head && (d.Host == later.Host) && (d.caller == "" || later.caller == "") {
			d.interleaved, later.interleaved = true, true
		}
	}
}

func (p *Parser) applyMemcg(l logLine) {
	switch l.kind {
	case kindTaskIn:
		s := strings.TrimPrefix(l.text, "Task in ")
		task, limit, ok := strings.Cut(s, " killed as a result of limit of ")
		if !ok {
			return // cut: what is left of it does not tell the two paths apart
		}
		d := p.pickOrBegin(l, func(d *draft) bool { return !d.taskIn })
		d.taskIn = true
		d.TaskMemcg, d.OOMMemcg = clip(task, maxPath), clip(limit, maxPath)
		d.scope(false)
	case kindUsage:
		name, rest, _ := strings.Cut(l.text, ": ")
		u, ok := parseUsage(rest)
		if !ok {
			return
		}
		slot := func(d *draft) **Usage {
			switch m := d.memcg(); name {
			case "memory":
				return &m.Memory
			case "swap":
				return &m.Swap
			case "memory+swap":
				return &m.MemorySwap
			default:
				return &m.Kmem
			}
		}
		d := p.pickOrBegin(l, func(d *draft) bool { return d.Memcg == nil || *slot(d) == nil })
		*slot(d) = &u
		d.scope(false)
	case kindStats:
		d := p.pickOrBegin(l, func(d *draft) bool { return d.Mem == nil })
		d.addStats(l.text)
		d.scope(false)
	}
}

func (p *Parser) applyMem(l logLine) {
	if l.kind == kindMemInfo {
		if d := p.pick(l, func(d *draft) bool { return d.head && d.Mem == nil && d.Memcg == nil && !d.summary }); d != nil {
			d.mem()
			d.section = sectionMem
			return
		}
		p.rest()
		return
	}
	if l.kind == kindSlab {
		if d := p.pick(l, func(d *draft) bool { return d.Slab == nil }); d != nil {
			d.section = sectionSlab
		}
		return
	}
	d := p.pick(l, func(d *draft) bool {
		return d.head && d.Memcg == nil && !d.summary && (l.kind != kindZone || !d.hasZone(l.text))
	})
	if d == nil {
		p.rest()
		return
	}
	switch l.kind {
	case kindNode:
		d.addNode(l.text)
	case kindZone:
		d.addZone(l.text)
	case kindHuge:
		d.addHuge(l.text)
	case kindSwapTotals:
		d.addSwapTotal(l.text)
	case kindPages:
		d.addPages(l.text)
	}
}

func (p *Parser) applyTable(l logLine) {
	switch l.kind {
	case kindTasks:
		d := p.pickOrBegin(l, func(d *draft) bool { return !d.tasks && !d.table && !d.summary })
		d.tasks = true
	case kindTable:
		columns := parseTableHeader(l.text)
		if columns == nil {
			return
		}
		d := p.pickOrBegin(l, func(d *draft) bool { return !d.table && len(d.Tasks) == 0 && !d.summary })
		d.table, d.columns = true, columns
		d.TableFormat = strings.Join(append([]string{"pid"}, append(columns, "name")...), " ")
	case kindRow:
		inside, _, _ := strings.Cut(l.text[1:], "]")
		pid, ok := integer(strings.TrimSpace(inside))
		if !ok {
			return
		}
		seen := false
		can := func(d *draft) bool {
			has := d.pids[*pid]
			seen = seen || has
			return !has && !d.summary && len(d.Kills) == 0
		}
		// Of two tables that are printed at once, each has its trigger.
		d := p.pick(l, func(d *draft) bool {
			return can(d) && d.interleaved && d.Trigger.PID != nil && *d.Trigger.PID == *pid
		})
		if d == nil {
			d = p.pick(l, can)
		}
		if d == nil {
			if seen {
				return
			}
			d = p.begin(l)
		}
		row, ok := parseRow(l.text, d.columns)
		if !ok {
			d.cutRow = true
			return
		}
		d.addRow(row)
	}
}
