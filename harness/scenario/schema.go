package scenario

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/invopop/jsonschema"

	"github.com/oomlab/oomlab/harness/engine"
	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/systemd"
	"github.com/oomlab/oomlab/stressor/profile"
)

// typesSource is where the descriptions come from: the comments of the types
// themselves.
//
//go:embed types.go
var typesSource string

//go:embed types_kube.go
var kubeSource string

//go:embed types_units.go
var unitsSource string

//go:embed types_containers.go
var containersSource string

// Schema is the JSON Schema (draft 2020-12) of a scenario file, for editors.
// Every file that [Parse] accepts is valid by it. The reverse does not hold:
// what a name refers to, and whether a claim can fail, is not said in a schema.
func Schema() ([]byte, error) {
	docs := map[string]string{}
	for _, source := range []string{typesSource, kubeSource, unitsSource, containersSource} {
		more, err := comments(source)
		if err != nil {
			return nil, err
		}
		maps.Copy(docs, more)
	}
	r := &jsonschema.Reflector{
		Anonymous:                  true,
		ExpandedStruct:             true,
		FieldNameTag:               "yaml",
		RequiredFromJSONSchemaTags: true,
		LookupComment: func(t reflect.Type,
			field string) string {
			return docs[strings.TrimSuffix(t.Name()+"."+field, ".")]
		},
	}
	defs := written()
	r.Mapper = func(t reflect.Type) *jsonschema.Schema { return mapped(t) }
	for _, v := range []any{Cgroup{}, Process{}, Unit{}, EngineContainer{}, Pod{}, Container{}, Fork{}} {
		s := r.Reflect(v)
		for name, def := range s.Definitions {
			defs[name] = def
		}
		s.Definitions, s.Version = nil, ""
		defs[reflect.TypeOf(v).Name()] = s
	}
	root := r.Reflect(Scenario{})
	for name, def := range root.Definitions {
		defs[name] = def
	}
	root.Definitions = defs
	root.Title = "oomlab scenario"
	root.Description = docs["Scenario"]
	if err := refine(root, defs); err != nil {
		return nil, err
	}
	out, err := json.MarshalIndent(root, "", "  ")
	return append(out, '\n'), err
}

// mapped is how a type with a spelling of its own is written; nil for the
// types that are what they look like. The schemas are fresh: the reflector
// writes into them.
func mapped(t reflect.Type) *jsonschema.Schema {
	def := map[reflect.Type]string{
		reflect.TypeFor[kernel.Bytes]():  "size",
		reflect.TypeFor[time.Duration](): "duration",
		reflect.TypeFor[Names]():         "names",
		reflect.TypeFor[Respawn]():       "respawn",
		reflect.TypeFor[Step]():          "step",
		reflect.TypeFor[Killed]():        "killed",
		reflect.TypeFor[Exit]():          "exit",
		reflect.TypeFor[Num]():           "comparison",
		reflect.TypeFor[Rate]():          "rate",
		reflect.TypeFor[MilliCPU]():      "cpu",
		reflect.TypeFor[Threshold]():     "threshold",
		reflect.TypeFor[string]():        "text",
		reflect.TypeFor[Target]():        "text",
	}[t]
	if def != "" {
		return ref(def)
	}
	if keyedBy[t] == "" {
		return nil
	}
	elem := ref(t.Elem().Name())
	if t == reflect.TypeFor[Cgroups]() { // a cgroup may be written without a knob
		elem = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{elem, {Type: "null"}}}
	}
	return &jsonschema.Schema{Type: "object", AdditionalProperties: elem}
}

func ref(def string) *jsonschema.Schema { return &jsonschema.Schema{Ref: "#/$defs/" + def} }

