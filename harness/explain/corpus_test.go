package explain_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/kernel"
)

// corpusDir names a folder of real kernel logs that is not part of this
// repository.
const corpusDir = "OOMLAB_CORPUS"

// TestCorpusModelAgrees: for every complete report of 5.2 or newer the model
// chooses whom the kernel chose, or says why not.
func TestCorpusModelAgrees(t *testing.T) {
	dir := os.Getenv(corpusDir)
	if dir == "" {
		t.Skipf("%s is not set; it names a folder of real kernel logs", corpusDir)
	}
	reports, agree := 0, 0
	for _, folder := range []string{"full", "fixtures", "partial"} {
		files, err := filepath.Glob(filepath.Join(dir, folder, "*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", folder, len(files), err)
		}
		for _, file := range files {
			log, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range explained(t, string(log), explain.Options{}) {
				if !e.Complete || e.KernelRelease == "" {
					continue
				}
				v, err := kernel.ParseVersion(e.KernelRelease)
				if err != nil || !v.AtLeast(5, 2) {
					continue
				}
				name := folder + "/" + filepath.Base(file)
				reports++
				switch {
				case e.Agrees == nil:
					t.Errorf("%s: a complete report, and nothing to compare: %s", name, e.Why)
				case *e.Agrees:
					agree++
				case e.Disagreement == "":
					t.Errorf("%s: disagrees without a reason", name)
				default:
					t.Logf("%s: %s", name, e.Disagreement)
				}
			}
		}
	}
	t.Logf("%d complete reports of 5.2 or newer; the model agrees with %d", reports, agree)
	if reports < 10 || agree < reports*8/10 {
		t.Errorf("%d reports, %d agree", reports, agree)
	}
}
