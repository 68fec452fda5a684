package profile

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/allocs"
)

// awkward is text that a line has to quote.
const awkward = "a \"b\"\\c\n\t\x00\x01\xffé€😀<&>'`$(D)"

// fillIn sets every field of v to something that is not its zero value, so
// that a field which somebody adds and a line does not carry is noticed.
func fillIn(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString(awkward)
	case reflect.Int:
		v.SetInt(-7)
	case reflect.Int64:
		v.SetInt(1<<53 + 1) // no float has it
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem())) // a pointer to zero is not nothing
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fillIn(t, v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fillIn(t, v.Field(i))
		}
	default:
		t.Fatalf("no value is known for a %s", v.Type())
	}
}

func TestLaunchSurvivesItsLine(t *testing.T) {
	var full Launch
	fillIn(t, reflect.ValueOf(&full).Elem())
	full.DeadlineMS = 1500
	for _, want := range []Launch{{}, full, {Argv: []string{"sh", "-c", "", "--", "a=b", awkward},
		DeadlineMS: 60_000}} {
		line := want.Line()
		if strings.Contains(line, "\n") {
			t.Errorf("%q is not one line", line)
		}
		if got, err := ParseLaunch(line); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nread as %+v, %v\nwant    %+v", line, got, err, want)
		}
	}
}

// TestProfileSurvivesItsLine has every step with everything that it may be given.
func TestProfileSurvivesItsLine(t *testing.T) {
	var filled Step
	fillIn(t, reflect.ValueOf(&filled).Elem())
	left := reflect.ValueOf(filled)
	fields := map[Kind]string{
		Size: "Bytes", Rate: "Rate", Duration: "DurationMS", Code: "Code", Name: "Name", Path: "Path",
		Content: "Content",
	}
	carried := map[string]bool{}
	want := Profile{Name: awkward, Threads: 3, DeadlineMS: 1500, Children: map[string]Profile{}}
	for _, row := range Steps {
		s := Step{Op: row.Op}
		for _, k := range append(slices.Clone(row.Qualifiers), row.Amount) {
			if k == None {
				continue
			}
			field := fields[k]
			reflect.ValueOf(&s).Elem().FieldByName(field).Set(left.FieldByName(field))
			carried[field] = true
		}
		s.Content = strings.ReplaceAll(s.Content, ",", "")
		s.Name, s.Path = strings.ReplaceAll(s.Name, ",", ""), strings.ReplaceAll(s.Path, ",", "")
		s.DurationMS = min(s.DurationMS, 1<<40)
		want.Steps = append(want.Steps, s)
	}
	if len(carried) != left.NumField()-1 {
		t.Errorf("%d fields of a step and its Op are carried, it has %d", len(carried), left.NumField())
	}
	zero := 0
	want.Children[awkward] = Profile{
		Name: awkward, Threads: 1, OOMScoreAdj: &zero, CgroupProcs: "/sys/fs/cgroup/a b/cgroup.procs", DeadlineMS: 1000,
		Steps: []Step{{Op: Fork, Name: "grandchild"}, {Op: Exit}},
		Children: map[string]Profile{"grandchild": {
			Name: "grandchild", SharesMemory: true, Steps: []Step{{Op: Hold}},
		}},
	}
	child := want.Children[awkward]
	grandchild := reflect.ValueOf(child.Children["grandchild"])
	for i := range grandchild.NumField() {
		if grandchild.Field(i).IsZero() && reflect.ValueOf(child).Field(i).IsZero() {
			t.Errorf("no child has a %s", grandchild.Type().Field(i).Name)
		}
	}
	line := want.Line()
	if strings.Contains(line, "\n") {
		t.Errorf("%q is not one line", line)
	}
	if got, err := ParseProfile(line); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s\nread as %+v, %v\nwant    %+v", line, got, err, want)
	}
}

