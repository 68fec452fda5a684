package report

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/chaos"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/verdict"
)

// Campaign is what `oomlab chaos` has left: what each kernel has shown, and the
// runs that were kept, those of the findings among them.
type Campaign struct {
	Dir       string
	Summaries []chaos.Summary
	Runs      []Subject
}

// Verdict is that of all kernels together.
func (c Campaign) Verdict() verdict.Verdict { return c.total().Verdict() }

func (c Campaign) total() chaos.Tally {
	var t chaos.Tally
	for _, s := range c.Summaries {
		t.Add(s.Tally)
	}
	return t
}

// results are the campaign where there is nothing but runs: one for what each
// kernel has shown as a whole, and then those of the runs that were kept.
func (c Campaign) results() []verdict.Result {
	var out []verdict.Result
	for _, s := range c.Summaries {
		r := verdict.Result{Scenario: fmt.Sprintf("chaos/%d-%s", s.Seed, s.Domain), Target: string(scenario.VM),
			Verdict: s.Tally.Verdict(),
			Started: s.Started, DurationMS: int64(s.Seconds * 1000)}
		r.Kernel.Release = s.Kernel
		if r.Verdict != verdict.Pass {
			r.Reason = fmt.Sprintf("%s and %d broken of %s", plaintext.Count(s.Tally.Disagreements, "disagreement"),
				s.Tally.Broken, plaintext.Count(s.Tally.Scenarios, "scenario"))
		}
		out = append(out, r)
	}
	for _, s := range c.Runs {
		out = append(out, s.Result)
	}
	return out
}

// CampaignJUnit writes a campaign as a JUnit report, a case for each kernel's
// part of it and one for each run that was kept.
func CampaignJUnit(w io.Writer, c Campaign) error {
	n := 0
	return junit(w, c.results(), func(r verdict.Result) (string, error) {
		var text strings.Builder
		if n++; n > len(c.Summaries) {
			err := Text(&text, r, Options{Verbose: r.Verdict != verdict.Pass})
			return text.String(), err
		}
		err := CampaignText(&text, Campaign{Dir: c.Dir, Summaries: c.Summaries[n-1 : n]}, Options{})
		return text.String(), err
	})
}

// CampaignKTAP writes a campaign as KTAP, with the same cases.
func CampaignKTAP(w io.Writer, c Campaign) error { return KTAP(w, c.results()) }

// CampaignKCIDB writes a campaign as a report of KCIDB's, with the same cases.
func CampaignKCIDB(w io.Writer, c Campaign, o KCIDBOptions) error { return KCIDB(w, c.results(), o) }

// counts is the campaign in one line.
func (c Campaign) counts() string {
	t := c.total()
	text := fmt.Sprintf("%s, %s, %s; %s",
		plaintext.Count(len(c.Summaries), "kernel"), plaintext.Count(t.Scenarios, "scenario"),
		plaintext.Count(t.Kills, "kill"), plaintext.Count(t.Disagreements, "disagreement"))
	if t.Broken > 0 {
		text += fmt.Sprintf(", %d broken", t.Broken)
	}
	return text
}

