package report

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/chaos"
	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/verdict"
)

// campaign is one of two kernels: on the first two scenarios disagree, of which
// one's run was kept, beside one that passed; on the second nothing was found.
func campaign(t *testing.T) Campaign {
	t.Helper()
	found, kept := subject(t), subject(t)
	found.Dir, kept.Dir = "runs/chaos-7/6.12.117+deb13-cloud-amd64-all-00012",
		"runs/chaos-7/6.12.117+deb13-cloud-amd64-all-00013"
	found.Input.Scenario.Expect.Killed = &scenario.Killed{InOrder: []string{"big"}}
	found.Result = verdict.Judge(found.Input)
	if found.Result.Verdict != verdict.Fail {
		t.Fatalf("a claim that was turned round is %s", found.Result.Verdict)
	}
	command := []string{"oomlab", "chaos", "--seed", "7", "--kills", "1000", "--kernel", "6.12,7.3", "--domain", "all"}
	return Campaign{Dir: "runs/chaos-7", Runs: []Subject{found, kept}, Summaries: []chaos.Summary{
		{
			Kernel: "6.12.117+deb13-cloud-amd64", Seed: 7, Domain: chaos.All, Seconds: 540, Asked: "6.12",
			Command: command,
			Tally: chaos.Tally{Scenarios: 410, Kills: 1003, Global: 31, Unsure: 12, Wrong: 2, Scores: 4711,
				Disagreements: 2, Refused: 5,
				Claims: map[string]int{"prediction.killed": 2, "killed": 1}},
			Findings: []chaos.Finding{
				{Index: 12, Scenario: "elsewhere/chaos-7/6.12.117+deb13-cloud-amd64-all-00012/scenario.yaml",
					Verdict: "fail", Reason: found.Result.Reason, Processes: 2, Attempts: 17},
				{Index: 99, Scenario: "elsewhere/chaos-7/6.12.117+deb13-cloud-amd64-all-00099/scenario.yaml",
					Verdict: "fail", Reason: "killed: expected a|b; observed <c>", Processes: 1},
			},
		},
		{
			Kernel: "7.3.4+deb13-cloud-amd64", Seed: 7, Domain: chaos.All, Seconds: 61, Asked: "7.3", Command: command,
			Cut:   "context canceled",
			Tally: chaos.Tally{Scenarios: 40, Kills: 100, Global: 3, Scores: 512}, Findings: []chaos.Finding{},
		},
	}}
}

