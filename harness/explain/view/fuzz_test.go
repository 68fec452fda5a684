package view

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/oomlog"
)

// FuzzView: whatever a log says, neither form has markup or control characters of the
// log's.
func FuzzView(f *testing.F) {
	names, err := filepath.Glob(logs + "/*.log")
	if err != nil || len(names) == 0 {
		f.Fatal(err, len(names))
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, "victim.oom_score_adj=-500")
		f.Add(bytes.ReplaceAll(text, []byte("pid"), []byte("<svg onload=x>\x01]]>&\"'")), "limit=1Gi")
	}
	f.Fuzz(func(t *testing.T, log []byte, change string) {
		var x explain.Explainer
		if c, err := explain.ParseChange(change); err == nil {
			x.Options.WhatIf = []explain.Change{c}
		}
		var s explain.Summary
		n := 0
		for r, err := range oomlog.Reports(bytes.NewReader(log)) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n > 8 {
				break
			}
			e := x.Explain(r)
			s.Add(e)
			report := Report{N: n, Explanation: e, Ask: true}
			html, err := report.HTML()
			if err != nil {
				t.Fatal(err)
			}
			harmless(t, string(html), "<svg onload", "<script", "<img")
			var md bytes.Buffer
			if err := report.Markdown(&md); err != nil {
				t.Fatal(err)
			}
			harmless(t, md.String(), "<")
		}
		html, err := Summary(&s)
		if err != nil {
			t.Fatal(err)
		}
		harmless(t, string(html), "<svg", "<script", "<img")
	})
}

// harmless fails where a text has what only a log can have brought in.
func harmless(t *testing.T, text string, markup ...string) {
	t.Helper()
	for _, m := range markup {
		if strings.Contains(text, m) {
			t.Errorf("%q in\n%.2000s", m, text)
		}
	}
	control := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }
	if i := strings.IndexFunc(text, control); i >= 0 {
		t.Errorf("a control character at %d of\n%.2000q", i, text)
	}
}