// commands are those that repeat the campaign, each once.
func (c Campaign) commands() []string {
	var out []string
	for _, s := range c.Summaries {
		if text := shell(s.Command); text != "" && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// findingDir is the run directory of a finding, wherever its campaign is now.
func (c Campaign) findingDir(f chaos.Finding) string {
	return path.Join(c.Dir, path.Base(path.Dir(f.Scenario)))
}

// findingAgain is the command that runs the scenario of a finding again.
func (c Campaign) findingAgain(s chaos.Summary, f chaos.Finding) string {
	k := s.Kernel
	if strings.ContainsRune(s.Asked, '/') {
		k = s.Asked
	}
	return shell([]string{"oomlab", "run", "--target", string(scenario.VM), "--kernel", k,
		path.Join(c.findingDir(f), path.Base(f.Scenario))})
}

// figure is one line of what kernels have shown, with a value for each.
type figure struct {
	Name, Means string
	Values      []string
}

// figures are what the kernels have shown, in the order in which it is asked
// for: how much, how often wrong, and what does not count.
func (c Campaign) figures() []figure {
	var out []figure
	row := func(name, means string, value func(chaos.Summary) string) {
		f := figure{Name: name, Means: means}
		for _, s := range c.Summaries {
			f.Values = append(f.Values, value(s))
		}
		out = append(out, f)
	}
	row("Scenarios", "carried out and judged", func(s chaos.Summary) string { return fmt.Sprint(s.Tally.Scenarios) })
	row("Kills", "by the OOM killer", func(s chaos.Summary) string { return fmt.Sprint(s.Tally.Kills) })
	row("Machine-wide", "of these, without a cgroup's limit",
		func(s chaos.Summary) string { return fmt.Sprint(s.Tally.Global) })
	row("Wrong", "kills that were not predicted, or did not come",
		func(s chaos.Summary) string { return wrongShare(s.Tally) })
	row("Unsure", "kills with more than one predicted course",
		func(s chaos.Summary) string { return portion(s.Tally.Unsure, s.Tally.Kills) })
	row("Happening", "of these, only whether they happen",
		func(s chaos.Summary) string { return fmt.Sprint(s.Tally.Whether) })
	row("Scores", "the kernel's, replayed to the page", func(s chaos.Summary) string {
		return fmt.Sprintf("%d of %d", s.Tally.Scores-s.Tally.ScoresWrong, s.Tally.Scores)
	})
	if t := c.total(); t.Ranked+t.RankedWrong+t.RankedOpen > 0 {
		row("Ranked first", "victims, where nothing could have changed the order", func(s chaos.Summary) string {
			return fmt.Sprintf("%d of %d", s.Tally.Ranked, s.Tally.Ranked+s.Tally.RankedWrong)
		})
		row("Rank open", "victims, where something could have changed it",
			func(s chaos.Summary) string { return fmt.Sprint(s.Tally.RankedOpen) })
	}
	row("Collateral", "victims that are not the scenario's",
		func(s chaos.Summary) string { return fmt.Sprint(s.Tally.Strangers) })
	row("Disagreements", "scenarios with a claim that does not hold",
		func(s chaos.Summary) string { return fmt.Sprint(s.Tally.Disagreements) })
	row("Broken", "scenarios without a judgement", func(s chaos.Summary) string { return fmt.Sprint(s.Tally.Broken) })
	row("Refused", "scenarios that might have livelocked",
		func(s chaos.Summary) string { return fmt.Sprint(s.Tally.Refused) })
	row("Skipped", "scenarios with a swap disk, for which the kernel has no modules",
		func(s chaos.Summary) string { return fmt.Sprint(s.Tally.Skipped) })
	row("Took", "", func(s chaos.Summary) string { return fmt.Sprintf("%.1f min", s.Seconds/60) })
	row("Kills a minute", "", func(s chaos.Summary) string { return fmt.Sprintf("%.0f", perMinute(s)) })
	return out
}

// failedClaims are the claims that do not hold somewhere, with how often on each
// kernel.
func (c Campaign) failedClaims() []figure {
	total := c.total()
	var out []figure
	for _, name := range slices.Sorted(maps.Keys(total.Claims)) {
		f := figure{Name: name}
		for _, s := range c.Summaries {
			f.Values = append(f.Values, fmt.Sprint(s.Tally.Claims[name]))
		}
		out = append(out, f)
	}
	return out
}

func perMinute(s chaos.Summary) float64 { return float64(s.Tally.Kills) / max(s.Seconds/60, 1e-9) }

func portion(n, of int) string {
	if of == 0 {
		return "none"
	}
	return fmt.Sprintf("%d (%.2f %%)", n, 100*float64(n)/float64(of))
}

// wrongShare is how many kills were wrong, and how large the share of such kills
// may be: a campaign is a sample.
func wrongShare(t chaos.Tally) string {
	if t.Kills == 0 {
		return "none"
	}
	return fmt.Sprintf("%s, at most %.2f %%", portion(t.Wrong, t.Kills), 100*atMost(t.Wrong, t.Kills))
}

// atMost is the upper end of Wilson's interval, one-sided, at 95 %.
func atMost(k, n int) float64 {
	const z = 1.645
	p, m := float64(k)/float64(n), float64(n)
	return (p + z*z/(2*m) + z*math.Sqrt(p*(1-p)/m+z*z/(4*m*m))) / (1 + z*z/m)
}

// CampaignJSON writes the summaries, one a line.
func CampaignJSON(w io.Writer, c Campaign) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, s := range c.Summaries {
		if err := enc.Encode(s); err != nil {
			return err
		}
	}
	return nil
}

// CampaignText shows a campaign to a person, one kernel after the other.
func CampaignText(w io.Writer, c Campaign, o Options) error {
	var out []string
	line := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for i, s := range c.Summaries {
		if i > 0 {
			line("")
		}
		t := s.Tally
		out = append(out, plaintext.Wrap(fmt.Sprintf("kernel %s, seed %d, domain %s: %s in %.1f min",
			s.Kernel, s.Seed, s.Domain,
			plaintext.Count(t.Scenarios, "scenario"), s.Seconds/60), o.width())...)
		if s.Cut != "" {
			out = append(out, plaintext.Hang("  cut short", s.Cut, 14, o.width())...)
		}
		line("  kills       %d (%.0f a minute), %d of them machine-wide", t.Kills, perMinute(s), t.Global)
		if t.Fails > 0 {
			line("  ENOMEM      %s that the kernel refused memory", plaintext.Count(t.Fails, "process"))
		}
		line("  wrong       %s; %s", portion(t.Wrong, t.Kills), plaintext.Count(t.Disagreements, "disagreement"))
		if t.Kills > 0 {
			line("              at most %.2f %% of all, with a confidence of 95 %%", 100*atMost(t.Wrong, t.Kills))
		}
		line("  unsure      %s: of %d the victim, of %d whether they happen", portion(t.Unsure, t.Kills),
			t.Unsure-t.Whether,
			t.Whether)
		line("  replayed    %d of %d scores to the page", t.Scores-t.ScoresWrong, t.Scores)
		if n := t.Ranked + t.RankedWrong + t.RankedOpen; n > 0 {
			line("  ranked      %d of %d victims first, %d wrong, %d open", t.Ranked, n, t.RankedWrong, t.RankedOpen)
		}
		line("  collateral  %d", t.Strangers)
		line("  broken      %d, refused %d", t.Broken, t.Refused)
		if t.Skipped > 0 {
			line("  skipped     %s with a swap disk: the kernel lacks its modules",
				plaintext.Count(t.Skipped, "scenario"))
		}
		var claims []string
		for _, name := range slices.Sorted(maps.Keys(t.Claims)) {
			claims = append(claims, fmt.Sprintf("%s %d", name, t.Claims[name]))
		}
		if len(claims) > 0 {
			out = append(out, plaintext.Hang("  claims that failed: ", strings.Join(claims, ", "), 22, o.width())...)
		}
		for _, f := range s.Findings {
			out = append(out, fmt.Sprintf("  %-11s %s", f.Verdict, f.Scenario))
			out = append(out, plaintext.Hang("", f.Reason, 14, o.width())...)
		}
	}
	return plaintext.Write(w, out, nil)
}

// CampaignMarkdown writes a campaign as the summary of a CI step.
func CampaignMarkdown(w io.Writer, c Campaign) error {
	var b strings.Builder
	fmt.Fprintf(&b, "**oomlab chaos: %s**\n\n", c.counts())
	b.WriteString("|  |")
	for _, s := range c.Summaries {
		fmt.Fprintf(&b, " %s, %s, seed %d |", escape(s.Kernel), escape(string(s.Domain)), s.Seed)
	}
	b.WriteString("\n| --- |" + strings.Repeat(" ---: |", len(c.Summaries)) + "\n")
	for _, f := range append(c.figures(), c.failedClaims()...) {
		fmt.Fprintf(&b, "| %s | %s |\n", escape(f.Name), strings.Join(f.Values, " | "))
	}
	for _, s := range c.Summaries {
		if s.Cut != "" {
			fmt.Fprintf(&b, "\n%s was cut short: %s\n", escape(s.Kernel), escape(s.Cut))
		}
		for _, f := range s.Findings {
			fmt.Fprintf(&b, "\n<details><summary>%s, scenario %d: %s</summary>\n\n%s\n\n    %s\n\n</details>\n",
				escape(s.Kernel), f.Index,
				escape(f.Verdict), escape(f.Reason), plaintext.EscapeLines(c.findingAgain(s, f)))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
