package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/verdict"
)

// The elements of the JUnit format. There is no standard, but two schemas that
// CI servers hold reports against: junit-10.xsd of Jenkins and JUnit.xsd of Ant.
// This keeps to what both allow, so what a run that passed has to say stands
// at its suite's end and not in its case.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		Package    string          `xml:"package,attr"`
		ID         int             `xml:"id,attr"`
		Host       string          `xml:"hostname,attr"`
		Tests      int             `xml:"tests,attr"`
		Fails      int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Time       string          `xml:"time,attr"`
		Timestamp  string          `xml:"timestamp,attr,omitempty"`
		Properties junitProperties `xml:"properties"`
		Cases      []junitCase     `xml:"testcase"`
		Out        junitText       `xml:"system-out"`
		Err        junitText       `xml:"system-err"`

		ms int64
	}
	junitProperties struct {
		All []junitProperty `xml:"property"`
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
	return junit(w, all, func(r verdict.Result) (string, error) {
		var text strings.Builder
		err := Text(&text, r, Options{Verbose: r.Verdict != verdict.Pass})
		return text.String(), err
	})
}

// junit writes runs with all that text has to say of each.
func junit(w io.Writer, all []verdict.Result, text func(verdict.Result) (string, error)) error {
	var root junitSuites
	place := map[string]int{}
	for _, r := range all {
		name := strings.TrimSpace("oomlab " + r.Target + " " + r.Kernel.Release)
		i, ok := place[name]
		if !ok {
			i = len(root.Suites)
			place[name] = i
			root.Suites = append(root.Suites, junitSuite{
				// which is what stands for a name that is not known
				Name: name, Package: "oomlab", ID: i, Host: "localhost",
				Timestamp: strings.TrimSuffix(r.Started, "Z"), Properties: junitProperties{properties(r)},
			})
		}
		s := &root.Suites[i]
		said, err := text(r)
		if err != nil {
			return err
		}
		s.add(r, said)
	}
	out, err := xml.MarshalIndent(root, "", " ")
	if err != nil {
		return fmt.Errorf("junit: %w", err)
	}
	_, err = io.WriteString(w, xml.Header+plaintext.EscapeLines(string(out))+"\n")
	return err
}

func properties(r verdict.Result) []junitProperty {
	out := []junitProperty{{"target", r.Target}}
	if r.Kernel.Release != "" {
		out = append(out, junitProperty{"kernel.release", r.Kernel.Release},
			junitProperty{"kernel.version", r.Kernel.Version})
	}
	return out
}

func (s *junitSuite) add(r verdict.Result, text string) {
	// JUnit's classes are what scenarios' directories are
	class := strings.Trim("oomlab."+strings.ReplaceAll(path.Dir(r.Scenario), "/", "."), ".")
	c := junitCase{Name: path.Base(r.Scenario), Class: class, Time: junitTime(r.DurationMS)}
	bad := func(kind string) *junitOutcome {
		return &junitOutcome{Message: r.Reason, Type: kind, Text: details(r) + "\n" + text}
	}
	switch r.Verdict {
	case verdict.Fail:
		c.Failure = bad("fail")
		s.Fails++
	case verdict.Broken:
		c.Error = bad("broken")
		s.Errors++
	case verdict.Skip:
		c.Skipped = &junitOutcome{Message: r.Reason}
		s.Skipped++
	case verdict.Pass:
		if s.Out.Text != "" {
			s.Out.Text += "\n"
		}
		s.Out.Text += text
	}
	s.Cases = append(s.Cases, c)
	s.Tests++
	s.ms += r.DurationMS
	s.Time = junitTime(s.ms)
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
	return plaintext.EscapeLines(b.String())
}

func junitTime(ms int64) string { return fmt.Sprintf("%.3f", float64(ms)/1000) }
