package report

import (
	"bytes"
	"os"
	"testing"

	"github.com/oomlab/oomlab/harness/golden"
	"github.com/oomlab/oomlab/harness/verdict"
)

// TestRuntimes: what was said of one container and one service is in its row, what nobody
// ran is not run, and a run that failed is left out.
func TestRuntimes(t *testing.T) {
	var runs []Subject
	for _, name := range []string{"container-first-process-killed", "unit-child-killed-stops-the-service",
		"container-restart-on-failure", "unit-restart-always-gives-up"} {
		in, err := verdict.Load(os.DirFS("../verdict/testdata/6.12/" + name))
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, Subject{Input: in, Result: verdict.Judge(in)})
	}
	failed := runs[0]
	failed.Result.Verdict = verdict.Fail
	var b bytes.Buffer
	if err := Runtimes(&b, append(runs, failed)); err != nil {
		t.Fatal(err)
	}
	golden.File(t, "testdata/runtimes.md", b.Bytes())
}
