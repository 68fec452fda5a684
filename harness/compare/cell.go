package compare

import (
	"fmt"
	"strings"
)

// Summary is a cell in a few words.
type Summary struct {
	Verdict string // the word; with several runs that disagree, the most frequent
	Runs    string // "3 of 5" where not all runs say so, else empty
	Killed  string // in order; "nobody"; empty where there is no telling; by runtime: its words
	Points  string // the kernel's score of the first victim
}

// Summary tells what usually happens.
func (c Cell) Summary() Summary {
	var s Summary
	t := c.Get(Key{Verdict, ""})
	if len(t.Seen) == 0 {
		return s
	}
	s.Verdict, _, _ = strings.Cut(t.Seen[0].Value, " ")
	s.Verdict = strings.TrimSuffix(s.Verdict, ":")
	s.Killed = c.Get(Key{Order, ""}).usual(Order)
	if p := c.Get(Key{Panicked, ""}).usual(Panicked); p != "" && p != "none" {
		s.Killed = "panic"
	}
	if says := c.Get(Key{Says, ""}).usual(Says); says != "" {
		s.Killed = says
	}
	agree := t.Seen[0].N
	for _, a := range []Aspect{Order, Says} {
		if o := c.Get(Key{a, ""}); len(o.Seen) > 0 {
			agree = min(agree, o.Seen[0].N)
		}
	}
	if agree < c.Runs {
		s.Runs = fmt.Sprintf("%d of %d", agree, c.Runs)
	}
	first, _, _ := strings.Cut(s.Killed, ", ")
	for _, a := range []Aspect{Points, HostPoints} {
		if p := c.Get(Key{a, first}); p.N() > 0 {
			s.Points = strings.TrimSuffix(p.usual(a), " pages")
		}
	}
	return s
}

// Word is the verdict and how often it was given.
func (s Summary) Word() string {
	if s.Runs == "" {
		return s.Verdict
	}
	return s.Verdict + " " + s.Runs
}
