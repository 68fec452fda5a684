package selftest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/verdict"
)

// Mutation is a recorded run in which one thing was changed. Nobody lists these
// changes: they are made from what the run directory holds, for every field of every
// record and for every file.
type Mutation struct {
	File   string // of the run directory
	Record string // source and kind of an event; empty: the file is one document
	Field  string // path in the record; empty: the record, or the file, as a whole
	Op     string // what was done: one of the op constants
	// Text is the record of the kernel log that was changed. One changed number or
	// letter stands between ⟨ and ⟩.
	Text    string
	Was, Is string
	Event   evidence.Event // as it was recorded; that of a file is empty
	Input   verdict.Input
	Err     error // the changed directory cannot be read
}

// What is done to a file, a record or a field, where it applies.
const (
	opDrop      = "drop"
	opDuplicate = "duplicate"
	opMove      = "move"       // a record, to the time and place of another
	opSwap      = "swap"       // with another record of its kind, or with its field
	opOffByOne  = "off by one" // a number, or one that a text holds; a bool is inverted
	opZero      = "zero"
	opMisspell  = "misspell" // a text: one letter is another
	opRemove    = "remove"   // a file
	opTruncate  = "truncate"
	opShuffle   = "shuffle" // the lines of a file
	// What somebody does who wants to be believed: a whole kind of record is gone, or a
	// value is another one wherever the same witness tells it.
	opDropAll    = "drop all"
	opEverywhere = "everywhere"
)

func (m Mutation) String() string {
	out := m.Op
	for _, s := range []string{m.File, m.Record, m.Field} {
		if s != "" {
			out += " " + s
		}
	}
	if m.Was != m.Is {
		out += fmt.Sprintf(": %.40q instead of %.40q", m.Is, m.Was)
	}
	if m.Text != "" {
		out += fmt.Sprintf(" in %q", m.Text)
	}
	return out
}

// source is the kind of record, or the file, that was changed.
func (m Mutation) source() string { return cmp.Or(m.Record, m.File) }

// site is a place where a run can be changed, and how.
type site struct {
	file  string
	event int      // of a file of events
	field []string // empty: the event, or the file, as a whole
	op    string
}

// mutator makes mutations of one run.
type mutator struct {
	run    Recording
	wanted func(source, field, op string) bool
	rand   *rand.Rand
	docs   map[string]any // the files, as JSON
	// sites are by kind of record, and then by field and operation.
	sites map[string]map[string][]site
}

// Mutations makes mutations of a run: of each kind of record in turn, so that a long
// log does not crowd out the rest, one for each field and operation, in an order by
// seed. It ends after limit of them; 0: when there are no more.
func Mutations(r Recording, seed uint64, limit int) iter.Seq[Mutation] {
	return mutations(r, seed, limit, func(string, string, string) bool { return true })
}

// mutations makes those of the records, fields and operations that are wanted.
func mutations(
	r Recording, seed uint64, limit int, wanted func(source, field, op string) bool,
) iter.Seq[Mutation] {
	m := newMutator(r, seed, wanted)
	var queues [][][]site
	for _, kind := range slices.Sorted(maps.Keys(m.sites)) {
		var queue [][]site
		for _, of := range slices.Sorted(maps.Keys(m.sites[kind])) {
			queue = append(queue, m.sites[kind][of])
		}
		m.rand.Shuffle(len(queue), func(i, j int) { queue[i], queue[j] = queue[j], queue[i] })
		queues = append(queues, queue)
	}
	return func(yield func(Mutation) bool) {
		n := 0
		for turn := 0; len(queues) > 0; turn++ {
			queues = slices.DeleteFunc(queues, func(q [][]site) bool { return len(q) <= turn })
			for _, q := range queues {
				if mutation, ok := m.mutate(q[turn][m.rand.IntN(len(q[turn]))]); ok {
					if n++; !yield(mutation) || n == limit {
						return
					}
				}
			}
		}
	}
}

