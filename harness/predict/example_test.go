package predict_test

import (
	"fmt"

	"github.com/oomlab/oomlab/harness/kernel"
	"github.com/oomlab/oomlab/harness/predict"
)

// The process that fills a cgroup of 256Mi lives; a smaller one dies for it, because 600 *
// (65536 / 1000) pages are taken off the score of the first.
func ExampleChoose() {
	total := (256 * kernel.MiB).Pages(4 * kernel.KiB)
	tasks := []predict.Task{
		{RSS: 49000, PgTables: 400 * kernel.KiB, Adj: -600},
		{RSS: 16900, PgTables: 200 * kernel.KiB},
	}
	index, points := predict.Choose(tasks, total, predict.Rules{})
	fmt.Printf("task %d dies with %d points; the other has %d\n", index, points,
		predict.Points(tasks[0], total, predict.Rules{}))
	// Output:
	// task 1 dies with 16950 points; the other has 10100
}
