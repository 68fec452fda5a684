package oomlog

import (
	"strconv"
	"strings"
)

// order puts lines into the order in which the kernel printed them. Exports of
// log stores and journalctl -r have the newest line first. Lines wait until there
// is enough to tell; in a log that runs backwards, a report is held until its head.
type order struct {
	queue    [][]logLine // of each entry its lines
	size     int         // bytes held
	votes    int         // for the order of time
	decided  bool
	reversed bool
	last     logLine
	relevant bool // the queue has a line of the OOM killer's
	head     bool // it has the head of a report
}

const (
	enoughVotes = 3
	maxQueue    = 1 << 12
	maxReversed = 1 << 17 // lines of a report that is held
	maxHeld     = 32 << 20
)

// follows has the kinds of lines of which the second follows the first at once in
// a report.
var follows = map[[2]kind]bool{
	{kindHead, kindCPU}: true, {kindHead, kindCpuset}: true, {kindCpuset, kindCPU}: true,
	{kindTaskIn, kindUsage}: true, {kindUsage, kindStats}: true,
	{kindTasks, kindTable}: true, {kindTable, kindRow}: true,
	{kindRow, kindSummary}: true, {kindRow, kindChosen}: true, {kindRow, kindKill}: true,
	{kindSummary, kindKill}: true, {kindChosen, kindKill}: true, {kindUsage, kindTable}: true,
}

// vote compares a line with the one before it.
func (o *order) vote(l logLine) {
	o.votes += later(o.last.at, l.at)
	switch {
	case follows[[2]kind{o.last.kind, l.kind}]:
		o.votes++
	case follows[[2]kind{l.kind, o.last.kind}]:
		o.votes--
	}
	if l.kind == kindNone && o.last.kind != kindNone {
		l.kind = o.last.kind // lines of others between two of a report
	}
	if l.at == "" {
		l.at = o.last.at
	}
	o.last = logLine{at: l.at, kind: l.kind}
}

// later is 1 if b is a later time than a, -1 if it is an earlier one, and 0 where
// that is not known.
func later(a, b string) int {
	if a == b || a == "" || b == "" {
		return 0
	}
	if isMonotonic(a) && isMonotonic(b) {
		x, err1 := strconv.ParseFloat(a, 64)
		y, err2 := strconv.ParseFloat(b, 64)
		switch {
		case err1 != nil || err2 != nil || x == y:
			return 0
		case x < y:
			return 1
		}
		return -1
	}
	if len(a) != len(b) || shapeOf(a) != shapeOf(b) {
		return 0
	}
	return strings.Compare(b, a)
}

// deliver hands the lines of an entry on.
func (s *scanner) deliver(lines ...logLine) {
	o := &s.order
	if len(lines) == 0 {
		return
	}
	if o.decided && !o.reversed {
		for _, l := range lines {
			s.parser.accept(l)
		}
		return
	}
	first := lines[0]
	if n := len(o.queue); n > 0 && !first.prefixed && first.kind == kindNone && o.queue[n-1][0].prefixed {
		o.queue[n-1] = append(o.queue[n-1], lines...) // a record of many lines
		o.size += len(first.text)
		return
	}
	if o.decided {
		s.hold(lines)
		return
	}
	o.vote(first)
	o.queue = append(o.queue, lines)
	for _, l := range lines {
		o.size += len(l.text)
	}
	if o.votes >= enoughVotes || o.votes <= -enoughVotes || len(o.queue) >= maxQueue || o.size > maxHeld {
		s.decide()
	}
}

// decide takes the lines that waited.
func (s *scanner) decide() {
	o := &s.order
	queue := o.queue
	o.decided, o.reversed, o.queue, o.size = true, o.votes < 0, nil, 0
	for _, lines := range queue {
		for _, l := range lines {
			s.parser.learnTail(l)
		}
	}
	for _, lines := range queue {
		s.deliver(lines...)
	}
}

// hold keeps the lines of a log that runs backwards until the head of a report.
func (s *scanner) hold(lines []logLine) {
	o := &s.order
	if first := lines[0].kind; o.head && first != kindSuppressed && first != kindSysrq { // these stand before a head
		s.release()
	}
	for _, l := range lines {
		o.relevant = o.relevant || l.kind != kindNone
		o.head = o.head || l.kind == kindHead
		s.parser.learnTail(l)
	}
	if !o.relevant {
		return
	}
	o.queue = append(o.queue, lines)
	for _, l := range lines {
		o.size += len(l.text)
	}
	if len(o.queue) >= maxReversed || o.size > maxHeld {
		s.release()
	}
}

// release takes what is held, the last line first.
func (s *scanner) release() {
	o := &s.order
	queue := o.queue
	o.queue, o.size, o.relevant, o.head = nil, 0, false, false
	for i := len(queue) - 1; i >= 0; i-- {
		for _, l := range queue[i] {
			s.parser.accept(l)
		}
	}
}

// endOrder takes what still waits at the end of the log.
func (s *scanner) endOrder() {
	if !s.order.decided {
		s.decide()
	}
	s.release()
}
