package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/verdict"
)

// junitElement is what the schemas of Jenkins (junit-10.xsd of its xunit plugin)
// and of Ant (JUnit.xsd) both allow of an element. .ci/formats asks the first
// itself.
type junitElement struct {
	children []string // in this order
	one      bool     // one of them at most
	need     []string // attributes
	may      []string
}

var junitSchema = map[string]junitElement{
	"testsuites": {children: []string{"testsuite"}},
	"testsuite": {
		children: []string{"properties", "testcase", "system-out", "system-err"},
		need:     []string{"name", "package", "id", "hostname", "tests", "failures", "errors", "skipped", "time"},
		may:      []string{"timestamp"},
	},
	"properties": {children: []string{"property"}},
	"property":   {need: []string{"name", "value"}},
	"testcase": {
		children: []string{"skipped", "error", "failure"},
		one:      true,
		need:     []string{"name", "classname", "time"},
	},
	"skipped":    {may: []string{"message", "type"}},
	"error":      {need: []string{"type"}, may: []string{"message"}},
	"failure":    {need: []string{"type"}, may: []string{"message"}},
	"system-out": {},
	"system-err": {},
}

// checkJUnit walks a report and complains about whatever the schema does not allow.
func checkJUnit(t *testing.T, data []byte) {
	t.Helper()
	type open struct {
		name string
		last int // place of the last child in the order
		n    int // children
	}
	var stack []open
	dec := xml.NewDecoder(bytes.NewReader(data))
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			name := e.Name.Local
			schema, ok := junitSchema[name]
			if !ok {
				t.Fatalf("there is no element %s in JUnit", name)
			}
			if len(stack) == 0 && name != "testsuites" {
				t.Errorf("the root is %s", name)
			}
			if len(stack) > 0 {
				parent := &stack[len(stack)-1]
				at := slices.Index(junitSchema[parent.name].children, name)
				if at < parent.last {
					t.Errorf("%s in %s is not allowed at its place", name, parent.name)
				}
				parent.last = at
				if parent.n++; parent.n > 1 && junitSchema[parent.name].one {
					t.Errorf("%s has %s as its second child", parent.name, name)
				}
			}
			var has []string
			for _, a := range e.Attr {
				has = append(has, a.Name.Local)
				if !slices.Contains(schema.need, a.Name.Local) && !slices.Contains(schema.may, a.Name.Local) {
					t.Errorf("%s has an attribute %s", name, a.Name.Local)
				}
			}
			for _, need := range schema.need {
				if !slices.Contains(has, need) {
					t.Errorf("%s lacks the attribute %s", name, need)
				}
			}
			stack = append(stack, open{name: name})
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		}
	}
}

func TestJUnit(t *testing.T) {
	var b bytes.Buffer
	if err := JUnit(&b, all(t)); err != nil {
		t.Fatal(err)
	}
	checkJUnit(t, b.Bytes())
	golden.File(t, "testdata/junit.xml", b.Bytes())
}

// TestJUnitCounts: a fail is a failure, broken an error, a skip skipped; the
// numbers are those of the cases.
func TestJUnitCounts(t *testing.T) {
	var b bytes.Buffer
	if err := JUnit(&b, all(t)); err != nil {
		t.Fatal(err)
	}
	var got junitSuites
	if err := xml.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	tests := 0
	for _, s := range got.Suites {
		tests += s.Tests
	}
	if tests != len(names) {
		t.Errorf("%d tests in all; want %d", tests, len(names))
	}
	for _, s := range got.Suites {
		var fails, errs, skipped int
		for _, c := range s.Cases {
			if c.Failure != nil {
				fails++
				if c.Failure.Message != "killed: expected nobody; observed small" {
					t.Errorf("failure of %s: %s", c.Name, c.Failure.Message)
				}
			}
			if c.Error != nil {
				errs++
				if !strings.HasPrefix(c.Error.Message, "bpf-without-log: ") || strings.Count(c.Error.Text, "\n") < 2 {
					t.Errorf("error of %s: %s, with\n%s", c.Name, c.Error.Message, c.Error.Text)
				}
			}
			if c.Skipped != nil {
				skipped++
			}
		}
		if s.Tests != len(s.Cases) || s.Fails != fails || s.Errors != errs || s.Skipped != skipped {
			t.Errorf("suite %s counts %d tests, %d failures, %d errors, %d skipped; it has %d, %d, %d, %d",
				s.Name, s.Tests, s.Fails, s.Errors, s.Skipped, len(s.Cases), fails, errs, skipped)
		}
	}
}

// TestJUnitTakesAnyText: a comm may hold bytes that XML cannot.
func TestJUnitTakesAnyText(t *testing.T) {
	r := verdict.Result{Scenario: "x", Verdict: verdict.Fail, Reason: "killed: expected <a>; observed \x1b\x00\xff]]>"}
	var b bytes.Buffer
	if err := JUnit(&b, []verdict.Result{r}); err != nil {
		t.Fatal(err)
	}
	checkJUnit(t, b.Bytes())
	if want := "expected &lt;a&gt;; observed \uFFFD\uFFFD\uFFFD]]&gt;"; !strings.Contains(b.String(), want) {
		t.Errorf("%s is not in\n%s", want, b.String())
	}
}
