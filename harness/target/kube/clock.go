package kube

import "time"

// nodeClock says what the node's clock shows when this process's shows something, from
// what the agent tells now and then. That of an emulated node on a busy machine runs
// ten times slower: seconds after the agent's last word, what the API told would be
// dated after the end of the run.
type nodeClock struct {
	first, last         time.Duration // of the node
	firstHere, lastHere time.Duration // when these arrived, by this process's clock
	known               bool
}

// saw is told that the agent's word of a moment arrived.
func (c *nodeClock) saw(node, here time.Duration) {
	if !c.known {
		c.first, c.firstHere, c.known = node, here, true
	}
	// words of several witnesses may arrive out of order
	c.last, c.lastHere = max(c.last, node), here
}

// enough is how much time the pace of the node's clock is taken from at least.
const enough = time.Second

// at is what the node's clock shows: it goes on from the agent's last word at the pace
// it has had so far, and never runs ahead of this process's.
func (c *nodeClock) at(here time.Duration) time.Duration {
	since := here - c.lastHere
	if span := c.lastHere - c.firstHere; span >= enough && c.last-c.first < span {
		since = time.Duration(float64(since) * float64(c.last-c.first) / float64(span))
	}
	return c.last + since
}
