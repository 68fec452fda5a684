package report

import (
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/verdict"
)

// Line shows in one line that a run has ended, and below it why it is not a
// pass and where its record is.
func Line(w io.Writer, r verdict.Result, o Options) error {
	out := []string{fmt.Sprintf("%s%s  %s  %s", word(r.Verdict), r.Scenario, place(r), seconds(r.DurationMS))}
	if r.Reason != "" {
		out = append(out, plaintext.Hang("", r.Reason, wordWidth, o.width())...)
	}
	if r.Verdict != verdict.Pass && o.RunsDir != "" && r.Run != "" {
		out = append(out, plaintext.Hang("", path.Join(o.RunsDir, r.Run), wordWidth, o.width())...)
	}
	return plaintext.Write(w, out, o.paint)
}

// place is the target and, where one is known, the kernel.
func place(r verdict.Result) string {
	return strings.TrimSpace(r.Target + " " + version(r))
}

// version is the kernel's release without what its packager appended.
func version(r verdict.Result) string { return shortRelease(r.Kernel.Release) }

func shortRelease(release string) string {
	v, err := kernel.ParseVersion(release)
	if err != nil {
		return release
	}
	return v.String()
}

// Table shows many runs, one a line, in the order given, and how many of each
// verdict there are.
func Table(w io.Writer, all []verdict.Result) error {
	const most = 24 // columns of a list of names
	g := plaintext.Grid{Right: []bool{false, false, false, false, false, true}}
	g.Add("SCENARIO", "KERNEL", "VERDICT", "PREDICTED", "OBSERVED", "TIME")
	for _, r := range all {
		predicted, observed := Outcome(r)
		g.Add(r.Scenario, orNothing(version(r)), string(r.Verdict),
			plaintext.Cut(predicted, most), plaintext.Cut(observed, most), seconds(r.DurationMS))
	}
	out := g.Lines("")
	return plaintext.Write(w, append(out, "", Summary(all)), nil)
}

func orNothing(s string) string {
	if s == "" {
		return nothing
	}
	return s
}

// Outcome is who was to be killed, on the most likely of the courses that are
// possible or, where there are too many of them, how many; and who was.
func Outcome(r verdict.Result) (predicted, observed string) {
	if r.Verdict == verdict.Skip {
		return nothing, nothing
	}
	p := page{r: r, Options: Options{Verbose: true}}
	predicted, observed = p.names(r.Prediction.Killed), p.names(victims(r))
	if n := len(r.Prediction.Orders); r.Prediction.Open {
		predicted = p.predictedKills()
	} else if r.Prediction.Unsure != "" && n > 1 {
		predicted += fmt.Sprintf(" (1 of %d)", n)
	}
	if r.Prediction.Panic != "" {
		predicted = "panic"
	}
	if r.Panic != "" {
		observed = "panic"
	}
	return orNothing(predicted), orNothing(observed)
}

// Summary counts the verdicts.
func Summary(all []verdict.Result) string {
	n := map[verdict.Verdict]int{}
	for _, r := range all {
		n[r.Verdict]++
	}
	return fmt.Sprintf("%d passed, %d failed, %d broken, %d skipped",
		n[verdict.Pass], n[verdict.Fail], n[verdict.Broken], n[verdict.Skip])
}
