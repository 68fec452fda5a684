package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oomlab/oomlab/harness/chaos"
	"github.com/oomlab/oomlab/harness/report"
	"github.com/oomlab/oomlab/harness/verdict"
)

// newCampaign makes the directory of a campaign. One of an earlier campaign with
// the same seed is left as it is.
func newCampaign(runsDir string, seed uint64) (string, error) {
	if err := os.MkdirAll(runsDir, 0o755); err != nil {
		return "", err
	}
	name := filepath.Join(runsDir, fmt.Sprintf("chaos-%d", seed))
	dir := name
	for n := 2; ; n++ {
		err := os.Mkdir(dir, 0o755)
		if !errors.Is(err, fs.ErrExist) {
			return dir, err
		}
		dir = fmt.Sprintf("%s-%d", name, n)
	}
}

// keepSummary writes what a kernel has shown beside the runs that were kept.
func keepSummary(dir string, s chaos.Summary) error {
	return writeWhole(filepath.Join(dir, s.FileName()), func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", " ")
		return enc.Encode(s)
	})
}

// campaignIn reads the directory of a campaign. It reports whether it is one.
func campaignIn(dir string) (report.Campaign, bool, error) {
	c := report.Campaign{Dir: dir}
	// a wildcard in dir itself is one that os.DirFS does not see
	names, err := fs.Glob(os.DirFS(dir), chaos.SummaryPattern)
	if err != nil || len(names) == 0 {
		return c, false, err
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		s, err := readSummary(path)
		if err != nil {
			return c, true, &mistake{fmt.Sprintf("%s: %v", path, err), "oomlab chaos writes it; the runs beside it can be named on their own"}
		}
		c.Summaries = append(c.Summaries, s)
	}
	runs, is, err := recordedIn(dir)
	if err != nil || !is {
		return c, true, err
	}
	for _, run := range runs.dirs {
		s, err := subject(run)
		if err != nil {
			return c, true, err
		}
		c.Runs = append(c.Runs, s)
	}
	return c, true, nil
}

func readSummary(name string) (chaos.Summary, error) {
	var s chaos.Summary
	f, err := os.Open(name)
	if err != nil {
		return s, err
	}
	defer f.Close()
	dec := json.NewDecoder(f)
	dec.DisallowUnknownFields()
	err = dec.Decode(&s)
	if err != nil {
		err = errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return s, err
}

// subject reads and judges a run directory with all that it holds.
func subject(dir string) (report.Subject, error) {
	in, err := load(dir)
	if err != nil {
		return report.Subject{}, err
	}
	samples, err := loadSamples(dir)
	return report.Subject{Dir: dir, Input: in, Result: verdict.Judge(in), Samples: samples}, err
}

// campaigns are those among the arguments of oomlab report; with one of them
// all must be.
func campaigns(runsDir string, args []string) ([]report.Campaign, error) {
	var out []report.Campaign
	for _, arg := range args {
		dir, err := findRun(runsDir, arg)
		if err != nil {
			continue // findRuns says what is wrong with it
		}
		c, is, err := campaignIn(dir)
		if err != nil {
			return nil, err
		}
		if is {
			out = append(out, c)
		}
	}
	if n := len(out); n > 0 && n < len(args) {
		return nil, &mistake{fmt.Sprintf("%s is a chaos campaign, which is reported without other runs", out[0].Dir), "name it alone"}
	}
	return out, nil
}

// reportCampaigns shows campaigns and turns what they found into an exit status.
func (a *app) reportCampaigns(all []report.Campaign, format string) error {
	var words []verdict.Word
	for i, c := range all {
		words = append(words, c.Verdict())
		if i > 0 && slices.Contains([]string{"html", "junit", "ktap"}, format) {
			return &mistake{format + " shows one campaign", "name one at a time"}
		}
		if i > 0 && format != "json" {
			fmt.Fprintln(a.out)
		}
		if err := a.campaign(c, format); err != nil {
			return err
		}
	}
	return done(statusOfVerdict(verdict.Worst(words...)))
}

func (a *app) campaign(c report.Campaign, format string) error {
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
	}
	return report.CampaignText(a.out, c, report.Options{Colour: a.terminal(), Width: a.outWidth()})
}
