package bpf

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// TestLayout wants the Go types to have the members of the C structures, in
// the compiled programs' own words, at the same offsets.
func TestLayout(t *testing.T) {
	spec, err := loadOom()
	if err != nil {
		t.Fatal(err)
	}
	for name, typ := range map[string]reflect.Type{
		"event":       reflect.TypeFor[Event](),
		"task_info":   reflect.TypeFor[Task](),
		"status":      reflect.TypeFor[Status](),
		"person":      reflect.TypeFor[Person](),
		"span":        reflect.TypeFor[Span](),
		"tally":       reflect.TypeFor[oomTally](),
		"badness":     reflect.TypeFor[oomBadness](),
		"calibration": reflect.TypeFor[oomCalibration](),
		"decision":    reflect.TypeFor[oomDecision](),
	} {
		t.Run(name, func(t *testing.T) {
			var c *btf.Struct
			if err := spec.Types.TypeByName(name, &c); err != nil {
				t.Fatal(err)
			}
			if size := binary.Size(reflect.Zero(typ).Interface()); size != int(c.Size) ||
				typ.Size() != uintptr(c.Size) {
				t.Errorf("%d bytes packed and %d in memory in Go; %d in C", size, typ.Size(), c.Size)
			}
			for _, m := range c.Members {
				field, ok := typ.FieldByNameFunc(func(s string) bool {
					return strings.EqualFold(s, strings.ReplaceAll(m.Name, "_", ""))
				})
				if !ok {
					t.Errorf("%s is not in Go", m.Name)
					continue
				}
				size, err := btf.Sizeof(m.Type)
				if err != nil {
					t.Fatal(err)
				}
				if field.Offset != uintptr(m.Offset.Bytes()) || field.Type.Size() != uintptr(size) {
					t.Errorf("%s: %d bytes at %d in Go; %d at %d in C", m.Name, field.Type.Size(), field.Offset, size,
						m.Offset.Bytes())
				}
			}
		})
	}
}

func TestDecode(t *testing.T) {
	want := Event{AtNs: 1, Kind: EachKill, Flags: HasTask | HasMM, Value: -1}
	copy(want.Message[:], []int8{'o', 'o', 'm'})
	want.Task.Batched[AnonPages] = -32
	var sample bytes.Buffer
	if err := binary.Write(&sample, binary.NativeEndian, want); err != nil {
		t.Fatal(err)
	}
	got, err := Decode(sample.Bytes())
	if err != nil || got.Event != want || got.Status != nil {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if text := Text(got.Event.Message[:]); text != "oom" {
		t.Errorf("message %q", text)
	}
	_, err = Decode(sample.Bytes()[:8])
	if want := "sample of 8 bytes is neither a struct event, which has 312, nor a struct status, which has 624 to 3760; " +
		"oom.bpf.c was compiled without making its Go types again"; err == nil || err.Error() != want {
		t.Errorf("error %v; want %q", err, want)
	}
}

// TestDecodeStatus: a status is told from an event by its size, and ends with its text.
func TestDecodeStatus(t *testing.T) {
	var want Status
	want.Kind, want.Sig, want.Stack[0] = uint32(VictimStatus), 9, 1<<63
	set := func(text string) Span {
		at := Span{At: uint16(want.Used), Len: uint16(len(text))}
		for i := range text {
			want.Text[int(want.Used)+i] = int8(text[i])
		}
		want.Used += uint32(len(text))
		return at
	}
	want.Trigger.Args = set("sh\x00-c\x00")
	want.Victim.Cgroup = set("c d\x00ab\x00\x00")
	var sample bytes.Buffer
	if err := binary.Write(&sample, binary.NativeEndian, want); err != nil {
		t.Fatal(err)
	}
	sample.Truncate(statusHead + int(want.Used))
	got, err := Decode(sample.Bytes())
	if err != nil || got.Status == nil || *got.Status != want {
		t.Fatalf("%+v, %v; want %+v", got.Status, err, want)
	}
	for _, tt := range []struct {
		text  string
		path  string
		whole bool
	}{
		{"", "/", true}, // not known
		{"\x00", "/", true},
		{"c d\x00ab\x00\x00", "/ab/c d", true},
		{strings.Repeat("x", 95) + "\x00\x00", "/" + strings.Repeat("x", 95), false},
		{strings.Repeat("x", 94) + "\x00\x00", "/" + strings.Repeat("x", 94), true},
		{strings.Join(strings.Split("9876543210", ""), "\x00") + "\x00", "/0/1/2/3/4/5/6/7/8/9", false},
		{"c d\x00a", "/a/c d", false}, // not what the programs write
	} {
		if path, whole := want.Path(set(tt.text)); path != tt.path || whole != tt.whole {
			t.Errorf("%q: %q, %v; want %q, %v", tt.text, path, whole, tt.path, tt.whole)
		}
	}
	if path, _ := want.Path(Span{At: 1 << 15, Len: 1 << 15}); path != "/" {
		t.Errorf("path %q from outside of the text", path)
	}
	if words, whole := want.Args(want.Trigger.Args); !slices.Equal(words, []string{"sh", "-c"}) || !whole {
		t.Errorf("command line %q, %v", words, whole)
	}
	if words, whole := want.Args(set("sh\x00-")); !slices.Equal(words, []string{"sh", "-"}) || whole {
		t.Errorf("command line that goes on: %q, %v", words, whole)
	}
}