func TestCampaignText(t *testing.T) {
	var b bytes.Buffer
	if err := CampaignText(&b, campaign(t), Options{}); err != nil {
		t.Fatal(err)
	}
	golden.File(t, "testdata/campaign.txt", b.Bytes())
	for line := range strings.Lines(b.String()) {
		if n := plaintext.Width(strings.TrimSuffix(line, "\n")); n > 80 && !strings.Contains(line, "/scenario.yaml") {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestCampaignMarkdown(t *testing.T) {
	var b bytes.Buffer
	if err := CampaignMarkdown(&b, campaign(t)); err != nil {
		t.Fatal(err)
	}
	golden.File(t, "testdata/campaign.md", b.Bytes())
}

// TestCampaignHTML: what each kernel has shown, the findings with their
// scenarios and runs, and the commands that make both again.
func TestCampaignHTML(t *testing.T) {
	c := campaign(t)
	var b bytes.Buffer
	if err := CampaignHTML(&b, c); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	checkHTML(t, page)
	for _, want := range []string{
		"<title>Chaos campaign: fail</title>", "2 kernels, 450 scenarios, 1103 kills; 2 disagreements",
		`<td class="r free">2 (0.20 %), at most 0.60 %</td>`, `<td class="r free">4711 of 4711</td>`,
		`<th scope="row" class="stay">prediction.<wbr>killed</th><td class="r">2</td><td class="r">0</td>`,
		"<dd>2 processes, made smaller in 17 runs</dd>", "killed: expected a|b; observed &lt;c&gt;",
		"Its run directory is not there any more.",
		"<code>oomlab run --target vm --kernel 6.12.117&#43;deb13-cloud-amd64 " +
			"runs/chaos-7/6.12.117&#43;deb13-cloud-amd64-all-00012/scenario.yaml</code>",
		"summary: The process that fills the cgroup lives; a smaller one dies for it.", "Scoreboard of decision 1",
		`<th scope="row">memcg/<wbr>adj-outweighs-size <span class="dim means">6.12.117</span></th>`,
		"7.3.4&#43;deb13-cloud-amd64, all, seed 7 was cut short: context canceled",
		"<code>oomlab chaos --seed 7 --kills 1000 --kernel 6.12,7.3 --domain all</code>",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not have %q", want)
		}
	}
	if n := strings.Count(page, "oomlab chaos --seed 7"); n != 1 {
		t.Errorf("the command is there %d times", n)
	}
}

// TestCampaignThatFoundNothing says so, and in no red word.
func TestCampaignThatFoundNothing(t *testing.T) {
	c := campaign(t)
	c.Summaries, c.Runs = c.Summaries[1:], nil
	var b bytes.Buffer
	if err := CampaignHTML(&b, c); err != nil {
		t.Fatal(err)
	}
	checkHTML(t, b.String())
	for _, want := range []string{"<title>Chaos campaign: pass</title>", "None: every scenario went as the model " +
		"had said.", `<td class="r free">0 (0.00 %), at most 2.63 %</td>`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page does not have %q", want)
		}
	}
	if strings.Contains(b.String(), `class="word fail"`) {
		t.Error("something failed on it")
	}
}

// TestCampaignOfManyRuns: however much was found and kept, the page can be
// mailed, and no finding is left out.
func TestCampaignOfManyRuns(t *testing.T) {
	c := campaign(t)
	one, run := c.Summaries[0].Findings[0], c.Runs[0]
	c.Summaries[0].Findings, c.Runs = nil, nil
	for i := range 500 {
		run.Dir = fmt.Sprintf("runs/chaos-7/k-all-%05d", i)
		c.Runs = append(c.Runs, run)
		if i%2 == 0 {
			one.Index, one.Scenario = i, run.Dir+"/scenario.yaml"
			c.Summaries[0].Findings = append(c.Summaries[0].Findings, one)
		}
	}
	var b bytes.Buffer
	if err := CampaignHTML(&b, c); err != nil {
		t.Fatal(err)
	}
	checkHTML(t, b.String())
	if b.Len() > 5_000_000 {
		t.Errorf("%d bytes", b.Len())
	}
	if n := strings.Count(b.String(), `<details id="finding-`); n != 250 {
		t.Errorf("%d of 250 findings are shown", n)
	}
}

// TestAtMost: none of n is compatible with 2.7/n; all of n with everything.
func TestAtMost(t *testing.T) {
	for _, tt := range []struct {
		k, n int
		want float64
	}{{0, 100, 0.0263}, {0, 10000, 0.00027}, {1, 160, 0.0277}, {5, 10, 0.7307}, {10, 10, 1}} {
		if got := atMost(tt.k, tt.n); math.Abs(got-tt.want) > 0.0005 {
			t.Errorf("%d of %d: at most %.4f; want %.4f", tt.k, tt.n, got, tt.want)
		}
	}
}

// TestCampaignIsNotFooled: a directory's name and a reason can be anything.
func TestCampaignIsNotFooled(t *testing.T) {
	const evil = "</script><img src=x onerror=alert(1)>\x1b\xff&"
	c := campaign(t)
	c.Dir = evil
	c.Summaries[0].Kernel, c.Summaries[0].Findings[0].Reason, c.Summaries[0].Cut = evil, evil, evil
	c.Summaries[0].Tally.Claims = map[string]int{evil: 1}
	for name, write := range map[string]func(*bytes.Buffer) error{
		"html":     func(b *bytes.Buffer) error { return CampaignHTML(b, c) },
		"markdown": func(b *bytes.Buffer) error { return CampaignMarkdown(b, c) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		if name == "html" {
			checkHTML(t, b.String())
		}
		for line := range strings.Lines(b.String()) { // a code block holds it as it is
			if strings.Contains(line, "<img") && !strings.HasPrefix(line, "    ") {
				t.Errorf("%s: markup of a name is markup of the page: %s", name, line)
			}
		}
	}
}

// TestCampaignJSON: a line for each kernel, which reads back as it was.
func TestCampaignJSON(t *testing.T) {
	var b bytes.Buffer
	if err := CampaignJSON(&b, campaign(t)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 2 ||
		!strings.HasPrefix(lines[0], `{"kernel":"6.12.117+deb13-cloud-amd64","seed":7,"domain":"all",`) ||
		!strings.Contains(lines[1], `"findings":[]`) {
		t.Errorf("wrote\n%s", b.String())
	}
}

// TestCampaignAsTests: a campaign that found nothing is a case that passed, and
// one that found something is red, beside its runs.
func TestCampaignAsTests(t *testing.T) {
	c := campaign(t)
	var b bytes.Buffer
	if err := CampaignJUnit(&b, c); err != nil {
		t.Fatal(err)
	}
	checkJUnit(t, b.Bytes())
	for _, want := range []string{
		`<testcase name="7-all" classname="oomlab.chaos" time="61.000"></testcase>`,
		`<failure message="2 disagreements and 0 broken of 410 scenarios" type="fail">`,
		`<failure message="killed: expected big; observed small" type="fail">`,
		"  replayed    512 of 512 scores to the page",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "tier 0") {
		t.Error("what no run has said is in it")
	}
	b.Reset()
	if err := CampaignKTAP(&b, c); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"    not ok 1 chaos/7-all\n", "    not ok 2 memcg/adj-outweighs-size\n",
		"    ok 3 memcg/adj-outweighs-size\n", "ok 2 oomlab-vm-7.3.4+deb13-cloud-amd64\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}
