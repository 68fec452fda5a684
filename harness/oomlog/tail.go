package oomlog

import "strings"

const maxTail = 512 // bytes, of padding most of all

// splitTail takes off what a wrapper put behind a line: the rest of a table's row,
// closing tags and quotes, padding. It knows the end of most lines of the
// kernel's; those that end in a name or a path share the tail of their neighbours.
func splitTail(k kind, s string) (text, tail string, known bool) {
	end := -1
	number := func(names ...string) {
		for _, name := range names {
			if i := strings.LastIndex(s, name); i >= 0 && end < 0 {
				i += len(name)
				if n := digits(strings.TrimPrefix(s[i:], "-")); n > 0 {
					end = len(s) - len(strings.TrimPrefix(s[i:], "-")) + n
				}
			}
		}
	}
	amount := func() {
		if number("-rss:"); end >= 0 && strings.HasPrefix(s[end:], "kB") && !strings.HasPrefix(s[end+2:], ",") {
			end += 2
		} else {
			end = -1
		}
	}
	words := func(all ...string) {
		for _, w := range all {
			if i := strings.LastIndex(s, w); i >= 0 && end < 0 {
				end = i + len(w)
			}
		}
	}
	switch k {
	case kindHead:
		number("oom_score_adj=", "oom_adj=", "oomkilladj=")
	case kindUsage:
		number("failcnt ")
	case kindSummary:
		number(",uid=")
	case kindKill:
		if number("oom_score_adj:"); end < 0 {
			amount()
		}
	case kindReaper:
		amount()
	case kindChosen:
		words(" or sacrifice child", " or a child")
	case kindTable:
		words(" name")
	case kindGroup:
		words("memory.oom.group set")
	}
	if end < 0 || end < len(s) && (isAlnum(s[end]) || s[end] == '.') || len(s)-end > maxTail {
		return s, "", false
	}
	return s[:end], s[end:], true
}

// learnTail remembers the shape of a line's tail, if its end is known.
func (p *Parser) learnTail(l logLine) {
	if l.record {
		return
	}
	if _, tail, known := splitTail(l.kind, l.text); known {
		p.tail = shapeOf(tail)
	}
}

// cutTail takes the tail off a line.
func (p *Parser) cutTail(l logLine) logLine {
	if l.record {
		return l
	}
	text, tail, known := splitTail(l.kind, l.text)
	switch {
	case known:
		l.text, p.tail = text, shapeOf(tail)
		return l
	case p.tail == "":
		return l
	case p.tail == " ":
		text = strings.TrimRight(l.text, " ")
	default:
		text = cutShapeEnd(l.text, p.tail)
	}
	if l.kind == kindRow && (text == "" || classifyTable(text) != kindRow) {
		return l // the whole line has the shape of a tail
	}
	if text != l.text {
		l.text = text
		if l.kind == kindNone {
			l.kind = classifyNamed(text)
		}
	}
	return l
}

// cutShapeEnd takes a tail of the given shape off.
func cutShapeEnd(s, shape string) string {
	for i := len(s) - 1; i >= max(0, len(s)-maxTail); i-- {
		c, _ := alike(s[i:])
		if c != shape[0] || (c == '0' || c == 'a' || c == ' ') && i > 0 && sameKind(s[i-1], s[i]) {
			continue
		}
		if shapeOf(s[i:]) == shape {
			return s[:i]
		}
	}
	if rest, padded := strings.CutPrefix(shape, " "); padded && strings.Trim(rest, "0a ") != "" {
		return cutShapeEnd(s, rest) // a line as wide as its frame has no padding
	}
	return s
}

// sameKind reports whether two bytes belong to one run of a shape.
func sameKind(a, b byte) bool {
	x, _ := alike(string(a))
	y, _ := alike(string(b))
	return x == y
}
