package oomlog

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/allocs"
	"github.com/oomlab/oomlab/harness/kernel"
)

// holdsBase64 reports whether a log may hold words that are read as base64.
func holdsBase64(log []byte) bool {
	found := false
	for word := range strings.FieldsFuncSeq(string(log), func(r rune) bool {
		return r > 0x7f || !isCode(string(r))
	}) {
		_, ok := new(quoted).decoded(word)
		_, short := (&quoted{encoded: true}).decoded(word)
		found = found || ok || short
	}
	return found
}

// FuzzReport: no log makes the parser fail, exceed its limits or see a kill
// where no line speaks of one; and how the log is cut into reads is no matter.
func FuzzReport(f *testing.F) {
	for _, log := range fixtures(f) {
		f.Add([]byte(log))
	}
	for _, name := range slices.Sorted(maps.Keys(transports)) {
		var b strings.Builder
		n := 0
		for line := range strings.Lines(report618) {
			n++
			b.WriteString(transports[name](n, strings.TrimSuffix(line, "\n")))
		}
		f.Add([]byte(b.String()))
	}
	records := strings.Split(strings.TrimSuffix(report618, "\n"), "\n")
	for _, name := range slices.Sorted(maps.Keys(documents)) {
		f.Add([]byte(documents[name](records)))
	}
	// The tail of the first line has the shape of the second.
	f.Add([]byte("[pid] name[ 0] 0 0 0 0 0 0 0 0 0 0 A0\n[ 0] 0 0 0 0 0 0 0 0 0 0 A0"))
	f.Fuzz(func(t *testing.T, log []byte) {
		var all []Report
		size, encoded := len(log), holdsBase64(log)
		if encoded {
			size *= maxRatio
		}
		allocs.Within(t, 400, size, func() { all = reportsOf(t, log) })
		kills := bytes.Count(log, []byte("process")) + bytes.Count(log, []byte("OOM victim")) +
			bytes.Count(log, []byte(`\u`)) + bytes.Count(log, []byte(`"MESSAGE":[`)) +
			bytes.Count(log, []byte("\x1b")) +
			bytes.Count(log, []byte(`\x`)) + bytes.Count(log, []byte("pro")) + bytes.Count(log, []byte("&")) +
			bytes.Count(log, []byte("<"))
		if bytes.Contains(bytes.ToLower(log), []byte("base64")) || encoded {
			kills += size // each of four letters can be any
		}
		for _, r := range all {
			kills -= len(r.Kills)
			if len(r.Tasks) > MaxTasks || len(r.Kills) > MaxKills || len(r.Slab) > MaxSlab ||
				len(r.Reaped) > MaxReaped {
				t.Fatalf("beyond the limits: %d tasks, %d kills", len(r.Tasks), len(r.Kills))
			}
			if r.Complete && (len(r.Missing) > 0 || r.Trigger.Adj == nil || r.Global == nil) {
				t.Fatalf("complete, but %s", jsonOf(r))
			}
			if len(r.Killed()) > len(r.Kills) {
				t.Fatalf("%d killed of %d lines", len(r.Killed()), len(r.Kills))
			}
			for _, c := range r.Candidates(kernel.DefaultPageSize) {
				if c.PID < 0 {
					t.Fatalf("pid %d", c.PID)
				}
			}
		}
		if kills < 0 {
			t.Fatalf("%d more kills than lines that speak of one", -kills)
		}
		var again []Report
		for r, err := range Reports(&smallReader{bytes.NewReader(log), 61}) {
			if err != nil {
				t.Fatal(err)
			}
			again = append(again, r)
		}
		if !reflect.DeepEqual(all, again) {
			t.Fatalf("cut into small reads:\n%s\nwant\n%s", jsonOf(again), jsonOf(all))
		}
	})
}
