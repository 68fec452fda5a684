package kernel

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/allocs"
)

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
	f.Fuzz(func(t *testing.T, log []byte) {
		var all []Report
		allocs.Within(t, 400, len(log), func() { all = reportsOf(t, log) })
		kills := bytes.Count(log, []byte("process")) + bytes.Count(log, []byte("OOM victim")) +
			bytes.Count(log, []byte(`\u`)) + bytes.Count(log, []byte(`"MESSAGE":[`)) + bytes.Count(log, []byte("\x1b")) +
			bytes.Count(log, []byte(`\x`)) + bytes.Count(log, []byte("pro"))
		for _, r := range all {
			kills -= len(r.Kills)
			if len(r.Tasks) > MaxTasks || len(r.Kills) > MaxKills || len(r.Slab) > MaxSlab || len(r.Reaped) > MaxReaped {
				t.Fatalf("beyond the limits: %d tasks, %d kills", len(r.Tasks), len(r.Kills))
			}
			if r.Complete && (len(r.Missing) > 0 || r.Trigger.Adj == nil || r.Global == nil) {
				t.Fatalf("complete, but %s", jsonOf(r))
			}
			if len(r.Killed()) > len(r.Kills) {
				t.Fatalf("%d killed of %d lines", len(r.Killed()), len(r.Kills))
			}
			for _, c := range r.Candidates(DefaultPageSize) {
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

// FuzzKmsgRecord: what is read of a record reads the same when written again.
func FuzzKmsgRecord(f *testing.F) {
	f.Add([]byte("6,339,5140900,-;NET: Registered\n"))
	f.Add([]byte("30,340,5690716,-,caller=T1;x\n SUBSYSTEM=acpi\n"))
	f.Add([]byte(`4,1,2,c;a\x0ab\x5c\xff;c`))
	f.Add([]byte("4,1,2"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Record
		var err error
		allocs.Within(t, 16, len(b), func() { r, err = ParseKmsgRecord(b) })
		if err != nil {
			if r != (Record{}) {
				t.Fatalf("%+v beside the error %v", r, err)
			}
			return
		}
		again, err := ParseKmsgRecord([]byte(writeRecord(r)))
		if err != nil || again != r {
			t.Fatalf("%+v, then %+v, %v", r, again, err)
		}
	})
}

func writeRecord(r Record) string {
	flag, caller := "-", ""
	if r.Cont {
		flag = "c"
	}
	if r.Caller != "" {
		caller = ",caller=" + r.Caller
	}
	number := func(n uint64) string { return strings.TrimSpace(jsonOf(n)) }
	return number(uint64(r.Facility)<<3|uint64(r.Priority)) + "," + number(r.Seq) + "," + number(uint64(r.USec)) + "," + flag + caller + ";" + escapeHex(r.Text) + "\n"
}

// FuzzFiles: each small parser either reads its file or says why not, and
// gives nothing beside an error.
func FuzzFiles(f *testing.F) {
	for i, c := range fileCases {
		f.Add(i, c.in)
	}
	f.Fuzz(func(t *testing.T, i int, in string) {
		if i < 0 {
			return
		}
		c := fileCases[i%len(fileCases)]
		var got any
		var err error
		allocs.Within(t, 200, len(in), func() { got, err = c.parse(strings.NewReader(in)) })
		if err == nil {
			return
		}
		if !reflect.ValueOf(got).IsZero() {
			t.Fatalf("%s: %+v beside the error %v", c.name, got, err)
		}
		if !strings.Contains(err.Error(), ":") {
			t.Fatalf("%s: error %q names no file", c.name, err)
		}
	})
}
