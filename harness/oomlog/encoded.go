package oomlog

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"io"
	"strings"
	"unicode/utf8"
)

// Queues and APIs carry a log as base64, gzipped or not: the data of Pub/Sub and Kinesis,
// the body of a function's request, binaryData of Kubernetes, a line for each line.

const (
	// leastEncoded is how long the first text in base64 must be; others of the log may be
	// shorter, as the lines of a report are.
	leastEncoded, shortEncoded = 40, 8
	// A string may unpack to so much, and to so many times its length. What it unpacks to
	// is not unpacked again.
	maxUnpacked = 8 << 20
	maxRatio    = 100
)

// decoded is the text that a word holds as base64. What is random is no text, and a name is
// none with a blank in it.
func (q *quoted) decoded(word string) (string, bool) {
	least := leastEncoded
	if q.encoded {
		least = shortEncoded
	}
	if len(word) < least || !isCode(word[:least]) {
		return "", false
	}
	word = strings.TrimRight(word, "=")
	code, err := base64.RawStdEncoding.DecodeString(word)
	if err != nil {
		if code, err = base64.RawURLEncoding.DecodeString(word); err != nil {
			return "", false
		}
	}
	if bytes.HasPrefix(code, []byte("\x1f\x8b\x08")) && !q.inner {
		code = gunzip(code)
	}
	if !isWords(code) {
		return "", false
	}
	q.encoded, q.found = true, true
	return string(code), true
}

// gunzip gives what there is, if the end is missing, or nothing.
func gunzip(code []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(code))
	if err != nil {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(r, min(maxUnpacked, maxRatio*int64(len(code)))))
	return text
}

func isCode(s string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && strings.IndexByte("+/-_=", s[i]) < 0 {
			return false
		}
	}
	return true
}

// isWords reports whether code is text of more than one word.
func isWords(code []byte) bool {
	if !utf8.Valid(code) || bytes.IndexByte(bytes.Trim(code, " \r\n"), ' ') < 0 {
		return false
	}
	for _, c := range code {
		if c < ' ' && strings.IndexByte("\n\r\t\x1b", c) < 0 || c == 0x7f {
			return false
		}
	}
	return true
}

// encodedLine takes lines that are base64, or end in it behind a key.
func (s *scanner) encodedLine(line []byte) []byte {
	q := &s.quoted
	trimmed := bytes.TrimRight(line, " \r")
	word := trimmed[bytes.LastIndexByte(trimmed, ' ')+1:]
	if len(word) < shortEncoded || len(word) < leastEncoded && (!q.encoded || len(word) < len(trimmed)) ||
		len(q.open) > 0 {
		return line
	}
	text, ok := q.decoded(string(word))
	if !ok {
		return line
	}
	s.giveEntry(entry{text: text})
	return nil
}
