package scenario

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	check "github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/oomlab/oomlab/harness/golden"
)

const schemaFile = "../../scenarios/schema.json"

// TestSchemaFile keeps the committed schema, which the first line of every
// scenario names, equal to the types.
func TestSchemaFile(t *testing.T) {
	got, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden.File(t, schemaFile, got)
}

// schema compiles what Schema says.
func schema(t testing.TB) *check.Schema {
	t.Helper()
	data, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := check.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := check.NewCompiler()
	c.DefaultDraft(check.Draft2020)
	if err := c.AddResource("scenario.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("scenario.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance is a YAML document as an editor shows it to a schema.
func instance(t testing.TB, data []byte) any {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	var plain func(n *yaml.Node) any
	plain = func(n *yaml.Node) any {
		switch n.Kind {
		case yaml.DocumentNode:
			return plain(n.Content[0])
		case yaml.MappingNode:
			out := map[string]any{}
			for i := 0; i+1 < len(n.Content); i += 2 {
				out[n.Content[i].Value] = plain(n.Content[i+1])
			}
			return out
		case yaml.SequenceNode:
			out := []any{}
			for _, c := range n.Content {
				out = append(out, plain(c))
			}
			return out
		}
		switch n.Tag {
		case "!!null":
			return nil
		case "!!bool":
			return strings.EqualFold(n.Value, "true")
		case "!!int", "!!float":
			// YAML's spelling of numbers is wider than JSON's; what it says
			// that JSON cannot say stays text
			var f float64
			if err := n.Decode(&f); err == nil {
				if text, err := json.Marshal(f); err == nil {
					return json.Number(text)
				}
			}
		}
		return n.Value
	}
	return plain(&doc)
}

func TestSchemaAcceptsTheExample(t *testing.T) {
	if err := schema(t).Validate(instance(t, []byte(example))); err != nil {
		t.Error(err)
	}
}

func TestSchemaRefuses(t *testing.T) {
	s := schema(t)
	for _, tt := range []struct{ name, old, new, want string }{
		{"an unknown key", "summary:", "sumary: x\nsummary:", "additional properties 'sumary' not allowed"},
		{"an unknown target", "[local, vm]", "[local, cloud]", "value must be one of 'local', 'vm', 'kube'"},
		{"a size of another kind", "{touch: 64Mi}", "{touch: 64MB}", "'64MB' does not match pattern"},
		{"an unknown step", "{touch: 64Mi}", "{tuch: 64Mi}", "additional properties 'tuch' not allowed"},
		{"a missing summary", "summary:", "because2:", "missing property 'summary'"},
		{"an event that is none", "oom_kill: 1", "oom_kills: 1", "value must be one of 'low', 'high'"},
		{"an adj out of range", "oom_score_adj: -600", "oom_score_adj: -1600", "minimum: got -1,600, want -1,000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := s.Validate(instance(t, []byte(strings.Replace(example, tt.old, tt.new, 1))))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}
