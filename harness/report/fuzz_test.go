package report

import (
	"bytes"
	"io"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/oomlab/oomlab/harness/allocs"
	"github.com/oomlab/oomlab/harness/compare"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/selftest"
	"github.com/oomlab/oomlab/harness/verdict"
)

// FuzzRun: whatever a run directory holds, it is refused with an error, or
// judged and shown in every form; and judged again it gives the same verdict.
func FuzzRun(f *testing.F) {
	for _, run := range []string{
		"6.12/memcg-adj-outweighs-size", "6.12/memcg-oom-group-takes-all", "7.3/system-panic-on-oom",
		"5.10/memcg-swap-delays-the-kill",
		"5.10/memcg-killed-worker-parent-exits-1",
	} {
		var files [5][]byte
		for i, name := range runFiles {
			data, err := fs.ReadFile(selftest.Recorded(), run+"/"+name)
			if err != nil {
				f.Fatal(err)
			}
			files[i] = data
		}
		f.Add(files[0], files[1], files[2], files[3], files[4])
	}
	f.Fuzz(func(t *testing.T, meta, scenario, plan, prediction, events []byte) {
		dir := fstest.MapFS{}
		size := 0
		for i, data := range [][]byte{meta, scenario, plan, prediction, events} {
			dir[runFiles[i]] = &fstest.MapFile{Data: data}
			size += len(data)
		}
		allocs.Within(t, 1000, size, func() {
			in, err := verdict.Load(dir)
			if err != nil {
				return
			}
			samples, _ := evidence.Read(bytes.NewReader(events)) // read before, by Load
			shown(t, in, samples)
		})
	})
}

var runFiles = []string{verdict.MetaFile, verdict.ScenarioFile, verdict.PlanFile, verdict.PredictionFile,
	verdict.EventsFile}

func shown(t *testing.T, in verdict.Input, samples []evidence.Event) {
	t.Helper()
	r := verdict.Judge(in)
	if r.Verdict != verdict.Pass && r.Verdict != verdict.Fail && r.Verdict != verdict.Skip &&
		r.Verdict != verdict.Broken {
		t.Fatalf("the verdict is %q", r.Verdict)
	}
	var first, again bytes.Buffer
	for _, err := range []error{
		Document(&first, r), Document(&again, verdict.Judge(in)), Text(io.Discard, r, Options{Verbose: true}),
		JUnit(io.Discard, []verdict.Result{r}), KTAP(io.Discard, []verdict.Result{r}), Markdown(io.Discard,
			[]verdict.Result{r}),
		HTML(io.Discard, "fuzz", []Subject{{Input: in, Result: r, Samples: samples}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), again.Bytes()) {
		t.Fatal("judged again, it says something else")
	}
	if _, err := ParseJSON(first.Bytes()); err != nil {
		t.Fatal(err)
	}
}

// FuzzComparison: a baseline is refused, or it can be shown, held against
// itself without a drift, and saved so that it reads the same.
func FuzzComparison(f *testing.F) {
	m := compare.New()
	for _, kernel := range []string{"5.10", "6.12", "7.3"} {
		dir, err := fs.Sub(selftest.Recorded(), kernel+"/memcg-oom-group-takes-all")
		if err != nil {
			f.Fatal(err)
		}
		in, err := verdict.Load(dir)
		if err != nil {
			f.Fatal(err)
		}
		m.Add(kernel, compare.Observe(in, verdict.Judge(in)))
	}
	var saved bytes.Buffer
	if err := m.Write(&saved); err != nil {
		f.Fatal(err)
	}
	f.Add(saved.Bytes())
	f.Add(
		[]byte(
			`{"format": "oomlab/compare-v1", "scenarios": ["a", "a"], "columns": [{"name": "x"}, {"name": "x"}], "cells": [[{}, {"runs": 1}], [{"runs": -1}, null]]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		allocs.Within(t, 1000, len(in), func() {
			m, err := compare.Read(bytes.NewReader(in))
			if err != nil {
				return
			}
			comparison := Comparison{Matrix: m, Baseline: "fuzz"}
			if checked, err := m.Check(m); err == nil {
				comparison.Checked = &checked
			}
			var first, again bytes.Buffer
			for _, err := range []error{
				CompareText(io.Discard, comparison, Options{}), CompareMarkdown(io.Discard, comparison),
				CompareHTML(io.Discard, comparison, nil),
				CompareJSON(io.Discard, comparison), m.Write(&first),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			m, err = compare.Read(bytes.NewReader(first.Bytes()))
			if err != nil {
				t.Fatalf("what was saved is refused: %v", err)
			}
			if err := m.Write(&again); err != nil || !bytes.Equal(again.Bytes(), first.Bytes()) {
				t.Fatalf("saved again, it is another: %v", err)
			}
		})
	})
}
