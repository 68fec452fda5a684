package scenario

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/oomlab/oomlab/harness/kubelet"
	"github.com/oomlab/oomlab/stressor/profile"
)

var fence = regexp.MustCompile("(?ms)^```([a-z-]+)\n(.*?)^```$")

func readDocs(t *testing.T) (text string, blocks map[string][]string) {
	t.Helper()
	data, err := os.ReadFile("../../docs/writing-a-scenario.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks = map[string][]string{}
	for _, m := range fence.FindAllStringSubmatch(string(data), -1) {
		blocks[m[1]] = append(blocks[m[1]], m[2])
	}
	return string(data), blocks
}

// TestDocsExamples reads every example of the guide. One that does not begin
// with apiVersion is a part: it is put into the scenario that the tests know
// as base, in place of the keys that it has.
func TestDocsExamples(t *testing.T) {
	_, blocks := readDocs(t)
	if len(blocks["yaml"]) < 7 {
		t.Fatalf("found only %d examples", len(blocks["yaml"]))
	}
	s := schema(t)
	for _, block := range blocks["yaml"] {
		text := block
		if !strings.HasPrefix(block, "apiVersion") {
			text = merge(t, base, block)
		}
		if _, err := Parse("docs.yaml", []byte(text)); err != nil {
			t.Errorf("%v\n%s", err, text)
		} else if err := s.Validate(instance(t, []byte(text))); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
}

// merge replaces the top-level keys of a document by those of a part.
func merge(t *testing.T, doc, part string) string {
	t.Helper()
	var a, b yaml.Node
	for text, n := range map[string]*yaml.Node{doc: &a, part: &b} {
		if err := yaml.Unmarshal([]byte(text), n); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	into, from := a.Content[0], b.Content[0]
	for i := 0; i < len(from.Content); i += 2 {
		key := from.Content[i]
		at := slices.IndexFunc(into.Content, func(n *yaml.Node) bool {
			return n.Value == key.Value &&
				n.Kind == yaml.ScalarNode
		})
		if at >= 0 {
			into.Content[at+1] = from.Content[i+1]
			continue
		}
		into.Content = append(into.Content, key, from.Content[i+1])
	}
	out, err := yaml.Marshal(into)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestDocsMistakes(t *testing.T) {
	_, blocks := readDocs(t)
	_, err := Parse("mistakes.yaml", []byte(blocks["yaml-with-mistakes"][0]))
	if want := strings.TrimSpace(blocks["text"][0]); err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// TestDocsListTheSteps: the guide's list of steps is the table of steps, in its
// order and its words.
func TestDocsListTheSteps(t *testing.T) {
	var list strings.Builder
	list.WriteString("| step | does | may be given |\n|---|---|---|\n")
	var last []string
	for _, row := range profile.Steps {
		word := string(row.Op)
		if row.Amount != profile.None {
			word += ": " + stepExample[row.Amount]
		}
		given := ""
		for _, k := range qualifiers(row) {
			given += " `" + k + "`"
			if row.Required {
				given += ", required"
			}
		}
		list.WriteString("| `" + word + "` | " + row.Help + " |" + given + " |\n")
		if row.Last {
			last = append(last, "`"+string(row.Op)+"`")
		}
	}
	n := len(last) - 1
	list.WriteString("\n" + strings.Join(last[:n], ", ") + " and " + last[n] + " come last.")
	if text, _ := readDocs(t); !strings.Contains(text, list.String()) {
		t.Errorf("the guide's list of steps should be\n%s", list.String())
	}
}

// TestDocsAreComplete: the guide names every key, step, target, ability, knob
// and counter that there is.
func TestDocsAreComplete(t *testing.T) {
	text, _ := readDocs(t)
	words := slices.Concat(TargetNames(Targets...), abilities, swapKinds, constraints, MemoryEvents, opNames(),
		kubelet.Domains, restartPolicies, containerStates, swapBehaviors, cgroupDrivers)
	for _, typ := range []reflect.Type{
		reflect.TypeFor[Scenario](), reflect.TypeFor[Needs](), reflect.TypeFor[System](), reflect.TypeFor[Swap](),
		reflect.TypeFor[Cgroup](),
		reflect.TypeFor[Process](), reflect.TypeFor[Unit](), reflect.TypeFor[UnitSettings](),
		reflect.TypeFor[EngineContainer](), reflect.TypeFor[During](),
		reflect.TypeFor[Resources](), reflect.TypeFor[Expect](), reflect.TypeFor[Killed](),
		reflect.TypeFor[Pod](), reflect.TypeFor[Container](), reflect.TypeFor[Fork](), reflect.TypeFor[Node](),
		reflect.TypeFor[ContainerClaim](), reflect.TypeFor[LastState](), reflect.TypeFor[PodClaim](),
	} {
		for i := range typ.NumField() {
			if tag := typ.Field(i).Tag.Get("yaml"); tag != "" && tag != "-" {
				words = append(words, tag)
			}
		}
	}
	for _, p := range slices.Concat(UnitProperties, InspectProperties) {
		words = append(words, p.Name)
	}
	for _, word := range words {
		// as code, or as a key or an entry of an example
		if !regexp.MustCompile("(`|^|[ {\\[])" + regexp.QuoteMeta(word) + "(`|[:,\\]} ]|$)").MatchString(text) {
			t.Errorf("the guide does not mention %q", word)
		}
	}
}
