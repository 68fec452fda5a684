package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/chaos"
	"github.com/oomlab/oomlab/harness/lab"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/report"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/target/vm/kernels"
)

// chaosFlags are the flags of oomlab chaos.
type chaosFlags struct {
	seed           uint64
	count, kills   int
	duration       time.Duration
	kernels        []string
	domain, output *choice
	shrink, quiet  bool
	keepAll        bool
	runsDir        string
	parallel       int
}

// progressEvery is how often progress is said while nothing else is.
const progressEvery = 10 * time.Second

func (a *app) chaosCommand() *cobra.Command {
	f := chaosFlags{domain: &choice{value: string(chaos.All)}}
	for _, d := range chaos.Domains {
		f.domain.of = append(f.domain.of, string(d))
	}
	cmd := &cobra.Command{
		Use:   "chaos [flags]",
		Short: "test the model with random scenarios",
		Long: `Test the model with random scenarios.

Every scenario is drawn from the seed and its number, and is the same on every
machine and for every kernel. It runs in a virtual machine and is judged like
any other: the victims, their order, the limit that was hit, and whether the
kernel's scores equal the model's to the page.

Domains are what scenarios are about: memcg (one cgroup), nested (a tree of them),
system (the whole machine), qos (pods), and the kinds of memory and machines:
overcommit, files (page cache on a disk), tmpfs, zram, hugepages (a pool of them),
nodes (NUMA) and cpus (two processors, where a second process may be killed before
the first victim has left). all mixes them.

A scenario that shows a disagreement is kept below --runs-dir as a run
directory, whose scenario.yaml oomlab run accepts; --shrink reduces it as long as
it still shows the disagreement. A summary of each kernel is kept beside them;
oomlab report shows them all. --count is the number of scenarios and --kills
that of OOM kills, for each kernel; the first one that is reached ends the
campaign.

Exit status:
  0    no disagreement
  1    the evidence contradicts the model
  64   wrong usage
  70   broken: some evidence is incomplete or contradicts itself, or something failed
  130  interrupted`,
		Example: `  oomlab chaos --seed 1 --count 100
  oomlab chaos --kernel 5.10,6.12 --domain memcg --duration 10m --shrink
  oomlab chaos --seed 7 --kills 2000 -o json | jq .tally
  oomlab report -o html runs/chaos-7 > campaign.html`,
		Args: wants(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.chaos(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.Uint64Var(&f.seed, "seed", 1, "the scenarios are drawn from `SEED`")
	flags.IntVar(&f.count, "count", 0, "end after `N` scenarios (default 100 without --kills and --duration)")
	flags.IntVar(&f.kills, "kills", 0, "end after `N` OOM kills")
	flags.DurationVar(&f.duration, "duration", 0, "end after `TIME`, such as 10m")
	flags.StringSliceVar(&f.kernels, "kernel", nil,
		"`KERNEL`s, one after the other: 5.10,6.12 (default the newest "+kernels.DefaultSeries+")")
	flags.Var(f.domain, "domain", "what the scenarios are about: a `DOMAIN`")
	flags.BoolVar(&f.shrink, "shrink", false, "reduce scenarios that show a disagreement")
	flags.BoolVar(&f.keepAll, "keep-all", false, "keep the run directories of all scenarios")
	flags.StringVar(&f.runsDir, "runs-dir", defaultRunsDir, "`DIR` where run directories are made")
	flags.IntVar(&f.parallel, "parallel", 0, "run `N` VMs side by side (default as many as there is room for)")
	f.output = output(cmd, "text", "json", "markdown", "html")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print no progress")
	return cmd
}

func (f *chaosFlags) check() error {
	if f.count == 0 && f.kills == 0 && f.duration == 0 {
		f.count = 100
	}
	for _, k := range f.kernels {
		if err := kernels.Check(k); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) chaos(ctx context.Context, f chaosFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	log := a.say
	if f.quiet {
		log = func(string) {}
	}
	dir, total, err := lab.Campaign(ctx, lab.CampaignOptions{
		Kernels: f.kernels, Command: chaosCommandLine(f),
		Lab: lab.Options{Target: scenario.VM, RunsDir: f.runsDir, Parallel: f.parallel, Log: log},
		Chaos: func() lab.ChaosOptions {
			p := &chaosProgress{flags: f, say: log, began: time.Now(), last: time.Now()}
			return lab.ChaosOptions{
				Seed: f.seed, Domain: chaos.Domain(f.domain.value),
				Count: f.count, Kills: f.kills, Duration: f.duration,
				Shrink: f.shrink, Record: f.keepAll, Ended: p.ended, Found: p.found,
			}
		},
		Shown: func(dir string, s lab.ChaosSummary) error { return a.chaosSummary(f, dir, s) },
	})
	if err != nil {
		return err
	}
	if err := a.chaosPage(f, dir); err != nil {
		return err
	}
	return done(statusOfVerdict(total.Verdict()))
}

// chaosCommandLine is the command that makes a campaign again.
func chaosCommandLine(f chaosFlags) []string {
	out := []string{"oomlab", "chaos", "--seed", fmt.Sprint(f.seed)}
	if f.count > 0 {
		out = append(out, "--count", fmt.Sprint(f.count))
	}
	if f.kills > 0 {
		out = append(out, "--kills", fmt.Sprint(f.kills))
	}
	if f.duration > 0 {
		out = append(out, "--duration", f.duration.String())
	}
	if all := strings.Join(f.kernels, ","); all != "" {
		out = append(out, "--kernel", all)
	}
	out = append(out, "--domain", f.domain.value)
	if f.shrink {
		out = append(out, "--shrink")
	}
	if f.keepAll {
		out = append(out, "--keep-all")
	}
	return out
}

// chaosProgress says how far it is. Its methods are called one at a time.
type chaosProgress struct {
	flags       chaosFlags
	say         func(string)
	began, last time.Time
	done        int
	tally       chaos.Tally
}

func (p *chaosProgress) ended(r lab.ChaosRun) {
	p.done++
	p.tally.Add(r.Tally)
	if now := time.Now(); now.Sub(p.last) >= progressEvery {
		p.last = now
		p.say(p.line(now.Sub(p.began)))
	}
}

func (p *chaosProgress) found(f lab.ChaosFinding) {
	p.say(fmt.Sprintf("%s: scenario %d: %s\n  %s, %s", strings.ToUpper(f.Verdict), f.Index, f.Reason, f.Scenario,
		plaintext.Count(f.Processes, "process")))
}

// line is one line of progress.
func (p *chaosProgress) line(since time.Duration) string {
	left := time.Duration(-1)
	sooner := func(done, of float64) {
		if of > 0 && done > 0 {
			if eta := time.Duration(float64(since) * max(0, of-done) / done); left < 0 || eta < left {
				left = eta
			}
		}
	}
	sooner(float64(p.done), float64(p.flags.count))
	sooner(float64(p.tally.Kills), float64(p.flags.kills))
	sooner(float64(since), float64(p.flags.duration))
	text := fmt.Sprintf("%s, %s, %.0f a minute, %s", plaintext.Count(p.done, "scenario"),
		plaintext.Count(p.tally.Kills, "kill"),
		float64(p.tally.Kills)/since.Minutes(), plaintext.Count(p.tally.Disagreements, "disagreement"))
	if p.tally.Broken > 0 {
		text += fmt.Sprintf(", %d broken", p.tally.Broken)
	}
	if left >= 0 {
		text += fmt.Sprintf(", %s to go", left.Round(time.Second))
	}
	return text
}

// chaosSummary prints what a kernel has shown, where that is done kernel by
// kernel.
func (a *app) chaosSummary(f chaosFlags, dir string, s lab.ChaosSummary) error {
	c := report.Campaign{Dir: dir, Summaries: []chaos.Summary{s}}
	switch f.output.value {
	case "text", "json":
		return a.campaign(c, f.output.value, report.KCIDBOptions{})
	}
	return nil
}

// chaosPage prints the whole campaign, where that is done at its end.
func (a *app) chaosPage(f chaosFlags, dir string) error {
	switch f.output.value {
	case "text":
		if !f.quiet {
			a.say(fmt.Sprintf("kept in %s; oomlab report -o html %s makes a page of it", dir, dir))
		}
		return nil
	case "json":
		return nil
	}
	c, _, err := campaignIn(dir, &lab.Records{})
	if err != nil {
		return err
	}
	return a.campaign(c, f.output.value, report.KCIDBOptions{})
}
