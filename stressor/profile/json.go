package profile

import (
	"errors"
	"strconv"
	"unicode/utf8"
)

// parser reads one JSON value (RFC 8259). Every method leaves the place after
// what it read, and fails with the place where it stopped.
type parser struct {
	in []byte
	at int
}

// maxDepth bounds the recursion: a profile nests by its children alone.
const maxDepth = 64

func (p *parser) fail(want string) error {
	got := "the end of the line"
	if p.at < len(p.in) {
		got = strconv.QuoteRune(rune(p.in[p.at]))
	}
	return errors.New("byte " + strconv.Itoa(p.at) + ": expected " + want + ", not " + got)
}

func (p *parser) space() {
	for p.at < len(p.in) {
		switch p.in[p.at] {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return
		}
	}
}

// peek is the next byte that is not space; 0 at the end.
func (p *parser) peek() byte {
	p.space()
	if p.at == len(p.in) {
		return 0
	}
	return p.in[p.at]
}

func (p *parser) byte(c byte) error {
	if p.peek() != c {
		return p.fail(strconv.QuoteRune(rune(c)))
	}
	p.at++
	return nil
}

// word reads a literal such as null, if it is next.
func (p *parser) word(w string) bool {
	p.space()
	if len(p.in)-p.at < len(w) || string(p.in[p.at:p.at+len(w)]) != w {
		return false
	}
	p.at += len(w)
	return true
}

// whole reads a value that has nothing after it.
func (p *parser) whole(value func() error) error {
	depth := 0
	inString := false
	for i := 0; i < len(p.in); i++ {
		switch c := p.in[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && (c == '{' || c == '['):
			if depth++; depth > maxDepth {
				return errors.New("byte " + strconv.Itoa(i) + ": nested deeper than any profile")
			}
		case !inString && (c == '}' || c == ']'):
			depth--
		}
	}
	if err := value(); err != nil {
		return err
	}
	if p.peek() != 0 || p.at != len(p.in) {
		return p.fail("the end of the line")
	}
	return nil
}

// list reads what is between two brackets, or null as an empty list.
func (p *parser) list(open, shut byte, item func() error) error {
	if p.word("null") {
		return nil
	}
	if err := p.byte(open); err != nil {
		return err
	}
	if p.peek() == shut {
		p.at++
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		if p.peek() == shut {
			p.at++
			return nil
		}
		if err := p.byte(','); err != nil {
			return err
		}
	}
}

func (p *parser) array(item func() error) error { return p.list('[', ']', item) }

// object reads an object or null. Its errors carry the keys that led to them.
func (p *parser) object(field func(key string) error) error {
	seen := map[string]bool{}
	return p.list('{', '}', func() error {
		if p.peek() != '"' {
			return p.fail("a key")
		}
		key, err := p.string()
		if err != nil {
			return err
		}
		if seen[key] {
			return errors.New(key + ": is there twice")
		}
		seen[key] = true
		if err := p.byte(':'); err != nil {
			return err
		}
		if err := field(key); err != nil {
			return errors.New(key + ": " + err.Error())
		}
		return nil
	})
}

func (p *parser) strings() ([]string, error) {
	var out []string
	err := p.array(func() error {
		s, err := p.string()
		out = append(out, s)
		return err
	})
	return out, err
}

func (p *parser) bool() (bool, error) {
	switch {
	case p.word("true"):
		return true, nil
	case p.word("false"), p.word("null"):
		return false, nil
	}
	return false, p.fail("true or false")
}

// int64 reads a whole number: amounts here have no fractions and no exponents.
func (p *parser) int64() (int64, error) {
	if p.word("null") {
		return 0, nil
	}
	p.space()
	end := p.at
	for end < len(p.in) && (p.in[end] == '-' || p.in[end] >= '0' && p.in[end] <= '9') {
		end++
	}
	n, err := strconv.ParseInt(string(p.in[p.at:end]), 10, 64)
	if err != nil {
		return 0, p.fail("a whole number of 64 bits")
	}
	p.at = end
	return n, nil
}

func (p *parser) int() (int, error) {
	n, err := p.int64()
	if err == nil && int64(int(n)) != n {
		err = errors.New(strconv.FormatInt(n, 10) + " is out of range")
	}
	return int(n), err
}

func (p *parser) intOrNull() (*int, error) {
	if p.word("null") {
		return nil, nil
	}
	n, err := p.int()
	return &n, err
}

func (p *parser) string() (string, error) {
	if p.word("null") {
		return "", nil
	}
	if err := p.byte('"'); err != nil {
		return "", err
	}
	var out []byte
	for p.at < len(p.in) {
		c := p.in[p.at]
		switch {
		case c == '"':
			p.at++
			return string(out), nil
		case c < ' ':
			return "", p.fail("a character of a string")
		case c == '\\':
			p.at++
			var err error
			if out, err = p.escape(out); err != nil {
				return "", err
			}
		default:
			out = append(out, c)
			p.at++
		}
	}
	return "", p.fail("the end of a string")
}

// escape reads what follows a backslash.
func (p *parser) escape(out []byte) ([]byte, error) {
	const from, to = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	if p.at < len(p.in) {
		for i := range len(from) {
			if p.in[p.at] == from[i] {
				p.at++
				return append(out, to[i]), nil
			}
		}
	}
	r, err := p.codeUnit()
	if err != nil {
		return nil, err
	}
	if r >= 0xd800 && r < 0xdc00 { // the first half of a surrogate pair
		half := p.fail("the second half of a surrogate pair")
		if p.at == len(p.in) || p.in[p.at] != '\\' {
			return nil, half
		}
		p.at++
		low, err := p.codeUnit()
		if err != nil || low < 0xdc00 || low > 0xdfff {
			return nil, half
		}
		r = (r-0xd800)<<10 + (low - 0xdc00) + 0x10000
	}
	return utf8.AppendRune(out, r), nil
}

// codeUnit reads uXXXX.
func (p *parser) codeUnit() (rune, error) {
	if p.at+5 > len(p.in) || p.in[p.at] != 'u' {
		return 0, p.fail("an escape")
	}
	n, err := strconv.ParseUint(string(p.in[p.at+1:p.at+5]), 16, 16)
	if err != nil {
		return 0, p.fail("an escape of four hexadecimal digits")
	}
	p.at += 5
	return rune(n), nil
}

// appendString appends s as a JSON string. Bytes that are not UTF-8 become
// U+FFFD, as encoding/json has it.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < ' ':
			dst = append(dst, `\u00`...)
			dst = append(dst, "0123456789abcdef"[r>>4], "0123456789abcdef"[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
