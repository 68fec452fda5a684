package oomlog

import (
	"bytes"
	"encoding/hex"
)

// encodedURL is what is known of a log that was encoded for a URL or a form.
type encodedURL struct{ is, plus bool }

// urlLine decodes text that was encoded for a URL, which may hold many lines. Only what
// the kernel prints shows that a log is encoded, not what web servers log.
func (s *scanner) urlLine(line []byte) []byte {
	if bytes.IndexByte(line, '%') < 0 {
		return line
	}
	u := &s.url
	has := func(mark string) bool { return bytes.Contains(line, []byte(mark)) }
	plus := has("+oom-killer%3") || has("Killed+process+") || has("+callbacks+suppressed")
	blanks := has("%20oom-killer") || has("Killed%20process%20") || has("%20callbacks%20suppressed")
	if !u.is && !plus && !blanks || has(" HTTP/") ||
		parseLogLine(string(line[:min(len(line), maxLine)])).foreign {
		return line
	}
	u.is, u.plus = true, u.plus || plus
	for part := range bytes.SplitSeq(line, []byte{'&'}) {
		for text := range bytes.SplitSeq(u.decode(withoutKey(part)), []byte{'\n'}) {
			s.text(bytes.TrimSuffix(text, []byte{'\r'}), layerURL+1)
		}
	}
	return nil
}

// withoutKey takes off what stands before a value, "https://example.org/new?body=".
func withoutKey(s []byte) []byte {
	if bytes.HasPrefix(s, []byte("http")) {
		if _, query, ok := bytes.Cut(s, []byte{'?'}); ok {
			s = query
		}
	}
	for i, c := range s {
		if c == '=' {
			return s[i+1:]
		}
		if !isAlnum(c) && c != '_' && c != '-' && c != '.' || i > 64 {
			break
		}
	}
	return s
}

func (u *encodedURL) decode(s []byte) []byte {
	text := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' && u.plus {
			c = ' '
		}
		if c == '%' && i+2 < len(s) {
			var code [1]byte
			if _, err := hex.Decode(code[:], s[i+1:i+3]); err == nil {
				c = code[0]
				i += 2
			}
		}
		text = append(text, c)
	}
	return text
}
