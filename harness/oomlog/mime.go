package oomlog

import (
	"bytes"
	"encoding/base64"
)

// mime is the state of a mail's part in base64.
type mime struct {
	header bool // the encoding was announced; the part begins behind an empty line
	open   bool
	rest   []byte // of a decoded line
}

// mimeLine decodes the parts of a mail that are in base64, and says which are in
// quoted-printable.
func (s *scanner) mimeLine(line []byte) []byte {
	m := &s.mime
	if !m.open {
		const field = "content-transfer-encoding:"
		switch {
		case m.header && len(bytes.TrimSpace(line)) == 0:
			m.header, m.open = false, true
		case len(line) > len(field) && line[0]|0x20 == 'c' && bytes.EqualFold(line[:len(field)], []byte(field)):
			encoding := bytes.TrimSpace(line[len(field):])
			m.header = bytes.EqualFold(encoding, []byte("base64"))
			s.printable = s.printable || bytes.EqualFold(encoding, []byte("quoted-printable"))
		}
		return line
	}
	code := bytes.TrimSpace(line)
	text := make([]byte, base64.StdEncoding.DecodedLen(len(code)))
	n, err := base64.StdEncoding.Decode(text, code)
	if err != nil || len(m.rest)+n > maxLine {
		m.open = false
		rest := m.rest
		m.rest = nil
		if len(rest) > 0 {
			s.text(rest, layerUnwrap+1)
		}
		return line
	}
	m.rest = append(m.rest, text[:n]...)
	for {
		first, rest, more := bytes.Cut(m.rest, []byte{'\n'})
		if !more {
			return nil
		}
		s.text(bytes.Clone(bytes.TrimSuffix(first, []byte{'\r'})), layerUnwrap+1)
		m.rest = append(m.rest[:0], rest...)
	}
}
