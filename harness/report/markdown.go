package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/verdict"
)

// sign is a verdict that can be told from the others at a glance.
var sign = map[verdict.Verdict]string{
	verdict.Pass: "✅ pass", verdict.Fail: "❌ fail", verdict.Broken: "⚠️ broken", verdict.Skip: "⏭️ skip",
}

// escape makes a text fit for a cell of a table.
func escape(s string) string { return plaintext.Markdown(plaintext.EscapeLines(s), "") }

// Markdown writes runs as the summary of a CI step: the counts, a table, and
// what is wrong with those that did not pass, folded away.
func Markdown(w io.Writer, all []verdict.Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "**oomlab: %s**\n\n", Summary(all))
	b.WriteString("| scenario | kernel | verdict | predicted | observed | time |\n" +
		"| --- | --- | --- | --- | --- | ---: |\n")
	for _, r := range all {
		predicted, observed := Outcome(r)
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", escape(r.Scenario), escape(orNothing(version(r))),
			sign[r.Verdict],
			escape(plaintext.Cut(predicted, 60)), escape(plaintext.Cut(observed, 60)), seconds(r.DurationMS))
	}
	for _, r := range all {
		if r.Verdict == verdict.Pass {
			continue
		}
		fmt.Fprintf(&b, "\n<details><summary>%s: %s</summary>\n\n", escape(r.Scenario),
			escape(string(r.Verdict)+": "+r.Reason))
		var text strings.Builder
		if err := Text(&text, r, Options{}); err != nil {
			return err
		}
		fence := strings.Repeat("`", max(3, longest(text.String(), '`')+1))
		fmt.Fprintf(&b, "%stext\n%s%s\n\n</details>\n", fence, plaintext.EscapeLines(text.String()), fence)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// longest is the length of the longest run of r in s.
func longest(s string, r rune) int {
	most, n := 0, 0
	for _, c := range s {
		if c != r {
			n = 0
			continue
		}
		n++
		most = max(most, n)
	}
	return most
}
