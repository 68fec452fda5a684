package plan

import (
	"cmp"
	"strconv"
	"strings"
)

// Descendant is the name of the nth process that a program of the user's own has started,
// or that what it has started has: by order of start, from 1.
func Descendant(of string, n int) string { return of + "/" + strconv.Itoa(n) }

// SplitDescendant is Descendant the other way round.
func SplitDescendant(name string) (of string, n int, ok bool) {
	i := strings.LastIndexByte(name, '/')
	if i <= 0 {
		return "", 0, false
	}
	n, err := strconv.Atoi(name[i+1:])
	return name[:i], n, err == nil && n > 0 && Descendant(name[:i], n) == name
}

// CompareDescendants orders names by program, and by order of start.
func CompareDescendants(a, b string) int {
	ofA, nA, _ := SplitDescendant(a)
	ofB, nB, _ := SplitDescendant(b)
	return cmp.Or(cmp.Compare(ofA, ofB), cmp.Compare(nA, nB))
}

// DescendantOf is the program of the plan that has started a process of that name; false:
// the plan has the process itself, or no such program.
func (p Plan) DescendantOf(name string) (Process, bool) {
	if _, ok := p.Process(name); ok {
		return Process{}, false
	}
	of, _, ok := SplitDescendant(name)
	if !ok {
		return Process{}, false
	}
	q, ok := p.Process(of)
	return q, ok && q.IsCommand()
}