func TestLineIsWhatPeopleType(t *testing.T) {
	adj := -5
	p := Profile{
		Name: "web", Threads: 2, DeadlineMS: 45_000,
		Steps: []Step{{Op: Touch, Bytes: 64 << 20, Rate: 32 << 20}, {Op: Fork, Name: "worker"},
			{Op: Leak, Rate: 1 << 20}},
		Children: map[string]Profile{"worker": {
			OOMScoreAdj: &adj,
			Steps: []Step{
				{Op: File, Bytes: 1000, Path: "/a b"}, {Op: Sleep, DurationMS: 500}, {Op: Exit, Code: 1},
			},
		}},
	}
	const want = `name=web threads=2 deadline=45s touch=64Mi,rate=32Mi/s fork=worker leak=1Mi/s ` +
		`child=worker oom_score_adj=-5 "file=1000,path=/a b" sleep=500ms exit=1`
	if got := p.Line(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	l := Launch{Argv: []string{"sh", "-c", "exit 1"}, Nice: 5, Ignore: []string{"SIGTERM", "SIGINT"}, DeadlineMS: 1500}
	const wanted = `nice=5 ignore=SIGTERM ignore=SIGINT deadline=1500ms -- sh -c "exit 1"`
	if got := l.Line(); got != wanted {
		t.Errorf("got  %s\nwant %s", got, wanted)
	}
	for _, same := range []string{"leak=1Mi/s", "leak,rate=1Mi/s", "leak,rate=1Mi", "leak=1048576/s"} {
		if got, err := ParseProfile(same); err != nil || !slices.Equal(got.Steps, []Step{{Op: Leak, Rate: 1 << 20}}) {
			t.Errorf("%s: read as %+v, %v", same, got, err)
		}
	}
}

func TestRefuses(t *testing.T) {
	launch := func(line string) error { _, err := ParseLaunch(line); return err }
	prof := func(line string) error { _, err := ParseProfile(line); return err }
	tests := []struct {
		name  string
		parse func(string) error
		in    string
		want  string
	}{
		{"quotes that do not end", prof, `name=a "b`, "byte 7: the quotes do not end"},
		{"an escape that is cut", prof, `"name=a\`, "byte 0: the quotes do not end"},
		{"no space after quotes", prof, `"name=a"b`, "byte 8: a space has to follow the quotes"},
		{"quotes within a word", prof, `hold name="a b"`, "byte 10: a word with quotes in it has to be quoted as a " +
			"whole"},
		{"an unknown setting of a launch", launch, "nmae=a", "nmae=a: this version of the stressor knows no such " +
			"setting of a launch"},
		{"a setting twice", launch, "comm=a comm=b", "comm=b: is there twice"},
		{"text for a number", launch, "nice=x", `nice=x: "x" is not a whole number`},
		{"a flag with a value", launch, "one_cpu=1", "one_cpu=1: takes no value"},
		{"no program", launch, "nice=1 --", "--: no program follows"},
		{"a setting of a profile twice", prof, "threads=1 threads=2", "threads=2: is there twice"},
		{"more than 64 bits", prof, "threads=9223372036854775808",
			`threads=9223372036854775808: "9223372036854775808" is not a whole number`},
		{"a launch's setting", prof, "oom_score_adj=5", `oom_score_adj=5: no step is called "oom_score_adj"`},
		{"a child's name", prof, "fork=c child=c name=d", `name=d: no step is called "name"`},
		{"a child twice", prof, "fork=c child=c child=c", "child=c: is there twice"},
		{"a child that nobody forks", prof, "hold child=c hold", "child=c: no step forks it"},
		{"children that fork each other", prof, "hold child=a fork=b child=b fork=a", "child=a: no step forks it"},
		{"an unknown step", prof, "tuoch=1Mi", `tuoch=1Mi: no step is called "tuoch"`},
		{"no amount", prof, "touch", "touch: needs a size"},
		{"an amount too many", prof, "hold=1", "hold=1: takes no amount"},
		{"two amounts", prof, "leak=1/s,rate=2/s", "leak=1/s,rate=2/s: rate=2/s: is there twice"},
		{"another step's qualifier", prof, "free=1,rate=2/s", "free=1,rate=2/s: rate=2/s does not go with free"},
		{"a qualifier without a name", prof, "hold,", `hold,: "" does not go with hold`},
		{"a size of another kind", prof, "touch=1MB",
			`touch=1MB: "1MB" is not an amount of memory; write bytes or 64Mi, 1.5Gi, 200M`},
		{"a size that is none", prof, "touch=.",
			`touch=.: "." is not an amount of memory; write bytes or 64Mi, 1.5Gi, 200M`},
		{"a negative size", prof, "touch=-1",
			`touch=-1: "-1" is not an amount of memory; write bytes or 64Mi, 1.5Gi, 200M`},
		{"more than any size", prof, "touch=8388608Ti",
			`touch=8388608Ti: "8388608Ti" is not an amount of memory; write bytes or 64Mi, 1.5Gi, 200M`},
		{"no time", prof, "sleep=0s", `sleep=0s: "0s" is not a time; write 500ms or 1h`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.parse(tt.in); err == nil || err.Error() != tt.want {
				t.Errorf("%q: error %v, want %q", tt.in, err, tt.want)
			}
		})
	}
}

// FuzzLine: what is read from a line and written again is the same.
func FuzzLine(f *testing.F) {
	f.Add(`name=a deadline=5s touch=1.5Mi,rate=1Mi/s fork=b exit=1 child=b oom_score_adj=-5 shares_memory hold`)
	f.Add(`comm=a nice=-5 ignore=SIGTERM one_cpu deadline=5s -- sh -c "exit 1"`)
	f.Add(`"file=1,path=/a b" fork=a child=a fork=b child=b sleep=1h`)
	f.Fuzz(func(t *testing.T, in string) {
		var p Profile
		var l Launch
		var errP, errL error
		allocs.Within(t, 400, len(in), func() {
			p, errP = ParseProfile(in)
			l, errL = ParseLaunch(in)
		})
		if errP == nil {
			_ = p.Validate()
			if back, err := ParseProfile(p.Line()); err != nil || !reflect.DeepEqual(back, p) {
				t.Errorf("%q is read as %+v, %q as %+v, %v", in, p, p.Line(), back, err)
			}
		}
		if errL == nil {
			_ = l.Validate()
			if back, err := ParseLaunch(l.Line()); err != nil || !reflect.DeepEqual(back, l) {
				t.Errorf("%q is read as %+v, %q as %+v, %v", in, l, l.Line(), back, err)
			}
		}
	})
}

// TestReportIsJSON reads a report as the agent does.
func TestReportIsJSON(t *testing.T) {
	var full Report
	fillIn(t, reflect.ValueOf(&full).Elem())
	for _, r := range []Report{full, {}} {
		line := AppendReport([]byte("before\n"), r)[len("before\n"):]
		if n := strings.Count(string(line), "\n"); n != 1 || line[len(line)-1] != '\n' {
			t.Errorf("%q is not one line", line)
		}
		var got, want Report
		again, err := json.Marshal(r)
		if err == nil {
			err = json.Unmarshal(again, &want)
		}
		if err == nil {
			err = json.Unmarshal(line, &got)
		}
		if err != nil || got != want {
			t.Errorf("%s read as %+v, %v; want %+v", line, got, err, want)
		}
	}
}