// written are the definitions of the values that have a spelling of their own.
func written() jsonschema.Definitions {
	pattern := func(p, desc string, examples ...any) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "string", Pattern: p, Description: desc, Examples: examples}
	}
	orNumber := func(s *jsonschema.Schema, number string) *jsonschema.Schema {
		out := &jsonschema.Schema{AnyOf: []*jsonschema.Schema{s, {Type: number}}, Description: s.Description,
			Examples: s.Examples}
		s.Description, s.Examples = "", nil
		return out
	}
	const quantity = `([0-9]+\.?[0-9]*|\.[0-9]+)(Ki|Mi|Gi|Ti|Pi|Ei|k|M|G|T|P|E)?`
	signal := pattern("^SIG[A-Z0-9]+$", "")
	list := &jsonschema.Schema{Type: "array", Items: ref("text")}
	return jsonschema.Definitions{
		// what JSON cannot say, and the parser does not mind: 1 for "1"
		"text": {AnyOf: []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}}},
		"size": orNumber(pattern("^"+quantity+"$", "A Kubernetes quantity of memory, or bytes.", "64Mi", "1.5Gi",
			"200M"), "number"),
		"limit": orNumber(pattern("^(max|"+quantity+")$", "A Kubernetes quantity of memory, bytes, or max.",
			"64Mi", "max"), "number"),
		"rate": pattern("^"+quantity+"/s$", "An amount of memory a second.", "32Mi/s"),
		"duration": orNumber(pattern(`^\+?([0-9.]+(ns|us|µs|μs|ms|s|m|h))+$|^\+?0$`, "A number and a unit.", "30s",
			"500ms"), "number"),
		"names":   {AnyOf: []*jsonschema.Schema{ref("text"), list}},
		"respawn": {AnyOf: []*jsonschema.Schema{{Type: "boolean"}, {Type: "integer", Minimum: "0"}}},
		"comparison": orNumber(pattern(`^\s*((>=|<=|==|>|<)?\s*-?[0-9]+|-?[0-9]+\s*\.\.\s*-?[0-9]+)\s*$`,
			"A number or a comparison.", 1, ">= 1", "2..5"), "integer"),
		"cpu": orNumber(pattern("^[0-9]+([.][0-9]+)?m?$", "A Kubernetes quantity of CPU.", "100m", "0.5"),
			"number"),
		"threshold": orNumber(pattern("^("+quantity+"|[0-9]+([.][0-9]+)?%)$", "An amount of memory, or a share of "+
			"the node.", "100Mi", "5%"), "number"),
		"exit": {AnyOf: []*jsonschema.Schema{{Type: "integer", Minimum: "0", Maximum: "255"},
			pattern("^[+]?[0-9]+$", ""), signal}, Description: "An exit code, or the signal that ended it."},
		"killed": killedSchema(list),
		"step":   stepSchema(),
	}
}

func killedSchema(list *jsonschema.Schema) *jsonschema.Schema {
	some := &jsonschema.Schema{Type: "object", Properties: jsonschema.NewProperties(),
		Required: []string{"from", "count"}, AdditionalProperties: jsonschema.FalseSchema}
	some.Properties.Set("from", &jsonschema.Schema{Type: "array", Items: ref("text"),
		Description: "Each victim is one of these."})
	some.Properties.Set("count", &jsonschema.Schema{Ref: "#/$defs/comparison",
		Description: "How many kills there are."})
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{list, some}}
}

