package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/verdict"
)

// Rounds says of scenarios that were run again and again how often each ended
// how, and whether every round gave the same verdicts. all are rounds of each
// scenarios in the same order; a run without a verdict did not take place.
func Rounds(w io.Writer, all []verdict.Result, each int) error {
	if each < 1 || len(all)%each != 0 {
		return fmt.Errorf("%d results are not rounds of %d scenarios", len(all), each)
	}
	rounds := len(all) / each
	complete, same := 0, true
	var first []verdict.Verdict // of the first complete round
	for i := range rounds {
		words := verdictsOf(all[i*each : (i+1)*each])
		if slices.Contains(words, "") {
			continue
		}
		if complete++; complete == 1 {
			first = words
		}
		same = same && slices.Equal(words, first)
	}
	text := "all verdict tables are identical"
	if !same {
		text = "verdict tables DIFFER"
	}
	out := []string{fmt.Sprintf("%d of %d rounds complete: %s", complete, rounds, text)}
	g := plaintext.Grid{}
	for i := range each {
		name, seen := outcomes(all, i, each)
		if name != "" {
			g.Add(name, seen)
		}
	}
	return plaintext.Write(w, append(out, g.Lines("  ")...), nil)
}

func verdictsOf(all []verdict.Result) []verdict.Verdict {
	words := make([]verdict.Verdict, len(all))
	for i, r := range all {
		words[i] = r.Verdict
	}
	return words
}

// outcomes counts how the runs of one scenario ended, the most frequent first.
func outcomes(all []verdict.Result, at, each int) (name, seen string) {
	count := map[string]int{}
	var order []string
	for i := at; i < len(all); i += each {
		r := all[i]
		if r.Verdict == "" {
			continue
		}
		name = r.Scenario
		_, observed := Outcome(r)
		what := fmt.Sprintf("%s (%s)", r.Verdict, observed)
		if count[what]++; count[what] == 1 {
			order = append(order, what)
		}
	}
	slices.SortStableFunc(order, func(a, b string) int { return count[b] - count[a] })
	for i, what := range order {
		order[i] = fmt.Sprintf("%d x %s", count[what], what)
	}
	return name, strings.Join(order, ", ")
}

// Event is one event for somebody who watches a run; empty for those that
// only make sense together.
func Event(e evidence.Event) string {
	switch e.Kind {
	case evidence.Sample, evidence.Record, evidence.Reading, evidence.Badness, evidence.OutOfMemory, evidence.OOMReturn:
		return ""
	}
	who := e.Process
	if e.OOM != nil && e.OOM.Task != nil {
		who = fmt.Sprintf("%s[%d]", e.OOM.Task.Comm, e.OOM.Task.TGID)
	} else if e.PID != 0 {
		who = strings.TrimSpace(fmt.Sprintf("%s pid %d", who, e.PID))
	}
	text := e.Text
	switch {
	case e.Exit != nil && e.Exit.Signal != 0:
		text = fmt.Sprintf("signal %d", e.Exit.Signal)
	case e.Exit != nil:
		text = fmt.Sprintf("exit code %d", e.Exit.Code)
	case e.Held != nil && e.Kind == evidence.Ready:
		text = fmt.Sprintf("holds %s", e.Held.Resident.Human())
	case e.Kind == evidence.Lost:
		text = fmt.Sprintf("%d events: %s", e.N, e.Text)
	}
	return strings.TrimRight(fmt.Sprintf("%10.3f %-8s %-20s %s %s", float64(e.AtNS)/1e9, e.Source, e.Kind, who, text),
		" ")
}
