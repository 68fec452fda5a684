package report

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/verdict"
)

// What others hold our formats against is not ours to copy; .ci/formats fetches it
// and says where it is. Without it the tests beside these speak for it.
const (
	xsdVariable   = "OOMLAB_JUNIT_XSD"
	kunitVariable = "OOMLAB_KUNIT"
	kcidbVariable = "OOMLAB_KCIDB"
)

// TestJUnitByItsSchema: the schema itself accepts what is written, and would not
// accept just anything.
func TestJUnitByItsSchema(t *testing.T) {
	xsd := os.Getenv(xsdVariable)
	if xsd == "" {
		t.Skip(xsdVariable + " names no schema; .ci/formats does")
	}
	valid := func(report []byte) (bool, string) {
		cmd := exec.CommandContext(t.Context(), "xmllint", "--noout", "--schema", xsd, "-")
		cmd.Stdin = bytes.NewReader(report)
		out, err := cmd.CombinedOutput()
		return err == nil, string(out)
	}
	var results []verdict.Result
	for _, s := range append(recordedSubjects(t, "5.10"), recordedSubjects(t, "7.3")...) {
		results = append(results, s.Result)
	}
	for _, name := range names {
		// older versions of the schema let nobody say why something was skipped
		if name != "skip" {
			results = append(results, read(t, name))
		}
	}
	var b bytes.Buffer
	if err := JUnit(&b, results); err != nil {
		t.Fatal(err)
	}
	if ok, why := valid(b.Bytes()); !ok {
		t.Errorf("not valid:\n%s", why)
	}
	for _, wrong := range [][2]string{{"<testcase name=", "<testcase title="}, {"<failure ", "<failed "},
		{"</failure>", "</failure><failure2/>"}, {` errors="`, ` wrongs="`}} {
		if !strings.Contains(b.String(), wrong[0]) {
			t.Fatalf("there is no %q in the report", wrong[0])
		}
		if ok, _ := valid([]byte(strings.ReplaceAll(b.String(), wrong[0], wrong[1]))); ok {
			t.Errorf("with %q it is valid too", wrong[1])
		}
	}
}

// TestKTAPByTheKernelsParser: kunit.py of a kernel's source finds every run, with
// the state it has, and no error in the format.
func TestKTAPByTheKernelsParser(t *testing.T) {
	dir := os.Getenv(kunitVariable)
	if dir == "" {
		t.Skip(kunitVariable + " names no tools/testing/kunit; .ci/formats does")
	}
	parse := func(report []byte) string {
		cmd := exec.CommandContext(t.Context(), "python3", filepath.Join(dir, "kunit.py"), "parse")
		cmd.Stdin = bytes.NewReader(report)
		out, err := cmd.CombinedOutput()
		if _, ended := err.(*exec.ExitError); err != nil && !ended { // it fails where a test did
			t.Fatal(err)
		}
		return string(out)
	}
	results := all(t)
	var b bytes.Buffer
	if err := KTAP(&b, results); err != nil {
		t.Fatal(err)
	}
	out := parse(b.Bytes())
	state := map[verdict.Verdict]string{verdict.Pass: "[PASSED]", verdict.Fail: "[FAILED]", verdict.Broken: "[FAILED]",
		verdict.Skip: "[SKIPPED]"}
	for _, r := range results {
		if !strings.Contains(out, state[r.Verdict]+" "+r.Scenario+"\n") {
			t.Errorf("%s is not %s in\n%s", r.Scenario, state[r.Verdict], out)
		}
	}
	if want := "Ran 8 tests: passed: 5, failed: 2, skipped: 1"; !strings.Contains(out, want) ||
		strings.Contains(out, "[ERROR]") {
		t.Errorf("%q is not in it, or an error is:\n%s", want, out)
	}
	torn := bytes.Replace(b.Bytes(), []byte("    1.."), []byte("    1..9"), 1)
	if out := parse(torn); !strings.Contains(out, "[ERROR]") {
		t.Errorf("a plan that is not kept is no error:\n%s", out)
	}
}

// TestKCIDBByItsSchema: kcidb_io, which reads what is submitted to KCIDB, takes the report for one
// of version 5, and would not take just anything.
func TestKCIDBByItsSchema(t *testing.T) {
	dir := os.Getenv(kcidbVariable)
	if dir == "" {
		t.Skip(kcidbVariable + " names no checkout of kcidb-io")
	}
	read := func(report []byte) (string, error) {
		cmd := exec.CommandContext(t.Context(), "python3", "-c", "import json, sys, kcidb_io.schema as s; "+
			"d = json.load(sys.stdin); s.V5_0.validate(d); s.LATEST.validate(s.LATEST.upgrade(d)); "+
			"print(s.LATEST.count(d))")
		cmd.Env = append(os.Environ(), "PYTHONPATH="+dir, "PYTHONDONTWRITEBYTECODE=1")
		cmd.Stdin = bytes.NewReader(report)
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	var b bytes.Buffer
	if err := KCIDB(&b, all(t), KCIDBOptions{Origin: KCIDBOrigin}); err != nil {
		t.Fatal(err)
	}
	if out, err := read(b.Bytes()); err != nil || out != "15" { // 9 tests of 3 builds of 3 checkouts
		t.Errorf("%v: %s", err, out)
	}
	for _, wrong := range [][2]string{{`"PASS"`, `"PASSED"`}, {`"path": "oomlab.`, `"path": ".`},
		{`"build_id"`, `"build"`}} {
		if out, err := read(bytes.ReplaceAll(b.Bytes(), []byte(wrong[0]), []byte(wrong[1]))); err == nil {
			t.Errorf("with %q it is valid too: %s", wrong[1], out)
		}
	}
}
