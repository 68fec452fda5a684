package oomlog

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestNeedles: each line that can begin a report or end one is found.
func TestNeedles(t *testing.T) {
	for k, row := range kinds {
		begins := k == int(kindHead) || k == int(kindTable) || k == int(kindSummary) || k == int(kindReaper) ||
			k == int(kindSuppressed) || row.ends
		if begins && needles.next([]byte(row.like+"\n"), 0) > len(row.like) {
			t.Errorf("%q holds no word that is searched for", row.like)
		}
	}
	for _, line := range []string{
		"Out of memory: Kill process 107 (hog) score 900 or sacrifice child",
		"Out of memory: kill process 20 (app) score 1822 or a child",
		"Out of Memory: Killed process 20 (app).",
		"Out of memory (oom_kill_allocating_task): Kill process 20 (sh) score 0 or sacrifice child",
		"Kernel panic - not syncing: System is deadlocked on memory",
		"Kernel panic - not syncing: Out of memory and no killable processes...",
		"[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name",
	} {
		if needles.next([]byte(line), 0) == len(line) {
			t.Errorf("%q holds no word that is searched for", line)
		}
	}
}

// TestFinder against a search for each word, in short texts and in long ones, and by
// each way of searching that this machine has.
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
			switch w := needles.words[rng.IntN(len(needles.words))]; rng.IntN(4) {
			case 0:
				data = append(data, w...)
			case 1:
				data = append(data, w[rng.IntN(len(w)):]...)
			case 2:
				data = append(data, w[:rng.IntN(len(w))]...)
			default:
				for range rng.IntN(1 << rng.IntN(8)) {
					data = append(data, "mo Kil\xef"[rng.IntN(7)])
				}
			}
		}
		if rng.IntN(100) == 0 {
			data = append(bytes.Repeat([]byte("no room to kill"), 1000), data...)
			data = append(data, bytes.Repeat([]byte("Memory: "), rng.IntN(2000))...)
		}
		for pos := 0; pos <= len(data); pos += 1 + rng.IntN(3+len(data)/50) {
			want := want(data, pos)
			if want < len(data) {
				found++
			}
			if got := needles.byWindows(data, pos); got != want {
				t.Fatalf("%q from %d: by windows %d, want %d", data, pos, got, want)
			}
			if !fast {
				continue
			}
			if got := needles.byAnchors(data, pos); got != want {
				t.Fatalf("%q from %d: by anchors %d, want %d", data, pos, got, want)
			}
		}
	}
	if found < 10_000 {
		t.Errorf("only %d words were found", found)
	}
}
