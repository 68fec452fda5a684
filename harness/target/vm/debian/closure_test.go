package debian

import (
	"slices"
	"testing"
)

// TestMissing: apt's words for names that it cannot install, of all of them.
func TestMissing(t *testing.T) {
	for stderr, want := range map[string][]string{
		"Reading package lists...\nE: Unable to locate package nosuch\n":                     {"nosuch"},
		"E: Unable to locate package nosuch\nE: Unable to locate package nor-this\n":         {"nosuch", "nor-this"},
		"E: Unable to locate package a.b\nE: Couldn't find any package by glob 'a.b'\n":      {"a.b"},
		"E: Package 'awk' has no installation candidate\n":                                   {"awk"},
		"E: Package mail-agent has no installation candidate\nE: Unable to locate package x": {"mail-agent", "x"},
		"E: Could not get lock /var/lib/apt/lists/lock. It is held by process 1\n":           nil,
	} {
		if got := missing("apt-get: exit status 100: " + Reason(stderr)); !slices.Equal(got, want) {
			t.Errorf("%q: found %q, want %q", stderr, got, want)
		}
	}
}
