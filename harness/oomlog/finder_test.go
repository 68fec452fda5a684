package oomlog

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestFinder against a search for each word.
func TestFinder(t *testing.T) {
	want := func(data []byte, pos int) int {
		first := len(data)
		for _, w := range needles.words {
			if i := bytes.Index(data[pos:], w); i >= 0 {
				first = min(first, pos+i)
			}
		}
		return first
	}
	rng := rand.New(rand.NewPCG(3, 4))
	found := 0
	for range 20_000 {
		var data []byte
		for range rng.IntN(6) {
			switch w := needles.words[rng.IntN(len(needles.words))]; rng.IntN(3) {
			case 0:
				data = append(data, w...)
			case 1:
				data = append(data, w[rng.IntN(len(w)):]...)
			default:
				data = append(data, w[:rng.IntN(len(w))]...)
			}
		}
		for pos := 0; pos <= len(data); pos += 1 + rng.IntN(3) {
			got := needles.next(data, pos)
			if got != want(data, pos) {
				t.Fatalf("%q from %d: %d, want %d", data, pos, got, want(data, pos))
			}
			if got < len(data) {
				found++
			}
		}
	}
	if found < 10_000 {
		t.Errorf("only %d words were found", found)
	}
}