func newMutator(r Recording, seed uint64, wanted func(source, field, op string) bool) *mutator {
	name := fnv.New64a()
	name.Write([]byte(r.Name))
	m := &mutator{
		run: r, wanted: wanted, rand: rand.New(rand.NewPCG(seed, name.Sum64())),
		docs: r.docs, sites: map[string]map[string][]site{},
	}
	if m.docs == nil {
		m.docs = documents(r.Input)
	}
	for _, file := range []string{verdict.EventsFile, verdict.SamplesFile} {
		for i, e := range *events(&r.Input, file) {
			kind, class := recordOf(e), ""
			if e.Log != nil {
				class = digits.ReplaceAllString(e.Log.Text, "#")
			}
			at := site{file: file, event: i}
			m.add(kind, class, at, opDrop, opDuplicate, opMove, opSwap, opDropAll)
			m.fields(kind, class, at, m.docs[file].([]any)[i])
		}
	}
	for _, file := range []string{verdict.MetaFile, verdict.PlanFile, verdict.PredictionFile} {
		m.fields(file, "", site{file: file}, m.docs[file])
	}
	if r.Files != nil {
		for _, file := range []string{
			verdict.MetaFile, verdict.ScenarioFile, verdict.PlanFile, verdict.PredictionFile, verdict.EventsFile,
			verdict.SamplesFile,
		} {
			if file == verdict.SamplesFile && len(r.Input.Samples) == 0 {
				continue
			}
			m.add(file, "", site{file: file}, opRemove, opTruncate, opShuffle)
		}
	}
	return m
}

// documents are the files of a run, as JSON. Nobody changes them: mutations have copies.
func documents(in verdict.Input) map[string]any {
	out := map[string]any{}
	for _, file := range []string{
		verdict.MetaFile, verdict.PlanFile, verdict.PredictionFile, verdict.EventsFile, verdict.SamplesFile,
	} {
		out[file] = decode(encode(document(&in, file)))
	}
	return out
}

var digits = regexp.MustCompile("[0-9]+")

func recordOf(e evidence.Event) string { return string(e.Source) + " " + string(e.Kind) }

func (m *mutator) add(kind, class string, at site, ops ...string) {
	field := label(at.field)
	for _, op := range ops {
		if !m.wanted(kind, field, op) {
			continue
		}
		if m.sites[kind] == nil {
			m.sites[kind] = map[string][]site{}
		}
		at.op = op
		key := strings.Join([]string{field, op, class}, "\x00")
		m.sites[kind][key] = append(m.sites[kind][key], at)
	}
}

// label writes a path; a place in a list is "[]".
func label(field []string) string {
	out := slices.Clone(field)
	for i, key := range out {
		if digits.FindString(key) == key {
			out[i] = "[]"
		}
	}
	return strings.Join(out, ".")
}

// fields adds a value and all that is below it.
func (m *mutator) fields(kind, class string, at site, value any) {
	below := func(key string, v any) {
		next := at
		next.field = append(slices.Clone(at.field), key)
		m.fields(kind, class, next, v)
	}
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			below(key, v[key])
		}
	case []any:
		for i, child := range v {
			below(strconv.Itoa(i), child)
		}
	case json.Number:
		m.add(kind, class, at, opZero, opOffByOne)
	case string:
		m.add(kind, class, at, opOffByOne, opMisspell)
	case bool:
		m.add(kind, class, at, opOffByOne)
	}
	if len(at.field) > 0 {
		m.add(kind, class, at, opDrop)
		if events(&m.run.Input, at.file) != nil {
			m.add(kind, class, at, opSwap)
			switch value.(type) {
			case json.Number, string:
				m.add(kind, class, at, opEverywhere)
			}
		}
	}
}

// mutate makes one change; false: it changes nothing.
func (m *mutator) mutate(at site) (Mutation, bool) {
	out := Mutation{File: at.file, Field: label(at.field), Op: at.op, Input: m.run.Input}
	if at.op == opRemove || at.op == opTruncate || at.op == opShuffle {
		m.wholeFile(&out)
		return out, out.Err != nil || !reflect.DeepEqual(out.Input, m.run.Input)
	}
	list := events(&out.Input, at.file)
	if list == nil {
		part := document(&out.Input, at.file)
		reflect.ValueOf(part).Elem().SetZero()
		out.Err = json.Unmarshal(encode(m.edit(m.docs[at.file], at.field, at.op, nil, &out)), part)
		out.Input.Machine, out.Input.Tier = out.Input.Meta.Machine, out.Input.Meta.Tier
		if at.file != verdict.PredictionFile {
			out.Input.Again = verdict.MakeAgain(out.Input)
		}
		return out, out.Err != nil || !reflect.DeepEqual(out.Input, m.run.Input)
	}
	recorded := *list
	*list = slices.Clone(recorded)
	e := recorded[at.event]
	out.Record, out.Event = recordOf(e), e
	if e.Log != nil {
		out.Text = e.Log.Text
	}
	if len(at.field) == 0 {
		*list = m.record(*list, at, &out)
		return out, !reflect.DeepEqual(*list, recorded)
	}
	all := m.docs[at.file].([]any)
	if at.op == opEverywhere {
		m.everywhere(*list, all, at, &out)
		return out, out.Err != nil || !reflect.DeepEqual(*list, recorded)
	}
	var other any
	if at.op == opSwap {
		if i := another(m.rand, recorded, at.event); i >= 0 {
			other = lookup(all[i], at.field)
		}
		if other == nil {
			return out, false
		}
	}
	(*list)[at.event] = evidence.Event{}
	out.Err = json.Unmarshal(encode(m.edit(all[at.event], at.field, at.op, other, &out)), &(*list)[at.event])
	return out, out.Err != nil || !reflect.DeepEqual((*list)[at.event], e)
}

