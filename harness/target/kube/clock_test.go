package kube

import (
	"testing"
	"time"
)

// TestNodeClock: of a node that is as fast as this machine, and of one that has taken
// 200 s for 7, after whose end the API's last words were dated.
func TestNodeClock(t *testing.T) {
	const s = time.Second
	type word struct{ node, here time.Duration }
	for _, tt := range []struct {
		name     string
		words    []word
		at, want time.Duration
	}{
		{"nothing is known", nil, 3 * s, 3 * s},
		{"one word", []word{{100 * s, 2 * s}}, 5 * s, 103 * s},
		{"as fast as this one", []word{{100 * s, 2 * s}, {110 * s, 12 * s}}, 14 * s, 112 * s},
		{"never faster", []word{{100 * s, 2 * s}, {140 * s, 12 * s}}, 14 * s, 142 * s},
		{"ten times slower", []word{{100 * s, 2 * s}, {101 * s, 12 * s}}, 22 * s, 102 * s},
		{"too little to tell", []word{{100 * s, 2 * s}, {100 * s, 2*s + s/2}}, 4 * s, 101*s + s/2},
		{"out of order", []word{{100 * s, 2 * s}, {104 * s, 10 * s}, {103 * s, 10 * s}}, 12 * s, 105 * s},
	} {
		var c nodeClock
		for _, w := range tt.words {
			c.saw(w.node, w.here)
		}
		if got := c.at(tt.at); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	var c nodeClock
	c.saw(1108*s, 0)
	c.saw(1114*s, 190*s)
	if got, end := c.at(194*s), 1114*s+568*time.Millisecond; got >= end {
		t.Errorf("the API's last word is dated %s, after the end at %s", got, end)
	}
}
