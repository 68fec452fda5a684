package scenario

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/oomlab/oomlab/harness/kernel"
)

// keyedBy names the field that takes the key, for the slices that are written
// as maps so that their order counts.
var keyedBy = map[reflect.Type]string{
	reflect.TypeFor[Cgroups]():          "Path",
	reflect.TypeFor[Processes]():        "Name",
	reflect.TypeFor[Units]():            "Name",
	reflect.TypeFor[EngineContainers](): "Name",
	reflect.TypeFor[Pods]():             "Name",
	reflect.TypeFor[Containers]():       "Name",
	reflect.TypeFor[Forks]():            "Name",
}

func with(path []string, key string) []string { return append(slices.Clip(path), key) }

// value reads n into v, which is settable. What cannot be read is left as it
// was and becomes a problem.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path []string) {
	if _, ok := d.at[join(path)]; !ok {
		d.at[join(path)] = here(n)
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" && v.Type() != reflect.TypeFor[Cgroup]() {
		d.problem(here(n), path, "write one or remove the line", "has no value")
		return
	}
	switch p := v.Addr().Interface().(type) {
	case *kernel.Bytes:
		d.bytes(n, p, path, false)
	case **kernel.Bytes:
		b := new(kernel.Bytes)
		d.bytes(n, b, path, true)
		*p = b
	case *time.Duration:
		d.duration(n, p, path)
	case *Rate:
		d.rate(n, (*kernel.Bytes)(p), path)
	case *MilliCPU:
		d.cpu(n, p, path)
	case *Names:
		d.names(n, p, path)
	case *Respawn:
		d.respawn(n, p, path)
	case *Step:
		d.step(n, p, path)
	case *Killed:
		d.killed(n, p, path)
	case *Exit:
		d.exit(n, p, path)
	case *Num:
		d.num(n, p, path)
	case *Threshold:
		d.threshold(n, p, path)
	default:
		d.composite(n, v, path)
	}
}

func (d *decoder) composite(n *yaml.Node, v reflect.Value, path []string) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), path)
	case reflect.Struct:
		d.fields(n, v, path)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		d.pairs(n, path, func(key, value *yaml.Node, path []string) {
			elem := reflect.New(v.Type().Elem()).Elem()
			d.value(value, elem, path)
			v.SetMapIndex(reflect.ValueOf(key.Value), elem)
		})
	case reflect.Slice:
		if field := keyedBy[v.Type()]; field != "" {
			d.pairs(n, path, func(key, value *yaml.Node, path []string) {
				elem := reflect.New(v.Type().Elem()).Elem()
				elem.FieldByName(field).SetString(key.Value)
				d.value(value, elem, path)
				v.Set(reflect.Append(v, elem))
			})
			return
		}
		if n.Kind != yaml.SequenceNode {
			d.problem(here(n), path, "write [..., ...] or one line for each, beginning with a dash",
				"%s is not a list", describe(n))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, c := range n.Content {
			d.value(c, v.Index(i), with(path, strconv.Itoa(i)))
		}
	case reflect.String:
		if s, ok := d.text(n, path); ok {
			v.SetString(s)
		}
	case reflect.Int:
		if i, ok := d.int(n, path); ok {
			v.SetInt(i)
		}
	case reflect.Bool:
		switch {
		case n.Kind == yaml.ScalarNode && n.Tag == "!!bool":
			v.SetBool(strings.EqualFold(n.Value, "true"))
		default:
			d.problem(here(n), path, "write true or false", "%s is neither true nor false", describe(n))
		}
	default:
		panic("scenario: no way to read a " + v.Type().String())
	}
}

// pairs calls f for every entry of a map, in the order of the file.
func (d *decoder) pairs(n *yaml.Node, path []string, f func(key, value *yaml.Node, path []string)) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.problem(here(n), path, "write {key: value} or one line for each key", "%s is not a map", describe(n))
		return
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch line := first[key.Value]; {
		case key.Kind != yaml.ScalarNode || key.Tag == "!!null":
			d.problem(here(key), path, "", "%s is not a key", describe(key))
			continue
		case line > 0:
			d.problem(here(key), path, "", "%q was already given in line %d", key.Value, line)
			continue
		}
		first[key.Value] = key.Line
		below := with(path, key.Value)
		d.at[join(below)] = here(key)
		if value.Kind == yaml.ScalarNode {
			d.at[join(below)] = here(value)
		}
		f(key, value, below)
	}
}

// qosHint is what to write in place of a key of former versions.
const qosHint = "write pods: {NAME: {restartPolicy: Never, containers: ...}} and targets: [vm, kube]; " +
	"nodeCritical: true becomes priorityClassName: system-node-critical, and singleProcessOOMKill belongs into node"

// fields reads a map into a struct along its yaml tags.
func (d *decoder) fields(n *yaml.Node, v reflect.Value, path []string) {
	index := map[string][]int{}
	var known []string
	for _, f := range reflect.VisibleFields(v.Type()) {
		if tag := f.Tag.Get("yaml"); tag != "" && tag != "-" {
			index[tag] = f.Index
			known = append(known, tag)
		}
	}
	d.pairs(n, path, func(key, value *yaml.Node, below []string) {
		i, ok := index[key.Value]
		if !ok && len(path) == 0 && key.Value == "qos" {
			d.note(here(key), path, qosHint, "%q is not read any more: pods run without a kubelet too", key.Value)
			d.mark(with(path, "pods"))
			return
		}
		if !ok {
			d.note(here(key), path, meant(key.Value, known), "unknown field %q", key.Value)
			// what was said there is as good as unread, under either name
			d.mark(below)
			if n := Nearest(key.Value, known); n != "" {
				d.mark(with(path, n))
			}
			return
		}
		d.value(value, v.FieldByIndex(i), below)
	})
}
