package view

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/oomlog"
)

// logs are recorded reports.
const logs = "../../oomlog/testdata"

func read(t testing.TB, name string, o explain.Options) (all []Report, s explain.Summary) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x := explain.Explainer{Options: o}
	for r, err := range oomlog.Reports(f) {
		if err != nil {
			t.Fatal(err)
		}
		e := x.Explain(r)
		s.Add(e)
		all = append(all, Report{N: len(all) + 1, Explanation: e})
	}
	if len(all) == 0 {
		t.Fatalf("%s has no report", name)
	}
	return all, s
}

func changes(t testing.TB, texts ...string) (o explain.Options) {
	t.Helper()
	for _, text := range texts {
		c, err := explain.ParseChange(text)
		if err != nil {
			t.Fatal(err)
		}
		o.WhatIf = append(o.WhatIf, c)
	}
	return o
}

func TestPage(t *testing.T) {
	all, s := read(t, logs+"/linux-6.18-memcg.log", changes(t, "victim.oom_score_adj=-500"))
	var b bytes.Buffer
	if err := Page(&b, "one", all, &s); err != nil {
		t.Fatal(err)
	}
	golden.File(t, "testdata/memcg.html", b.Bytes())
	b.Reset()
	if err := all[0].Markdown(&b); err != nil {
		t.Fatal(err)
	}
	golden.File(t, "testdata/memcg.md", b.Bytes())
}

// TestEveryRecording: each becomes an article, with a bar for each row that has a score.
func TestEveryRecording(t *testing.T) {
	names, err := filepath.Glob(logs + "/*.log")
	if err != nil || len(names) < 10 {
		t.Fatal(err, len(names))
	}
	for _, name := range names {
		all, s := read(t, name, explain.Options{})
		for _, r := range all {
			r.Ask = true
			html, err := r.HTML()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if r.Ranked() && strings.Count(string(html), "<tr") < len(r.Ranking) {
				t.Errorf("%s: %d rows for %d processes", name, strings.Count(string(html), "<tr"), len(r.Ranking))
			}
			if r.Victim != nil && !strings.Contains(string(html), `class="killed"`) && r.Ranked() {
				t.Logf("%s: the victim has no row", name)
			}
		}
		if _, err := Summary(&s); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnswer: asked once more, from an Explainer that was kept, the answer is the one that
// asking at once gives.
func TestAnswer(t *testing.T) {
	o := changes(t, "victim.oom_score_adj=-1000", "limit=1Gi")
	want, _ := read(t, logs+"/linux-6.18-memcg.log", o)
	f, err := os.Open(logs + "/linux-6.18-memcg.log")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var x explain.Explainer
	for r, err := range oomlog.Reports(f) {
		if err != nil {
			t.Fatal(err)
		}
		again := x.Clone()
		x.Explain(r)
		again.Options = o
		got, err := Answer(again.Explain(r))
		if err != nil {
			t.Fatal(err)
		}
		at, err := Answer(want[0].Explanation)
		if err != nil || got != at {
			t.Errorf("%v; asked again:\n%s\nat once:\n%s", err, got, at)
		}
		if !strings.Contains(string(got), "sh (pid 105) would have been killed") {
			t.Errorf("the answer is %s", got)
		}
	}
	if none, err := Answer(explain.Explanation{}); none != "" || err != nil {
		t.Errorf("nothing was asked: %q, %v", none, err)
	}
}

// TestNamesAreEscaped: whatever a process is called, it is no markup and no control
// character, in either form.
func TestNamesAreEscaped(t *testing.T) {
	text, err := os.ReadFile(logs + "/linux-6.18-memcg.log")
	if err != nil {
		t.Fatal(err)
	}
	all, _ := read(t, logs+"/linux-6.18-memcg.log", explain.Options{})
	comm := all[0].Victim.Comm
	evil := "a<i&|*\x01"
	f := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(f, bytes.ReplaceAll(text, []byte(comm), []byte(evil)), 0o600); err != nil {
		t.Fatal(err)
	}
	all, s := read(t, f, changes(t, "victim.oom_score_adj=-500"))
	all[0].Ask = true
	html, err := all[0].HTML()
	if err != nil {
		t.Fatal(err)
	}
	sum, err := Summary(&s)
	if err != nil {
		t.Fatal(err)
	}
	list, err := List(all)
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{string(html), string(sum), string(list)} {
		if strings.Contains(got, "a<i") || strings.Contains(got, "\x01") ||
			!strings.Contains(got, `a&lt;i&amp;|*\x01`) {
			t.Errorf("not escaped:\n%.2000s", got)
		}
	}
	var b bytes.Buffer
	if err := all[0].Markdown(&b); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); strings.Contains(got, "a<i") || strings.Contains(got, "\x01") ||
		!strings.Contains(got, `a&lt;i&amp;\|\*\\x01`) {
		t.Errorf("not escaped:\n%s", got)
	}
}
