package scenarios

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/scenario"
)

func TestAll(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(Names()) {
		t.Errorf("%d scenarios of %d files", len(all), len(Names()))
	}
	summaries := map[string]string{}
	for _, s := range all {
		if other := summaries[s.Summary]; other != "" {
			t.Errorf("%s and %s say the same of themselves: %s", other, s.Name, s.Summary)
		}
		summaries[s.Summary] = s.Name
	}
}

// TestConventions: what the library asks of its scenarios beyond what Parse
// asks of any.
func TestConventions(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		t.Run(s.Name, func(t *testing.T) {
			source, err := Source(s.Name)
			if err != nil {
				t.Fatal(err)
			}
			const first = "# yaml-language-server: $schema=../schema.json\n"
			if !bytes.HasPrefix(source, []byte(first)) {
				t.Errorf("the first line does not bind the schema: want %s", first)
			}
			if s.Because == "" || len(s.Refs) == 0 {
				t.Error("because and refs say why the kernel does this, and where")
			}
			if strings.HasPrefix(s.Name, "claims/") && s.Claim == nil {
				t.Error("it answers no statement, which claims/ is for")
			}
			if !strings.HasSuffix(strings.TrimSpace(s.Summary), ".") {
				t.Errorf("summary is not a sentence: %q", s.Summary)
			}
			made := 512 * kernel.MiB
			if s.NeedsKubelet() {
				made = 2304 * kernel.MiB // etcd and an API server live there too
			}
			if s.Needs.Memory != made {
				t.Errorf("needs %s of memory; the library is made for guests of %s", s.Needs.Memory, made)
			}
			for _, c := range s.Cgroups {
				// engines limit swap only together with memory
				if c.MemorySwapMax == nil && (c.Container == "" || c.MemoryMax != nil) {
					t.Errorf("%s has no memory.swap.max: what a machine with swap does is left to chance", c.Path)
				}
			}
			for i, line := range strings.Split(string(source), "\n") {
				if len(line) > 100 {
					t.Errorf("line %d has %d columns", i+1, len(line))
				}
			}
		})
	}
}

// TestSchema: an editor that goes by the first line has nothing to complain of.
func TestSchema(t *testing.T) {
	c := jsonschema.NewCompiler()
	data, err := os.ReadFile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Names() {
		source, err := Source(name)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := yaml.Unmarshal(source, &v); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMatch(t *testing.T) {
	names := func(dir string) []string {
		var out []string
		for _, name := range Names() {
			if dir == "" || path.Dir(name) == dir {
				out = append(out, name)
			}
		}
		return out
	}
	for _, tt := range []struct {
		patterns []string
		want     []string
	}{
		{[]string{"..."}, names("")},
		{[]string{"memcg"}, names("memcg")},
		{[]string{"memcg/"}, names("memcg")},
		{[]string{"memcg/..."}, names("memcg")},
		{[]string{"memcg/*"}, names("memcg")},
		{[]string{"memcg/oom-*"}, []string{"memcg/oom-group-spares-minus-1000", "memcg/oom-group-takes-all"}},
		{[]string{"memcg/oom-..."}, []string{"memcg/oom-group-spares-minus-1000", "memcg/oom-group-takes-all"}},
		{[]string{"system/sysrq-f.yaml", "system/sysrq-f"}, []string{"system/sysrq-f"}},
		{[]string{"system/sysrq-f", "qos/score-not-class"}, []string{"system/sysrq-f", "qos/score-not-class"}},
		{nil, nil},
	} {
		found, err := Match(tt.patterns...)
		if err != nil {
			t.Errorf("%q: %v", tt.patterns, err)
		}
		var got []string
		for _, s := range found {
			got = append(got, s.Name)
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: got %q, want %q", tt.patterns, got, tt.want)
		}
	}
}

func TestUnknownNames(t *testing.T) {
	for _, tt := range []struct{ pattern, want string }{
		{"memcg/biger-of-two-dies",
			`no such scenario: "memcg/biger-of-two-dies"; did you mean "memcg/bigger-of-two-dies"?`},
		{"sysrq-f", `no such scenario: "sysrq-f"; did you mean "system/sysrq-f"?`},
		{"kubernetes/*", `no such scenario: "kubernetes/*"; oomlab list shows all`},
		{"", `no such scenario: ""; oomlab list shows all`},
	} {
		_, err := Match("system/sysrq-f", tt.pattern)
		if err == nil || err.Error() != tt.want || !errors.Is(err, ErrUnknown) {
			t.Errorf("Match(%q): got %v, want %s", tt.pattern, err, tt.want)
		}
	}
	if _, err := Match("[a"); err == nil || err.Error() != `"[a" is not a pattern: syntax error in pattern` {
		t.Errorf("Match([a): got %v", err)
	}
	if _, err := Load("../embed"); !errors.Is(err, ErrUnknown) {
		t.Errorf("Load(../embed): got %v, want %v", err, ErrUnknown)
	}
}

func ExampleMatch() {
	found, err := Match("system/sysrq-*")
	if err != nil {
		fmt.Println(err)
	}
	for _, s := range found {
		fmt.Println(s.Name, s.Targets, s.Expect.Killed.InOrder)
	}
	// Output:
	// system/sysrq-f [vm] [big]
	// system/sysrq-f-finds-nobody [vm] []
}

// TestLibraryIsWrittenBack: every scenario survives Format and Parse.
func TestLibraryIsWrittenBack(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		text, err := scenario.Format(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := scenario.Parse(s.Name+".yaml", text)
		if err != nil {
			t.Errorf("%s: %v\n%s", s.Name, err, text)
		} else if !reflect.DeepEqual(again, s) {
			t.Errorf("%s: got %+v, want %+v", s.Name, again, s)
		}
	}
}
