package profile

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/oomlab/oomlab/harness/allocs"
)

// fillIn sets every field of v to something that is not its zero value, so
// that a field which somebody adds and the code by hand does not know is noticed.
func fillIn(t *testing.T, v reflect.Value, depth int) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString("a\"\\/\b\f\n\r\t\x01é€😀<&>")
	case reflect.Int, reflect.Int64:
		v.SetInt(-1<<31 + int64(depth))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem())) // a pointer to zero is not nothing
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fillIn(t, v.Index(i), depth)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		if depth > 2 {
			return
		}
		for _, key := range []string{"a", "b\n"} {
			elem := reflect.New(v.Type().Elem()).Elem()
			fillIn(t, elem, depth+1)
			v.SetMapIndex(reflect.ValueOf(key), elem)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fillIn(t, v.Field(i), depth)
		}
	default:
		t.Fatalf("no value is known for a %s", v.Type())
	}
}

// TestAgreesWithEncodingJSON sends values through encoding/json in one
// direction and through the code by hand in the other.
func TestAgreesWithEncodingJSON(t *testing.T) {
	var full Profile
	fillIn(t, reflect.ValueOf(&full).Elem(), 0)
	var launch Launch
	fillIn(t, reflect.ValueOf(&launch).Elem(), 0)
	var report Report
	fillIn(t, reflect.ValueOf(&report).Elem(), 0)
	// The deepest profiles have an empty map, which is left out.
	clean := func(p Profile) Profile {
		var out Profile
		reencode(t, p, &out)
		return out
	}

	for name, p := range map[string]Profile{"full": full, "zero": {}} {
		got, err := ParseProfile(encode(t, p))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(clean(got), clean(p)) {
			t.Errorf("%s profile read:\n got %+v\nwant %+v", name, got, p)
		}
		var back Profile
		decode(t, AppendProfile(nil, p), &back)
		if !reflect.DeepEqual(clean(back), clean(p)) {
			t.Errorf("%s profile written:\n got %+v\nwant %+v", name, back, p)
		}
	}
	for name, l := range map[string]Launch{"full": launch, "zero": {}} {
		got, err := ParseLaunch(encode(t, l))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, l) {
			t.Errorf("%s launch read:\n got %+v\nwant %+v", name, got, l)
		}
		var back Launch
		decode(t, AppendLaunch(nil, l), &back)
		if !reflect.DeepEqual(back, l) {
			t.Errorf("%s launch written:\n got %+v\nwant %+v", name, back, l)
		}
	}
	for name, r := range map[string]Report{"full": report, "zero": {}} {
		var back Report
		decode(t, AppendReport(nil, r), &back)
		if back != r {
			t.Errorf("%s report written:\n got %+v\nwant %+v", name, back, r)
		}
	}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(t *testing.T, line []byte, v any) {
	t.Helper()
	if n := strings.Count(string(line), "\n"); n != 1 || line[len(line)-1] != '\n' {
		t.Fatalf("%q is not one line", line)
	}
	if err := json.Unmarshal(line, v); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
}

func reencode(t *testing.T, in, out any) {
	t.Helper()
	if err := json.Unmarshal(encode(t, in), out); err != nil {
		t.Fatal(err)
	}
}

func TestParseProfileRefuses(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"nothing", ``, `byte 0: expected '{', not the end of the line`},
		{"a list", `[]`, `byte 0: expected '{', not '['`},
		{"more than one", `{} {}`, `byte 3: expected the end of the line, not '{'`},
		{"an unknown key", `{"nmae":"a"}`, `nmae: is not a field of this version of the stressor`},
		{"a key twice", `{"name":"a","name":"b"}`, `name: is there twice`},
		{"an unknown key of a child's step", `{"children":{"c":{"steps":[{"size":1}]}}}`, `children: c: steps: size: is not a field of this version of the stressor`},
		{"text for a number", `{"threads":"1"}`, `threads: byte 11: expected a whole number of 64 bits, not '"'`},
		{"a fraction", `{"threads":1.5}`, `byte 12: expected ',', not '.'`},
		{"more than 64 bits", `{"deadline_ms":9223372036854775808}`, `deadline_ms: byte 15: expected a whole number of 64 bits, not '9'`},
		{"a number for text", `{"name":1}`, `name: byte 8: expected '"', not '1'`},
		{"an open string", `{"name":"a`, `name: byte 10: expected the end of a string, not the end of the line`},
		{"a raw control character", "{\"name\":\"\x01\"}", `name: byte 9: expected a character of a string, not '\x01'`},
		{"an unknown escape", `{"name":"\q"}`, `name: byte 10: expected an escape, not 'q'`},
		{"half a surrogate pair", `{"name":"\ud83dx"}`, `name: byte 15: expected the second half of a surrogate pair, not 'x'`},
		{"a flag that is a number", `{"shares_memory":1}`, `shares_memory: byte 17: expected true or false, not '1'`},
		{"deeper than any profile", strings.Repeat(`{"children":{"a":`, 40), `nested deeper than any profile`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseProfile([]byte(tt.in))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%q: error %v, want %q", tt.in, err, tt.want)
			}
		})
	}
}

func FuzzParseProfile(f *testing.F) {
	f.Add([]byte(`{"name":"a","steps":[{"op":"touch","bytes":1}],"children":{"b":{"name":"b","steps":null}},"deadline_ms":5}`))
	f.Add([]byte(`{"name":"\ud83d\ude00\u0000","oom_score_adj":null}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var got Profile
		var err error
		allocs.Within(t, 200, len(in), func() { got, err = ParseProfile(in) })
		if err != nil || !utf8.Valid(in) {
			return
		}
		var want Profile
		if err := json.Unmarshal(in, &want); err != nil {
			t.Fatalf("%q is understood, and encoding/json says %v", in, err)
		}
		if string(encode(t, got)) != string(encode(t, want)) {
			t.Errorf("%q:\n got %s\nwant %s", in, encode(t, got), encode(t, want))
		}
	})
}
