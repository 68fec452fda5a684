package scenario

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/stressor/profile"
)

// text is any scalar, as it was written. The caller has refused null.
func (d *decoder) text(n *yaml.Node, path []string) (string, bool) {
	switch {
	case n.Kind != yaml.ScalarNode:
		d.problem(here(n), path, "", "%s is not text", describe(n))
		return "", false
	case strings.ContainsRune(n.Value, 0):
		d.problem(here(n), path, "", "%q holds a NUL byte", n.Value)
		return "", false
	}
	return n.Value, true
}

var wholeNumber = regexp.MustCompile(`^[-+]?[0-9]+$`)

func (d *decoder) int(n *yaml.Node, path []string) (int64, bool) {
	if n.Kind != yaml.ScalarNode || !wholeNumber.MatchString(n.Value) {
		d.problem(here(n), path, "", "%s is not a whole number", describe(n))
		return 0, false
	}
	if n.Tag != "!!int" {
		d.problem(here(n), path, "remove the quotes", "%s is text, not a number", describe(n))
		return 0, false
	}
	i, err := strconv.ParseInt(n.Value, 10, 32)
	if err != nil {
		d.problem(here(n), path, "", "%s is out of range", n.Value)
		return 0, false
	}
	return i, true
}

func (d *decoder) bytes(n *yaml.Node, out *kernel.Bytes, path []string, knob bool) {
	s, ok := d.text(n, path)
	if !ok {
		return
	}
	if knob && s == "max" {
		*out = Max
		return
	}
	b, err := kernel.ParseBytes(s)
	if err != nil {
		if size := binarySize(s, ""); size != "" {
			d.problem(here(n), path, "sizes are powers of two here; write "+size, "%q is not a size", s)
			return
		}
		d.problem(here(n), path, "write bytes or a suffix such as 64Mi, 1.5Gi, 200M", "%q is not a size", s)
		return
	}
	if b > maxBytes {
		d.problem(here(n), path, "", "%q is more memory than a machine can have", s)
		return
	}
	*out = b
}

// maxBytes is the largest amount that is read. A thousand of them can be added
// up without a thought for overflow.
const maxBytes = 64 * kernel.TiB

// rate is an amount a second: 32Mi/s.
func (d *decoder) rate(n *yaml.Node, out *kernel.Bytes, path []string) {
	s, ok := d.text(n, path)
	if !ok {
		return
	}
	amount, slash := strings.CutSuffix(s, "/s")
	b, err := kernel.ParseBytes(amount)
	if err == nil && b == 0 {
		d.problem(here(n), path, "leave the rate out to go as fast as possible", "%q is no progress", s)
		return
	}
	if err == nil && slash {
		*out = b
		return
	}
	hint := "write an amount and /s, such as 32Mi/s"
	switch {
	case err == nil:
		hint = fmt.Sprintf("write %s/s", s)
	case binarySize(s, "/s") != "":
		hint = fmt.Sprintf("sizes are powers of two here; write %s/s", binarySize(s, "/s"))
	}
	d.problem(here(n), path, hint, "%q is not a rate", s)
}

var otherSize = regexp.MustCompile(`^\s*([0-9]+(?:\.[0-9]+)?)\s*([kKmMgGtT])(?:i?[bB]?|ib)\s*(/s|ps|/sec)?\s*$`)

// binarySize guesses the Kubernetes quantity that was meant by 32MB, 64 MiB or
// 128m; "" if nothing of the kind, or nothing that would be accepted.
func binarySize(s, rate string) string {
	m := otherSize.FindStringSubmatch(s)
	if m == nil || rate == "" && m[3] != "" {
		return ""
	}
	size := m[1] + strings.ToUpper(m[2]) + "i"
	if b, err := kernel.ParseBytes(size); err != nil || b == 0 || b > maxBytes {
		return ""
	}
	return size
}

