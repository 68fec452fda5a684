package kernel

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/allocs"
)

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
	var text strings.Builder
	for i := range len(r.Text) {
		if c := r.Text[i]; c < 32 || c >= 127 || c == '\\' {
			fmt.Fprintf(&text, `\x%02x`, c)
		} else {
			text.WriteByte(c)
		}
	}
	return fmt.Sprintf("%d,%d,%d,%s%s;%s\n", r.Facility<<3|r.Priority, r.Seq, r.USec, flag, caller, text.String())
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
