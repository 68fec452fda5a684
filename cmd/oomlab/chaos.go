package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oomlab/oomlab/harness/chaos"
	"github.com/oomlab/oomlab/harness/lab"
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
		Short: "put the model to the test with random scenarios",
		Long: `Put the model to the test with random scenarios.

Every scenario is drawn from the seed and its number, and is the same on every
machine and for every kernel. It is carried out in a virtual machine and judged
like any other: who is killed, in which order, by whose limit, and whether the
kernel's scores are the model's to the page.

What shows a disagreement is kept below --runs-dir as a run directory, whose
scenario.yaml oomlab run accepts; --shrink makes it as small as it still shows
it. --count is the number of scenarios and --kills that of OOM kills, for each
kernel; whatever is reached first ends it.

Exit status:
  0    no disagreement
  1    the evidence contradicts the model
  64   wrong usage
  70   broken: some evidence cannot carry a judgement, or something failed
  130  interrupted`,
		Example: `  oomlab chaos --seed 1 --count 100
  oomlab chaos --kernel 5.10,6.12 --domain memcg --duration 10m --shrink
  oomlab chaos --seed 7 --kills 2000 -o json | jq .tally`,
		Args: wants(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.chaos(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.Uint64Var(&f.seed, "seed", 1, "the scenarios are drawn from `SEED`")
	flags.IntVar(&f.count, "count", 0, "end after `N` scenarios (default 100 where nothing else ends it)")
	flags.IntVar(&f.kills, "kills", 0, "end after `N` OOM kills")
	flags.DurationVar(&f.duration, "duration", 0, "end after `TIME`, such as 10m")
	flags.StringSliceVar(&f.kernels, "kernel", nil, "`KERNEL`s, one after the other: 5.10,6.12 (default the newest cached one)")
	flags.Var(f.domain, "domain", "what the scenarios are about")
	flags.BoolVar(&f.shrink, "shrink", false, "make what shows a disagreement as small as it still shows it")
	flags.BoolVar(&f.keepAll, "keep-all", false, "keep the run directories of all scenarios")
	flags.StringVar(&f.runsDir, "runs-dir", defaultRunsDir, "`DIR` where run directories are made")
	flags.IntVar(&f.parallel, "parallel", 0, "run `N` VMs side by side (default as many as there is room for)")
	f.output = output(cmd, "text", "json")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "say nothing of progress")
	return cmd
}

