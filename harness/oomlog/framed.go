package oomlog

import (
	"bytes"
	"slices"
	"strconv"
)

// lineEnds end a line in other tools than the kernel's: zero bytes of xargs -0, the vertical
// tab and the form feed of word processors, the record separator of JSON sequences (RFC
// 7464), and Unicode's next line, line separator and paragraph separator.
var lineEnds = []string{"\x00", "\v", "\f", "\x1e", "\u0085", "\u2028", "\u2029"}

// lineEnd is what ends the lines that line consists of, or nil: a text of the kernel's has
// none of them, and a single one may be in the name of a process.
func lineEnd(line []byte) []byte {
	for i, end := range lineEnds {
		if i > 0 && len(line) < 256 { // shorter than two lines of a report, and most lines are
			return nil
		}
		if bytes.Contains(line, []byte(end)) && bytes.Count(bytes.Trim(line, "\x00"), []byte(end)) > 1 {
			return []byte(end)
		}
	}
	return nil
}

// framedLine splits what stands on one line because it was never ended by a newline: the
// frames of syslog over TCP with the octets counted (RFC 6587), datagrams that were written
// one after the other, and messages that end in a zero byte.
func (s *scanner) framedLine(line []byte) []byte {
	if end := lineEnd(line); end != nil {
		for part := range bytes.SplitSeq(line, end) {
			if len(part) > 0 {
				s.text(bytes.Clone(part), layerFramed)
			}
		}
		return nil
	}
	switch tag, size := frameTag(line); {
	case tag > 0:
		if size >= len(line)-tag || !beginsFrame(line[tag+size:]) {
			return line
		}
		for tag > 0 && size < len(line)-tag {
			s.text(bytes.Clone(line[tag:tag+size]), layerFramed+1)
			line = line[tag+size:]
			tag, size = frameTag(line)
		}
		return line[tag:]
	case len(line) > 0 && line[0] == '<':
		for i := datagramEnd(line); i > 0; i = datagramEnd(line) {
			s.text(bytes.Clone(line[:i]), layerFramed+1)
			line = line[i:]
		}
	}
	return line
}

// frameTag is the length of the octets' count before a frame, "97 <4>1 ...", and the count.
func frameTag(line []byte) (tag, size int) {
	if len(line) == 0 || line[0] < '0' || line[0] > '9' {
		return 0, 0
	}
	head := string(line[:min(len(line), 16)])
	n := digits(head)
	if n == 0 || n > 6 || n >= len(head) || head[n] != ' ' || prioTag(head[n+1:]) == 0 {
		return 0, 0
	}
	size, _ = strconv.Atoi(head[:n])
	return n + 1, size
}

func beginsFrame(line []byte) bool {
	tag, _ := frameTag(line)
	return tag > 0
}

// datagramEnd is where the next datagram begins in a line that begins with one, or 0: at a
// priority behind which a version, a month or the kernel's time stands.
func datagramEnd(line []byte) int {
	for i := 1; ; i++ {
		n := bytes.IndexByte(line[i:], '<')
		if n < 0 {
			return 0
		}
		i += n
		tag := prioTag(string(line[i:min(len(line), i+5)]))
		if tag == 0 {
			continue
		}
		rest := line[i+tag:]
		if bytes.HasPrefix(rest, []byte("1 2")) || bytes.HasPrefix(rest, []byte{'['}) ||
			len(rest) > 15 && rest[3] == ' ' && rest[0] >= 'A' && rest[0] <= 'Z' && clock(string(rest[:16])) > 0 {
			return i
		}
	}
}

// lastFrame is where the last frame or datagram of data begins that is nothing but those, or 0.
func lastFrame(data []byte) int {
	if !beginsFrame(data) && prioTag(string(data[:min(len(data), 5)])) == 0 {
		return 0
	}
	for end := len(data); ; {
		i := bytes.LastIndexByte(data[:end], '<')
		if i <= 0 {
			return 0
		}
		if datagramEnd(append([]byte{' '}, data[i:min(len(data), i+40)]...)) == 1 {
			for i > 0 && (data[i-1] == ' ' || data[i-1] >= '0' && data[i-1] <= '9') {
				i--
			}
			return i
		}
		end = i
	}
}

