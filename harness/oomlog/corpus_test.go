package oomlog

import (
	"bytes"
	"encoding/csv"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// corpusDir names a folder of real kernel logs that is not part of this
// repository: labels.tsv, full, partial and fixtures.
const corpusDir = "OOMLAB_CORPUS"

func corpus(t testing.TB) string {
	t.Helper()
	dir := os.Getenv(corpusDir)
	if dir == "" {
		t.Skipf("%s is not set; it names a folder of real kernel logs with their labels", corpusDir)
	}
	return dir
}

func reportsOf(t testing.TB, log []byte) []Report {
	t.Helper()
	var all []Report
	for r, err := range Reports(bytes.NewReader(log)) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// TestCorpusLabels compares what is read from real logs with what a person
// read in them.
func TestCorpusLabels(t *testing.T) {
	dir := corpus(t)
	f, err := os.Open(filepath.Join(dir, "labels.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tsv := csv.NewReader(f)
	tsv.Comma, tsv.LazyQuotes, tsv.FieldsPerRecord = '\t', true, -1
	rows, err := tsv.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) < 2 {
		t.Fatalf("labels.tsv has %d lines", len(rows))
	}
	for _, row := range rows[1:] {
		label := make(map[string]string)
		for i, value := range row {
			label[rows[0][i]] = value
		}
		t.Run(label["file"], func(t *testing.T) {
			log, err := os.ReadFile(filepath.Join(dir, label["file"]))
			if err != nil {
				t.Fatal(err)
			}
			reports := reportsOf(t, log)
			if len(reports) != 1 {
				t.Fatalf("%d reports, want 1", len(reports))
			}
			r := reports[0]
			got := map[string]string{
				"trigger_comm": r.Trigger.Comm, "scope": "unknown", "constraint": "-",
				"first_victim_pid": "-", "first_victim_comm": "-", "ctx_pid": "-",
				"kill_lines": strconv.Itoa(len(r.Killed())),
			}
			if r.Global != nil && *r.Global {
				got["scope"] = "global"
			} else if r.Global != nil {
				got["scope"] = "memcg:" + r.OOMMemcg
			}
			if r.Constraint != "" {
				got["constraint"] = r.Constraint
			}
			if killed := r.Killed(); len(killed) > 0 {
				got["first_victim_pid"], got["first_victim_comm"] = strconv.Itoa(killed[0].PID), killed[0].Comm
			}
			if r.ContextPID != nil {
				got["ctx_pid"] = strconv.Itoa(*r.ContextPID)
			}
			if r.GroupPath != "" && len(r.Killed()) > 1 {
				got["kill_lines"] = "group"
			}
			for name, value := range got {
				if value != label[name] {
					t.Errorf("%s: %q, want %q", name, value, label[name])
				}
			}
			t.Logf("complete %v, missing %q, format %q, release %q, %d tasks", r.Complete, r.Missing, r.KernelFormat,
				r.KernelRelease, len(r.Tasks))
		})
	}
}

var killLine = regexp.MustCompile(`(?m:^|[ \t>\x{a0}])Killed process\s+(\d+)`)

// TestCorpusInventsNothing checks fragments: each process that is said to be
// killed is in a line of its own, and no line is lost.
func TestCorpusInventsNothing(t *testing.T) {
	dir := corpus(t)
	for _, folder := range []string{"partial", "fixtures", "full"} {
		files, err := filepath.Glob(filepath.Join(dir, folder, "*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", folder, len(files), err)
		}
		for _, file := range files {
			t.Run(folder+"/"+filepath.Base(file), func(t *testing.T) {
				log, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				lines := make(map[string]int)
				for _, m := range killLine.FindAllSubmatch(log, -1) {
					lines[string(m[1])]++
				}
				heads := bytes.Count(log, []byte(invoked[1:]))
				got := make(map[string]int)
				for _, r := range reportsOf(t, log) {
					if r.Trigger.Comm != "" {
						heads--
					}
					for _, k := range r.Kills {
						if !k.Announced && !k.AlreadyExiting {
							got[strconv.Itoa(k.PID)]++
						}
					}
				}
				if heads != 0 {
					t.Errorf("heads in the log less heads in reports: %d", heads)
				}
				for pid, n := range lines {
					if got[pid] != n {
						t.Errorf("pid %s: %d kill lines read, the log has %d", pid, got[pid], n)
					}
				}
				for pid := range got {
					if lines[pid] == 0 {
						t.Errorf("pid %s: said to be killed, the log does not say so", pid)
					}
				}
			})
		}
	}
}

// TestCorpusTransports reads each labelled log again in the clothes of other
// transports; what is in it must not change.
func TestCorpusTransports(t *testing.T) {
	dir := corpus(t)
	files, err := filepath.Glob(filepath.Join(dir, "full", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	clothes := map[string]func(string) string{
		"crlf":   func(s string) string { return s + "\r" },
		"quoted": func(s string) string { return "> " + s },
		"colour": func(s string) string { return "\x1b[0;1;39m" + s + "\x1b[0m" },
		"cri":    func(s string) string { return "2026-01-02T03:04:05.678901234Z stdout F " + s },
	}
	for _, file := range files {
		log, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := reportsOf(t, log)
		for name, dress := range clothes {
			if name == "cri" && !strings.HasPrefix(string(log), "[") {
				continue // the time in front hides that a line is the rest of another
			}
			t.Run(name+"/"+filepath.Base(file), func(t *testing.T) {
				var b strings.Builder
				for line := range strings.Lines(string(log)) {
					b.WriteString(dress(strings.TrimSuffix(line, "\n")) + "\n")
				}
				got := reportsOf(t, []byte(b.String()))
				if len(got) != len(want) {
					t.Fatalf("%d reports, want %d", len(got), len(want))
				}
				for i := range got {
					if len(got[i].Kills) != len(want[i].Kills) {
						t.Errorf("%d kill lines, want %d", len(got[i].Kills), len(want[i].Kills))
					}
					if name != "cri" && len(got[i].Tasks) != len(want[i].Tasks) {
						t.Errorf("%d tasks, want %d", len(got[i].Tasks), len(want[i].Tasks))
					}
				}
			})
		}
	}
}