func stepSchema() *jsonschema.Schema {
	out := &jsonschema.Schema{Description: "A word, or a map whose first key names the step."}
	for _, row := range profile.Steps {
		help := strings.ToUpper(row.Help[:1]) + row.Help[1:] + "."
		if row.Amount == profile.None {
			out.AnyOf = append(out.AnyOf, &jsonschema.Schema{Const: row.Op, Description: help})
			continue
		}
		s := &jsonschema.Schema{
			Type: "object", Properties: jsonschema.NewProperties(), Required: []string{string(row.Op)},
			AdditionalProperties: jsonschema.FalseSchema, Description: help,
		}
		s.Properties.Set(string(row.Op), kindSchema(row.Amount))
		inside := &jsonschema.Schema{
			Type: "object", Properties: jsonschema.NewProperties(), Required: []string{string(row.Amount)},
			AdditionalProperties: jsonschema.FalseSchema,
		}
		inside.Properties.Set(string(row.Amount), kindSchema(row.Amount))
		for _, k := range qualifiers(row) {
			s.Properties.Set(k, kindSchema(profile.Kind(k)))
			inside.Properties.Set(k, kindSchema(profile.Kind(k)))
			if row.Required {
				s.Required = append(s.Required, k)
				inside.Required = append(inside.Required, k)
			}
		}
		out.AnyOf = append(out.AnyOf, s)
		if inside.Properties.Len() > 1 {
			all := &jsonschema.Schema{
				Type: "object", Properties: jsonschema.NewProperties(), Required: []string{string(row.Op)},
				AdditionalProperties: jsonschema.FalseSchema, Description: help,
			}
			all.Properties.Set(string(row.Op), inside)
			out.AnyOf = append(out.AnyOf, all)
		}
	}
	return out
}

func kindSchema(k profile.Kind) *jsonschema.Schema {
	switch k {
	case profile.Name:
		return ref("text")
	case profile.Content:
		s := &jsonschema.Schema{Type: "string"}
		for _, c := range profile.Contents {
			s.Enum = append(s.Enum, c)
		}
		return s
	case profile.Code:
		return &jsonschema.Schema{Type: "integer", Minimum: "0", Maximum: "255"}
	}
	return ref(string(k))
}

// refine adds what the Go types do not say: what is required, and what the
// words are that a field knows.
func refine(root *jsonschema.Schema, defs jsonschema.Definitions) error {
	root.Required = []string{"apiVersion", "kind", "summary", "expect"}
	defs["Swap"].Required = []string{"size"}
	var missing []string
	edit := func(s *jsonschema.Schema, field string, change func(*jsonschema.Schema)) {
		if p, ok := s.Properties.Get(field); ok {
			change(p)
			return
		}
		missing = append(missing, field)
	}
	words := func(list ...string) func(*jsonschema.Schema) {
		return func(s *jsonschema.Schema) {
			if s.Type == "array" {
				s = s.Items
			}
			s.Ref, s.Type = "", "string"
			for _, w := range list {
				s.Enum = append(s.Enum, w)
			}
		}
	}
	edit(root, "apiVersion", words(APIVersion))
	edit(root, "kind", words(Kind))
	defs["Statement"].Required = []string{"statement", "made", "answer"}
	edit(defs["Statement"], "answer", func(s *jsonschema.Schema) {
		s.Ref, s.Type = "", ""
		s.Enum = []any{true, false} // as YAML reads the words
		for _, word := range Answers {
			s.Enum = append(s.Enum, word)
		}
	})
	edit(root, "targets", words(TargetNames(Targets...)...))
	edit(root, "targets", func(s *jsonschema.Schema) { s.Default = defaultTargets })
	edit(defs["Needs"], "abilities", words(abilities...))
	edit(defs["Needs"], "userland", words(Userlands...))
	edit(defs["Needs"], "packages", func(s *jsonschema.Schema) { s.Items.Pattern = packageName.String() })
	edit(defs["Swap"], "kind", words(swapKinds...))
	edit(defs["During"], "sysrq", words("f"))
	edit(defs["Expect"], "constraint", words(constraints...))
	edit(defs["Expect"], "within", func(s *jsonschema.Schema) { s.Default = defaultWithin.String() })
	for field, list := range map[string][]string{
		"memory.events": MemoryEvents, "memory.events.local": MemoryEvents, "reads": readable,
	} {
		edit(defs["Expect"], field, func(s *jsonschema.Schema) {
			s.AdditionalProperties.PropertyNames = oneOf(list)
		})
	}
	edit(defs["Cgroup"], "cpuset.mems", func(s *jsonschema.Schema) {
		s.Ref = ""
		s.AnyOf = []*jsonschema.Schema{{Type: "string", Pattern: `^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$`},
			{Type: "integer", Minimum: "0"}}
	})
	edit(root.Definitions["System"], "nodes", func(s *jsonschema.Schema) {
		least, most := uint64(leastNodes), uint64(mostNodes)
		s.MinItems, s.MaxItems = &least, &most
	})
	edit(root.Definitions["Mempolicy"], "bind", func(s *jsonschema.Schema) {
		one := uint64(1)
		s.Items.Minimum, s.MinItems = "0", &one
	})
	edit(defs["Cgroup"], "memory.oom.group", func(s *jsonschema.Schema) { s.Enum = []any{0, 1} })
	refineLimits(defs, edit, words)
	for _, s := range []struct {
		in       *jsonschema.Schema
		field    string
		from, to int
	}{{defs["Process"], "oom_score_adj", -1000, 1000}, {defs["Process"], "nice", -20, 19},
		{defs["Process"], "oom_adj", kernel.OOMAdjMin, kernel.OOMAdjMax}} {
		edit(s.in, s.field, func(p *jsonschema.Schema) {
			p.Minimum, p.Maximum = json.Number(fmt.Sprint(s.from)), json.Number(fmt.Sprint(s.to))
		})
	}
	if missing != nil {
		return fmt.Errorf("schema: there is no field %s any more", strings.Join(missing, ", "))
	}
	return nil
}