// events are those of a file; nil: it has none.
func events(in *verdict.Input, file string) *[]evidence.Event {
	switch file {
	case verdict.EventsFile:
		return &in.Events
	case verdict.SamplesFile:
		return &in.Samples
	}
	return nil
}

// document is what a file holds, as a part of the input.
func document(in *verdict.Input, file string) any {
	return map[string]any{
		verdict.MetaFile: &in.Meta, verdict.PlanFile: &in.Plan, verdict.PredictionFile: &in.Prediction,
		verdict.EventsFile: &in.Events, verdict.SamplesFile: &in.Samples,
	}[file]
}

// record drops, repeats or misplaces an event.
func (m *mutator) record(events []evidence.Event, at site, out *Mutation) []evidence.Event {
	i := at.event
	e := events[i]
	switch at.op {
	case opDrop:
		return slices.Delete(events, i, i+1)
	case opDropAll:
		return slices.DeleteFunc(events, func(other evidence.Event) bool { return sameKind(e, other) })
	case opDuplicate:
		return slices.Insert(events, i, e)
	case opMove:
		to := m.rand.IntN(len(events))
		out.Was, out.Is = strconv.FormatInt(e.AtNS, 10), strconv.FormatInt(events[to].AtNS, 10)
		e.AtNS = events[to].AtNS
		return slices.Insert(slices.Delete(events, i, i+1), to, e)
	}
	if j := another(m.rand, events, i); j >= 0 {
		out.Was, out.Is = strconv.FormatInt(e.AtNS, 10), strconv.FormatInt(events[j].AtNS, 10)
		events[i], events[j] = events[j], events[i]
		events[i].AtNS, events[j].AtNS = events[j].AtNS, events[i].AtNS
	}
	return events
}

// sameKind reports whether two events are records of one kind; those of the kernel log
// are if they differ in numbers only.
func sameKind(a, b evidence.Event) bool {
	if recordOf(a) != recordOf(b) || a.Log == nil || b.Log == nil {
		return recordOf(a) == recordOf(b)
	}
	return digits.ReplaceAllString(a.Log.Text, "#") == digits.ReplaceAllString(b.Log.Text, "#")
}

// everywhere changes a value in an event, and the same value of that name in all others
// of the same source. Of a text it changes one number.
func (m *mutator) everywhere(list []evidence.Event, docs []any, at site, out *Mutation) {
	e := list[at.event]
	name := at.field[len(at.field)-1]
	was := lookup(docs[at.event], at.field)
	var change func(any) any
	by := int64(1 - 2*m.rand.IntN(2))
	switch v := was.(type) {
	case json.Number:
		out.Was, out.Is = string(v), string(plus(string(v), by))
		change = func(value any) any {
			if value == was {
				return json.Number(out.Is)
			}
			return value
		}
	case string:
		places := whole.FindAllStringIndex(v, -1)
		if len(places) == 0 {
			return
		}
		place := places[m.rand.IntN(len(places))]
		out.Was = v[place[0]:place[1]]
		out.Is = string(plus(out.Was, by))
		if out.Text == v {
			out.Text = v[:place[0]] + "⟨" + out.Was + "⟩" + v[place[1]:]
		}
		change = func(value any) any {
			text, ok := value.(string)
			if !ok {
				return value
			}
			return whole.ReplaceAllStringFunc(text, func(number string) string {
				if number == out.Was {
					return out.Is
				}
				return number
			})
		}
	}
	for i, other := range list {
		if other.Source != e.Source {
			continue
		}
		list[i] = evidence.Event{}
		if err := json.Unmarshal(encode(replaced(docs[i], name, change)), &list[i]); err != nil {
			out.Err = err
		}
	}
}

// whole is a number as a whole.
var whole = regexp.MustCompile(`\b[0-9]+\b`)

// replaced gives a copy of a value in which what is called name was changed.
func replaced(value any, name string, change func(any) any) any {
	switch v := value.(type) {
	case map[string]any:
		v = maps.Clone(v)
		for key, child := range v {
			v[key] = replaced(child, name, change)
			if key == name {
				v[key] = change(v[key])
			}
		}
		return v
	case []any:
		v = slices.Clone(v)
		for i, child := range v {
			v[i] = replaced(child, name, change)
		}
		return v
	}
	return value
}

