package oomlog

import (
	"bytes"
	"slices"
	"strconv"
)

// pstore is a dump of the kernel's that is put together. Firmware stores keep one in parts,
// which are numbered from the end of the log, each below a line like "Panic#1 Part3".
type pstore struct {
	dump  string
	parts []pstorePart
	size  int
}

type pstorePart struct {
	number int
	lines  [][]byte
}

var pstoreReasons = []string{"Panic", "Oops", "Emergency", "Shutdown", "Unknown"}

// pstoreHead reads the line before a part.
func pstoreHead(line []byte) (dump string, number int, ok bool) {
	if len(line) > 40 {
		return "", 0, false
	}
	line = bytes.TrimRight(line, "\r ")
	reason, rest, ok := bytes.Cut(line, []byte{'#'})
	if !ok || !slices.Contains(pstoreReasons, string(reason)) {
		return "", 0, false
	}
	count, part, ok := bytes.Cut(rest, []byte(" Part"))
	if !ok || !isNumber(string(count)) || !isNumber(string(part)) {
		return "", 0, false
	}
	number, err := strconv.Atoi(string(part))
	return string(reason) + "#" + string(count), number, err == nil
}

// pstoreLine holds the lines of a dump until all its parts are there.
func (s *scanner) pstoreLine(line []byte) []byte {
	p := &s.pstore
	if dump, number, ok := pstoreHead(line); ok {
		if dump != p.dump {
			s.endPstore()
		}
		p.dump, p.parts = dump, append(p.parts, pstorePart{number: number})
		return nil
	}
	if len(p.parts) == 0 {
		return line
	}
	last := &p.parts[len(p.parts)-1]
	last.lines = append(last.lines, bytes.Clone(line))
	if p.size += len(line) + 64; p.size > maxHeld {
		s.endPstore()
	}
	return nil
}

// endPstore takes the lines of a dump, the oldest part first.
func (s *scanner) endPstore() {
	p := s.pstore
	s.pstore = pstore{}
	slices.SortStableFunc(p.parts, func(a, b pstorePart) int { return b.number - a.number })
	for _, part := range p.parts {
		for _, line := range part.lines {
			s.text(line, layerPstore+1)
		}
	}
}
