package bpf

import (
	"bytes"
	"encoding/binary"
	"reflect"
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
		"path":        reflect.TypeFor[Path](),
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
	if want := "sample of 8 bytes is neither a struct event, which has 312, nor a struct status, which has 3992; " +
		"oom.bpf.c was compiled without making its Go types again"; err == nil || err.Error() != want {
		t.Errorf("error %v; want %q", err, want)
	}
}

// TestDecodeStatus: a status is told from an event by its size, and its path is read
// from the root.
func TestDecodeStatus(t *testing.T) {
	var want Status
	want.Kind, want.Sig, want.Stack[0] = uint32(VictimStatus), 9, 1<<63
	set := func(level int, name string) {
		for i := range want.Victim.Cgroup.Name[level] {
			want.Victim.Cgroup.Name[level][i] = 0
		}
		for i := range name {
			want.Victim.Cgroup.Name[level][i] = int8(name[i])
		}
	}
	set(0, "c d")
	set(1, "ab")
	var sample bytes.Buffer
	if err := binary.Write(&sample, binary.NativeEndian, want); err != nil {
		t.Fatal(err)
	}
	got, err := Decode(sample.Bytes())
	if err != nil || got.Status == nil || *got.Status != want {
		t.Fatalf("%+v, %v; want %+v", got.Status, err, want)
	}
	for _, tt := range []struct {
		names []string
		want  string
		whole bool
	}{
		{nil, "/", true},
		{[]string{"c d", "ab"}, "/ab/c d", true},
		{[]string{strings.Repeat("x", 95)}, "/" + strings.Repeat("x", 95), false},
		{strings.Split("9 8 7 6 5 4 3 2 1 0", " "), "/0/1/2/3/4/5/6/7/8/9", false},
	} {
		for level := range want.Victim.Cgroup.Name {
			name := ""
			if level < len(tt.names) {
				name = tt.names[level]
			}
			set(level, name)
		}
		if path, whole := want.Victim.Cgroup.String(); path != tt.want || whole != tt.whole {
			t.Errorf("%q, %v; want %q, %v", path, whole, tt.want, tt.whole)
		}
	}
}