// another is another event of the same kind; -1: there is none.
func another(r *rand.Rand, all []evidence.Event, than int) int {
	var others []int
	for i, e := range all {
		if i != than && recordOf(e) == recordOf(all[than]) {
			others = append(others, i)
		}
	}
	if len(others) == 0 {
		return -1
	}
	return others[r.IntN(len(others))]
}

func lookup(value any, field []string) any {
	for _, key := range field {
		switch v := value.(type) {
		case map[string]any:
			value = v[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(v) {
				return nil
			}
			value = v[i]
		default:
			return nil
		}
	}
	return value
}

// edit gives a copy of a value with one field changed; other is what opSwap puts
// there.
func (m *mutator) edit(value any, field []string, op string, other any, out *Mutation) any {
	if len(field) == 0 {
		now := m.changed(value, op, other, out)
		out.Was, out.Is = fmt.Sprint(value), fmt.Sprint(now)
		return now
	}
	last := op == opDrop && len(field) == 1
	switch v := value.(type) {
	case map[string]any:
		v = maps.Clone(v)
		if last {
			out.Was = fmt.Sprint(v[field[0]])
			delete(v, field[0])
			return v
		}
		v[field[0]] = m.edit(v[field[0]], field[1:], op, other, out)
		return v
	case []any:
		v = slices.Clone(v)
		i, _ := strconv.Atoi(field[0])
		if last {
			out.Was = fmt.Sprint(v[i])
			return slices.Delete(v, i, i+1)
		}
		v[i] = m.edit(v[i], field[1:], op, other, out)
		return v
	}
	panic(fmt.Sprintf("no field %v in %v", field, value))
}

// changed gives a value after an operation.
func (m *mutator) changed(value any, op string, other any, out *Mutation) any {
	by := int64(1 - 2*m.rand.IntN(2))
	switch v := value.(type) {
	case json.Number:
		if op == opOffByOne {
			return plus(string(v), by)
		}
	case bool:
		return !v
	case string:
		want := letters
		if op == opOffByOne {
			want = digits
		}
		places := want.FindAllStringIndex(v, -1)
		if op == opSwap || len(places) == 0 {
			break
		}
		p := places[m.rand.IntN(len(places))]
		head, part, rest := v[:p[0]], v[p[0]:p[1]], v[p[1]:]
		if out.Text == v {
			out.Text = head + "⟨" + part + "⟩" + rest
		}
		if op == opOffByOne {
			return head + string(plus(part, by)) + rest
		}
		return head + string(rune('a'+(part[0]-'a'+1)%26)) + rest
	}
	switch op {
	case opSwap:
		return other
	case opZero:
		return json.Number("0")
	}
	return value
}

var letters = regexp.MustCompile("[a-z]")

// plus adds one to a number, or takes it away. What does not fit into 64 bits, or is
// not whole, gets another last digit.
func plus(number string, by int64) json.Number {
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		width := 0
		if number[0] == '0' {
			width = len(number)
		}
		return json.Number(fmt.Sprintf("%0*d", width, cmp.Or(max(n+by, min(n, 0)-1), n)))
	}
	last := len(number) - 1
	return json.Number(number[:last] + string(rune('0'+(number[last]-'0'+1)%10)))
}

// wholeFile removes, cuts or shuffles a file.
func (m *mutator) wholeFile(out *Mutation) {
	data, err := fs.ReadFile(m.run.Files, out.File)
	if err != nil {
		panic(fmt.Sprintf("%s: %v", m.run.Name, err)) // it has been read before
	}
	dir := changedDir{FS: m.run.Files, name: out.File}
	switch out.Op {
	case opTruncate:
		dir.data = data[:m.rand.IntN(len(data)-1)]
	case opShuffle:
		lines := bytes.SplitAfter(data, []byte("\n"))
		m.rand.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		dir.data = bytes.Join(lines, nil)
	}
	out.Input, out.Err = verdict.Load(dir)
}

// changedDir is a run directory of which one file is different; nil: it is gone.
type changedDir struct {
	fs.FS
	name string
	data []byte
}

func (d changedDir) Open(name string) (fs.File, error) {
	switch {
	case name != d.name:
		return d.FS.Open(name)
	case d.data == nil:
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return changedFile{bytes.NewReader(d.data)}, nil
}

type changedFile struct{ *bytes.Reader }

func (changedFile) Stat() (fs.FileInfo, error) { return nil, fs.ErrInvalid }
func (changedFile) Close() error               { return nil }

func encode(value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("a recorded run is not JSON: %v", err)) // it came from JSON
	}
	return data
}

func decode(data []byte) any {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		panic(fmt.Sprintf("a recorded run is not JSON: %v", err))
	}
	return value
}