func (f *chaosFlags) check() error {
	switch {
	case f.count < 0, f.kills < 0:
		return &mistake{"--count and --kills count from 1", "leave out the one that is not to end it"}
	case f.duration < 0:
		return &mistake{fmt.Sprintf("--duration %s: time goes forward", f.duration), ""}
	case f.parallel < 0:
		return &mistake{fmt.Sprintf("--parallel %d: at least one VM runs at a time", f.parallel), "leave it out for as many as there is room for"}
	}
	if f.count == 0 && f.kills == 0 && f.duration == 0 {
		f.count = 100
	}
	for _, k := range f.kernels {
		if err := checkKernel(k); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) chaos(ctx context.Context, f chaosFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	if len(f.kernels) == 0 {
		f.kernels = []string{""}
	}
	var total chaos.Tally
	for _, k := range f.kernels {
		summary, err := a.chaosOn(ctx, f, k)
		if summary.Kernel != "" {
			total.Add(summary.Tally)
			if printed := a.chaosSummary(f, summary); printed != nil {
				return errors.Join(err, printed)
			}
		}
		if err != nil {
			return err
		}
	}
	switch {
	case total.Broken > 0:
		return done(exitBroken)
	case total.Disagreements > 0:
		return done(exitFail)
	}
	return nil
}

// chaosOn puts one kernel to the test.
func (a *app) chaosOn(ctx context.Context, f chaosFlags, kernel string) (lab.ChaosSummary, error) {
	log := a.say
	if f.quiet {
		log = func(string) {}
	}
	l, err := lab.Open(lab.Options{Target: "vm", Kernel: kernel, RunsDir: f.runsDir, Parallel: f.parallel, Log: log})
	if err != nil {
		return lab.ChaosSummary{}, err
	}
	p := &chaosProgress{flags: f, say: log, began: time.Now(), last: time.Now()}
	summary, err := l.Chaos(ctx, lab.ChaosOptions{
		Seed: f.seed, Domain: chaos.Domain(f.domain.value), Count: f.count, Kills: f.kills, Duration: f.duration,
		Shrink: f.shrink, Record: f.keepAll, Ended: p.ended, Found: p.found,
	})
	return summary, errors.Join(err, l.Close())
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
	p.say(fmt.Sprintf("%s: scenario %d: %s\n  %s, %s", strings.ToUpper(f.Verdict), f.Index, f.Reason, f.Scenario, plural(f.Processes, "process")))
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
	text := fmt.Sprintf("%s, %s, %.0f a minute, %s", plural(p.done, "scenario"), plural(p.tally.Kills, "kill"),
		float64(p.tally.Kills)/since.Minutes(), plural(p.tally.Disagreements, "disagreement"))
	if p.tally.Broken > 0 {
		text += fmt.Sprintf(", %d broken", p.tally.Broken)
	}
	if left >= 0 {
		text += fmt.Sprintf(", %s to go", left.Round(time.Second))
	}
	return text
}

func plural(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	if strings.HasSuffix(of, "s") {
		of += "e"
	}
	return fmt.Sprintf("%d %ss", n, of)
}

// chaosSummary prints what a kernel has shown.
func (a *app) chaosSummary(f chaosFlags, s lab.ChaosSummary) error {
	if f.output.value == "json" {
		enc := json.NewEncoder(a.out)
		enc.SetEscapeHTML(false)
		return enc.Encode(s)
	}
	_, err := fmt.Fprint(a.out, chaosText(s))
	return err
}

func chaosText(s lab.ChaosSummary) string {
	var b strings.Builder
	t := s.Tally
	minutes := s.Seconds / 60
	fmt.Fprintf(&b, "kernel %s, seed %d, domain %s: %s in %.1f min\n", s.Kernel, s.Seed, s.Domain, plural(t.Scenarios, "scenario"), minutes)
	fmt.Fprintf(&b, "  kills       %d (%.0f a minute), %d of them machine-wide\n", t.Kills, float64(t.Kills)/max(minutes, 1e-9), t.Global)
	fmt.Fprintf(&b, "  wrong       %d (%s), %s\n", t.Wrong, share(t.Wrong, t.Kills), plural(t.Disagreements, "disagreement"))
	fmt.Fprintf(&b, "  unsure      %d (%s): of %d the victim, of %d whether they happen\n", t.Unsure, share(t.Unsure, t.Kills), t.Unsure-t.Whether, t.Whether)
	fmt.Fprintf(&b, "  replayed    %d of %d scores to the page\n", t.Scores-t.ScoresWrong, t.Scores)
	fmt.Fprintf(&b, "  collateral  %d\n", t.Strangers)
	fmt.Fprintf(&b, "  broken      %d, refused %d\n", t.Broken, t.Refused)
	var claims []string
	for name, n := range t.Claims {
		claims = append(claims, fmt.Sprintf("%s %d", name, n))
	}
	if slices.Sort(claims); len(claims) > 0 {
		fmt.Fprintf(&b, "  claims that failed: %s\n", strings.Join(claims, ", "))
	}
	for _, found := range s.Findings {
		fmt.Fprintf(&b, "  %-11s %s\n", found.Verdict, found.Scenario)
		fmt.Fprintf(&b, "              %s\n", found.Reason)
	}
	return b.String()
}

func share(n, of int) string {
	if of == 0 {
		return "none"
	}
	return fmt.Sprintf("%.2f %%", 100*float64(n)/float64(of))
}
