package allocs

import (
	"strings"
	"testing"
)

// seen is a test that remembers what it was told.
type seen struct {
	testing.TB
	errors int
}

func (s *seen) Helper()               {}
func (s *seen) Errorf(string, ...any) { s.errors++ }

var kept []byte

func TestWithin(t *testing.T) {
	for _, tt := range []struct {
		name          string
		factor, input int
		size          int
		errors        int
	}{
		{"in proportion to the input", 16, 1 << 20, 15 << 20, 0},
		{"beyond it", 16, 1 << 20, 40 << 20, 1},
		{"a length that was believed", 16, 10, 64 << 20, 1},
	} {
		s := &seen{TB: t}
		Within(s, tt.factor, tt.input, func() { kept = []byte(strings.Repeat("x", tt.size/2)) })
		if s.errors != tt.errors {
			t.Errorf("%s: %d errors, want %d", tt.name, s.errors, tt.errors)
		}
	}
}
