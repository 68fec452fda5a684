package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/verdict"
)

// KTAP writes runs as the kernel's own tests write their results, after
// Documentation/dev-tools/ktap.rst: a test for each target and kernel, and in it
// one for each run. A fail and a broken run are both "not ok", which is all that
// KTAP has; the line before says which, and why.
func KTAP(w io.Writer, all []verdict.Result) error {
	type suite struct {
		name string
		runs []verdict.Result
	}
	var suites []*suite
	byName := map[string]*suite{}
	for _, r := range all {
		name := strings.Join(strings.Fields("oomlab "+r.Target+" "+r.Kernel.Release), "-")
		if byName[name] == nil {
			byName[name] = &suite{name: name}
			suites = append(suites, byName[name])
		}
		byName[name].runs = append(byName[name].runs, r)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "KTAP version 1\n1..%d\n", len(suites))
	for i, s := range suites {
		fmt.Fprintf(&b, "    KTAP version 1\n    # Subtest: %s\n    1..%d\n", ktapName(s.name), len(s.runs))
		good, skipped := true, 0
		for n, r := range s.runs {
			what := "ok"
			if red(r.Verdict) {
				what, good = "not ok", false
				ktapDiagnostic(&b, "    ", string(r.Verdict)+": "+r.Reason)
				for line := range strings.Lines(details(r)) {
					ktapDiagnostic(&b, "    ", line)
				}
			}
			directive := ""
			if r.Verdict == verdict.Skip {
				directive = " # SKIP " + ktapLine(r.Reason)
				skipped++
			}
			fmt.Fprintf(&b, "    %s %d %s%s\n", what, n+1, ktapName(r.Scenario), directive)
		}
		what, directive := "ok", ""
		if !good {
			what = "not ok"
		} else if skipped == len(s.runs) {
			directive = " # SKIP all of it"
		}
		fmt.Fprintf(&b, "%s %d %s%s\n", what, i+1, ktapName(s.name), directive)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// ktapLine is text on one line.
func ktapLine(s string) string { return strings.Join(strings.Fields(plaintext.EscapeLines(s)), " ") }

// ktapName is a test's name, which a # would end.
func ktapName(s string) string { return strings.ReplaceAll(ktapLine(s), "#", "_") }

func ktapDiagnostic(b *strings.Builder, indent, text string) {
	for _, line := range plaintext.Wrap(ktapLine(text), 100) {
		fmt.Fprintf(b, "%s# %s\n", indent, line)
	}
}
