package oomlog_test

import (
	"fmt"
	"log"
	"os"

	"github.com/oomlab/oomlab/harness/oomlog"
)

// Who was killed, at whose limit, and who had asked for memory.
func ExampleReports() {
	file, err := os.Open("testdata/linux-6.18-memcg.log")
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	for report, err := range oomlog.Reports(file) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s at the limit of %s\n", report.Constraint, report.OOMMemcg)
		fmt.Printf("invoked by %s\n", report.Trigger.Comm)
		for _, kill := range report.Killed() {
			fmt.Printf("killed %s[%d]\n", kill.Comm, kill.PID)
		}
	}
	// Output:
	// CONSTRAINT_MEMCG at the limit of /p/c
	// invoked by hog1
	// killed hog1[107]
}
