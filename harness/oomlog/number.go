package oomlog

import (
	"strconv"
	"strings"
)

// digits is how many decimal digits s begins with.
func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

func isNumber(s string) bool {
	s = strings.TrimPrefix(s, "-")
	return s != "" && len(s) < 21 && digits(s) == len(s)
}

// squeeze takes out all white space. Wrapping and cutting may put a line break
// anywhere, and the kernel's key:value lists need none to be read.
func squeeze(s string) string {
	if !strings.ContainsAny(s, " \t\n") {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if c := s[i]; c != ' ' && c != '\t' && c != '\n' {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// number reads the digits, with a sign, that s begins with.
func number(s string) (n int64, rest string, ok bool) {
	begin := 0
	if strings.HasPrefix(s, "-") {
		begin = 1
	}
	end := begin
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		n = 10*n + int64(s[end]-'0')
		end++
	}
	if end == begin {
		return 0, s, false
	}
	if end-begin > 18 { // more may not fit
		n, err := strconv.ParseInt(s[:end], 10, 64)
		return n, s[end:], err == nil
	}
	if begin == 1 {
		n = -n
	}
	return n, s[end:], true
}

// integer is number for an int.
func integer(s string) (*int, bool) {
	n, _, ok := number(s)
	if !ok || n != int64(int(n)) {
		return nil, false
	}
	i := int(n)
	return &i, true
}

// unsigned reads the digits that s begins with.
func unsigned(s string) (n uint64, rest string, ok bool) {
	end := digits(s)
	if end == 0 {
		return 0, s, false
	}
	n, err := strconv.ParseUint(s[:end], 10, 64)
	return n, s[end:], err == nil
}
