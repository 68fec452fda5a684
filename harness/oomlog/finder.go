package oomlog

import "bytes"

// finder finds the first of several words. It is Wu and Manber's algorithm: of
// every window of a text only the last three bytes are looked at, and most say
// that no word can end before some bytes later.
type finder struct {
	words [][]byte
	shift [gramSize]uint8
	// ends has, by the bytes that a window ends in, the words that begin with
	// such a window.
	ends [gramSize][]uint8
}

const (
	window   = 7 // bytes of each word that count; no word is shorter
	gramSize = 1 << 13
)

func gram(a, b, c byte) uint { return (uint(a)<<10 ^ uint(b)<<5 ^ uint(c)) % gramSize }

func newFinder(words ...string) *finder {
	f := &finder{}
	for i := range f.shift {
		f.shift[i] = window - 2
	}
	for n, w := range words {
		f.words = append(f.words, []byte(w))
		for end := 2; end < window; end++ {
			g := gram(w[end-2], w[end-1], w[end])
			f.shift[g] = min(f.shift[g], uint8(window-1-end))
			if end == window-1 {
				f.ends[g] = append(f.ends[g], uint8(n))
			}
		}
	}
	return f
}

// next is where the first word at or behind pos begins, or len(data).
func (f *finder) next(data []byte, pos int) int {
	for i := pos + window - 1; i < len(data); {
		g := gram(data[i-2], data[i-1], data[i])
		if s := f.shift[g]; s > 0 {
			i += int(s)
			continue
		}
		begin := i - (window - 1)
		for _, n := range f.ends[g] {
			if bytes.HasPrefix(data[begin:], f.words[n]) {
				return begin
			}
		}
		i++
	}
	return len(data)
}