// refineLimits is refine for cgroups, and for units and their drop-ins.
func refineLimits(defs jsonschema.Definitions, edit func(*jsonschema.Schema, string, func(*jsonschema.Schema)),
	words func(...string) func(*jsonschema.Schema)) {
	limit := func(s *jsonschema.Schema) { s.Ref = "#/$defs/limit" }
	for _, knob := range []string{"memory.min", "memory.low", "memory.high", "memory.max", "memory.swap.max"} {
		edit(defs["Cgroup"], knob, limit)
	}
	for _, def := range []string{"Unit", "UnitSettings"} {
		edit(defs[def], "OOMPolicy", words(systemd.OOMPolicies...))
		edit(defs[def], "Restart", words(systemd.Restarts...))
		for _, knob := range []string{"MemoryMax", "MemoryHigh", "MemorySwapMax"} {
			edit(defs[def], knob, limit)
		}
		edit(defs[def], "OOMScoreAdjust", func(s *jsonschema.Schema) { s.Minimum, s.Maximum = "-1000", "1000" })
		edit(defs[def], "StartLimitBurst", func(s *jsonschema.Schema) { s.Minimum, s.Maximum = "1", "100" })
	}
	edit(defs["EngineContainer"], "engine", words(engine.Engines...))
	edit(defs["EngineContainer"], "runtime", words(engine.Crun, engine.Runc))
	edit(defs["EngineContainer"], "memory-swap", limit)
	edit(defs["EngineContainer"], "oom-score-adj", func(s *jsonschema.Schema) {
		s.Minimum, s.Maximum = "-1000", "1000"
	})
}

// oneOf is one of some words.
func oneOf(words []string) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "string"}
	for _, w := range words {
		s.Enum = append(s.Enum, w)
	}
	return s
}

var docLink = regexp.MustCompile(`\[(\w+)\]`)

// comments maps Type and Type.Field to what the source says of them.
func comments(source string) (map[string]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "types.go", source, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	text := func(groups ...*ast.CommentGroup) string {
		var parts []string
		for _, g := range groups {
			if t := strings.TrimSpace(g.Text()); t != "" {
				parts = append(parts, strings.Join(strings.Fields(t), " "))
			}
		}
		return docLink.ReplaceAllString(strings.Join(parts, " "), "$1")
	}
	out := map[string]string{}
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range gen.Specs {
			t, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			out[t.Name.Name] = text(gen.Doc)
			s, ok := t.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, f := range s.Fields.List {
				for _, name := range f.Names {
					out[t.Name.Name+"."+name.Name] = text(f.Doc, f.Comment)
				}
			}
		}
	}
	return out, nil
}
