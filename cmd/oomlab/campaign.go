package main

import (
	"fmt"
	"slices"

	"github.com/oomlab/oomlab/harness/lab"
	"github.com/oomlab/oomlab/harness/report"
	"github.com/oomlab/oomlab/harness/verdict"
)

// campaignIn reads the directory of a campaign and judges its runs. It reports
// whether it is one.
func campaignIn(dir string, records *lab.Records) (report.Campaign, bool, error) {
	kept, is, err := lab.LoadCampaign(dir)
	c := report.Campaign{Dir: dir, Summaries: kept.Summaries}
	if err != nil || !is {
		return c, is, err
	}
	for _, run := range kept.Runs {
		s, err := subject(records, run)
		if err != nil {
			return c, true, err
		}
		c.Runs = append(c.Runs, s)
	}
	return c, true, nil
}

// subject reads and judges a run directory with all that it holds.
func subject(records *lab.Records, dir string) (report.Subject, error) {
	in, result, err := records.Judge(dir)
	if err != nil {
		return report.Subject{}, err
	}
	samples, err := lab.Samples(dir)
	return report.Subject{Dir: dir, Input: in, Result: result, Samples: samples}, err
}

// campaigns are those among the arguments of oomlab report; with one of them
// all must be.
func campaigns(runsDir string, args []string, records *lab.Records) ([]report.Campaign, error) {
	var out []report.Campaign
	for _, arg := range args {
		dir, err := lab.FindRun(runsDir, arg)
		if err != nil {
			continue // lab.FindRuns says what is wrong with it
		}
		c, is, err := campaignIn(dir, records)
		if err != nil {
			return nil, err
		}
		if is {
			out = append(out, c)
		}
	}
	if n := len(out); n > 0 && n < len(args) {
		return nil, &mistake{fmt.Sprintf("%s is a chaos campaign, which is reported without other runs", out[0].Dir),
			"name it alone"}
	}
	return out, nil
}

// reportCampaigns shows campaigns and turns what they found into an exit status.
func (a *app) reportCampaigns(all []report.Campaign, format string, kcidb report.KCIDBOptions) error {
	var words []verdict.Verdict
	for i, c := range all {
		words = append(words, c.Verdict())
		if i > 0 && slices.Contains([]string{"html", "junit", "ktap", "kcidb"}, format) {
			return &mistake{format + " shows one campaign", "name one at a time"}
		}
		if i > 0 && format != "json" {
			fmt.Fprintln(a.out)
		}
		if err := a.campaign(c, format, kcidb); err != nil {
			return err
		}
	}
	return done(statusOfVerdict(verdict.Worst(words...)))
}

func (a *app) campaign(c report.Campaign, format string, kcidb report.KCIDBOptions) error {
	switch format {
	case "json":
		return report.CampaignJSON(a.out, c)
	case "markdown":
		return report.CampaignMarkdown(a.out, c)
	case "html":
		return report.CampaignHTML(a.out, c)
	case "junit":
		return report.CampaignJUnit(a.out, c)
	case "ktap":
		return report.CampaignKTAP(a.out, c)
	case "kcidb":
		return report.CampaignKCIDB(a.out, c, kcidb)
	}
	return report.CampaignText(a.out, c, report.Options{Colour: a.terminal(), Width: a.outWidth()})
}
