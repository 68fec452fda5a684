package report

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/verdict"
	"github.com/oomlab/oomlab/scenarios"
)

// TestClaims: runs that pass answer, others say why they do not, and what was not run
// is there too.
func TestClaims(t *testing.T) {
	claim := func(statement string, answer scenario.Answer, when string) *scenario.Statement {
		return &scenario.Statement{Statement: statement, Made: "articles for <b>readers</b>", Answer: answer, When: when,
			Formerly: "5.8 and older did_not"}
	}
	library := []scenario.Scenario{
		{Name: "memcg/adj-outweighs-size", Summary: "A smaller one dies.", Because: "An adj\n  counts.\n",
			Claim: claim("The biggest dies.", scenario.False, "oom_score_adj says otherwise")},
		{Name: "memcg/never-run", Summary: "It was not.", Because: "There was no time.",
			Claim: claim("Someone runs it.", scenario.True, "")},
	}
	var runs []Subject
	for _, name := range []string{"pass", "fail", "skip"} {
		r := read(t, name)
		if name == "fail" {
			r.Kernel.Release = "7.3.4"
		}
		s := library[0]
		s.Name = r.Scenario
		if s.Name != library[0].Name {
			s.Claim = claim("It has_swap & more.", scenario.True, "")
		}
		runs = append(runs, Subject{Input: verdict.Input{Scenario: s}, Result: r})
	}
	var b bytes.Buffer
	if err := Claims(&b, library, runs); err != nil {
		t.Fatal(err)
	}
	golden.File(t, "testdata/claims.md", b.Bytes())
}

// TestClaimsDocument: docs/claims.md has every statement of the library and every
// scenario that answers it, and no others. `make claims` makes it anew.
func TestClaimsDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/claims.md")
	if err != nil {
		t.Fatal(err)
	}
	all, err := scenarios.All()
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	parts := strings.Split(string(text), "\n## ")
	for _, part := range parts[1:] {
		heading, body, _ := strings.Cut(part, "\n")
		sections[heading] = body
	}
	said := map[string][]string{}
	for _, s := range all {
		if s.Claim != nil {
			heading := escape(s.Claim.Statement)
			said[heading] = append(said[heading], s.Name+" answers "+string(s.Claim.Answer))
		}
	}
	for heading, want := range said {
		if !strings.Contains(parts[0], "](#"+anchor(heading)+")") {
			t.Errorf("the table has no link to %q", heading)
		}
		var got []string
		for _, m := range regexp.MustCompile("\n`(\\S+)` answers \\*\\*(true|false)\\*\\*").
			FindAllStringSubmatch(sections[heading], -1) {
			got = append(got, m[1]+" answers "+m[2])
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the document has %q, the library %q; make claims", heading, got, want)
		}
	}
	for heading := range sections {
		if said[heading] == nil {
			t.Errorf("nothing in the library says %q; make claims", heading)
		}
	}
}