func (d *decoder) duration(n *yaml.Node, out *time.Duration, path []string) {
	s, ok := d.text(n, path)
	if !ok {
		return
	}
	v, err := time.ParseDuration(s)
	bare, noSeconds := time.ParseDuration(s + "s")
	switch {
	case err != nil && wholeNumber.MatchString(s) && noSeconds == nil && bare >= 0:
		d.problem(here(n), path, fmt.Sprintf("write %ss", s), "%q has no unit", s)
	case err != nil:
		d.problem(here(n), path, "write a number and a unit, such as 30s, 500ms, 1m30s", "%q is not a duration", s)
	case v < 0:
		d.problem(here(n), path, "", "%q is before the beginning", s)
	case v > 0 && v < time.Millisecond:
		d.problem(here(n), path, "", "%q is shorter than a millisecond", s)
	default:
		*out = v
	}
}

var cpuQuantity = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)(m?)$`)

func (d *decoder) cpu(n *yaml.Node, out *MilliCPU, path []string) {
	s, ok := d.text(n, path)
	if !ok {
		return
	}
	m := cpuQuantity.FindStringSubmatch(s)
	if m == nil {
		d.problem(here(n), path, "write cores or thousandths of one: 2, 0.5, 100m", "%q is not an amount of CPU", s)
		return
	}
	f, err := strconv.ParseFloat(m[1], 64)
	if m[2] == "" {
		f *= 1000
	}
	if err != nil || f > 1e9 {
		d.problem(here(n), path, "", "%q is more CPU than a machine can have", s)
		return
	}
	*out = MilliCPU(math.Ceil(f))
}

// threshold is an amount, or a share of the node: 100Mi, 5%.
func (d *decoder) threshold(n *yaml.Node, out *Threshold, path []string) {
	s, ok := d.text(n, path)
	if !ok {
		return
	}
	if percent, ok := strings.CutSuffix(s, "%"); ok {
		f, err := strconv.ParseFloat(percent, 64)
		if err != nil || !(f >= 0 && f < 100) {
			d.problem(here(n), path, "write a share of the node such as 5%", "%q is not a share", s)
			return
		}
		*out = Threshold{Percent: f, Text: s}
		return
	}
	var b kernel.Bytes
	if d.bytes(n, &b, path, false); !d.wrong(path...) {
		*out = Threshold{Bytes: b, Text: s}
	}
}

// names is one name or a list of them.
func (d *decoder) names(n *yaml.Node, out *Names, path []string) {
	if n.Kind == yaml.ScalarNode {
		if s, ok := d.text(n, path); ok {
			*out = Names{s}
		}
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.problem(here(n), path, "write one name or [a, list]", "%s is not a name", describe(n))
		return
	}
	*out = Names{}
	*out = append(*out, d.list(n, path)...)
}

// list is a list of text.
func (d *decoder) list(n *yaml.Node, path []string) []string {
	out := []string{}
	for i, c := range n.Content {
		below := with(path, strconv.Itoa(i))
		d.at[join(below)] = here(c)
		if c.Tag == "!!null" {
			d.problem(here(c), below, "", "an entry has no value")
		} else if s, ok := d.text(c, below); ok {
			out = append(out, s)
		} else {
			out = append(out, "")
		}
	}
	return out
}

func (d *decoder) respawn(n *yaml.Node, out *Respawn, path []string) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!bool" {
		if strings.EqualFold(n.Value, "true") {
			*out = RespawnForever
		}
		return
	}
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || !wholeNumber.MatchString(n.Value) {
		d.problem(here(n), path, "write true or how often", "%s is not a number of restarts", describe(n))
		return
	}
	if i, ok := d.int(n, path); ok && i < 0 {
		d.problem(here(n), path, "write true to start it again forever", "%d restarts are not possible", i)
	} else if ok {
		*out = Respawn(i)
	}
}

// examples of each kind of value, for hints.
var stepExample = map[profile.Kind]string{
	profile.Size: "64Mi", profile.Rate: "32Mi/s", profile.Name: "worker", profile.Duration: "1s", profile.Code: "1",
	profile.Content: profile.Zeros,
}

func opNames() []string {
	var out []string
	for _, r := range profile.Steps {
		out = append(out, string(r.Op))
	}
	return out
}

// qualifiers are what a scenario may give a step beside its amount.
func qualifiers(r profile.Row) []string {
	var out []string
	for _, k := range r.Qualifiers {
		if k != profile.Path {
			out = append(out, string(k))
		}
	}
	return out
}

// step is a word, or a map whose first key names the step.
func (d *decoder) step(n *yaml.Node, out *Step, path []string) {
	key := n
	if n.Kind == yaml.MappingNode && len(n.Content) > 0 {
		key = n.Content[0]
	}
	if key.Kind != yaml.ScalarNode {
		d.problem(here(n), path, "write a word such as hold or a map such as {touch: 64Mi}", "%s is not a step",
			describe(n))
		return
	}
	row := profile.Op(key.Value).Row()
	if row.Op == "" {
		hint := meant(key.Value, opNames())
		if key.Value == "rate" {
			hint = "the first key names the step: {touch: 64Mi, rate: 32Mi/s}"
		}
		d.problem(here(key), path, hint, "no step is called %q", key.Value)
		return
	}
	out.Op = row.Op
	if n.Kind == yaml.ScalarNode {
		if row.Amount != profile.None {
			hint := fmt.Sprintf("write {%s: %s}", row.Op, stepExample[row.Amount])
			d.problem(here(n), path, hint, "%s needs a %s", row.Op, row.Amount)
		}
		return
	}
	if row.Amount == profile.None {
		d.problem(here(n), path, "write just "+string(row.Op), "%s takes no value", row.Op)
		return
	}
	d.stepPairs(n, row, string(row.Op), out, path)
}

// stepPairs reads the amount of a step, which a key of some name has, and its qualifiers.
// All of them may stand in a map under the step's name: {touch: {size: 64Mi, rate: 1Mi/s}}.
func (d *decoder) stepPairs(n *yaml.Node, row profile.Row, name string, out *Step, path []string) {
	may := qualifiers(row)
	d.pairs(n, path, func(key, value *yaml.Node, below []string) {
		kind := profile.Kind(key.Value)
		switch {
		case key.Value == name && name == string(row.Op) && value.Kind == yaml.MappingNode && len(may) > 0:
			if len(n.Content) > 2 {
				d.problem(here(value), path, "put all of it into that map", "%s has a map, and more beside it", row.Op)
				return
			}
			if !hasKey(value, string(row.Amount)) {
				hint := fmt.Sprintf("write {%s: {%s: %s}}", row.Op, row.Amount, stepExample[row.Amount])
				d.problem(here(value), path, hint, "%s needs a %s", row.Op, row.Amount)
				return
			}
			d.stepPairs(value, row, string(row.Amount), out, path)
			return
		case key.Value == name:
			kind = row.Amount
		case !slices.Contains(may, key.Value):
			d.problem(here(key), path, meant(key.Value, may), "%s does not take %q", row.Op, key.Value)
			return
		}
		if value.Tag == "!!null" {
			hint := fmt.Sprintf("write {%s: %s}", key.Value, stepExample[kind])
			d.problem(here(key), path, hint, "%s has no value", key.Value)
			return
		}
		d.stepValue(value, kind, out, below)
	})
}

func hasKey(n *yaml.Node, key string) bool {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return true
		}
	}
	return false
}

// stepValue reads an amount or a qualifier of a step.
func (d *decoder) stepValue(n *yaml.Node, kind profile.Kind, out *Step, path []string) {
	switch kind {
	case profile.Size:
		d.bytes(n, &out.Size, path, false)
		if out.Size == 0 && !d.wrong(path...) {
			d.problem(here(n), path, "", "%q is no memory", n.Value)
		}
	case profile.Rate:
		d.rate(n, &out.Rate, path)
	case profile.Name:
		out.Name, _ = d.text(n, path)
	case profile.Duration:
		d.duration(n, &out.Duration, path)
	case profile.Content:
		out.Content, _ = d.text(n, path)
	case profile.Code:
		if i, ok := d.int(n, path); ok {
			out.Code = int(i)
		}
	}
}

// killed is a list, or a map of from and count.
func (d *decoder) killed(n *yaml.Node, out *Killed, path []string) {
	switch {
	case n.Kind == yaml.SequenceNode:
		out.InOrder = d.list(n, path)
	case n.Kind != yaml.MappingNode:
		d.problem(here(n), path, "write [small], [] for nobody, or {from: [a, b], count: 1}", "%s is not a list",
			describe(n))
	default:
		d.pairs(n, path, func(key, value *yaml.Node, below []string) {
			switch {
			case key.Value == "from" && value.Kind == yaml.SequenceNode:
				out.From = d.list(value, below)
			case key.Value == "from":
				d.problem(here(value), below, "write [a, b]", "%s is not a list", describe(value))
			case key.Value == "count":
				d.num(value, &out.Count, below)
			default:
				d.problem(here(key), path, meant(key.Value, []string{"from", "count"}), "unknown field %q", key.Value)
			}
		})
	}
}

func (d *decoder) exit(n *yaml.Node, out *Exit, path []string) {
	s, ok := d.text(n, path)
	if !ok {
		return
	}
	if wholeNumber.MatchString(s) {
		i, err := strconv.Atoi(s)
		if err != nil || i < 0 || i > 255 {
			d.problem(here(n), path, "", "%s is not an exit code; they go from 0 to 255", s)
			return
		}
		out.Code = i
		return
	}
	if kernel.SignalNumber(s) == 0 || s != strings.ToUpper(s) {
		d.problem(here(n), path, meantSignal(s), "%q is neither an exit code nor a signal", s)
		return
	}
	out.Signal = s
}

func meantSignal(s string) string {
	up := strings.ToUpper(s)
	for _, full := range []string{up, "SIG" + up} {
		if kernel.SignalNumber(full) != 0 {
			return "write " + full
		}
	}
	var names []string
	for i := 1; i < 32; i++ {
		if n := kernel.SignalName(i); strings.HasPrefix(n, "SIG") {
			names = append(names, n)
		}
	}
	if best := Nearest(up, names); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "write a code such as 1 or a signal such as SIGKILL"
}

func (d *decoder) num(n *yaml.Node, out *Num, path []string) {
	s := ""
	if n.Kind == yaml.ScalarNode {
		s = n.Value
	}
	v, err := parseNum(s)
	if err != nil {
		if n.Kind != yaml.ScalarNode {
			err = fmt.Errorf("%s is not a comparison", describe(n))
		}
		d.problem(here(n), path, `write 1, ">= 1", "< 3" or "2..5", with the quotes`, "%s", err)
		return
	}
	*out = v
}

var numForm = regexp.MustCompile(`^(?:(>=|<=|==|>|<)?\s*(-?[0-9]+)|(-?[0-9]+)\s*\.\.\s*(-?[0-9]+))$`)

// parseNum reads a comparison: 1, ">= 1", "> 0", "<= 3", "< 3", "== 2", "2..5".
func parseNum(s string) (Num, error) {
	s = strings.TrimSpace(s)
	m := numForm.FindStringSubmatch(s)
	if m == nil {
		return Num{}, fmt.Errorf("%q is not a comparison", s)
	}
	out := Num{Min: math.MinInt64, Max: NumMax, Text: s}
	bound := func(text string, off int64) int64 {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n == math.MaxInt64 || n == math.MinInt64 {
			m = nil
		}
		return n + off
	}
	switch m[1] {
	case ">=":
		out.Min = bound(m[2], 0)
	case ">":
		out.Min = bound(m[2], 1)
	case "<=":
		out.Max = bound(m[2], 0)
	case "<":
		out.Max = bound(m[2], -1)
	default:
		lo, hi := m[2], m[2]
		if lo == "" {
			lo, hi = m[3], m[4]
		}
		out.Min, out.Max = bound(lo, 0), 0
		if m != nil {
			out.Max = bound(hi, 0)
		}
	}
	switch {
	case m == nil:
		return Num{}, fmt.Errorf("%q is more than any counter counts", s)
	case out.Min > out.Max:
		return Num{}, fmt.Errorf("%q holds for nothing: its first number is the larger one", s)
	}
	return out, nil
}
