package verdict_test

import (
	"fmt"
	"log"
	"os"
	"slices"

	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/verdict"
)

// A recorded run is judged again, and once more without what the kernel log said.
func ExampleJudge() {
	run, err := verdict.Load(os.DirFS("testdata/6.12/memcg-adj-outweighs-size"))
	if err != nil {
		log.Fatal(err)
	}
	result := verdict.Judge(run)
	fmt.Println(result.Verdict)
	for _, kill := range result.Kills {
		fmt.Printf("%s was killed with %d points, by %v\n", kill.Victim.Process, *kill.Points, kill.Sources)
	}
	run.Events = slices.DeleteFunc(run.Events, func(e evidence.Event) bool { return e.Source == evidence.Kmsg })
	fmt.Println(verdict.Judge(run).Verdict)
	// Output:
	// pass
	// small was killed with 16972 points, by [bpf kmsg wait counters]
	// broken
}
