package report

import (
	"bytes"
	"fmt"
	"html/template"
	"io"
	"path"

	"github.com/oomlab/oomlab/harness/chaos"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/verdict"
)

type campaignPage struct {
	Title, Counts, Dir string
	Verdict            verdict.Verdict
	Kernels            []campaignKernel
	Figures, Claims    []figure
	Findings           []campaignFinding
	Kept               []suiteRun
	MoreKept           string
	Commands           []string
}

// campaignKernel is the head of a kernel's column, and the bar of its kills.
type campaignKernel struct {
	Name, Release, What, Cut string
	Verdict                  verdict.Verdict
	Shares                   []share
}

type campaignFinding struct {
	ID, Kernel, Reason, Size, Again, Scenario string
	Index                                     int
	Verdict                                   verdict.Verdict
	Body                                      template.HTML
}

// mostKept is how many runs that show nothing are listed.
const mostKept = 200

// CampaignHTML writes a campaign as one page that needs nothing else.
func CampaignHTML(w io.Writer, c Campaign) error {
	v := campaignPage{Title: "Chaos campaign", Counts: c.counts(), Dir: c.Dir, Verdict: c.Verdict(),
		Figures: c.figures(),
		Claims:  c.failedClaims(), Commands: c.commands()}
	for _, s := range c.Summaries {
		v.Kernels = append(v.Kernels, campaignKernel{
			Name: shortRelease(s.Kernel), Release: s.Kernel, What: fmt.Sprintf("%s, seed %d", s.Domain, s.Seed),
			Cut: s.Cut, Verdict: s.Tally.Verdict(), Shares: killShares(s.Tally),
		})
	}
	byDir := map[string]Subject{}
	for _, r := range c.Runs {
		byDir[path.Base(r.Dir)] = r
	}
	all := 0
	for _, s := range c.Summaries {
		all += len(s.Findings)
	}
	for _, s := range c.Summaries {
		for _, f := range s.Findings {
			shown := campaignFinding{
				ID: fmt.Sprintf("finding-%d", len(v.Findings)+1), Kernel: s.Kernel, Index: f.Index,
				Verdict: verdict.Verdict(f.Verdict),
				Reason:  f.Reason, Size: plaintext.Count(f.Processes, "process"), Again: c.findingAgain(s, f),
			}
			if f.Attempts > 0 {
				shown.Size += fmt.Sprintf(", made smaller in %s", plaintext.Count(f.Attempts, "run"))
			}
			name := path.Base(path.Dir(f.Scenario))
			if r, ok := byDir[name]; ok {
				delete(byDir, name)
				if err := shown.fill(r, budget/max(1, all)); err != nil {
					return err
				}
			}
			v.Findings = append(v.Findings, shown)
		}
	}
	more := 0
	for _, r := range c.Runs {
		if _, ok := byDir[path.Base(r.Dir)]; !ok {
			continue
		}
		if len(v.Kept) == mostKept && !red(r.Result.Verdict) {
			more++
			continue
		}
		predicted, observed := Outcome(r.Result)
		v.Kept = append(v.Kept, suiteRun{
			Scenario: r.Result.Scenario, Kernel: version(r.Result), Verdict: r.Result.Verdict,
			Bad:       red(r.Result.Verdict),
			Predicted: plaintext.Cut(predicted, 60), Observed: plaintext.Cut(observed, 60),
			Time: seconds(r.Result.DurationMS),
		})
	}
	if more > 0 {
		v.MoreKept = fmt.Sprintf("And %s that passed, in %s.", plaintext.Count(more, "more run"), c.Dir)
	}
	var body bytes.Buffer
	if err := pages.ExecuteTemplate(&body, "campaign", v); err != nil {
		return err
	}
	return htmlPage(w, v.Title+": "+string(v.Verdict), template.HTML(body.String()))
}

// fill shows the run of a finding, as much of it as fits into a number of bytes.
func (f *campaignFinding) fill(r Subject, most int) error {
	source, err := scenario.Format(r.Input.Scenario)
	if err != nil {
		return err
	}
	f.Scenario = string(source)
	f.Body, err = fitting(r, most-len(source))
	return err
}

// killShares are how many kills were predicted for sure, were left open and
// were wrong.
func killShares(t chaos.Tally) []share {
	var out []share
	for _, s := range []share{{"pass", max(0, t.Kills-t.Unsure-t.Wrong)}, {"skip", t.Unsure}, {"fail", t.Wrong}} {
		if s.N > 0 {
			out = append(out, s)
		}
	}
	return out
}
