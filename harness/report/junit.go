package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/oomlab/oomlab/harness/verdict"
)

// The elements of the JUnit format as Jenkins, GitLab and Surefire agree on it.
// There is no standard; this keeps to what all of them read.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Tests   int          `xml:"tests,attr"`
		Fails   int          `xml:"failures,attr"`
		Errors  int          `xml:"errors,attr"`
		Time    string       `xml:"time,attr"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		Tests      int             `xml:"tests,attr"`
		Fails      int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Time       string          `xml:"time,attr"`
		Timestamp  string          `xml:"timestamp,attr,omitempty"`
		Properties []junitProperty `xml:"properties>property,omitempty"`
		Cases      []junitCase     `xml:"testcase"`

		ms int64
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		Time    string        `xml:"time,attr"`
		Skipped *junitOutcome `xml:"skipped"`
		Error   *junitOutcome `xml:"error"`
		Failure *junitOutcome `xml:"failure"`
		Out     *junitText    `xml:"system-out"`
	}
	junitText struct {
		Text string `xml:",cdata"`
	}
	junitOutcome struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",cdata"`
	}
)

// JUnit writes runs as a JUnit report: a suite for each target and kernel, a
// case for each run. A fail is a failure, broken is an error, and a skip is
// skipped.
func JUnit(w io.Writer, all []verdict.Result) error {
	var root junitSuites
	place := map[string]int{}
	var total int64
	for _, r := range all {
		name := strings.TrimSpace("oomlab " + r.Target + " " + r.Kernel.Release)
		i, ok := place[name]
		if !ok {
			i = len(root.Suites)
			place[name] = i
			root.Suites = append(root.Suites, junitSuite{Name: name, Timestamp: strings.TrimSuffix(r.Started, "Z"), Properties: properties(r)})
		}
		c, err := junitCaseOf(r)
		if err != nil {
			return err
		}
		s := &root.Suites[i]
		s.Cases = append(s.Cases, c)
		s.Tests++
		s.ms += r.DurationMS
		switch r.Verdict {
		case verdict.Fail:
			s.Fails++
		case verdict.Broken:
			s.Errors++
		case verdict.Skip:
			s.Skipped++
		}
	}
	for i := range root.Suites {
		s := &root.Suites[i]
		s.Time = junitTime(s.ms)
		root.Tests, root.Fails, root.Errors, total = root.Tests+s.Tests, root.Fails+s.Fails, root.Errors+s.Errors, total+s.ms
	}
	root.Time = junitTime(total)
	out, err := xml.MarshalIndent(root, "", " ")
	if err != nil {
		return fmt.Errorf("junit: %w", err)
	}
	_, err = io.WriteString(w, xml.Header+string(out)+"\n")
	return err
}

func properties(r verdict.Result) []junitProperty {
	out := []junitProperty{{"target", r.Target}}
	if r.Kernel.Release != "" {
		out = append(out, junitProperty{"kernel.release", r.Kernel.Release}, junitProperty{"kernel.version", r.Kernel.Version})
	}
	return out
}

func junitCaseOf(r verdict.Result) (junitCase, error) {
	// JUnit's classes are what scenarios' directories are
	class := strings.Trim("oomlab."+strings.ReplaceAll(path.Dir(r.Scenario), "/", "."), ".")
	c := junitCase{Name: path.Base(r.Scenario), Class: class, Time: junitTime(r.DurationMS)}
	var text strings.Builder
	if err := Text(&text, r, Options{Verbose: r.Verdict != verdict.Pass}); err != nil {
		return c, err
	}
	c.Out = &junitText{printable(text.String())}
	switch r.Verdict {
	case verdict.Fail:
		c.Failure = &junitOutcome{Message: r.Reason, Type: "fail", Text: details(r)}
	case verdict.Broken:
		c.Error = &junitOutcome{Message: r.Reason, Type: "broken", Text: details(r)}
	case verdict.Skip:
		c.Skipped = &junitOutcome{Message: r.Reason}
	}
	return c, nil
}

// details are all claims that do not hold and all disagreements, one a line.
func details(r verdict.Result) string {
	var b strings.Builder
	for _, d := range r.Disagreements {
		fmt.Fprintf(&b, "%s: %s\n", d.Name, d.Detail)
	}
	for _, c := range r.Claims {
		if c.Verdict == verdict.Fail {
			fmt.Fprintf(&b, "%s: expected %s; observed %s\n", c.Name, c.Expected, c.Observed)
		}
	}
	return printable(b.String())
}

// printable replaces what XML cannot hold at all; a comm may be any bytes.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t', r == '\n', r >= 0x20 && r < 0xfffe, r > 0xffff:
			return r
		}
		return utf8.RuneError
	}, s)
}

func junitTime(ms int64) string { return fmt.Sprintf("%.3f", float64(ms)/1000) }
