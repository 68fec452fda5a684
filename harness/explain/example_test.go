package explain_test

import (
	"fmt"
	"log"
	"os"

	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/oomlog"
)

// Why that one: the ranking by the kernel's rule, and whether what the log says agrees.
func ExampleExplain() {
	file, err := os.Open("../oomlog/testdata/linux-6.18-memcg.log")
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	for report, err := range oomlog.Reports(file) {
		if err != nil {
			log.Fatal(err)
		}
		e := explain.Explain(report, explain.Options{})
		for _, task := range e.Ranking[:2] {
			fmt.Printf("%d. %s: %d points\n", task.Rank, task.Comm, *task.Points)
		}
		fmt.Printf("%s: %s[%d] at the limit of %s\n", e.Outcome, e.Victim.Comm, e.Victim.PID, e.OOMMemcg)
	}
	// Output:
	// 1. hog1: 10371 points
	// 2. sh: 181 points
	// killed: hog1[107] at the limit of /p/c
}
