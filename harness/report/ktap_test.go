package report

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/verdict"
)

// The rules of tools/testing/kunit/kunit_parser.py, by its names.
var (
	ktapStart      = regexp.MustCompile(`\s*KTAP version ([0-9]+)$`)
	testHeader     = regexp.MustCompile(`^\s*# Subtest: (.*)$`)
	testPlan       = regexp.MustCompile(`^\s*1\.\.([0-9]+)`)
	testResult     = regexp.MustCompile(`^\s*(ok|not ok) ([0-9]+) ?(- )?([^#]*)( # .*)?$`)
	testResultSkip = regexp.MustCompile(`^\s*(ok|not ok) ([0-9]+) ?(- )?(.*) # SKIP ?(.*)$`)
)

// kunit is a parser with the rules of kunit_parser.py's parse_test().
type kunit struct {
	t     *testing.T
	lines []string
}

func (k *kunit) peek() string {
	if len(k.lines) == 0 {
		return ""
	}
	return k.lines[0]
}

func (k *kunit) pop() string {
	line := k.peek()
	k.lines = k.lines[min(1, len(k.lines)):]
	return line
}

// diagnostics skips what is no result, header or plan.
func (k *kunit) diagnostics() {
	for len(k.lines) > 0 {
		line := k.peek()
		if testResult.MatchString(line) || testHeader.MatchString(line) || ktapStart.MatchString(line) ||
			testPlan.MatchString(line) {
			return
		}
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			k.t.Errorf("%q is neither a result nor a diagnostic", line)
		}
		k.pop()
	}
}

// test parses one test and returns "status name", its subtests before it.
func (k *kunit) test(number int) []string {
	var out []string
	k.diagnostics()
	name := ""
	if ktapStart.MatchString(k.peek()) {
		k.pop()
		k.diagnostics()
		if m := testHeader.FindStringSubmatch(k.peek()); m != nil {
			name = m[1]
			k.pop()
		}
		k.diagnostics()
		m := testPlan.FindStringSubmatch(k.peek())
		if m == nil {
			k.t.Fatalf("%q is no plan", k.peek())
		}
		k.pop()
		n, err := strconv.Atoi(m[1])
		if err != nil {
			k.t.Fatal(err)
		}
		for i := range n {
			out = append(out, k.test(i+1)...)
		}
		k.diagnostics()
	}
	line := k.pop()
	m := testResult.FindStringSubmatch(line)
	if m == nil {
		k.t.Fatalf("%q is no result", line)
	}
	if name != "" && m[4] != name {
		k.t.Errorf("the subtest %q ends as %q", name, m[4])
	}
	if m[2] != fmt.Sprint(number) {
		k.t.Errorf("%q has the number %s, expected %d", line, m[2], number)
	}
	state := m[1]
	if s := testResultSkip.FindStringSubmatch(line); s != nil {
		state, m[4] = "skipped", s[4]
	}
	return append(out, state+" "+m[4])
}

func TestKTAP(t *testing.T) {
	results := all(t)
	results[4].Reason = "expected # nobody\nok 7 of them"
	var b bytes.Buffer
	if err := KTAP(&b, results); err != nil {
		t.Fatal(err)
	}
	k := &kunit{t: t, lines: strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")}
	if !ktapStart.MatchString(k.pop()) {
		t.Fatal("no version")
	}
	m := testPlan.FindStringSubmatch(k.pop())
	if m == nil {
		t.Fatal("no plan")
	}
	var got []string
	for i := range len(results) {
		if fmt.Sprint(i) == m[1] {
			break
		}
		got = append(got, k.test(i+1)...)
	}
	if len(k.lines) > 0 {
		t.Errorf("left over: %q", k.lines)
	}
	for _, r := range results {
		want := map[verdict.Verdict]string{verdict.Pass: "ok", verdict.Fail: "not ok", verdict.Broken: "not ok",
			verdict.Skip: "skipped"}[r.Verdict] + " " + r.Scenario
		found := false
		for _, g := range got {
			found = found || g == want
		}
		if !found {
			t.Errorf("%q is not among %q", want, got)
		}
	}
	golden.File(t, "testdata/report.ktap", b.Bytes())
}
