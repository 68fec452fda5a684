package explain_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/oomlab/oomlab/harness/allocs"
	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/oomlog"
)

// FuzzExplain: no log makes an explanation fail, print what a terminal obeys,
// or claim what its own figures contradict.
func FuzzExplain(f *testing.F) {
	f.Add([]byte(kubeLog), "victim.oom_score_adj=-1000")
	f.Add([]byte(strings.ReplaceAll(kubeLog, " 31000 ", " 9223372036854775807 ")), "limit=1")
	f.Add([]byte(strings.ReplaceAll(kubeLog, "936", "2147483647")), "without=victim")
	f.Add([]byte(strings.ReplaceAll(kubeLog, "262144kB", "18446744073709551615kB")), "limit=7Ei")
	f.Add([]byte(strings.ReplaceAll(kubeLog, "sidecar worker", "a\x1b[2J,pid=1\xff")), "1260.oom_score_adj=1000")
	f.Add([]byte(strings.Replace(kubeLog, "kubepods.slice", "kubepods-pod.slice:", 3)), "")
	logs, err := filepath.Glob("../oomlog/testdata/*.log")
	if err != nil || len(logs) == 0 {
		f.Fatalf("%d logs, %v", len(logs), err)
	}
	for _, name := range logs {
		log, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(log, "victim.oom_score_adj=500")
	}
	f.Fuzz(func(t *testing.T, log []byte, change string) {
		var x explain.Explainer
		if c, err := explain.ParseChange(change); err == nil {
			x.Options.WhatIf = []explain.Change{c}
		}
		allocs.Within(t, 1000, len(log), func() { readable(t, x, log) })
	})
}

// readable explains all reports of a log in every form.
func readable(t *testing.T, x explain.Explainer, log []byte) {
	t.Helper()
	n := 0
	for r, err := range oomlog.Reports(bytes.NewReader(log)) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		e := x.Explain(r)
		consistent(t, e)
		var text, list, js bytes.Buffer
		for _, err := range []error{
			explain.Text(&text, n, e, explain.TextOptions{All: true}), explain.Line(&list, n, e, 80), explain.JSON(&js,
				e),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, out := range []string{text.String(), list.String()} {
			if !utf8.ValidString(out) {
				t.Fatalf("not UTF-8: %q", out)
			}
			if i := strings.IndexFunc(out, func(r rune) bool {
				return r < ' ' && r != '\n' || r == 0x7f || r >= 0x80 &&
					r < 0xa0
			}); i >= 0 {
				t.Fatalf("control character: %q", out[max(0, i-20):i+1])
			}
		}
		if !json.Valid(js.Bytes()) {
			t.Fatalf("not JSON: %s", js.Bytes())
		}
	}
}

func consistent(t *testing.T, e explain.Explanation) {
	t.Helper()
	if len(e.Ranking) > oomlog.MaxTasks {
		t.Fatalf("%d rows", len(e.Ranking))
	}
	killed := 0
	var last *int64
	for i, k := range e.Ranking {
		if k.Rank != i+1 {
			t.Fatalf("rank %d at place %d", k.Rank, i+1)
		}
		if k.Killed {
			killed++
		}
		if (k.Never != "") != (k.Points == nil && k.PointsMin == nil && k.PointsMax == nil) && e.TotalPages != nil &&
			e.Ranked() {
			t.Fatalf("never %q, points %v", k.Never, k.Points)
		}
		if e.TotalPages == nil || k.Points == nil {
			continue
		}
		if last != nil && *k.Points > *last {
			t.Fatalf("%d points behind %d", *k.Points, *last)
		}
		last = k.Points
	}
	if killed > 1 {
		t.Fatalf("%d rows are of the one that was chosen", killed)
	}
	if e.Agrees != nil && !*e.Agrees && e.Disagreement == "" {
		t.Fatal("disagrees without a reason")
	}
	if e.Why == "" {
		t.Fatal("no reason")
	}
	if e.Victim != nil && len(e.Kills) == 0 {
		t.Fatal("a victim and no kill")
	}
	if r := e.TotalRange; r.Max != nil && *r.Max < r.Min {
		t.Fatalf("from %d to %d pages", r.Min, *r.Max)
	}
}
