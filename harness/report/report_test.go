package report

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/plaintext"
	"github.com/oomlab/oomlab/harness/scenario"
	"github.com/oomlab/oomlab/harness/verdict"
)

// names of the results in testdata: real runs of a 6.12 in a VM and of a 6.18
// whose eBPF only reaches tier 1, and the first of them with a lie in its log,
// with a claim turned round, and on a machine that lacks what it needs; and one that was
// refused memory.
var names = []string{"pass", "group", "many", "local", "fail", "broken", "panic", "skip", "enomem"}

func read(t *testing.T, name string) verdict.Result {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func all(t *testing.T) []verdict.Result {
	t.Helper()
	var out []verdict.Result
	for _, name := range names {
		out = append(out, read(t, name))
	}
	return out
}

func text(t *testing.T, r verdict.Result, o Options) string {
	t.Helper()
	var b strings.Builder
	if err := Text(&b, r, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestText(t *testing.T) {
	for _, name := range names {
		r := read(t, name)
		golden.File(t, "testdata/"+name+".txt", []byte(text(t, r, Options{RunsDir: "runs"})))
		golden.File(t, "testdata/"+name+".verbose.txt", []byte(text(t, r, Options{RunsDir: "runs", Verbose: true})))
	}
}

// TestTextFits: nothing is wider than it may be, nothing is left open at the
// end of a line, and one screen holds a run that passed.
func TestTextFits(t *testing.T) {
	for _, name := range names {
		for _, width := range []int{80, 100} {
			for _, verbose := range []bool{false, true} {
				got := text(t, read(t, name), Options{Width: width, Verbose: verbose, RunsDir: "runs"})
				for i, line := range strings.Split(got, "\n") {
					if plaintext.Width(line) > width {
						t.Errorf("%s, line %d has %d columns of %d: %s", name, i+1, plaintext.Width(line), width, line)
					}
					if line != strings.TrimRight(line, " ") {
						t.Errorf("%s, line %d ends with spaces: %q", name, i+1, line)
					}
				}
			}
		}
	}
	for _, name := range []string{"pass", "panic", "skip", "local"} {
		const screen = 45
		if n := strings.Count(text(t, read(t, name), Options{}), "\n"); n > screen {
			t.Errorf("%s takes %d lines, more than the %d of a screen", name, n, screen)
		}
	}
}

// TestColour: only the verdict word is painted, and it lines up all the same.
func TestColour(t *testing.T) {
	painted := regexp.MustCompile("\x1b\\[(3[1235])m([A-Z]+)\x1b\\[0m")
	for name, colour := range map[string]string{"pass": "32", "fail": "31", "broken": "35", "skip": "33"} {
		r := read(t, name)
		got := text(t, r, Options{Colour: true})
		m := painted.FindAllStringSubmatch(got, -1)
		if len(m) != 1 || m[0][1] != colour || m[0][2] != strings.ToUpper(string(r.Verdict)) {
			t.Errorf("%s: painted %q, want only the verdict in %s", name, m, colour)
		}
		if plain := painted.ReplaceAllString(got, "$2"); plain != text(t, r, Options{}) {
			t.Errorf("%s: without its colour the text is another", name)
		}
	}
}

// TestEveryWordOfAResultIsShown: what a claim or a witness says is never lost
// in the verbose text, however it is broken into lines.
func TestEveryWordOfAResultIsShown(t *testing.T) {
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), "") }
	for _, name := range names {
		r := read(t, name)
		got := squeeze(text(t, r, Options{Verbose: true}))
		want := []string{r.Reason, r.Summary, r.Because, r.Kernel.Release, r.Panic}
		for _, c := range r.Claims {
			want = append(want, c.Name+": expected "+c.Expected+"; observed "+c.Observed)
		}
		for _, d := range r.Disagreements {
			want = append(want, string(d.Name)+d.Detail)
		}
		for _, w := range want {
			if r.Verdict == verdict.Skip && w == r.Kernel.Release {
				continue
			}
			if !strings.Contains(got, squeeze(w)) {
				t.Errorf("%s: the text does not say %q", name, w)
			}
		}
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := Table(&b, all(t)); err != nil {
		t.Fatal(err)
	}
	golden.File(t, "testdata/table.txt", b.Bytes())
}

func TestLine(t *testing.T) {
	var b bytes.Buffer
	for _, r := range all(t) {
		if err := Line(&b, r, Options{RunsDir: "runs"}); err != nil {
			t.Fatal(err)
		}
	}
	golden.File(t, "testdata/lines.txt", b.Bytes())
}

// TestDocument: JSON that is read and written again is the same, byte for byte.
func TestDocument(t *testing.T) {
	for _, name := range names {
		want, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := Document(&got, read(t, name)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: %d bytes became %d", name, len(want), got.Len())
		}
	}
}

func TestJSONIsOneObjectALine(t *testing.T) {
	results := all(t)
	var b bytes.Buffer
	if err := JSON(&b, results); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != len(results) {
		t.Fatalf("%d lines for %d results", len(lines), len(results))
	}
	for i, line := range lines {
		r, err := ParseJSON([]byte(line))
		if err != nil || r.Scenario != results[i].Scenario || r.Verdict != results[i].Verdict {
			t.Errorf("line %d: %v, %s %s", i+1, err, r.Scenario, r.Verdict)
		}
	}
}

func TestParseJSONRefuses(t *testing.T) {
	_, err := ParseJSON([]byte(`{"scenario": 1}`))
	const want = "not a result: json: cannot unmarshal number into Go struct field Result.scenario of type string"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestRounds(t *testing.T) {
	pass, fail, skip := read(t, "pass"), read(t, "fail"), read(t, "skip")
	group := read(t, "group")
	for _, tt := range []struct {
		name string
		in   []verdict.Result
		each int
		want string
	}{
		{"the same", []verdict.Result{pass, group, pass, group}, 2, `2 of 2 rounds complete: all verdict tables are identical
  memcg/adj-outweighs-size   2 x pass (small)
  memcg/oom-group-takes-all  2 x pass (hog, one, two)
`},
		{"one differs", []verdict.Result{fail, pass, pass}, 1, `3 of 3 rounds complete: verdict tables DIFFER
  memcg/adj-outweighs-size  2 x pass (small), 1 x fail (small)
`},
		{"a round that was cut short", []verdict.Result{skip, group, skip, {}}, 2, `1 of 2 rounds complete: all verdict tables are identical
  memcg/adj-outweighs-size   2 x skip (-)
  memcg/oom-group-takes-all  1 x pass (hog, one, two)
`},
		{"the first round was cut short", []verdict.Result{{}, pass}, 1, `1 of 2 rounds complete: all verdict tables are identical
  memcg/adj-outweighs-size  1 x pass (small)
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			if err := Rounds(&b, tt.in, tt.each); err != nil {
				t.Fatal(err)
			}
			if b.String() != tt.want {
				t.Errorf("got\n%swant\n%s", b.String(), tt.want)
			}
		})
	}
	err := Rounds(&strings.Builder{}, []verdict.Result{pass}, 2)
	if err == nil || err.Error() != "1 results are not rounds of 2 scenarios" {
		t.Errorf("half a round: %v", err)
	}
}

func TestEvent(t *testing.T) {
	for _, tt := range []struct {
		in   evidence.Event
		want string
	}{
		{evidence.Event{AtNS: 1_500_000_000, Source: evidence.Wait, Kind: evidence.Exited, Process: "hog", PID: 7,
			Exit: &evidence.ExitStatus{Signal: 9}},
			"     1.500 wait     exited               hog pid 7 signal 9"},
		{evidence.Event{Source: evidence.Wait, Kind: evidence.Exited, Process: "hog", PID: 7,
			Exit: &evidence.ExitStatus{Code: 1}},
			"     0.000 wait     exited               hog pid 7 exit code 1"},
		{evidence.Event{Source: evidence.Stressor, Kind: evidence.Ready, Process: "hog", PID: 7,
			Held: &evidence.Holding{Resident: 64 << 20}},
			"     0.000 stressor ready                hog pid 7 holds 64Mi"},
		{evidence.Event{Source: evidence.Stressor, Kind: evidence.Step, Process: "hog", PID: 7, Text: "touch",
			Held: &evidence.Holding{}},
			"     0.000 stressor step                 hog pid 7 touch"},
		{evidence.Event{Source: evidence.BPF, Kind: evidence.MarkVictim,
			OOM: &evidence.OOM{Task: &evidence.Task{TaskID: evidence.TaskID{TGID: 7, Comm: "hog"}}}},
			"     0.000 bpf      mark_victim          hog[7]"},
		{evidence.Event{Source: evidence.Kmsg, Kind: evidence.Lost, N: 3, Text: "the ring was overwritten"},
			"     0.000 kmsg     lost                  3 events: the ring was overwritten"},
		{evidence.Event{Kind: evidence.Sample}, ""},
		{evidence.Event{Kind: evidence.Badness}, ""},
	} {
		if got := Event(tt.in); got != tt.want {
			t.Errorf("%s:\ngot  %q\nwant %q", tt.in.Kind, got, tt.want)
		}
	}
}

// TestShell: a command that is copied out of a report is the one that was run.
func TestShell(t *testing.T) {
	got := shell([]string{"oomlab", "run", "--kernel", "6.12", "it's here.yaml", ""})
	if want := `oomlab run --kernel 6.12 'it'\''s here.yaml' ''`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestChoices: the replayed victim is the one that the judge says the model
// chooses, whatever the order of equal scores: before 5.3 the first of them is
// chosen, since then the last.
func TestChoices(t *testing.T) {
	n := int64(7)
	first, last := verdict.Row{Comm: "a", PID: 1, Replayed: &n}, verdict.Row{Comm: "b", PID: 2, Replayed: &n}
	chosen := first
	chosen.Chosen = true
	instead := last
	instead.Instead = true
	refused := chosen
	refused.Replayed = nil
	for _, tt := range []struct {
		board []verdict.Row
		want  []string
	}{
		{[]verdict.Row{chosen, last}, []string{"a[1]"}},
		{[]verdict.Row{chosen, instead}, []string{"b[2]"}},
		{[]verdict.Row{refused}, nil},
	} {
		if got := choices(verdict.Result{Scoreboard: [][]verdict.Row{tt.board}}); !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %q, want %q", tt.board, got, tt.want)
		}
	}
}

// TestASetIsShownAsASet: copies that follow each other are one entry, whichever of them
// they are; a name that only looks like a copy's stays.
func TestASetIsShownAsASet(t *testing.T) {
	p := page{r: verdict.Result{Exits: map[string]scenario.Exit{
		"worker/1": {}, "worker/2": {}, "worker/3": {}, "hog": {}, "pod/1": {}, "pod/main": {},
	}}}
	for _, tt := range []struct {
		in     []string
		choice bool
		want   string
	}{
		{[]string{"worker/3", "worker/1", "worker/2"}, false, "worker x3"},
		{[]string{"worker/1", "hog", "worker/2", "worker/2"}, false, "worker, hog, worker x2"},
		{[]string{"worker/1", "worker/2", "*"}, true, "one of worker x2, *"},
		{[]string{"pod/1", "kworker/0:1[44]", "worker"}, false, "pod/1, kworker/0:1[44], worker"},
		{[]string{"worker", "worker", "hog"}, false, "worker x2, hog"},
		{nil, false, ""},
	} {
		if got := strings.Join(p.sets(tt.in, tt.choice), ", "); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.in, got, tt.want)
		}
	}
}
