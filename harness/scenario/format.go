package scenario

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/stressor/profile"
)

// Format writes a scenario as a file that [Parse] reads back as the same
// scenario. Keys come in the order of the types, sizes with the largest suffix
// that keeps them whole. A valid scenario (see [Scenario.Validate]) can always
// be written; of one that is not, the result is for the reader's eyes only.
func Format(s Scenario) ([]byte, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(fieldsNode(reflect.ValueOf(s.asWritten()))); err != nil {
		return nil, fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("scenario %s: %w", s.Name, err)
	}
	return out.Bytes(), nil
}

func scalar(tag, value string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
	if tag == "!!str" && strings.Contains(value, "\n") {
		n.Style = yaml.LiteralStyle
	}
	return n
}

func textNode(s string) *yaml.Node { return scalar("!!str", s) }

func intNode(i int64) *yaml.Node { return scalar("!!int", strconv.FormatInt(i, 10)) }

// flow is a map on one line.
func flow(pairs ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle, Content: pairs}
}

func listNode[S ~[]string](list S) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, s := range list {
		n.Content = append(n.Content, textNode(s))
	}
	return n
}

// onOneLine are the values that are short enough to be read in one go.
var onOneLine = []reflect.Type{
	reflect.TypeFor[[]kernel.Bytes](), reflect.TypeFor[[]int](), reflect.TypeFor[Mempolicy](),
	reflect.TypeFor[Needs](), reflect.TypeFor[Cgroup](), reflect.TypeFor[Swap](), reflect.TypeFor[Resources](),
	reflect.TypeFor[During](),
	reflect.TypeFor[map[string]Num](), reflect.TypeFor[map[string]Exit](), reflect.TypeFor[map[string]string](),
	reflect.TypeFor[map[string]int](),
	reflect.TypeFor[[]Step](), reflect.TypeFor[[]string](), reflect.TypeFor[[]kernel.Ability](),
	reflect.TypeFor[[]Target](),
	reflect.TypeFor[ContainerClaim](), reflect.TypeFor[LastState](), reflect.TypeFor[PodClaim](),
	reflect.TypeFor[UnitSettings](), reflect.TypeFor[map[string]bool](), reflect.TypeFor[map[string]Threshold](),
}

func node(v reflect.Value) *yaml.Node {
	switch x := v.Interface().(type) {
	case kernel.Bytes:
		return bytesNode(x)
	case time.Duration:
		return textNode(shortDuration(x))
	case Rate:
		return rateNode(kernel.Bytes(x))
	case MilliCPU:
		if x%1000 == 0 {
			return intNode(int64(x / 1000))
		}
		return textNode(fmt.Sprintf("%dm", x))
	case *Names: // an empty list is a claim
		return listNode(*x)
	case Names:
		if len(x) == 1 {
			return textNode(x[0])
		}
		return listNode(x)
	case Respawn:
		if x == RespawnForever {
			return scalar("!!bool", "true")
		}
		return intNode(int64(x))
	case Step:
		return stepNode(x)
	case Killed:
		if x.From == nil {
			return listNode(x.InOrder)
		}
		return flow(textNode("from"), listNode(x.From), textNode("count"), numNode(x.Count))
	case Exit:
		if x.Signal != "" {
			return textNode(x.Signal)
		}
		return intNode(int64(x.Code))
	case Num:
		return numNode(x)
	case Threshold:
		return textNode(x.Text)
	}
	n := compositeNode(v)
	if slices.Contains(onOneLine, v.Type()) {
		n.Style = yaml.FlowStyle
	}
	return n
}

func compositeNode(v reflect.Value) *yaml.Node {
	switch v.Kind() {
	case reflect.Pointer:
		return node(v.Elem())
	case reflect.Struct:
		return fieldsNode(v)
	case reflect.Map:
		n := &yaml.Node{Kind: yaml.MappingNode}
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			n.Content = append(n.Content, textNode(k.String()), node(v.MapIndex(k)))
		}
		return n
	case reflect.Slice:
		if field := keyedBy[v.Type()]; field != "" {
			n := &yaml.Node{Kind: yaml.MappingNode}
			for i := range v.Len() {
				n.Content = append(n.Content, textNode(v.Index(i).FieldByName(field).String()), node(v.Index(i)))
			}
			return n
		}
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			n.Content = append(n.Content, node(v.Index(i)))
		}
		return n
	case reflect.Bool:
		return scalar("!!bool", strconv.FormatBool(v.Bool()))
	case reflect.Int:
		return intNode(v.Int())
	}
	return textNode(v.String())
}

// fieldsNode writes the fields that say something.
func fieldsNode(v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, field := range reflect.VisibleFields(v.Type()) {
		tag := field.Tag.Get("yaml")
		f := v.FieldByIndex(field.Index)
		// an empty list is not the same as none: killed: [] is a claim
		if tag == "" || tag == "-" || f.IsZero() {
			continue
		}
		n.Content = append(n.Content, textNode(tag), node(f))
	}
	return n
}

func bytesNode(b kernel.Bytes) *yaml.Node {
	if b == Max {
		return textNode("max")
	}
	if s := b.String(); strings.Trim(s, "0123456789") != "" {
		return textNode(s)
	}
	return intNode(int64(b))
}

// shortDuration is 1m for 1m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func stepNode(s Step) *yaml.Node {
	row := s.Op.Row()
	if row.Amount == profile.None {
		return textNode(string(s.Op))
	}
	n := flow(textNode(string(s.Op)), s.valueNode(row.Amount))
	for _, k := range qualifiers(row) {
		v := s.valueNode(profile.Kind(k))
		if v.Value != (Step{}).valueNode(profile.Kind(k)).Value {
			n.Content = append(n.Content, textNode(k), v)
		}
	}
	return n
}

// valueNode is an amount or a qualifier of a step.
func (s Step) valueNode(k profile.Kind) *yaml.Node {
	switch k {
	case profile.Size:
		return bytesNode(s.Size)
	case profile.Rate:
		return rateNode(s.Rate)
	case profile.Name:
		return textNode(s.Name)
	case profile.Duration:
		return textNode(shortDuration(s.Duration))
	case profile.Content:
		return textNode(s.Content)
	}
	return intNode(int64(s.Code))
}

func rateNode(b kernel.Bytes) *yaml.Node { return textNode(b.String() + "/s") }

// numNode writes a comparison as its author did, or as its ends say.
func numNode(c Num) *yaml.Node {
	text := c.Text
	if text == "" {
		switch {
		case c.Min == c.Max:
			text = strconv.FormatInt(c.Min, 10)
		case c.Max == NumMax:
			text = fmt.Sprintf(">= %d", c.Min)
		case c.Min == math.MinInt64:
			text = fmt.Sprintf("<= %d", c.Max)
		default:
			text = fmt.Sprintf("%d..%d", c.Min, c.Max)
		}
	}
	if wholeNumber.MatchString(text) {
		return scalar("!!int", text)
	}
	return textNode(text)
}
