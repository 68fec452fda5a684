package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/verdict"
)

// kcidbRules are what KCIDB's schema 5.0 wants of the members that are written.
const kcidbRules = `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "$defs": {
    "origin": {"type": "string", "pattern": "^[a-z0-9_]+$"},
    "id": {"type": "string", "pattern": "^[a-z0-9_]+:"},
    "text": {"type": "string", "pattern": "^[^\\x00]*$"},
    "status": {"enum": ["FAIL", "ERROR", "MISS", "PASS", "DONE", "SKIP"]},
    "checkout": {"type": "object", "additionalProperties": false, "required": ["id", "origin"], "properties": {
      "id": {"$ref": "#/$defs/id"}, "origin": {"$ref": "#/$defs/origin"}, "comment": {"$ref": "#/$defs/text"}}},
    "build": {"type": "object", "additionalProperties": false, "required": ["checkout_id", "id", "origin"],
      "properties": {"checkout_id": {"$ref": "#/$defs/id"}, "id": {"$ref": "#/$defs/id"},
        "origin": {"$ref": "#/$defs/origin"}, "comment": {"$ref": "#/$defs/text"},
        "status": {"$ref": "#/$defs/status"}, "misc": {"type": "object"}}},
    "test": {"type": "object", "additionalProperties": false, "required": ["build_id", "id", "origin"],
      "properties": {"build_id": {"$ref": "#/$defs/id"}, "id": {"$ref": "#/$defs/id"},
        "origin": {"$ref": "#/$defs/origin"}, "comment": {"$ref": "#/$defs/text"},
        "path": {"type": "string", "pattern": "^([a-zA-Z0-9_-]+([.][a-zA-Z0-9_-]+)*)?$"},
        "status": {"$ref": "#/$defs/status"}, "start_time": {"type": "string", "format": "date-time"},
        "duration": {"type": "number"}, "misc": {"type": "object"},
        "log_excerpt": {"allOf": [{"$ref": "#/$defs/text"}, {"maxLength": 16384}]},
        "environment": {"type": "object", "additionalProperties": false,
          "properties": {"comment": {"$ref": "#/$defs/text"}, "misc": {"type": "object"}}}}}
  },
  "type": "object", "additionalProperties": false, "required": ["version"],
  "properties": {
    "version": {"type": "object", "additionalProperties": false, "required": ["major"],
      "properties": {"major": {"const": 5}, "minor": {"type": "integer", "minimum": 0, "maximum": 0}}},
    "checkouts": {"type": "array", "items": {"$ref": "#/$defs/checkout"}},
    "builds": {"type": "array", "items": {"$ref": "#/$defs/build"}},
    "tests": {"type": "array", "items": {"$ref": "#/$defs/test"}}
  }
}`

func kcidbSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(kcidbRules))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("kcidb.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("kcidb.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// kcidb writes runs, holds them against the schema, and reads them.
func kcidb(t *testing.T, all []verdict.Result, o KCIDBOptions) (kcidbReport, []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := KCIDB(&b, all, o); err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if err := kcidbSchema(t).Validate(doc); err != nil {
		t.Errorf("%v in\n%s", err, b.String())
	}
	var out kcidbReport
	if err := json.Unmarshal(b.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	return out, b.Bytes()
}

func TestKCIDB(t *testing.T) {
	runs := all(t) // several are one recording with lies in it
	for i := range runs {
		runs[i].Run = fmt.Sprintf("%04d-%s", i, names[i])
	}
	out, text := kcidb(t, runs, KCIDBOptions{Origin: KCIDBOrigin})
	golden.File(t, "testdata/kcidb.json", text)
	builds, checkouts, ids := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, c := range out.Checkouts {
		checkouts[c.ID] = true
	}
	for _, b := range out.Builds {
		if builds[b.ID] = true; !checkouts[b.CheckoutID] {
			t.Errorf("%s is of a checkout that is not there", b.ID)
		}
	}
	for i, r := range runs {
		test := out.Tests[i]
		if !builds[test.BuildID] || ids[test.ID] {
			t.Errorf("%s is of a build that is not there, or there twice", test.ID)
		}
		ids[test.ID] = true
		if test.Status != kcidbStatus[r.Verdict] || test.Status == "" || test.Misc.Run != r.Run {
			t.Errorf("%s: %s is %s", r.Scenario, r.Verdict, test.Status)
		}
	}
	// a claim that is turned round is a fail, and what it is about is in the excerpt
	fail := read(t, "fail")
	out, _ = kcidb(t, []verdict.Result{fail}, KCIDBOptions{Origin: "redhat", Build: "redhat:4711"})
	if len(out.Builds)+len(out.Checkouts) > 0 || out.Tests[0].BuildID != "redhat:4711" ||
		!strings.HasPrefix(out.Tests[0].ID, "redhat:") || !strings.HasPrefix(out.Tests[0].LogExcerpt, details(fail)) {
		t.Errorf("%+v", out)
	}
}

// TestKCIDBHostile: what others name, and how much they have to say, keeps to the schema.
func TestKCIDBHostile(t *testing.T) {
	r := read(t, "fail")
	r.Scenario, r.Summary, r.Run = "../a b/\u00e9\x00/x.y", "\x00\xff\u202e", strings.Repeat("\u00e9", 20000)
	r.Claims[0].Verdict, r.Claims[0].Observed = verdict.Fail, strings.Repeat("\u00e9", 20000)
	r.Started = ""
	var b bytes.Buffer
	if err := KCIDB(&b, []verdict.Result{r, {Scenario: "skipped", Verdict: verdict.Skip, Target: "vm"}},
		KCIDBOptions{Origin: KCIDBOrigin}); err != nil {
		t.Fatal(err)
	}
	out, _ := kcidb(t, []verdict.Result{r}, KCIDBOptions{Origin: KCIDBOrigin})
	if path := out.Tests[0].Path; path != "oomlab.a_b.__.x_y" {
		t.Errorf("%s", path)
	}
	if n := utf8.RuneCountInString(out.Tests[0].LogExcerpt); n != maxExcerpt {
		t.Errorf("%d characters of the log", n)
	}
	if !regexp.MustCompile(`"no kernel was started"`).Match(b.Bytes()) {
		t.Errorf("a run without a kernel has one: %s", b.String())
	}
}

func TestKCIDBCheck(t *testing.T) {
	for _, c := range []struct {
		o    KCIDBOptions
		good bool
	}{
		{KCIDBOptions{Origin: "oomlab"}, true}, {KCIDBOptions{Origin: "my_ci", Build: "my_ci:7"}, true},
		{KCIDBOptions{}, false},
		{KCIDBOptions{Origin: "My-CI"}, false}, {KCIDBOptions{Origin: "a", Build: "7"}, false},
		{KCIDBOptions{Origin: "a", Build: "a:"}, false},
	} {
		if err := c.o.Check(); (err == nil) != c.good {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
}