// fragment is a record of extended netconsole of which more is to come: records beyond a
// kilobyte are sent in pieces, each with its place and the length of all.
type fragment struct {
	header, body []byte
	size         int
}

// fragmentLine puts such records together. A piece that is missing is not made up.
func (s *scanner) fragmentLine(line []byte) []byte {
	const mark = ",ncfrag="
	if s.fragment.header == nil && bytes.IndexByte(line[:min(len(line), 256)], ';') < 0 {
		return line
	}
	i := bytes.Index(line[:min(len(line), 256)], []byte(mark))
	if i < 0 {
		s.endFragment()
		return line
	}
	header := line[:i]
	again := append(bytes.Clone(header[bytes.LastIndexByte(header, ' ')+1:]), mark...)
	for rest := line[i+len(mark):]; rest != nil; {
		place, body, ok := bytes.Cut(rest, []byte{';'})
		from, size, ok2 := bytes.Cut(place, []byte{'/'})
		at, err1 := strconv.Atoi(string(from))
		all, err2 := strconv.Atoi(string(size))
		if !ok || !ok2 || err1 != nil || err2 != nil || at < 0 || all > maxLine {
			s.endFragment()
			return line
		}
		if body, rest, ok = bytes.Cut(body, again); !ok {
			rest = nil
		}
		s.addFragment(header, body, at, all)
	}
	return nil
}

func (s *scanner) addFragment(header, body []byte, at, size int) {
	f := &s.fragment
	name := func(h []byte) []byte { return h[bytes.LastIndexByte(h, ' ')+1:] }
	if f.header == nil || at != len(f.body) || size != f.size || !bytes.Equal(name(header), name(f.header)) {
		s.endFragment()
		*f = fragment{header: bytes.Clone(header), size: size}
	}
	f.body = append(f.body, body...)
	if len(f.body) >= size-1 || at > 0 && at+len(body) > len(f.body) { // the newline counts, too
		s.endFragment()
	}
}

// endFragment takes what there is of a record.
func (s *scanner) endFragment() {
	if f := s.fragment; f.header != nil {
		s.fragment = fragment{}
		s.text(slices.Concat(f.header, []byte{';'}, f.body), layerFragment+1)
	}
}

// cefLine takes the message out of an event in ArcSight's common format,
// "CEF:0|vendor|product|version|id|name|severity|key=value msg=...".
func (s *scanner) cefLine(line []byte) []byte {
	if bytes.IndexByte(line, '|') < 0 {
		return line
	}
	begin := bytes.Index(line[:min(len(line), 256)], []byte("CEF:"))
	if begin < 0 || bytes.Count(line[begin:], []byte{'|'}) < 7 {
		return line
	}
	ext := line[begin:]
	for range 7 {
		if _, ext, _ = bytes.Cut(ext, []byte{'|'}); ext == nil {
			return line
		}
	}
	const key = "msg="
	at := 0
	for !bytes.HasPrefix(ext[at:], []byte(key)) {
		i := bytes.Index(ext[at:], []byte(" "+key))
		if i < 0 {
			return line
		}
		at += i + 1
	}
	before := ""
	if _, _, ok := cutTime(string(line[prioTag(string(line[:min(begin, 5)])):begin])); ok {
		before = string(line[:begin]) + "kernel: "
	}
	for part := range bytes.SplitSeq(cefValue(ext[at+len(key):]), []byte{'\n'}) {
		s.text(append([]byte(before), part...), layerCEF+1)
	}
	return nil
}

// cefValue is the value at the start of s, up to the next key.
func cefValue(s []byte) []byte {
	value := make([]byte, 0, len(s))
	blank := len(s) // where the last word of value begins
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			if i++; s[i] == 'n' || s[i] == 'r' {
				value = append(value, '\n')
			} else {
				value = append(value, s[i])
			}
		case c == '=':
			return value[:min(blank, len(value))]
		default:
			if c == ' ' {
				blank = len(value)
			}
			value = append(value, c)
		}
	}
	return value
}
