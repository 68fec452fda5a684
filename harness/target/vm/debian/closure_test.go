package debian

import "testing"

// TestNoPackage: apt's words for names that it cannot install.
func TestNoPackage(t *testing.T) {
	for text, want := range map[string]string{
		"apt-get: exit status 100: Unable to locate package nosuch":                   "nosuch",
		"apt-get: exit status 100: Package 'awk' has no installation candidate":       "awk",
		"apt-get: exit status 100: Package mail-agent has no installation candidate":  "mail-agent",
		"apt-get: exit status 100: Could not get lock /var/lib/apt/lists/lock. It is": "",
	} {
		got := ""
		if m := noPackage.FindStringSubmatch(text); m != nil {
			got = m[1] + m[2]
		}
		if got != want {
			t.Errorf("%s: found %q, want %q", text, got, want)
		}
	}
}
