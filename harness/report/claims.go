package report

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/oomlab/oomlab/harness/compare"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/verdict"
)

const claimsHead = `# What people say about the OOM killer

Made by ` + "`make claims`" + ` (` + "`oomlab report -o claims DIR`" + `) from runs; edits are lost.

Each statement is answered by scenarios that ran on each of these kernels. A scenario is
built so that it does not pass if the answer is the other one.

- *true* and *false*: all of its runs on this kernel passed.
- *since* and *before* name the first of these kernels with another answer.
- *depends*: there is a scenario for each answer, with its own circumstances.
- *not shown*: a run did not pass. *skipped*: the kernel lacks what the scenario needs.
  *not run*: there is no run.

Points are the kernel's own at the first kill, and pages what the victim held (file,
anonymous and shared); of several runs their range is shown.

`

// Claims writes what runs say to the statements that people make, as Markdown: a
// table, and then each statement with its scenarios and the numbers that were seen.
// A statement of the library without runs is there, too.
func Claims(w io.Writer, library []scenario.Scenario, runs []Subject) error {
	var inputs []verdict.Input
	var results []verdict.Result
	for _, s := range runs {
		inputs, results = append(inputs, s.Input), append(results, s.Result)
	}
	all, kernels := compare.Answers(library, inputs, results)
	var b strings.Builder
	b.WriteString(claimsHead)
	row(&b, append(append([]string{"statement"}, kernels...), "answer")...)
	row(&b, slicesOf("---", len(kernels)+2)...)
	for _, a := range all {
		cells := []string{fmt.Sprintf("[%s](#%s)", escape(a.Statement), anchor(a.Statement))}
		for _, k := range kernels {
			cells = append(cells, a.On(k))
		}
		row(&b, append(cells, "**"+a.Answer(kernels)+"**")...)
	}
	for _, a := range all {
		fmt.Fprintf(&b, "\n## %s\n", escape(a.Statement))
		answered(&b, a, kernels)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func slicesOf(s string, n int) []string { return strings.Split(strings.Repeat(s+" ", n-1)+s, " ") }

func row(b *strings.Builder, cells ...string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

// anchor is how a heading is linked to.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

// answered writes one statement. A paragraph is one line: where it is broken, a line
// could begin with what Markdown takes for a list.
func answered(b *strings.Builder, a compare.Answered, kernels []string) {
	for i, by := range a.By {
		c := by.Scenario.Claim
		if i == 0 || c.Made != a.By[i-1].Scenario.Claim.Made {
			fmt.Fprintf(b, "\nMade in: %s.\n", escape(c.Made))
		}
		answer := "**" + string(c.Answer) + "**"
		if c.When != "" {
			answer += " when " + escape(c.When)
		}
		fmt.Fprintf(b, "\n`%s` answers %s. %s %s\n", by.Scenario.Name, answer, escape(by.Scenario.Summary),
			escape(strings.Join(strings.Fields(by.Scenario.Because), " ")))
		if c.Formerly != "" {
			fmt.Fprintf(b, "\nBy the kernel's source, not by a run: %s.\n", escape(c.Formerly))
		}
		b.WriteString("\n")
		row(b, "kernel", "passed", "answer", "seen")
		row(b, slicesOf("---", 4)...)
		for _, k := range kernels {
			runs(b, k, by)
		}
	}
}

// runs writes the row of one scenario and kernel.
func runs(b *strings.Builder, series string, by compare.Answering) {
	passed, release, text := 0, series, strings.Join(compare.Numbers(by.Runs[series]), "; ")
	for _, r := range by.Runs[series] {
		release = version(r)
		if r.Verdict == verdict.Pass {
			passed++
		} else {
			text = string(r.Verdict) + ": " + r.Reason
		}
	}
	row(b, release, fmt.Sprintf("%d of %d", passed, len(by.Runs[series])), by.On(series), escape(orNothing(text)))
}
