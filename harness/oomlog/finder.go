package oomlog

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// finder finds the first of several words. Each holds one of a few anchors, which are
// three bytes. Where the processor can, all anchors are searched for at once; see
// anchors. Elsewhere it is Wu and Manber's algorithm: of every window of a text only
// the last three bytes are looked at, and most say that no word can end before some
// bytes later. Four places of the text are looked at in turn, so that the processor
// need not wait for one table entry to know the next.
type finder struct {
	words [][]byte
	fast  bool
	// anchors have the words whose first anchor they are; tables are for the search.
	anchors []anchor
	tables  [6][16]byte
	reach   int // how far an anchor can be from the beginning of its word
	shift   [gramSize]uint8
	// ends has, by the bytes that a window ends in, the words that begin with
	// such a window.
	ends [gramSize][]uint8
}

// anchor is what is looked for first.
type anchor struct {
	text  string
	words []anchored
}

// anchored is a word, and where the anchor is in it.
type anchored struct {
	word []byte
	at   int
}

const (
	maxAnchors = 8  // bits of a byte
	block      = 34 // bytes that are looked at in one go, with what is behind the last
)

const (
	window   = 11 // bytes of each word that count; no word is shorter
	gramSize = 1 << 13
	lanes    = 4
	// near is how much is looked at in one go at first: in a log full of words the
	// next one is near.
	near = 2 << 10
	far  = 64 << 10
)

// gram hashes the three low bytes of g.
func gram(g uint32) uint32 { return (g << 8) * 0x9e3779b1 >> 19 }

func newFinder(anchors []string, words ...string) *finder {
	f := &finder{fast: fast}
	f.anchor(anchors, words)
	for i := range f.shift {
		f.shift[i] = window - 2
	}
	for n, w := range words {
		f.words = append(f.words, []byte(w))
		for end := 2; end < window; end++ {
			g := gram(uint32(w[end-2]) | uint32(w[end-1])<<8 | uint32(w[end])<<16)
			f.shift[g] = min(f.shift[g], uint8(window-1-end))
			if end == window-1 {
				f.ends[g] = append(f.ends[g], uint8(n))
			}
		}
	}
	return f
}

// anchor finds the first anchor of each word.
func (f *finder) anchor(anchors, words []string) {
	if len(anchors) > maxAnchors {
		panic("too many anchors")
	}
	for n, text := range anchors {
		f.anchors = append(f.anchors, anchor{text: text})
		for i := range 3 {
			f.tables[2*i][text[i]&15] |= 1 << n
			f.tables[2*i+1][text[i]>>4] |= 1 << n
		}
	}
	for _, w := range words {
		first, at := -1, len(w)
		for n, a := range anchors {
			if i := strings.Index(w, a); i >= 0 && i < at {
				first, at = n, i
			}
		}
		if first < 0 {
			panic(w + " has no anchor")
		}
		a := &f.anchors[first]
		a.words = append(a.words, anchored{[]byte(w), at})
		f.reach = max(f.reach, at)
	}
}

// next is where the first word at or behind pos begins, or len(data).
func (f *finder) next(data []byte, pos int) int {
	if f.fast {
		return f.byAnchors(data, pos)
	}
	return f.byWindows(data, pos)
}

// byAnchors is next by the anchors. The first word has the first anchor, as the anchor
// of a word is the first that it holds.
func (f *finder) byAnchors(data []byte, pos int) int {
	i, last := pos, len(data)-block
	for i <= last {
		i += anchors(&data[i], last-i, &f.tables)
		if begin := f.around(data, pos, i); begin >= 0 {
			return begin
		}
		i++
	}
	return f.slow(data, max(pos, i-f.reach)+window-1, len(data))
}

// around is where the first word at or behind pos begins whose anchor is at i, or -1.
func (f *finder) around(data []byte, pos, i int) int {
	begin := -1
	for _, a := range f.anchors {
		if !bytes.HasPrefix(data[min(i, len(data)):], []byte(a.text)) {
			continue
		}
		for _, w := range a.words {
			at := i - w.at
			if at >= pos && (begin < 0 || at < begin) && bytes.HasPrefix(data[at:], w.word) {
				begin = at
			}
		}
	}
	return begin
}

// byWindows is next by leaping over windows.
func (f *finder) byWindows(data []byte, pos int) int {
	i := pos + window - 1 // where a window ends
	for size := near; ; size = min(2*size, far) {
		// gram reads a byte more than it uses
		if len(data)-1-i < 2*near {
			return f.slow(data, i, len(data))
		}
		stop := min(i+size, len(data)-1)
		if found, at := f.lanes(data, i, stop); found {
			return at
		}
		i = stop
	}
}

// lanes looks at the windows that end in data[from:stop], a part in each lane.
func (f *finder) lanes(data []byte, from, stop int) (found bool, at int) {
	part := (stop - from) / lanes
	a, b, c, d := from, from+part, from+2*part, from+3*part
	ends := [lanes]int{b, c, d, stop}
	for {
		// So many steps cannot leave a lane.
		steps := min(ends[0]-a, ends[1]-b, ends[2]-c, ends[3]-d) / (window - 2)
		if steps <= 0 {
			return f.rest(data, [lanes]int{a, b, c, d}, ends)
		}
		for ; steps > 0; steps-- {
			sa := int(f.shift[gram(binary.LittleEndian.Uint32(data[a-2:]))])
			sb := int(f.shift[gram(binary.LittleEndian.Uint32(data[b-2:]))])
			sc := int(f.shift[gram(binary.LittleEndian.Uint32(data[c-2:]))])
			sd := int(f.shift[gram(binary.LittleEndian.Uint32(data[d-2:]))])
			a, b, c, d = a+sa, b+sb, c+sc, d+sd
			if (sa-1)|(sb-1)|(sc-1)|(sd-1) >= 0 {
				continue
			}
			if sa == 0 && f.at(data, a) || sb == 0 && f.at(data, b) ||
				sc == 0 && f.at(data, c) || sd == 0 && f.at(data, d) {
				// An earlier lane may have an earlier word still.
				return f.rest(data, [lanes]int{a, b, c, d}, ends)
			}
			a, b, c, d = a+past(sa), b+past(sb), c+past(sc), d+past(sd)
		}
	}
}

// past goes on behind a window that no word begins with.
func past(shift int) int {
	if shift == 0 {
		return 1
	}
	return 0
}

// rest looks at what the lanes have left, in order.
func (f *finder) rest(data []byte, from, stop [lanes]int) (found bool, at int) {
	for lane := range lanes {
		if at := f.slow(data, from[lane], stop[lane]); at < len(data) {
			return true, at
		}
	}
	return false, len(data)
}

// slow looks at one window after the other.
func (f *finder) slow(data []byte, i, stop int) int {
	for i < stop {
		if s := f.shift[gram(uint32(data[i-2])|uint32(data[i-1])<<8|uint32(data[i])<<16)]; s > 0 {
			i += int(s)
			continue
		}
		if f.at(data, i) {
			return i - (window - 1)
		}
		i++
	}
	return len(data)
}

// at reports whether a word begins with the window that ends at i.
func (f *finder) at(data []byte, i int) bool {
	begin := i - (window - 1)
	for _, n := range f.ends[gram(uint32(data[i-2])|uint32(data[i-1])<<8|uint32(data[i])<<16)] {
		if bytes.HasPrefix(data[begin:], f.words[n]) {
			return true
		}
	}
	return false
}
