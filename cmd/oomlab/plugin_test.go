package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestPlugin: started as a plugin of kubectl, the program's texts say what the user types.
func TestPlugin(t *testing.T) {
	args := os.Args
	t.Cleanup(func() { os.Args = args })
	for started, typed := range map[string]string{"/home/me/.krew/bin/kubectl-oomlab": "kubectl oomlab",
		"kubectl-oomlab.exe": "kubectl oomlab", "/usr/bin/oomlab": "oomlab", "kubectl-oomlab-2": "oomlab"} {
		os.Args = []string{started}
		for _, c := range []struct {
			args []string
			want string
		}{
			{[]string{"run", "--help"}, "\n  " + typed + " run [flags] SCENARIO"},
			{[]string{"run", "--help"}, "\n  " + typed + " run memcg/adj-outweighs-size\n"},
			{[]string{"--help"}, "Use \"" + typed + " [command] --help\""},
			{[]string{"run", "--no-such"}, "oomlab: hint: " + typed + " run --help shows all flags\n"},
			{[]string{"run"}, "oomlab: hint: usage: " + typed + " run [flags]"},
		} {
			var out bytes.Buffer
			run(t.Context(), c.args, nil, &out, &out)
			if !strings.Contains(out.String(), c.want) {
				t.Errorf("%s %q: %q is not in\n%s", started, c.args, c.want, out.String())
			}
		}
	}
}
